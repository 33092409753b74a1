"""A table of predictions as it was given, CSV or Parquet: which of its columns are known, and its rows in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from model.cohort.explained import read_description
from model.cohort.fields import PROBABILITY, field_of, ranged
from model.cohort.scores import LABEL_NAMES, LABEL_WORDS, PROBABILITY_NAMES, column_of
from model.errors import StatisticsError
from model.ingest.messages import short
from model.schema import FIELD, Field

BATCH = 1 << 17


class NoLabelError(StatisticsError):
    """A table whose outcome stands in a column of a name that nobody knows.

    Parameters
    ----------
    error : that told so.
    candidates : columns that hold nothing but 0 and 1 (or no and yes) and empty cells.
    """

    def __init__(self, error: StatisticsError, candidates: tuple[str, ...]) -> None:
        super().__init__(error.what, where=error.where, fix=error.fix)
        self.candidates = candidates


def columns_of(source: Path, probability: str | None, label: str | None) -> tuple[dict[str, Field], list[str]]:
    """Columns that are known (raw name → field), and names of the others.

    Parameters
    ----------
    probability, label : names of these columns; None for the usual ones.

    Raises
    ------
    NoLabelError
        If there is no label.
    StatisticsError
        If there is no probability, a column is there twice, or a known one holds lists or records.
    """
    if source.suffix.lower() == ".parquet":
        schema = pq.read_schema(source)
        names = schema.names
        known = _known(names, source, probability, label)
        for raw, spec in known.items():
            if pa.types.is_nested(schema.field(raw).type):
                raise StatisticsError("lists or records in its cells", where=raw[:80], fix=f"Give {spec.allowed()}.")
    else:
        with pyarrow.csv.open_csv(source, **_csv_options(source)) as head:
            names = head.schema.names
        known = _known(names, source, probability, label)
    told = read_description(source)
    return {raw: ranged(spec, told) for raw, spec in known.items()}, [n for n in names if n not in known]


def _known(names: list[str], source: Path, probability: str | None, label: str | None) -> dict[str, Field]:
    """Raw column name → field."""
    known = {raw: spec for raw in names if (spec := field_of(raw.strip().lower())) is not None}
    known[column_of(names, PROBABILITY_NAMES, probability, where=source.name)] = PROBABILITY
    try:
        known[column_of(names, LABEL_NAMES, label, where=source.name)] = FIELD["llnm"]
    except StatisticsError as error:
        raise NoLabelError(error, _of_two_words(source, names, known)) from None
    if PROBABILITY not in known.values():
        raise StatisticsError(
            f"the column {short(label)} is the probability too", where=source.name, fix="Name two different columns."
        )
    for raw, spec in known.items():
        if names.count(raw) > 1 or sum(s is spec for s in known.values()) > 1:
            raise StatisticsError(f"the column {spec.name} is there twice", where=source.name, fix="Keep one of them.")
    return known


def _of_two_words(source: Path, names: list[str], known: Mapping[str, Field]) -> tuple[str, ...]:
    """Columns, other than the probability, that hold only what a label may be, and empty cells."""
    left = [n for n in names if names.count(n) == 1 and known.get(n) is not PROBABILITY]
    if source.suffix.lower() == ".parquet":
        left = [n for n in left if not pa.types.is_nested(pq.read_schema(source).field(n).type)]
    filled: set[str] = set()
    for batch in batches_of(source, dict.fromkeys(left, FIELD["llnm"])):
        for name in tuple(left):
            words = {str(w).strip().lower() for w in pc.unique(batch.column(name)).to_pylist() if w is not None}
            filled |= {name} if words & LABEL_WORDS.keys() else set()
            if words - LABEL_WORDS.keys() - {""}:
                left.remove(name)
        if not left:
            break
    return tuple(n for n in left if n in filled)


def batches_of(source: Path, columns: Mapping[str, Field]) -> Iterator[pa.RecordBatch]:
    """The rows of some columns, at most `BATCH` at a time from Parquet and 16 MB from CSV, where every cell is text."""
    if source.suffix.lower() == ".parquet":
        schema = pq.read_schema(source)
        texts = [
            raw
            for raw, spec in columns.items()
            if schema.field(raw).type in (pa.string(), pa.binary()) and spec.name != "case_id"
        ]
        file = pq.ParquetFile(source, read_dictionary=texts, pre_buffer=True)
        # A row group at a time: reading ahead holds all that it was asked for, and that must not be the whole file.
        groups = (file.iter_batches(BATCH, [k], list(columns)) for k in range(file.num_row_groups))
        return chain.from_iterable(groups)
    # As text: what a column holds is for the schema to say.
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()), include_columns=list(columns), strings_can_be_null=False
    )
    return iter(pyarrow.csv.open_csv(source, **_csv_options(source), convert_options=convert))


def _csv_options(source: Path) -> dict[str, Any]:
    """How a CSV file is read: comma, semicolon or tab, whichever its first line has most of."""
    with source.open(encoding="utf-8-sig") as lines:
        first = lines.readline()
    return {
        "read_options": pyarrow.csv.ReadOptions(block_size=1 << 24),
        "parse_options": pyarrow.csv.ParseOptions(delimiter=max(",;\t", key=first.count), newlines_in_values=True),
    }
