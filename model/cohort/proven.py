"""Numbers that stay in a Parquet table, since its own statistics show that all of them can be used.

Nothing counts or filters by them; they are read when a figure first asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.cohort.check import Found, faults_of, numbers_of
from model.cohort.explained import read_description
from model.cohort.fields import COUNTED, field_of, ranged
from model.errors import StatisticsError
from model.schema import Field


def proven_of(source: Path, columns: Mapping[str, Field]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each column of numbers that need not be read: its statistics show it in range.

    Statistics pass over NaN, which is missing here, as an empty cell is.
    """
    if source.suffix.lower() != ".parquet":
        return {}
    file = pq.ParquetFile(source)
    flat = {file.metadata.schema.column(i).path: i for i in range(file.metadata.num_columns)}
    proven: dict[str, tuple[float, float]] = {}
    for raw, spec in columns.items():
        if spec.kind != "number" or spec.name in COUNTED or not pa.types.is_floating(file.schema_arrow.field(raw).type):
            continue
        parts = [file.metadata.row_group(k).column(flat[raw]).statistics for k in range(file.num_row_groups)]
        if all(p is not None and p.has_min_max and spec.low <= p.min <= p.max <= spec.high for p in parts) and parts:
            proven[spec.name] = min(p.min for p in parts), max(p.max for p in parts)
    return proven


def read_proven(source: Path, columns: Mapping[str, str], row: int | None = None) -> dict[str, pa.ChunkedArray]:
    """Columns that were left in the table, looked at as they are read: statistics are only what another program wrote.

    Parameters
    ----------
    columns : name of the schema → name in the table.
    row : the only one to give, 0 for the first; all where None.

    Raises
    ------
    StatisticsError
        If a value is at fault although the file's statistics deny it; rows are named.
    """
    told = read_description(source)
    file, found, done = pq.ParquetFile(source, pre_buffer=True), Found(), dict[str, pa.ChunkedArray]()
    groups, before = range(file.num_row_groups), 0
    if row is not None:
        ends = np.cumsum([file.metadata.row_group(k).num_rows for k in groups])
        k = int(np.searchsorted(ends, row, side="right"))
        groups, before = range(k, k + 1), int(ends[k]) - file.metadata.row_group(k).num_rows
    table = file.read_row_groups(list(groups), columns=list(columns.values()))
    for name, raw in columns.items():
        spec, parts = field_of(name), list[pa.Array]()
        assert spec is not None
        found.rows = before
        for part in table[raw].chunks:
            parts.append(numbers_of(part, ranged(spec, told), raw, found)[name])
            found.rows += len(part)
        done[name] = pa.chunked_array(parts, pa.float64())
        if row is not None:
            done[name] = done[name].slice(row - before, 1)
    if found.faults:
        listed = "\n".join(f"- {fault}" for fault in faults_of(found))
        raise StatisticsError(
            f"not in the range that the file's own statistics tell:\n{listed}\n", where=source.name,
            fix="Mend them and write the file anew.",
        )  # fmt: skip
    return done
