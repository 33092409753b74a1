"""The table of a hospital's export, row by row: CSV in any dress, Excel or Parquet, as text cells.

A table is never held in memory: every pass opens it anew.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import IO, Any

from model.errors import CaseError
from model.ingest.messages import some

KINDS = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".parquet")
MAX_COLUMNS = 2000
_MAX_CELL = 1_000_000
_BLOCK = 1 << 20

Row = tuple[int, list[str]]
"""Row number as a spreadsheet counts (the header is row 1), and its cells."""


@dataclass(frozen=True)
class Manifest:
    """An export's table.

    Parameters
    ----------
    header : column names as given, stripped; all different.
    rows : every call begins anew and yields the filled rows, each padded to the header.
    separator : of a CSV, "" for other kinds.
    notices : what was ignored on opening.
    """

    header: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]
    separator: str = ""
    notices: tuple[str, ...] = ()


def open_manifest(source: Path | bytes, name: str) -> Manifest:
    """Open a table and read its header.

    Parameters
    ----------
    source : path, or the bytes of an uploaded file.
    name : its name, whose ending says what it is.

    Raises
    ------
    CaseError
        If it is missing, of another kind, empty, damaged, or names a column twice.
    """
    kind = Path(name).suffix.lower()
    if kind not in KINDS:
        raise CaseError(f"{kind or 'no ending'} is no table", where="manifest", fix="Give .csv, .xlsx or .parquet.")
    try:
        if kind == ".parquet":
            found = _parquet(source)
        elif kind in (".xlsx", ".xlsm"):
            found = _excel(source)
        else:
            found = _csv(source)
    except CaseError:
        raise
    except FileNotFoundError:
        raise CaseError("the file is missing", where="manifest", fix="Check the path.") from None
    except OSError as error:
        raise CaseError(f"cannot be read ({error.strerror})", where="manifest", fix="Check the path.") from None
    except Exception as error:  # whatever a reader raises on a damaged file; its words may repeat what is in it
        what = f"damaged or no {kind[1:].upper()} file ({type(error).__name__})"
        raise CaseError(what, where="manifest", fix="Export it again.") from None
    if not any(found.header):
        raise CaseError("no header", where="manifest", fix="Name the columns in the first row.")
    if len(found.header) > MAX_COLUMNS:
        raise CaseError(f"{len(found.header):,} columns", where="manifest", fix=f"Give at most {MAX_COLUMNS:,}.")
    if doubled := sorted(n for n, times in Counter(found.header).items() if n and times > 1):
        raise CaseError(f"columns given twice: {some(doubled)}", where="manifest", fix="Give each its own name.")
    return found


def _stream(source: Path | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _filled(rows: Iterator[Row], width: int) -> Iterator[Row]:
    for number, cells in rows:
        if any(cells):
            if any(cells[width:]):
                fix = "Quote the cells that hold the separator."
                raise CaseError(f"{len(cells)} cells where there are {width} columns", where=f"row {number}", fix=fix)
            yield number, (cells + [""] * (width - len(cells)))[:width]


def _csv(source: Path | bytes) -> Manifest:
    encoding = _encoding(source)
    with _stream(source) as raw:
        head = io.TextIOWrapper(raw, encoding, newline="").read(1 << 16)
    separator = _separator(head)

    def cells() -> Iterator[Row]:
        with _stream(source) as raw:
            text = io.TextIOWrapper(raw, encoding, newline="")
            lines = csv.reader((line.replace("\0", "") for line in text), delimiter=separator)
            try:
                for number, line in enumerate(lines, 1):
                    yield number, [cell.strip() for cell in line]
            except csv.Error as error:
                fix = "Look for a quotation mark that is never closed."
                raise CaseError(f"no readable table: {error}", where=f"row {lines.line_num}", fix=fix) from None

    header = next(cells(), (1, []))[1]

    def rows() -> Iterator[Row]:
        lines = cells()
        next(lines, None)
        return _filled(lines, len(header))

    return Manifest(tuple(header), rows, separator)


def _encoding(source: Path | bytes) -> str:
    """UTF-16 by its mark, UTF-8 where all of it is, else Windows-1252."""
    with _stream(source) as raw:
        block = raw.read(_BLOCK)
        if block.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "utf-16"
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while block:
                decoder.decode(block)
                block = raw.read(_BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"


def _separator(head: str) -> str:
    """The sign that cuts the first lines into most columns, and into equally many."""
    lines = [line for line in re.sub(r'"[^"]*"', "", head).splitlines()[:20] if line.strip()]
    if not lines:
        return ","

    def score(sign: str) -> tuple[float, int]:
        counts = [line.count(sign) for line in lines]
        same = sum(c == counts[0] for c in counts) / len(counts)
        return (same if counts[0] else 0.0, counts[0])

    return max(",;\t|", key=score)


def _excel(source: Path | bytes) -> Manifest:
    import openpyxl

    def sheet() -> tuple[Any, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(_stream(source), read_only=True, data_only=True)
        return book, book.worksheets[0]

    def cells() -> Iterator[Row]:
        book, first = sheet()
        try:
            for number, values in enumerate(first.iter_rows(values_only=True), 1):
                yield number, [_cell(value) for value in values]
        finally:
            book.close()

    header = list(next(cells(), (1, []))[1])
    while header and not header[-1]:
        header.pop()
    book, _ = sheet()
    others = len(book.worksheets) - 1
    book.close()

    def rows() -> Iterator[Row]:
        lines = cells()
        next(lines, None)
        return _filled(lines, len(header))

    notice = f"Only the first sheet was read; {others} more were not."
    return Manifest(tuple(header), rows, "", (notice,) if others else ())


def _parquet(source: Path | bytes) -> Manifest:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def file() -> Any:
        return pq.ParquetFile(io.BytesIO(source) if isinstance(source, bytes) else source)

    schema = file().schema_arrow
    if nested := [f.name for f in schema if pa.types.is_nested(f.type) or pa.types.is_binary(f.type)]:
        raise CaseError(f"lists, records or bytes in {some(nested)}", where="manifest", fix="Leave these columns out.")

    def rows() -> Iterator[Row]:
        number = 1
        for batch in file().iter_batches(1024):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                cells = [_cell(value) for value in values]
                if any(cells):
                    yield number, cells

    return Manifest(tuple(name.strip() for name in schema.names), rows)


def _cell(value: object) -> str:
    """A typed cell as the text that a CSV would hold."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        if value != value:
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value).strip()[:_MAX_CELL]
