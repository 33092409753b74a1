"""What the columns of a table of predictions may be."""

from __future__ import annotations

from collections.abc import Mapping

from model.cohort.explained import SHAP
from model.cohort.selection import RANGES
from model.features.place import PLACE_COLUMNS
from model.schema import FIELDS, Field

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
KNOWN: Mapping[str, Field] = {f.name: f for f in (*FIELDS, *SCORES) if f.name not in ("llnm", "report_text")}
"""What a table's columns may be, by name; the report is words, not something to count."""


def field_of(name: str) -> Field | None:
    """What a column is, by its name; a contribution to a prediction is a number in logits."""
    if name.startswith(SHAP) and len(name) <= 80:
        return Field(name, name, "number", "identity", "Contribution in calibrated logits.", "", -1000, 1000)
    return KNOWN.get(name)
