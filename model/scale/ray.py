"""The Ray engine: the same function on a Ray Data pipeline, on this machine or, with RAY_ADDRESS set, on a cluster.

Every node must have the project installed and see the cohort, the checkpoint and the output folder under the same paths.
Shards are read from Parquet and written to Parquet by the workers themselves; only their numbers travel.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from model.errors import CaseError, ProblemError
from model.processes import cores
from model.scale.job import Done, Job
from model.scale.local import MEMORY, memory_kept


class _Worker:
    """A process of the pipeline, with its own model."""

    def __init__(self, job: Job) -> None:
        from model.scale.shard import Scorer

        self.scorer = Scorer(job)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        rows = [self._row(int(shard)) for shard in batch["shard"]]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _row(self, shard: int) -> dict[str, Any]:
        try:
            return {**asdict(self.scorer(shard)), "what": "", "where": "", "fix": ""}
        except ProblemError as error:  # Ray would tell its own words of it, not ours
            return {**asdict(Done(shard, 0, 0)), "what": error.what, "where": error.where, "fix": error.fix}


def run(job: Job, shards: Sequence[int], *, workers: int | None = None) -> Iterator[Done]:
    """Score shards; as `model.scale.local.run`.

    Parameters
    ----------
    workers : processes; where None, all cores of this machine, or one for each CPU of the cluster.

    Raises
    ------
    CaseError
        If Ray is not installed, a worker could not go on, as on a full disk, or the pipeline failed.
    """
    # Nothing is told to anyone about a hospital's runs.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise CaseError(
            "Ray is not installed",
            where="--engine ray",
            fix="Run pip install 'llnm-explorer[ray]', or use --engine local.",
        ) from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ours = not ray.is_initialized()
    if ours:
        cluster: dict[str, Any] = {"runtime_env": {"env_vars": MEMORY}}
        here: dict[str, Any] = {"num_cpus": workers or cores(), "include_dashboard": False}
        options = cluster if os.environ.get("RAY_ADDRESS") else here
        with memory_kept():  # processes of this machine take it over, and need not be started anew for it
            ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **options)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        resources: Callable[[], dict[str, float]] = ray.cluster_resources
        count = min(workers or int(resources().get("CPU", 1)), len(shards))
        listed = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        scored = listed.map_batches(
            _Worker, fn_constructor_args=(job,), batch_size=1, batch_format="numpy", num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=count),
        )  # fmt: skip
        for row in scored.iter_rows():
            if row["what"]:
                raise CaseError(row["what"], where=row["where"], fix=row["fix"])
            yield Done(int(row["shard"]), int(row["cases"]), int(row["refused"]))
    except ray.exceptions.RayError as error:
        first = str(error).strip().splitlines()[-1][:300]
        raise CaseError(
            f"the pipeline failed: {first}", where="--engine ray", fix="Run the same command again."
        ) from error
    finally:
        if ours:
            ray.shutdown()
