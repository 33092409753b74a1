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
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from itertools import count
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
    with _told(kind):
        if kind == ".parquet":
            found = _parquet(source)
        elif kind in (".xlsx", ".xlsm"):
            found = _excel(source)
        else:
            found = _csv(source)
    if not any(found.header):
        raise CaseError("no header", where="manifest", fix="Name the columns in the first row.")
    if len(found.header) > MAX_COLUMNS:
        raise CaseError(f"{len(found.header):,} columns", where="manifest", fix=f"Give at most {MAX_COLUMNS:,}.")
    if doubled := sorted(n for n, times in Counter(found.header).items() if n and times > 1):
        raise CaseError(f"columns given twice: {some(doubled)}", where="manifest", fix="Give each its own name.")

    def rows() -> Iterator[Row]:
        with _told(kind):
            yield from found.rows()

    return replace(found, header=_named(found.header), rows=rows)


@contextmanager
def _told(kind: str) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into one message: its words may repeat what is in the file."""
    try:
        yield
    except FileNotFoundError:
        raise CaseError("the file is missing", where="manifest", fix="Check the path.") from None
    except UnicodeDecodeError:
        what, fix = "text that is neither UTF-8, UTF-16, GB 18030 nor Windows-1252", "Save it as “CSV UTF-8”."
        raise CaseError(what, where="manifest", fix=fix) from None
    except OSError as error:
        if error.strerror is None:  # a reader's own, of a damaged file
            raise _damaged(kind, error) from None
        raise CaseError(f"cannot be read ({error.strerror})", where="manifest", fix="Check the path.") from None
    except (CaseError, MemoryError):
        raise
    except Exception as error:
        raise _damaged(kind, error) from None


def _damaged(kind: str, error: Exception) -> CaseError:
    what = f"damaged or no {kind[1:].upper()} file ({type(error).__name__})"
    return CaseError(what, where="manifest", fix="Export it again, without a password.")


def _named(header: tuple[str, ...]) -> tuple[str, ...]:
    """A name for every column that has none: like those of pandas, whose "Unnamed: 0" is an index, they go nowhere."""
    given = set(header)
    free = (name for i in count(1) if (name := f"unnamed {i}") not in given)
    return tuple(name or next(free) for name in header)


def _trimmed(header: list[str]) -> list[str]:
    """A header without the empty cells at its end."""
    while header and not header[-1]:
        header.pop()
    return header


def _stream(source: Path | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _filled(rows: Iterator[Row], width: int) -> Iterator[Row]:
    for number, cells in rows:
        if any(cells):
            if any(cells[width:]):
                fix = "Name every column in row 1, with no title or merged cells above; quote the cells that hold the separator."
                columns = "is 1 column" if width == 1 else f"are {width} columns"
                raise CaseError(f"{len(cells)} cells where there {columns}", where=f"row {number}", fix=fix)
            yield number, (cells + [""] * (width - len(cells)))[:width]


def _csv(source: Path | bytes) -> Manifest:
    encoding = _encoding(source)
    with _stream(source) as raw:
        head = io.TextIOWrapper(raw, encoding, newline="").read(1 << 16)
    # Excel's own first line for a separator that is not the country's.
    said = re.match(r"sep=(.)\r?\n", head)
    separator = said[1] if said else _separator(head)
    unclosed = "Look for a quotation mark that is never closed."

    def cells() -> Iterator[Row]:
        marks = 0

        def text_lines() -> Iterator[str]:
            nonlocal marks
            for line in text:
                marks += line.count('"')
                yield line.replace("\0", "")

        with _stream(source) as raw:
            text = io.TextIOWrapper(raw, encoding, newline="")
            if said:
                text.readline()
            lines = csv.reader(text_lines(), delimiter=separator)
            try:
                before = 0
                for number, line in enumerate(lines, 2 if said else 1):
                    # A quotation mark that is never closed takes every row below it into its cell.
                    if lines.line_num > before + 1 and marks % 2:
                        what = f"a quotation mark opens a cell of {lines.line_num - before} lines and is not closed"
                        raise CaseError(what, where=f"row {number}", fix=unclosed)
                    marks, before = 0, lines.line_num
                    yield number, [cell.strip() for cell in line]
            except csv.Error as error:
                raise CaseError(f"no readable table: {error}", where=f"row {lines.line_num}", fix=unclosed) from None

    header = _trimmed(next(cells(), (1, []))[1])

    def rows() -> Iterator[Row]:
        lines = cells()
        next(lines, None)
        return _filled(lines, len(header))

    return Manifest(tuple(header), rows, separator)


def _encoding(source: Path | bytes) -> str:
    """UTF-16 by its mark, UTF-8 where all of it is, GB 18030 where it can be and looks so, else Windows-1252."""
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
            return "gb18030" if _chinese(block) else "cp1252"
    return "utf-8-sig"


def _chinese(block: bytes) -> bool:
    """Whether bytes that are no UTF-8 are Chinese of GB 18030: signs of two bytes, while letters with accents stand alone."""
    runs = re.findall(rb"[\x80-\xff]+", block)
    if not runs or sum(len(run) for run in runs if len(run) > 1) < 0.9 * sum(map(len, runs)):
        return False
    try:
        codecs.getincrementaldecoder("gb18030")().decode(block)
    except UnicodeDecodeError:
        return False
    return True


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

    @contextmanager
    def opened() -> Iterator[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(_stream(source), read_only=True, data_only=True)
        try:
            yield book
        finally:
            book.close()

    def of(sheet: Any) -> Iterator[Row]:
        sheet.reset_dimensions()  # what the file says of its size is often wrong
        for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
            yield number, [_cell(value) for value in values]

    with opened() as book:
        # A cover page has no header of several columns.
        headers = [_trimmed(next(of(sheet), (1, []))[1]) for sheet in book.worksheets]
    at = next((i for i, names in enumerate(headers) if len(names) > 1), 0)
    header, others = headers[at] if headers else [], len(headers) - 1

    def cells() -> Iterator[Row]:
        with opened() as book:
            yield from of(book.worksheets[at])

    def rows() -> Iterator[Row]:
        lines = cells()
        next(lines, None)
        return _filled(lines, len(header))

    which = "the first sheet" if at == 0 else f"sheet {at + 1}"
    notice = f"Only {which} was read; {others} more {'was' if others == 1 else 'were'} not."
    return Manifest(tuple(header), rows, "", (notice,) if others else ())


def _parquet(source: Path | bytes) -> Manifest:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def _is_bytes(kind: Any) -> bool:
        return bool(
            pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
            or pa.types.is_binary_view(kind)
        )  # fmt: skip

    def file() -> Any:
        return pq.ParquetFile(io.BytesIO(source) if isinstance(source, bytes) else source)

    schema = file().schema_arrow
    if nested := [f.name for f in schema if pa.types.is_nested(f.type) or _is_bytes(f.type)]:
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
