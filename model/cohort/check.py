"""Cells of a table of predictions → values in the schema's words, or faults by column and row.

Every check works on whole columns: words are looked at once for each different word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from model.cohort.codes import number_codes, place_codes
from model.cohort.faults import Fault, RowsError
from model.cohort.fields import PROBABILITY, field_of
from model.cohort.scores import LABEL_WORDS, FloatArray, IntArray
from model.cohort.selection import CATEGORIES
from model.errors import FieldError, StatisticsError
from model.schema import Field, is_missing, parse

MAX_TEXT = 200
MAX_CENTRES = 1000
_NO_PROBABILITY = "missing", "Give a number from 0 to 1 in every row."


@dataclass
class Found:
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


def checked(batch: pa.RecordBatch, columns: Mapping[str, Field], found: Found) -> pa.Table:
    """A batch in the schema's words, with codes; faults are noted in `found` and their cells left missing.

    Raises
    ------
    StatisticsError
        If a column that is filtered by has more than `MAX_CENTRES` different values.
    """
    done: dict[str, pa.Array] = {}
    for raw, spec in columns.items():
        column = batch.column(raw)
        if spec.name == "llnm":
            done["llnm"] = _labels(column, raw, found)
        elif spec.name == "case_id":
            done["case_id"] = _ids(column, raw, found)
        elif spec.kind == "number":
            done |= numbers_of(column, spec, raw, found)
        else:
            done |= _words(column, spec, raw, found)
    done["_place"] = pa.array(place_codes(done, found.codes, batch.num_rows))
    return pa.table(done)


def numbers_of(column: pa.Array, spec: Field, raw: str, found: Found) -> dict[str, pa.Array]:
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
            return {spec.name: numbers, **number_codes(spec.name, numbers)}
    values = _each_checked(column, spec, raw, found)
    known = values[~np.isnan(values)]
    if len(known):
        found.reach(spec.name, float(known.min()), float(known.max()))
    numbers = pa.array(values, from_pandas=True)
    return {spec.name: numbers, **number_codes(spec.name, numbers)}


def _each_checked(column: pa.Array, spec: Field, raw: str, found: Found) -> FloatArray:
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


def _range_fix(spec: Field) -> str:
    if spec is PROBABILITY:
        return "Give probabilities, not scores or percentages."
    return f"Give {spec.allowed()}, or leave it empty."


def _labels(column: pa.Array, raw: str, found: Found) -> pa.Array:
    words, at, given = _encoded(column)
    known = np.array([LABEL_WORDS.get(str(w).strip().lower(), -1) for w in words], dtype=np.int8)
    values = np.where(given, known[at], -1) if len(known) else np.full(len(column), -1, np.int8)
    found.fault(raw, "neither 0 nor 1", "Give 0 or 1 (or no/yes) in every row.", values < 0)
    found.count("llnm", int((values >= 0).sum()))
    return pa.array(values == 1)


def _ids(column: pa.Array, raw: str, found: Found) -> pa.Array:
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


def _words(column: pa.Array, spec: Field, raw: str, found: Found) -> dict[str, pa.Array]:
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


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as another type; Arrow's cast copies even where there is nothing to do."""
    return column if column.type == kind else column.cast(kind)


def _given(column: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_valid())


def faults_of(found: Found) -> tuple[Fault, ...]:
    """Everything that is wrong, one for each column and kind."""
    return tuple(Fault(c, what, np.concatenate(rows), fix) for (c, what, fix), rows in found.faults.items())


def raise_faults(found: Found, where: str) -> None:
    """Everything that is wrong in the table, as one error; nothing is done where nothing is.

    Raises
    ------
    RowsError
        If anything was found, or a case's name comes twice.
    """
    if found.ids:
        ids = np.concatenate(found.ids)
        ordered = np.sort(ids)
        if (ordered[1:] == ordered[:-1]).any():
            rows = np.flatnonzero(np.concatenate(found.named)) + 1
            later = pd.Series(ids).duplicated().to_numpy()
            found.faults["case_id", "seen in an earlier row", "Keep one row a case."] = [rows[later]]
    if not found.faults:
        return
    faults = faults_of(found)
    names = {f.column: f.column.strip().lower() for f in faults}
    unusable = tuple(dict.fromkeys(
        n for n in names.values() if field_of(n) is not None and n != "case_id" and not found.values.get(n, 0)
    ))  # fmt: skip
    lost = [f.rows for f in faults if names[f.column] not in unusable]
    bad = np.unique(np.concatenate(lost)) if lost else np.empty(0, np.int64)
    raise RowsError(faults, bad, unusable, found.rows, where)
