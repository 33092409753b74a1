"""Explanations that are stored with a cohort: names of their columns, and what a table says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.schema import FIELD, LLNM, Schema

SHAP, BASE = "shap_", "shap_base"
"""`shap_` and a group's name: its contribution in calibrated logits. `shap_base`: where the contributions start from."""
METADATA = b"llnm_scored"
"""Key of the Parquet metadata that hold model, method and cohort as JSON."""


def attributed(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Columns of contributions among the columns of a table."""
    return tuple(name for name in columns if name.startswith(SHAP) and name != BASE)


def read_description(file: Path) -> dict[str, Any]:
    """What a scored Parquet says of itself: model, cohort and how it was explained; empty where it says nothing."""
    try:
        told = json.loads((pq.read_schema(file).metadata or {}).get(METADATA, b"{}"))
    except (OSError, ValueError, pa.ArrowException):  # no file, no Parquet, no JSON
        return {}
    return told if isinstance(told, dict) else {}


def widened(schema: Schema) -> dict[str, list[float]]:
    """Ranges of built-in numbers that a cohort's card changed, to be stored as `ranges` with its scores."""
    numbers = (f for f in schema.numbers if f.name in FIELD)
    return {f.name: [f.low, f.high] for f in numbers if (f.low, f.high) != (FIELD[f.name].low, FIELD[f.name].high)}


def ranges_of(described: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Ranges by the name of a built-in number, from `read_description`; never narrower than the built-in one, and passed over
    where they are not as expected."""
    found: dict[str, tuple[float, float]] = {}
    for name, ends in _mapping(described.get("ranges")).items():
        spec = FIELD.get(name)
        proper = isinstance(ends, list) and len(ends) == 2 and all(type(e) in (int, float) and abs(e) <= LARGEST for e in ends)
        if spec is None or spec.kind != "number" or not proper or (ends[0] < 0 <= spec.low):
            continue
        found[name] = min(spec.low, ends[0]), max(spec.high, ends[1])
    return found


LARGEST = 600.0
"""What a range may reach, at most: ages and sizes are counted by steps, of which there are so many."""


def outcome_of(described: Mapping[str, Any], column: str) -> str:
    """What the labels of a table are of, in few words: plain text, at most `OUTCOME_LENGTH` letters on one line.

    Parameters
    ----------
    described : from `read_description`; its `outcome` is the short name of the endpoint.
    column : name of the label column, which tells where the table does not; `llnm` and `label` stand for LLNM.
    """
    told = described.get("outcome")
    for text in (told if isinstance(told, str) else "", "" if column.strip().lower() in ("llnm", "label") else column):
        plain = " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())
        if plain:
            return plain if len(plain) <= OUTCOME_LENGTH else f"{plain[: OUTCOME_LENGTH - 1].rstrip()}…"
    return LLNM.short


OUTCOME_LENGTH = 40
NOT_TOLD = "not told"


@dataclass(frozen=True)
class Explanations:
    """How the cases of a table were explained.

    Parameters
    ----------
    model, method, baseline : in words; "not told" where the table does not say.
    columns : columns of contributions.
    labels : name of each group, in words.
    fields : fields of each group that a number can be drawn over, by the column of the group.
    """

    model: str
    method: str
    baseline: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]]


def explanations(columns: tuple[str, ...], described: Mapping[str, Any]) -> Explanations | None:
    """The explanations of a table, None where it has none.

    Parameters
    ----------
    columns : of the table.
    described : from `read_description`; whatever is not as expected there is passed over.
    """
    there = attributed(columns)
    if not there:
        return None
    told = _mapping(described.get("explanation"))
    groups = _mapping(told.get("groups"))
    labels, fields = [], {}
    for column in there:
        name = column.removeprefix(SHAP)
        group = _mapping(groups.get(name))
        labels.append(_word(group.get("label"), name))
        listed = group.get("fields")
        fields[column] = tuple(str(f) for f in listed if f in columns) if isinstance(listed, list) else ()
    return Explanations(
        model=_word(described.get("model"), NOT_TOLD), method=_word(told.get("method"), NOT_TOLD),
        baseline=_word(told.get("baseline"), NOT_TOLD), columns=there, labels=tuple(labels), fields=fields,
    )  # fmt: skip


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: object, otherwise: str) -> str:
    return value[:200] if isinstance(value, str) and value else otherwise
