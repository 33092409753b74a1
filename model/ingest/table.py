"""`cases.csv` → validated columns, with every fault found and told by its row."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import CaseError, FieldError
from model.ingest.messages import MAX_TOLD, list_faults, nearest, short, some, told
from model.ingest.parts import PROVENANCE, SPACING, TARGETS, Target, clean, id_faults, inside, parse_single
from model.schema import DEFAULT, VIEWS, Field, Schema, Value, View

TABLE_NAME = "cases.csv"
csv.field_size_limit(1 << 22)
"""Letters of a cell: a report of a megabyte is a fault of its row, not of the table."""
_END = "\0end of the table\0"


def image_column(view: View) -> str:
    """Column that names a view's picture."""
    return f"image_{view}"


def mask_column(target: Target, view: View) -> str:
    """Column that names a view's nodule or gland mask."""
    return f"{target}_mask_{view}"


IMAGE_COLUMNS = tuple(image_column(view) for view in VIEWS)
PATH_COLUMNS = (*IMAGE_COLUMNS, *(mask_column(target, view) for view in VIEWS for target in TARGETS))
SPACING_COLUMNS = ("pixel_spacing_row_mm", "pixel_spacing_column_mm")
"""As read; a file may give one `pixel_spacing_mm` for both."""

_BESIDE: Mapping[str, Field] = {
    **{column: Field(column, column, "text", "identity", "File in the folder.") for column in PATH_COLUMNS},
    **dict.fromkeys((*SPACING_COLUMNS, SPACING.name), SPACING),
    PROVENANCE.name: PROVENANCE,
}
"""Columns of a table that are no fields of a case."""

_Values = list[Value | None]
_Faults = list[tuple[int, str]]  # (row number, what is wrong)


@dataclass(frozen=True)
class Sheet:
    """A table as text: column names in lower case, the rows that are not empty with their numbers, the separator."""

    header: list[str]
    rows: list[list[str]]
    numbers: list[int]
    separator: str


def read_table(path: Path, schema: Schema = DEFAULT) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read and validate a cohort table by a schema; its pictures are looked for, not decoded.

    Returns
    -------
    The table as `model.ingest.cases.Cohort` describes it, `provenance` missing where the file does not give it; and
    notices of what was changed or ignored.

    Raises
    ------
    CaseError
        If the file is missing or no table, or for everything wrong in its cells together.
    """
    sheet = next(iter_sheets(path, schema))
    table, faults, notices = parse_sheet(sheet, path.parent, schema)
    if faults:
        raise list_faults([f"row {number}, {fault}" for number, fault in faults], where=str(path))
    return table, notices


def parse_sheet(sheet: Sheet, root: Path, schema: Schema = DEFAULT) -> tuple[pd.DataFrame, list[tuple[int, str]], tuple[str, ...]]:
    """Validate a table, or a part of one.

    Parameters
    ----------
    sheet : from `iter_sheets`.
    root : folder that its pictures lie in.
    schema : of the cohort.

    Returns
    -------
    The table as `read_table` gives it, a row for each of the sheet; its faults as (row number, what is wrong), whose cells
    are missing in the table; and notices.
    """
    specs = {**schema.by_name, **_BESIDE}
    has_images = not set(IMAGE_COLUMNS).isdisjoint(sheet.header)
    faults: _Faults = _check_lengths(sheet)
    columns: dict[str, _Values] = {}
    for column, spec in specs.items():
        columns[column], bad = _parse_column(column, spec, sheet)
        faults += bad
    faults += _check_ids(sheet.numbers, columns["case_id"])
    faults += _check_paths(root, sheet.numbers, columns, specs, required=has_images)
    faults += _settle_spacing(sheet.numbers, columns)
    columns["report_text"], notices, bad = _clean_reports(sheet.numbers, columns["report_text"])
    faults += bad
    if unknown := [f"{short(c)}{nearest(c, specs)}" for c in sheet.header if c and c not in specs]:
        notices.insert(0, f"Unknown columns were ignored: {some(unknown)}.")
    if not has_images:
        notices.append(
            "The table names no pictures: whatever is predicted of its cases rests on reports and fields alone."
        )
    del columns[SPACING.name]
    table = pd.DataFrame({c: _series(specs[c], values) for c, values in columns.items()})
    return table, sorted(faults), tuple(notices)


def present_values(row: Mapping[str, object], schema: Schema = DEFAULT) -> dict[str, Value]:
    """Schema values of a row of the table as plain Python values; missing ones are left out."""
    values: dict[str, Value] = {}
    for spec in schema.fields:
        raw = row[spec.name]
        if raw is None or raw == "" or raw != raw:  # NaN is the one value unlike itself
            continue
        if spec.kind == "number":
            values[spec.name] = float(cast(float, raw))
        else:
            values[spec.name] = bool(raw) if spec.kind == "flag" else str(raw)
    return values


def iter_sheets(path: Path, schema: Schema = DEFAULT, size: int | None = None) -> Iterator[Sheet]:
    """A table as text, in parts of at most `size` rows that are not empty, read as they are asked for; whole where None.

    Parameters
    ----------
    path : text separated by commas, semicolons or tabs, or Parquet.
    schema : of the cohort.
    size : rows of a part.

    Raises
    ------
    CaseError
        If the file is missing or no table, lacks the column `case_id`, or holds no case.
    """
    where = str(path)
    header: list[str] = []
    rows, numbers, separator, found = list[list[str]](), list[int](), ",", False
    try:
        for number, separator, row in _parquet_lines(path) if path.suffix.lower() == ".parquet" else _text_lines(path, schema):
            if number == 1:
                header = [name.strip().lower() for name in row]
                _check_header(header, where, schema)
            elif any(cell.strip() for cell in row):
                rows.append(row)
                numbers.append(number)
                found = True
            if size is not None and len(rows) == size:
                yield Sheet(header, rows, numbers, separator)
                rows, numbers = [], []
    except FileNotFoundError:
        fix = f"Name a cohort folder with {TABLE_NAME} in it, or the table itself."
        raise CaseError("the file is missing", where=where, fix=fix) from None
    except pa.ArrowException as error:
        raise CaseError(f"no readable Parquet: {short(str(error))}", where=where, fix="Write the file again.") from error
    except OSError as error:
        raise CaseError(f"cannot be read ({error.strerror})", where=where, fix="Check the path.") from error
    except csv.Error as error:
        fix = "Look for a quotation mark that is never closed."
        raise CaseError(f"no readable table: {error}", where=where, fix=fix) from error
    if not found:
        raise CaseError("the table holds no case", where=where, fix="Give a header and one row for each case.")
    if rows:
        yield Sheet(header, rows, numbers, separator)


def _text_lines(path: Path, schema: Schema) -> Iterator[tuple[int, str, list[str]]]:
    """Number of a row, the separator, its cells; the first row is the header."""
    with path.open(encoding=_encoding(path), newline="") as file:
        first = file.readline().replace('"', "").lower()
        file.seek(0)
        known = schema.by_name.keys() | _BESIDE.keys()
        separator = max(",;\t", key=lambda s: len({name.strip() for name in first.split(s)} & known))
        for number, row in enumerate(csv.reader(chain(file, [_END]), delimiter=separator), 1):
            if row == [_END]:
                return
            if row and row[-1].endswith(_END):  # the table would seem to end there, and all cases below be lost
                raise csv.Error(f"row {number} never ends")
            yield number, separator, row


def _parquet_lines(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """As `_text_lines`, each cell as it would stand in a table of text."""
    with pq.ParquetFile(path) as file:
        yield 1, ",", file.schema_arrow.names
        number = 1
        for batch in file.iter_batches(1024):
            for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield number, ",", ["" if cell is None or cell != cell else str(cell) for cell in cells]


def _encoding(path: Path) -> str:
    """UTF-8, UTF-16 or Windows-1252, whichever the whole file is."""
    with path.open("rb") as file:
        utf_16 = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
        for encoding in ("utf-16",) if utf_16 else ("utf-8-sig", "cp1252"):
            decoder = codecs.getincrementaldecoder(encoding)()
            file.seek(0)
            try:
                while block := file.read(1 << 20):
                    decoder.decode(block)
                decoder.decode(b"", final=True)
                return encoding
            except UnicodeDecodeError:
                continue
    raise CaseError("neither UTF-8 nor Windows-1252 text", where=str(path), fix="Save the table as “CSV UTF-8”.")


def _check_header(header: list[str], where: str, schema: Schema) -> None:
    if doubled := sorted({name for name in header if name and header.count(name) > 1}):
        raise CaseError(f"columns given twice: {some(doubled)}", where=where, fix="Keep one of each.")
    if "case_id" not in header:
        fix = f"Name the columns as the schema does: {', '.join(schema.by_name)}."
        raise CaseError(f"there is no column case_id{nearest('case_id', header)}", where=where, fix=fix)


def _check_lengths(sheet: Sheet) -> _Faults:
    """Rows with more filled cells than columns; shorter ones are taken to end in empty cells."""
    width = len(sheet.header)
    return [
        (number, f"{len(row)} cells where there are {width} columns; quote the cells that hold {sheet.separator!r}")
        for number, row in zip(sheet.numbers, sheet.rows, strict=True)
        if any(cell.strip() for cell in row[width:])
    ]


def _parse_column(column: str, spec: Field, sheet: Sheet) -> tuple[_Values, _Faults]:
    """Values of a column and its faults; each distinct cell is parsed once."""
    if column not in sheet.header:
        return [None] * len(sheet.rows), []
    position = sheet.header.index(column)
    parsed: dict[str, Value | FieldError | None] = {}
    values: _Values = []
    faults: _Faults = []
    for number, row in zip(sheet.numbers, sheet.rows, strict=True):
        cell = row[position] if position < len(row) else ""
        if cell not in parsed:
            try:
                parsed[cell] = parse_single(spec, _plain(spec, cell, sheet.separator))
            except FieldError as error:
                parsed[cell] = error
        value = parsed[cell]
        if isinstance(value, FieldError):
            faults.append((number, f"{column}: {value.what} ({value.fix.rstrip('.')})"))
            value = None
        values.append(value)
    return values, faults


def _plain(spec: Field, cell: str, separator: str) -> str:
    """A cell without the marks of the program that wrote it: decimal commas, "1.0" for a whole number."""
    if spec.kind == "number" and separator != ",":
        return re.sub(r"^(\s*[-+]?\d+),(\d+\s*)$", r"\1.\2", cell)
    if spec.kind in ("flag", "category"):
        return re.sub(r"^(\s*\d)\.0+(\s*)$", r"\1\2", cell)
    return cell


def _check_ids(numbers: Sequence[int], ids: _Values) -> _Faults:
    rows: dict[Value, list[int]] = {}
    faults: _Faults = []
    for number, case_id in zip(numbers, ids, strict=True):
        faults += [(number, fault) for fault in id_faults(case_id)]
        if case_id is not None:
            rows.setdefault(case_id, []).append(number)
    for case_id, found in rows.items():
        if len(found) > 1:
            given = some([str(number) for number in found])
            faults.append((found[0], f"case_id: {short(case_id)} is given {len(found)} times, in rows {given}"))
    return faults


def _check_paths(
    root: Path, numbers: Sequence[int], columns: Mapping[str, _Values], specs: Mapping[str, Field], *, required: bool
) -> _Faults:
    """Files that are not there, and, in a table with pictures, rows with nothing to read.

    A table without pictures may hold anything: its rows can at least be counted.
    """
    readable = (
        *IMAGE_COLUMNS,
        "report_text",
        *(n for n, f in specs.items() if f.role in ("input", "measured", "comparator")),
    )
    faults: _Faults = []
    for i, number in enumerate(numbers):
        for column in PATH_COLUMNS:
            if (file := columns[column][i]) is not None:
                try:
                    inside(root, str(file), column)
                except CaseError as error:
                    faults.append((number, told(error)))
        if required and all(columns[column][i] is None for column in readable):
            faults.append((number, "nothing to read: no picture, no report, no field"))
    return faults


def _settle_spacing(numbers: Sequence[int], columns: Mapping[str, _Values]) -> _Faults:
    """Fill row and column spacing from `pixel_spacing_mm` where both are empty."""
    faults: _Faults = []
    row_mm, column_mm = (columns[column] for column in SPACING_COLUMNS)
    for i, number in enumerate(numbers):
        if row_mm[i] is None and column_mm[i] is None:
            row_mm[i] = column_mm[i] = columns[SPACING.name][i]
        elif row_mm[i] is None or column_mm[i] is None:
            faults.append((number, f"only one of {' and '.join(SPACING_COLUMNS)} is given"))
    return faults


def _clean_reports(numbers: Sequence[int], reports: _Values) -> tuple[_Values, list[str], _Faults]:
    """Cleaned reports, at most `MAX_TOLD` notices and a count of the others, and faults."""
    cleaned: _Values = []
    notices: list[str] = []
    faults: _Faults = []
    for number, report in zip(numbers, reports, strict=True):
        try:
            result = clean("" if report is None else str(report))
        except FieldError as error:
            faults.append((number, told(error)))
            continue
        cleaned.append(result.text)
        notices += [f"Row {number}: {notice}" for notice in result.notices]
    if len(notices) > MAX_TOLD:
        notices[MAX_TOLD:] = [f"And {len(notices) - MAX_TOLD} more notices on reports."]
    return cleaned, notices, faults


def _series(spec: Field, values: _Values) -> pd.Series:
    if spec.kind == "number":
        return pd.Series(values, dtype="float64")
    if spec.kind == "flag":
        return pd.Series(values, dtype="object")
    if spec.kind == "category":
        return pd.Series(values, dtype=pd.CategoricalDtype(list(spec.values), ordered=True))
    return pd.Series(["" if value is None else value for value in values], dtype="object")
