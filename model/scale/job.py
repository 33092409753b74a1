"""What one run scores, how, and where its parts lie: plain data that goes to every worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.schema import Provenance

Precision = Literal["fp32", "bf16"]

FORMAT = 1
"""Of the parts; an unfinished run of another format is begun again."""
SHARD, EXPLAINED_SHARD = 256, 16
"""Cases of a shard: what a stopped run may lose, about a few seconds of work of each worker."""


@dataclass(frozen=True)
class Job:
    """A run.

    Parameters
    ----------
    cohort : name of the cohort.
    provenance : of cases that do not say.
    root : folder that the pictures lie in; every worker must see it under this path.
    parts : folder of the parts, seen by every worker too.
    checkpoint : folder of the model.
    device : "cpu", "cuda" or None for CUDA where there is one.
    explain : whether Shapley values of every case are computed.
    exact : from every coalition, instead of the fixed rule.
    precision : "bf16" for networks in bfloat16, see `model.scale.fast.fast`.
    batch : cases that are measured and predicted together.
    doubled : row numbers of cases whose pseudonym an earlier row has.
    """

    cohort: str
    provenance: Provenance
    root: Path
    parts: Path
    checkpoint: Path
    device: str | None = None
    explain: bool = False
    exact: bool = False
    precision: Precision = "fp32"
    batch: int = 32
    doubled: frozenset[int] = frozenset()

    def given(self, shard: int) -> Path:
        """Rows of the cohort's table that make a shard, as text."""
        return self.parts / "given" / f"{shard:06d}.parquet"

    def done(self, shard: int) -> Path:
        """The shard's scored cases."""
        return self.parts / "done" / f"{shard:06d}.parquet"


@dataclass(frozen=True)
class Done:
    """A shard that was scored: its number, and how many cases were scored and refused."""

    shard: int
    cases: int
    refused: int
