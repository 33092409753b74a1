"""Any model's table of predictions → one Parquet file in the schema's words, or every fault by its row.

The table is read in batches, so that ten million rows need no more memory than one batch.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.cohort.check import MAX_CENTRES, Found, checked, raise_faults
from model.cohort.codes import NO_STEP
from model.cohort.explained import outcome_of, read_description
from model.cohort.faults import RowsError
from model.cohort.proven import proven_of
from model.cohort.selection import CATEGORIES
from model.cohort.source import batches_of, columns_of
from model.errors import StatisticsError
from model.ingest.messages import short

Progress = Callable[[int], None]


def clean(
    source: Path, target: Path, *, probability: str | None = None, label: str | None = None, without: RowsError | None = None,
    progress: Progress = lambda _rows: None,
) -> None:  # fmt: skip
    """Write the usable form of a table: names and values of the schema, and the codes that a cube counts by.

    Parameters
    ----------
    source : CSV (comma, semicolon or tab) or Parquet with a probability and a label column.
    target : Parquet file, written whole or not at all.
    probability, label : their columns; None for the usual names.
    without : faults found before, whose rows and columns are left out.
    progress : told the number of rows done.

    Raises
    ------
    RowsError
        If rows are bad, and `without` is None.
    NoLabelError
        If there is no label.
    StatisticsError
        If the file cannot be read or has no probability.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    found = Found()
    writer: pq.ParquetWriter | None = None
    written: Future[None] | None = None
    writing, reading = ThreadPoolExecutor(1), ThreadPoolExecutor(1)  # beside the checking
    try:
        there, ignored = columns_of(source, probability, label)
        left_out = () if without is None else without.unusable
        there = {raw: spec for raw, spec in there.items() if spec.name not in left_out}
        proven = proven_of(source, there) if without is None else {}
        found.ranges |= proven
        columns = {raw: spec for raw, spec in there.items() if spec.name not in proven}
        for batch in _ahead(batches_of(source, columns), reading):
            table = checked(batch, columns, found)
            if without is not None:
                keep = ~np.isin(np.arange(found.rows + 1, found.rows + 1 + batch.num_rows), without.bad)
                table = table.filter(pa.array(keep))
            _count(table, found)
            if writer is None:
                texts = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
                # Numbers hardly shrink, and nothing here is looked up by a page's smallest and largest value.
                writer = pq.ParquetWriter(
                    partial, table.schema, compression="none", use_dictionary=texts, write_statistics=False
                )
            if written is not None:
                written.result()
            written = writing.submit(writer.write_table, table)
            found.rows += batch.num_rows
            progress(found.rows)
        if written is not None:
            written.result()
        if not found.rows or writer is None:
            raise StatisticsError("no case", where=source.name, fix="Give at least one row.")
        if without is None:
            raise_faults(found, source.name)
        bad = 0 if without is None else len(without.bad)
        of = next(raw for raw, spec in columns.items() if spec.name == "llnm")
        described = read_description(source)
        kept = {
            **_summary(found, ignored, left_out, bad), "described": described, "outcome": outcome_of(described, of),
            "columns": [spec.name for spec in there.values()],
            "proven": {spec.name: raw for raw, spec in there.items() if spec.name in proven},
        }  # fmt: skip
        writer.add_key_value_metadata({"llnm": json.dumps(kept)})
        writer.close()
        os.replace(partial, target)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = short(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise StatisticsError(
            f"cannot be read ({reason})", where=source.name, fix="Give a CSV (UTF-8) or Parquet file with a header."
        ) from None
    finally:
        reading.shutdown(cancel_futures=True)
        writing.shutdown()
        if writer is not None:
            with suppress(OSError, pa.ArrowException):
                writer.close()
        partial.unlink(missing_ok=True)


def _ahead(batches: Iterator[pa.RecordBatch], beside: ThreadPoolExecutor) -> Iterator[pa.RecordBatch]:
    """Each batch in turn, while the next is read."""
    coming = beside.submit(next, batches, None)
    while (batch := coming.result()) is not None:
        coming = beside.submit(next, batches, None)
        yield batch


def _count(table: pa.Table, found: Found) -> None:
    """What the page's filters and headline need to know of the rows that are kept."""
    found.positives += int(pc.sum(table["llnm"]).as_py() or 0)
    for name in CATEGORIES:
        if f"_{name}" in table.column_names:
            counts = np.bincount(table[f"_{name}"].to_numpy(), minlength=MAX_CENTRES + 1)
            found.counts[name] = found.counts.get(name, np.zeros(MAX_CENTRES + 1, np.int64)) + counts
    if "_step" in table.column_names:
        steps = table["_step"].to_numpy()
        known = steps[steps != NO_STEP]
        found.last_step = max(found.last_step, int(known.max()) if len(known) else -1)


def _summary(found: Found, ignored: list[str], left_out: tuple[str, ...], bad: int) -> dict[str, Any]:
    """What is kept beside the rows."""
    return {
        "cases": found.rows - bad, "positives": found.positives, "bad_rows": bad, "ranges": found.ranges,
        "steps": found.last_step + 1, "ignored": [n[:80] for n in ignored[:100]], "left_out": list(left_out),
        "codes": found.codes,
        "counts": {n: found.counts[n][: len(found.codes[n]) + 1].tolist() for n in found.counts},
    }  # fmt: skip
