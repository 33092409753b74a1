"""Any model's table of predictions → one Parquet file in the schema's words, or every fault by its row.

The table is read in batches, so that ten million rows need no more memory than one batch, and every check works on whole
columns: words are looked at once for each different word. Numbers that nothing counts or filters by stay in the table where
a Parquet file's own statistics show that all of them can be used; they are read when a figure first asks (`read_proven`).
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from model.cohort.explained import SHAP, outcome_of, ranges_of, read_description
from model.cohort.faults import Fault, RowsError
from model.cohort.position import PLACES
from model.cohort.scores import LABEL_NAMES, LABEL_WORDS, PROBABILITY_NAMES, FloatArray, IntArray, column_of
from model.cohort.selection import CATEGORIES, RANGES, STEPS
from model.errors import FieldError, StatisticsError
from model.features.place import PLACE_COLUMNS
from model.ingest.messages import short
from model.schema import FIELD, FIELDS, Field, is_missing, parse

Progress = Callable[[int], None]

BATCH = 1 << 17
MAX_TEXT = 200
MAX_CENTRES = 1000
NO_STEP, NO_PLACE = 65535, len(PLACES)
STEPS_PER_MM = 10
BINS = 20
"""Bins of equal width of the predicted probability; two of them are one of the calibration curve."""

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


def _of(source: Path) -> Mapping[str, Field]:
    """`KNOWN`, with the wider ranges that a table tells of its cohort's card."""
    ranges = ranges_of(read_description(source))
    return {**KNOWN, **{name: replace(KNOWN[name], low=low, high=high) for name, (low, high) in ranges.items()}}


def _field(name: str, known: Mapping[str, Field] = KNOWN) -> Field | None:
    """What a column is, by its name; a contribution to a prediction is a number in logits."""
    if name.startswith(SHAP) and len(name) <= 80:
        return Field(name, name, "number", "identity", "Contribution in calibrated logits.", "", -1000, 1000)
    return known.get(name)


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


@dataclass
class _Found:
    """What is gathered over the batches."""

    faults: dict[tuple[str, str, str], list[IntArray]] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)  # usable values of a column
    words: dict[str, dict[Any, Any]] = field(default_factory=dict)  # raw word → value or FieldError, by column
    codes: dict[str, dict[str, int]] = field(default_factory=dict)  # value → code ≥ 1, by category
    counts: dict[str, IntArray] = field(default_factory=dict)  # cases of each code, by category
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    ids: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    named: list[npt.NDArray[np.bool_]] = field(default_factory=list)  # which rows have a case name
    duck: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)
    rows: int = 0
    positives: int = 0
    last_step: int = -1

    def count(self, name: str, usable: int) -> None:
        """Note how many usable values a batch has."""
        self.values[name] = self.values.get(name, 0) + usable

    def reach(self, name: str, low: float, high: float) -> None:
        """Note the smallest and largest value of a batch."""
        before = self.ranges.get(name, (np.inf, -np.inf))
        self.ranges[name] = min(before[0], low), max(before[1], high)

    def fault(self, column: str, what: str, fix: str, bad: npt.NDArray[np.bool_]) -> None:
        """Note the rows of this batch that are bad."""
        rows = np.flatnonzero(bad)
        if len(rows):
            self.faults.setdefault((column, what, fix), []).append(rows + self.rows + 1)


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
    found = _Found()
    writer: pq.ParquetWriter | None = None
    written: Future[None] | None = None
    writing, reading = ThreadPoolExecutor(1), ThreadPoolExecutor(1)  # beside the checking
    try:
        there, ignored = _columns_of(source, probability, label)
        left_out = () if without is None else without.unusable
        there = {raw: spec for raw, spec in there.items() if spec.name not in left_out}
        proven = _proven(source, there) if without is None else {}
        found.ranges |= proven
        columns = {raw: spec for raw, spec in there.items() if spec.name not in proven}
        for batch in _ahead(_batches(source, columns), reading):
            table = _cleaned(batch, columns, found)
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
            _raise_faults(found, source.name)
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


def _columns_of(source: Path, probability: str | None, label: str | None) -> tuple[dict[str, Field], list[str]]:
    """Columns that are known (raw name → field), and names of the others."""
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
    return known, [n for n in names if n not in known]


def _batches(source: Path, columns: Mapping[str, Field]) -> Iterator[pa.RecordBatch]:
    """The rows of some columns."""
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


def _proven(source: Path, columns: Mapping[str, Field]) -> dict[str, tuple[float, float]]:
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
    file, found, done = pq.ParquetFile(source, pre_buffer=True), _Found(), dict[str, pa.ChunkedArray]()
    groups, before = range(file.num_row_groups), 0
    if row is not None:
        ends = np.cumsum([file.metadata.row_group(k).num_rows for k in groups])
        k = int(np.searchsorted(ends, row, side="right"))
        groups, before = range(k, k + 1), int(ends[k]) - file.metadata.row_group(k).num_rows
    table = file.read_row_groups(list(groups), columns=list(columns.values()))
    fields = _of(source)
    for name, raw in columns.items():
        spec, parts = _field(name, fields), list[pa.Array]()
        assert spec is not None
        found.rows = before
        for part in table[raw].chunks:
            parts.append(_numbers(part, spec, raw, found)[name])
            found.rows += len(part)
        done[name] = pa.chunked_array(parts, pa.float64())
        if row is not None:
            done[name] = done[name].slice(row - before, 1)
    if found.faults:
        listed = "\n".join(f"- {fault}" for fault in _listed(found))
        raise StatisticsError(
            f"not in the range that the file's own statistics tell:\n{listed}\n", where=source.name,
            fix="Mend them and write the file anew.",
        )  # fmt: skip
    return done


def _known(names: list[str], source: Path, probability: str | None, label: str | None) -> dict[str, Field]:
    """Raw column name → field."""
    fields = _of(source)
    known = {raw: spec for raw in names if (spec := _field(raw.strip().lower(), fields)) is not None}
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
    for batch in _batches(source, dict.fromkeys(left, FIELD["llnm"])):
        for name in tuple(left):
            words = {str(w).strip().lower() for w in pc.unique(batch.column(name)).to_pylist() if w is not None}
            filled |= {name} if words & LABEL_WORDS.keys() else set()
            if words - LABEL_WORDS.keys() - {""}:
                left.remove(name)
        if not left:
            break
    return tuple(n for n in left if n in filled)


def _cleaned(batch: pa.RecordBatch, columns: Mapping[str, Field], found: _Found) -> pa.Table:
    """A batch in the schema's words, with codes; faults are noted and their cells left missing."""
    done: dict[str, pa.Array] = {}
    for raw, spec in columns.items():
        column = batch.column(raw)
        if spec.name == "llnm":
            done["llnm"] = _labels(column, raw, found)
        elif spec.name == "case_id":
            done["case_id"] = _ids(column, raw, found)
        elif spec.kind == "number":
            done |= _numbers(column, spec, raw, found)
        else:
            done |= _words(column, spec, raw, found)
    done["_place"] = pa.array(_places(done, found, batch.num_rows))
    return pa.table(done)


def _numbers(column: pa.Array, spec: Field, raw: str, found: _Found) -> dict[str, pa.Array]:
    """A column as floats, missing where it is missing or at fault, with its codes."""
    if pa.types.is_floating(column.type) and not pc.any(pc.is_nan(column)).as_py():
        ends = pc.min_max(column).as_py()
        if column.null_count == len(column) or (ends["min"] >= spec.low and ends["max"] <= spec.high):
            # Nothing is at fault: two passes over the column, and no copy.
            numbers = _as(column, pa.float64())
            if spec is PROBABILITY and column.null_count:
                found.fault(raw, *_NO_PROBABILITY, ~_given(column))
            found.count(spec.name, len(column) - column.null_count)
            if ends["min"] is not None:
                found.reach(spec.name, ends["min"], ends["max"])
            return {spec.name: numbers, **_number_codes(spec.name, numbers)}
    values = _checked(column, spec, raw, found)
    known = values[~np.isnan(values)]
    if len(known):
        found.reach(spec.name, float(known.min()), float(known.max()))
    numbers = pa.array(values, from_pandas=True)
    return {spec.name: numbers, **_number_codes(spec.name, numbers)}


def _checked(column: pa.Array, spec: Field, raw: str, found: _Found) -> FloatArray:
    """Every cell of a column of numbers looked at; NaN where it is missing or at fault."""
    kind = column.type
    given = _given(column)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        given &= ~np.isnan(values)
        told = np.zeros(len(values), dtype=bool)
    else:
        texts = column.cast(pa.string()) if not pa.types.is_boolean(kind) else pa.array(["yes or no"] * len(column))
        words = pc.utf8_trim_whitespace(texts).dictionary_encode()
        unique = pd.Series(words.dictionary.to_pylist(), dtype=object)
        numbers = pd.to_numeric(unique, errors="coerce").to_numpy(np.float64)
        missing = np.isnan(numbers)
        missing[missing] = [is_missing(w) for w in unique[missing]]
        at = words.indices.fill_null(0).to_numpy(zero_copy_only=False)
        empty = np.zeros(len(column), dtype=bool) if not len(unique) else missing[at]
        values = np.full(len(column), np.nan) if not len(unique) else np.where(given & ~empty, numbers[at], np.nan)
        given &= ~empty
        told = given & np.isnan(values)
        comma = any("," in w for w in unique[np.isnan(numbers) & ~missing].head(100))
        fix = "Write decimals with a point." if comma else f"Give {spec.allowed()}."
        found.fault(raw, "not a number", fix, told)
    outside = given & ~told & ~((values >= spec.low) & (values <= spec.high))
    found.fault(raw, f"outside {spec.low:g} to {spec.high:g}", _range_fix(spec), outside)
    if spec is PROBABILITY:
        found.fault(raw, *_NO_PROBABILITY, ~given)
    good = given & ~told & ~outside
    found.count(spec.name, int(good.sum()))
    return np.where(good, values, np.nan)


_NO_PROBABILITY = "missing", "Give a number from 0 to 1 in every row."


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as another type; Arrow's cast copies even where there is nothing to do."""
    return column if column.type == kind else column.cast(kind)


def _given(column: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_valid())


def _range_fix(spec: Field) -> str:
    if spec is PROBABILITY:
        return "Give probabilities, not scores or percentages."
    return f"Give {spec.allowed()}, or leave it empty."


def _labels(column: pa.Array, raw: str, found: _Found) -> pa.Array:
    words, at, given = _encoded(column)
    known = np.array([LABEL_WORDS.get(str(w).strip().lower(), -1) for w in words], dtype=np.int8)
    values = np.where(given, known[at], -1) if len(known) else np.full(len(column), -1, np.int8)
    found.fault(raw, "neither 0 nor 1", "Give 0 or 1 (or no/yes) in every row.", values < 0)
    found.count("llnm", int((values >= 0).sum()))
    return pa.array(values == 1)


def _ids(column: pa.Array, raw: str, found: _Found) -> pa.Array:
    """Case names as text; their hashes are kept to find one that comes twice."""
    texts = pc.utf8_trim_whitespace(_as(column, pa.string()))
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > MAX_TEXT:
        long = pc.fill_null(pc.greater(pc.utf8_length(texts), MAX_TEXT), False)
        found.fault(raw, f"longer than {MAX_TEXT} characters", "Give a short pseudonym.", np.asarray(long))
    table = pa.table({"id": texts})
    # 64 bits: two of ten million different names meet with a chance of 3 in a million.
    hashed = duckdb.from_arrow(table, connection=found.duck).project("hash(id) AS h").fetchnumpy()["h"]
    here = np.asarray(pc.fill_null(pc.not_equal(texts, ""), False))
    found.ids.append(np.asarray(hashed, dtype=np.uint64)[here])
    found.named.append(here)
    found.count("case_id", len(found.ids[-1]))
    return texts


def _words(column: pa.Array, spec: Field, raw: str, found: _Found) -> dict[str, pa.Array]:
    """A category, flag or short text, with its codes where it is filtered by."""
    if pa.types.is_boolean(column.type) and spec.kind == "flag":  # as it is kept
        found.count(spec.name, len(column) - column.null_count)
        return {spec.name: column}
    words, at, given = _encoded(column)
    known = found.words.setdefault(spec.name, {})
    for word in words:
        if word not in known:
            known[word] = _parsed(spec, word)
    values = [known[w] for w in words]
    faulty = np.array([isinstance(v, FieldError) for v in values], dtype=bool)
    if faulty.any():  # an unused word of the dictionary does no harm: it has no row
        wrong = next(v for v in values if isinstance(v, FieldError))
        found.fault(raw, _kind_of_fault(spec), wrong.fix, given & faulty[at])
    usable = [None if isinstance(v, FieldError) else v for v in values]
    if not len(words):
        words, usable, values = [""], [None], [None]
    if any(v is None for v in usable):
        given = given & np.array([v is not None for v in usable])[at]
    found.count(spec.name, int(given.sum()))
    if spec.kind == "flag":
        taken = pa.array(np.array([v is True for v in usable])[at], mask=~given)
    else:  # kept as the words and which of them, which is how Parquet writes them
        texts = pa.array(["" if v is None else str(v) for v in usable])
        taken = pa.DictionaryArray.from_arrays(pa.array(at, mask=~given), texts)
    result = {spec.name: taken}
    if spec.name in CATEGORIES:
        codes = found.codes.setdefault(spec.name, {v: i + 1 for i, v in enumerate(spec.values)})
        for value in usable:
            if value is not None:
                codes.setdefault(str(value), len(codes) + 1)
        if len(codes) > MAX_CENTRES:
            raise StatisticsError(
                f"more than {MAX_CENTRES:,} different values",
                where=raw,
                fix="Give the hospital, not the case, in this column.",
            )
        of_word = np.array([0 if v is None else codes[str(v)] for v in usable], dtype=np.uint16)[at]
        result[f"_{spec.name}"] = pa.array(of_word if given.all() else np.where(given, of_word, np.uint16(0)))
    return result


def _parsed(spec: Field, word: object) -> Any:
    """The field's value, None where it is missing, or what is wrong with it."""
    try:
        value = parse(spec, word)
        if spec.kind == "text" and value is not None and len(str(value)) > MAX_TEXT:
            raise FieldError("too long", where=spec.name, fix=f"Give at most {MAX_TEXT} characters.")
        return value
    except FieldError as error:
        return error


def _kind_of_fault(spec: Field) -> str:
    if spec.kind == "text":
        return f"longer than {MAX_TEXT} characters"
    return "neither yes nor no" if spec.kind == "flag" else "not an allowed value"


def _encoded(column: pa.Array) -> tuple[list[Any], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Different values, which of them each row holds (0 where none), and whether it holds any."""
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    at = coded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return coded.dictionary.to_pylist(), at, _given(coded)


def _number_codes(name: str, numbers: pa.Array) -> dict[str, pa.Array]:
    """Steps of the capsule distance, bins of the probability, bands of age and size."""
    if name not in ("capsule_distance_mm", "probability", *RANGES.values()):
        return {}
    values = numbers.to_numpy(zero_copy_only=False)
    if name == "capsule_distance_mm":
        return {"_step": pa.array(distance_steps(values))}
    if name == "probability":
        return {"_bin": pa.array(np.where(np.isnan(values), 0, np.minimum(values * BINS, BINS - 1)).astype(np.uint8))}
    short_name = next(s for s, column in RANGES.items() if column == name)
    return {f"_{short_name}": pa.array(bands(values, STEPS[short_name]))}


def distance_steps(distance: FloatArray) -> npt.NDArray[np.uint16]:
    """Step k holds k/10 ≤ distance < (k + 1)/10 mm, compared as numbers are, not by rounding; `NO_STEP` where missing."""
    step = np.floor(distance * STEPS_PER_MM)
    step -= distance < step / STEPS_PER_MM
    step += distance >= (step + 1) / STEPS_PER_MM
    return np.where(np.isnan(distance), NO_STEP, step).astype(np.uint16)


def bands(values: FloatArray, width: int) -> npt.NDArray[np.uint8]:
    """2k + 1 for a value of exactly k·width, 2k + 2 for one between that and the next, 0 where missing.

    Edges have codes of their own, so that a range may include both its ends.
    """
    at = values / width
    return np.where(np.isnan(at), 0, np.floor(at) + np.ceil(at) + 1).astype(np.uint8)


def _places(done: Mapping[str, pa.Array], found: _Found, rows: int) -> npt.NDArray[np.uint8]:
    """Which of `PLACES` each case lies in; `NO_PLACE` where that is not known."""
    if "_side" not in done or "_third" not in done:
        return np.full(rows, NO_PLACE, np.uint8)
    sides, thirds = found.codes["side"], found.codes["third"]
    of = np.full((len(sides) + 1, len(thirds) + 1), NO_PLACE, np.uint8)
    for i, (side, third) in enumerate(PLACES):
        of[sides[side], slice(None) if side == "isthmus" else thirds[third]] = i
    place: npt.NDArray[np.uint8] = of[done["_side"].to_numpy(), done["_third"].to_numpy()]
    return place


def _count(table: pa.Table, found: _Found) -> None:
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


def _listed(found: _Found) -> tuple[Fault, ...]:
    """Everything that is wrong, one for each column and kind."""
    return tuple(Fault(c, what, np.concatenate(rows), fix) for (c, what, fix), rows in found.faults.items())


def _raise_faults(found: _Found, where: str) -> None:
    """Everything that is wrong in the table, as one error."""
    if found.ids:
        ids = np.concatenate(found.ids)
        ordered = np.sort(ids)
        if (ordered[1:] == ordered[:-1]).any():
            rows = np.flatnonzero(np.concatenate(found.named)) + 1
            later = pd.Series(ids).duplicated().to_numpy()
            found.faults["case_id", "seen in an earlier row", "Keep one row a case."] = [rows[later]]
    if not found.faults:
        return
    faults = _listed(found)
    names = {f.column: f.column.strip().lower() for f in faults}
    unusable = tuple(dict.fromkeys(
        n for n in names.values() if _field(n) is not None and n != "case_id" and not found.values.get(n, 0)
    ))  # fmt: skip
    lost = [f.rows for f in faults if names[f.column] not in unusable]
    bad = np.unique(np.concatenate(lost)) if lost else np.empty(0, np.int64)
    raise RowsError(faults, bad, unusable, found.rows, where)


def _summary(found: _Found, ignored: list[str], left_out: tuple[str, ...], bad: int) -> dict[str, Any]:
    """What is kept beside the rows."""
    return {
        "cases": found.rows - bad, "positives": found.positives, "bad_rows": bad, "ranges": found.ranges,
        "steps": found.last_step + 1, "ignored": [n[:80] for n in ignored[:100]], "left_out": list(left_out),
        "codes": found.codes,
        "counts": {n: found.counts[n][: len(found.codes[n]) + 1].tolist() for n in found.counts},
    }  # fmt: skip
