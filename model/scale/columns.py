"""Columns of a scored table, the same in every shard whatever its cases hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from model.cohort.explained import BASE, SHAP
from model.features.place import PLACE_COLUMNS
from model.ingest.parts import PROVENANCE, TARGETS
from model.schema import Group, Schema

_KINDS: Mapping[str, pa.DataType] = {
    "number": pa.float64(),
    "flag": pa.bool_(),
    "category": pa.string(),
    "text": pa.string(),
}


def optional(schema: Schema) -> tuple[str, ...]:
    """Columns that are left out of a table in which no case has a value of them."""
    read = (f.name for f in schema.fields if f.role in ("input", "measured", "comparator"))
    return (*read, "stage_1", "stage_2", "stage_3")


def scored_schema(schema: Schema, groups: Sequence[Group] = ()) -> pa.Schema:
    """Names and types of a scored table.

    Parameters
    ----------
    schema : of the cohort.
    groups : of the model, where its predictions are explained.
    """
    identity = [(name, pa.string()) for name in ("case_id", "centre", PROVENANCE.name)]
    fields = [(f.name, _KINDS[f.kind]) for f in schema.fields if f.role in ("input", "measured", "comparator")]
    scores = ("probability", "logit", "interval_low", "interval_high", "stage_1", "stage_2", "stage_3")
    measured = (*PLACE_COLUMNS, *(f"{target}_iou" for target in TARGETS))
    attributed = (*(SHAP + group.name for group in groups), BASE) if groups else ()
    return pa.schema(
        [
            *identity,
            *fields,
            *((name, pa.float64()) for name in scores),
            *_labels(schema),
            *((name, pa.float64()) for name in (*measured, *attributed)),
        ]
    )


def scored_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows of `model.evaluate.scored_row`, with their Shapley values, as a table of `scored_schema`."""
    return pa.table({f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in schema}, schema)


def _labels(schema: Schema) -> list[tuple[str, pa.DataType]]:
    """As `model.evaluate.scored_row` tells what surgery showed."""
    if schema.has_stages:
        return [(f.name, _KINDS[f.kind]) for f in schema.labels]
    return [(schema.endpoint.name, pa.bool_()), ("outcome", pa.bool_())]
