"""What the columns of a table of predictions may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model.cohort.explained import SHAP
from model.cohort.selection import RANGES
from model.features.place import PLACE_COLUMNS
from model.schema import FIELD, FIELDS, Field

PROBABILITY = Field("probability", "Predicted probability", "number", "identity", "Of LLNM.", "", 0, 1)
SPLIT = Field(
    "split", "Split of the data", "text", "identity", "Training, validation, test: whatever the table calls it."
)
_SHARES = ("interval_low", "interval_high", "stage_1", "stage_2", "stage_3", "nodule_iou", "gland_iou", *PLACE_COLUMNS)
SCORES = (
    Field("logit", "logit", "number", "identity", "Log odds of the predicted probability.", "", -1000, 1000),
    SPLIT,
    *(Field(name, name, "number", "identity", "As `llnm predict` writes it.", "", 0, 1) for name in _SHARES),
)
COUNTED = frozenset({"capsule_distance_mm", "probability", *RANGES.values()})
"""Numbers that have codes: they are read on opening."""
WIDEST = 600.0
"""Upper end of a range that codes of one byte reach."""
KNOWN: Mapping[str, Field] = {f.name: f for f in (*FIELDS, *SCORES) if f.name not in ("llnm", "report_text")}
"""What a table's columns may be, by name; the report is words, not something to count."""


def field_of(name: str) -> Field | None:
    """What a column is, by its name; a contribution to a prediction is a number in logits."""
    if name.startswith(SHAP) and len(name) <= 80:
        return Field(name, name, "number", "identity", "Contribution in calibrated logits.", "", -1000, 1000)
    return KNOWN.get(name)


def ranged(spec: Field, described: Mapping[str, Any]) -> Field:
    """A number with the range that its cohort's card gives it; the built-in range where the table tells no sound one.

    Parameters
    ----------
    described : from `model.cohort.explained.read_description`; its `ranges` hold (low, high) by name.
    """
    told = described.get("ranges")
    pair = told.get(spec.name) if isinstance(told, dict) and FIELD.get(spec.name) is spec and spec.kind == "number" else None
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(end) in (int, float) for end in pair):
        return spec
    low, high = map(float, pair)
    return replace(spec, low=low, high=high) if 0 <= low < high <= WIDEST else spec


def own_ranges(fields: tuple[Field, ...]) -> dict[str, tuple[float, float]]:
    """(low, high) of the built-in numbers among a cohort's fields whose range its card changed, by name."""
    known = {f.name: f for f in fields if f.name in FIELD and f.kind == "number"}
    return {name: (f.low, f.high) for name, f in known.items() if (f.low, f.high) != (FIELD[name].low, FIELD[name].high)}
