"""Columns of a scored table, the same in every shard whatever its cases hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from model.cohort.explained import BASE, SHAP
from model.features.place import PLACE_COLUMNS
from model.ingest.parts import PROVENANCE, TARGETS
from model.schema import FIELDS, GROUPS, LABELS, Field

OPTIONAL = tuple(f.name for f in FIELDS if f.role in ("input", "measured", "comparator"))
"""Columns that are left out of a table in which no case has a value of them."""
_KINDS: Mapping[str, pa.DataType] = {
    "number": pa.float64(),
    "flag": pa.bool_(),
    "category": pa.string(),
    "text": pa.string(),
}


def scored_schema(*, explain: bool) -> pa.Schema:
    """Names and types of a scored table, with `explain` those of the Shapley values too."""
    identity = [(name, pa.string()) for name in ("case_id", "centre", PROVENANCE.name)]
    scores = ("probability", "logit", "interval_low", "interval_high", "stage_1", "stage_2", "stage_3")
    measured = (*PLACE_COLUMNS, *(f"{target}_iou" for target in TARGETS))
    attributed = (*(SHAP + group.name for group in GROUPS), BASE) if explain else ()
    return pa.schema(
        [
            *identity,
            *((f.name, _kind(f)) for f in FIELDS if f.name in OPTIONAL),
            *((name, pa.float64()) for name in scores),
            *((f.name, _kind(f)) for f in LABELS),
            *((name, pa.float64()) for name in (*measured, *attributed)),
        ]
    )


def scored_table(rows: list[dict[str, Any]], *, explain: bool) -> pa.Table:
    """Rows of `model.evaluate.scored_row`, with their Shapley values, as a table."""
    schema = scored_schema(explain=explain)
    return pa.table({f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in schema}, schema)


def _kind(field: Field) -> pa.DataType:
    return _KINDS[field.kind]
