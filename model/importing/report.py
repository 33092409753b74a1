"""What an import did, or would do, in lines for people."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from model.importing.mapping import Agreed, Column, to_dict
from model.importing.run import QUALITY_NAME, Imported
from model.ingest.messages import MAX_TOLD


def as_json(done: Imported, agreed: Agreed) -> dict[str, Any]:
    """Everything as one object: counts, questions, the mapping, and what was told of each row."""
    rows: list[dict[str, str]] = []
    if done.rows_file is not None:
        with done.rows_file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    return {**done.to_dict(), "rows": [{**row, "row": int(row["row"])} for row in rows], "mapping": to_dict(agreed)}


def lines(done: Imported, agreed: Agreed) -> Iterator[str]:
    """Columns, rows, what was told, what is asked."""
    found = done.survey
    if done.unchanged:
        yield f"{done.out} holds this import already ({done.taken:,} cases): nothing was done."
        return
    yield "Columns:"
    yield from (f"  {c.column} → {_goes(c)}" for c in agreed.columns)
    yield f"Rows: {found.rows:,}, of {found.patients:,} patients; {done.taken:,} taken, {done.dropped:,} dropped."
    unknown = found.rows - found.positives - found.negatives
    yield f"Outcome: {found.positives:,} positive, {found.negatives:,} negative, {unknown:,} unknown."
    for t in done.told[:MAX_TOLD]:
        where = f"{t['column']}: " if t["column"] else ""
        yield f"  {t['effect']}: {where}{t['what']} — {_rows(t['rows'], t['first_row'])}"
    if len(done.told) > MAX_TOLD:
        yield f"  and {len(done.told) - MAX_TOLD} more kinds."
    if done.rows_file is not None:
        yield f"Every row that something is told of: {done.rows_file}"
    for pair in done.near[:5]:
        yield f"  rows {pair['rows'][0]} and {pair['rows'][1]} have near-identical pictures"
    if len(done.near) > 5:
        yield f"  and {len(done.near) - 5} more such pairs"
    yield from (f"Note: {notice}" for notice in found.notices)
    for question in found.questions:
        yield f"Question: column {question.column} {question.what}. {question.answer}"
    if done.dry and found.questions:
        yield "Dry run: nothing was imported; the questions must be answered first."
    elif done.dry:
        yield "Dry run: nothing was imported."
    else:
        yield f"{done.taken:,} cases in {done.out}; their missing values, ranges and differences between centres in {QUALITY_NAME}."


def _goes(c: Column) -> str:
    if not c.to:
        return f"left out{f' ({c.why})' if c.why else ''}"
    if c.to == "identifying":
        return "left out, and its words are searched for in reports"
    extra = [
        c.unit and f"in {c.unit}",
        c.dates and f"dates {c.dates}",
        f"{len(c.values)} values mapped" if c.values else "",
    ]
    more = "; ".join(e for e in extra if e)
    name = f"own field {c.name} ({c.kind})" if c.to == "own" else c.to
    return f"{name}{f' ({more})' if more else ''}"


def _rows(count: int, first: int) -> str:
    return f"row {first}" if count == 1 else f"{count:,} rows, the first {first}"
