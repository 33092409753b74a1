"""One row of an export → one case of the cohort: values, pictures, report, and what had to be left out.

Whatever a row holds, its faults are told by row and column; none of the words repeats a cell.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

from model.errors import FieldError
from model.importing.keys import pseudonym
from model.importing.mapping import (
    BORN,
    ENDPOINT,
    FRAME,
    FRAMES,
    IDENTIFYING,
    OWN,
    PATIENT,
    REPORT_FILE,
    SEEN,
    Agreed,
    Column,
)
from model.importing.pictures import Picture, read_mask, read_picture, resampled
from model.importing.sources import Files
from model.importing.values import CellError, age, coded, date_of, value
from model.ingest.burned_in import GreyBytes
from model.ingest.images import encode_png
from model.ingest.known import Known
from model.ingest.parts import SPACING, TARGETS, clean
from model.ingest.reports import find_identifiers
from model.ingest.table import PATH_COLUMNS, SPACING_COLUMNS, image_column, mask_column
from model.schema import VIEWS, Field, Value, View

IMAGES, MASKS = "images", "masks"
_MAX_REPORT_BYTES = 1 << 20
_DOCUMENTS = (b"%PDF", b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_HIDDEN = re.compile(r"<!--.*?-->|<(style|script|title|head)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_INLINE = re.compile(r"</?(?:b|i|u|em|strong|span|font|sub|sup|small|big|a|wbr)(?:\s[^<>]*)?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>|<!doctype[^<>]*>", re.IGNORECASE)
_CENTRE_CODE = re.compile(r"[A-Z]{1,3}|[A-Za-z]{1,8}[-_ ]?\d{1,3}|\d{1,3}")
# Longer cells of identifying columns are free text: its plain words lead to nobody, and would be blanked everywhere. An address
# is long, too, but most of its words are names or hold figures.
_LONGEST_IDENTIFIER, _MOST_PLAIN_WORDS = 200, 8

Effect = Literal["row dropped", "left out", "changed"]


@dataclass(frozen=True)
class Told:
    """What a person should know of a row.

    Parameters
    ----------
    row : as a spreadsheet counts; 0 for the whole table.
    column : of the export, "" for the row as a whole.
    what : in words that do not repeat a cell.
    effect : what became of it.
    """

    row: int
    column: str
    what: str
    effect: Effect


@dataclass(frozen=True)
class Job:
    """A row to be done: number, cells, the case's and the patient's pseudonym."""

    row: int
    cells: list[str]
    case_id: str
    patient: str


@dataclass(frozen=True)
class Done:
    """What came of a row: the cells of `cases.csv` (None where it was dropped), fingerprints by view, and what to tell."""

    row: int
    case_id: str
    cells: dict[str, str] | None
    fingerprints: Mapping[View, bytes]
    told: tuple[Told, ...]


@dataclass(frozen=True)
class Plan:
    """How rows are read; travels to the worker processes.

    Parameters
    ----------
    agreed : the mapping.
    header, separator : of the export.
    files : where its pictures and reports lie.
    key : of pseudonyms.
    """

    agreed: Agreed
    header: tuple[str, ...]
    separator: str
    files: Files
    key: bytes = field(repr=False)

    @cached_property
    def _at(self) -> Mapping[str, int]:
        return {name: i for i, name in enumerate(self.header)}

    @cached_property
    def _valued(self) -> tuple[tuple[Column, Field], ...]:
        """Columns whose cells are single values, with their fields."""
        schema = self.agreed.schema
        numbers = {**dict.fromkeys(FRAMES, FRAME), **dict.fromkeys((*SPACING_COLUMNS, SPACING.name), SPACING)}
        found: list[tuple[Column, Field]] = []
        for c in self.agreed.columns:
            name = schema.endpoint.name if c.to == ENDPOINT else c.field_name
            spec = replace(numbers[name], name=name) if name in numbers else schema.by_name.get(name)
            if spec is not None and spec.kind != "text" and c.to not in (PATIENT, "report_text", "centre"):
                found.append((c, spec))
        return tuple(found)

    @property
    def feature_columns(self) -> tuple[tuple[Column, str], ...]:
        """Columns that a model may be given, with the names of their fields."""
        return tuple((c, spec.name) for c, spec in self._valued if spec.is_token)

    @property
    def has_pictures(self) -> bool:
        """Whether any column names pictures."""
        return bool(self.agreed.all_to(*PATH_COLUMNS))

    @property
    def endpoint(self) -> str:
        """Column of `cases.csv` that holds the outcome."""
        return self.agreed.schema.endpoint.name

    def cell(self, cells: list[str], target: str) -> str:
        """The cell of the column that goes to a target, "" where none does."""
        c = self.agreed.to(target)
        return cells[self._at[c.column]] if c is not None else ""

    def file_cells(self, cells: list[str]) -> Iterable[tuple[str, str]]:
        """Target and cell of every file that a row names."""
        for target in (*PATH_COLUMNS, REPORT_FILE):
            if name := self.cell(cells, target):
                yield target, name

    def values(self, row: int, cells: list[str]) -> tuple[dict[str, Value], list[Told]]:
        """Values by field name, and what could not be read."""
        found: dict[str, Value] = {}
        told: list[Told] = []
        for c, spec in self._valued:
            cell = cells[self._at[c.column]]
            if not cell:
                continue
            unit = "" if c.to == OWN else c.unit
            try:
                read = value(spec, cell, values=c.values, unit=unit, separator=self.separator)
            except CellError as error:
                told.append(Told(row, c.column, str(error), "left out"))
                continue
            if read is not None:
                found[spec.name] = read
        self._age(row, cells, found, told)
        return found, told

    def _age(self, row: int, cells: list[str], found: dict[str, Value], told: list[Told]) -> None:
        born, seen = self.agreed.to(BORN), self.agreed.to(SEEN)
        if born is None or seen is None or not (self.cell(cells, BORN) and self.cell(cells, SEEN)):
            return
        try:
            years = age(self.day(cells, born), self.day(cells, seen))
            read = value(self.agreed.schema.by_name["age_years"], repr(years), values={}, unit="", separator=".")
        except CellError as error:
            told.append(Told(row, f"{born.column}, {seen.column}", str(error), "left out"))
            return
        if read is not None:
            found["age_years"] = read

    def day(self, cells: list[str], c: Column) -> date:
        """The date in a column; raises CellError."""
        return date_of(cells[self._at[c.column]], c.dates)

    def centre(self, cells: list[str]) -> str:
        """The centre as a code: as given where it is one, else a pseudonym, so that no hospital is named."""
        c = self.agreed.to("centre")
        cell = self.cell(cells, "centre")
        if c is None or not cell:
            return ""
        mapped = coded(cell, c.values)
        if mapped is not None:
            return mapped
        return cell if _CENTRE_CODE.fullmatch(cell) else f"centre-{pseudonym(self.key, 'centre', cell, 6)}"

    def identifiers(self, cells: list[str]) -> list[str]:
        """Everything in a row that leads to its patient, and days in the ways they are written."""
        targets = (PATIENT, IDENTIFYING, BORN, SEEN)
        found = [cells[self._at[c.column]] for c in self.agreed.columns if c.to in targets]
        found = [v for v in found if len(v) <= _LONGEST_IDENTIFIER and _plain_words(v) <= _MOST_PLAIN_WORDS]
        for c in self.agreed.all_to(BORN, SEEN):
            try:
                day = self.day(cells, c)
            except CellError:
                continue
            found += [day.strftime(form) for form in ("%Y%m%d", "%d%m%Y", "%m%d%Y")]
        centre = self.cell(cells, "centre")
        return [*found, *([centre] if not _CENTRE_CODE.fullmatch(centre) else [])]


def do_row(plan: Plan, job: Job, out: Path | None) -> Done:
    """Make one case.

    Parameters
    ----------
    plan : how.
    job : the row.
    out : folder that pictures and masks are written to; None only tries (a dry run).
    """
    values, told = plan.values(job.row, job.cells)
    pictures = _pictures(plan, job, values, told)
    masks = _masks(plan, job, pictures, told)
    spacing = _settle_spacing(job, values, pictures, masks, told)
    for picture in pictures.values():
        for name, fact in picture.facts.items():
            if (
                name not in values
                and plan.agreed.to(name) is None
                and not (name == "age_years" and plan.agreed.to(BORN))
            ):
                _take_fact(plan, name, fact, values)
    known = Known([*plan.identifiers(job.cells), *(word for p in pictures.values() for word in p.identifiers)])
    report = _report(plan, job, known, told)
    if any(name in known or find_identifiers(_as_words(name)).notices for _, name in plan.file_cells(job.cells)):
        told.append(Told(job.row, "", "a file's name holds what may lead to a person; it was renamed", "changed"))
    readable = {spec.name for spec in plan.agreed.schema.fields if spec.role in ("input", "measured", "comparator")}
    if not pictures and not report and not readable & values.keys():
        told.append(Told(job.row, "", "nothing to read: no picture, no report, no field", "row dropped"))
        return Done(job.row, job.case_id, None, {}, tuple(told))
    if plan.agreed.to(ENDPOINT) is not None and plan.endpoint not in values:
        told.append(Told(job.row, "", "no outcome", "left out"))
    cells = {"case_id": job.case_id, "patient": job.patient, "centre": plan.centre(job.cells), "report_text": report}
    apart = (*FRAMES, SPACING.name, *SPACING_COLUMNS)
    cells |= {name: _written(v) for name, v in values.items() if name not in apart}
    if spacing is not None:
        cells |= {c: f"{mm:.6g}" for c, mm in zip(SPACING_COLUMNS, spacing, strict=True)}
    files = {image_column(view): (f"{IMAGES}/{job.case_id}_{view}.png", p.pixels) for view, p in pictures.items()}
    files |= {c: (f"{MASKS}/{job.case_id}_{c.replace('_mask', '')}.png", pixels) for c, pixels in masks.items()}
    for column, (name, pixels) in files.items():
        cells[column] = name
        if out is not None:
            _write(out / name, encode_png(pixels))
    return Done(job.row, job.case_id, cells, {view: p.fingerprint for view, p in pictures.items()}, tuple(told))


def _pictures(plan: Plan, job: Job, values: Mapping[str, Value], told: list[Told]) -> dict[View, Picture]:
    found: dict[View, Picture] = {}
    for view in VIEWS:
        c = plan.agreed.to(image_column(view))
        name = plan.cell(job.cells, image_column(view))
        if c is None or not name:
            continue
        frame = values.get(f"frame_{view}")
        try:
            picture = read_picture(plan.files.find(name), None if frame is None else int(cast(float, frame)))
        except CellError as error:
            told.append(Told(job.row, c.column, str(error), "left out"))
            continue
        found[view] = picture
        told += [Told(job.row, c.column, notice, "changed") for notice in picture.notices]
    return found


def _masks(plan: Plan, job: Job, pictures: Mapping[View, Picture], told: list[Told]) -> dict[str, GreyBytes]:
    """Masks by the column of `cases.csv` that names them."""
    found: dict[str, GreyBytes] = {}
    for view in VIEWS:
        for target in TARGETS:
            column = mask_column(target, view)
            c, name = plan.agreed.to(column), plan.cell(job.cells, column)
            if c is None or not name:
                continue
            try:
                if view not in pictures:
                    raise CellError("a mask without its picture")
                found[column] = read_mask(plan.files.find(name), pictures[view])
            except CellError as error:
                told.append(Told(job.row, c.column, str(error), "left out"))
    return found


def _settle_spacing(
    job: Job,
    values: Mapping[str, Value],
    pictures: dict[View, Picture],
    masks: dict[str, GreyBytes],
    told: list[Told],
) -> tuple[float, float] | None:
    """One (row, column) spacing for the case: its first calibrated view's, to which the other view is resampled.

    A file's own calibration goes before the table's, which is for the file as it was before any shrinking.
    """
    given = _table_spacing(job, values, told)
    mm = {
        view: p.spacing_mm or (None if given is None else (given[0] * p.scale[0], given[1] * p.scale[1]))
        for view, p in pictures.items()
    }
    settled: tuple[float, float] | None = None
    for view, own in mm.items():
        if own is None:
            if settled is not None:
                told.append(Told(job.row, "", f"the {view} view has no spacing; the case's was left out", "left out"))
            return None
        if settled is None:
            settled = own
            continue
        fitted = resampled(pictures[view].pixels, own, settled)
        if fitted is None:
            told.append(Told(job.row, "", "the views' spacings lie too far apart; both were left out", "left out"))
            return None
        if fitted is not pictures[view].pixels:
            told.append(Told(job.row, "", f"the {view} view was resampled to the spacing of the other", "changed"))
            pictures[view] = replace(pictures[view], pixels=fitted)
            for column in [mask_column(t, view) for t in TARGETS]:
                if column in masks:
                    mask = resampled(masks[column], own, settled, mask=True)
                    assert mask is not None  # as its picture
                    masks[column] = mask
    return settled


def _table_spacing(job: Job, values: Mapping[str, Value], told: list[Told]) -> tuple[float, float] | None:
    pair = [values.get(c, values.get(SPACING.name)) for c in SPACING_COLUMNS]
    if None in pair:
        if any(v is not None for v in pair):
            told.append(Told(job.row, "", "only one of row and column spacing is given", "left out"))
        return None
    return float(cast(float, pair[0])), float(cast(float, pair[1]))


def _take_fact(plan: Plan, name: str, fact: Value, values: dict[str, Value]) -> None:
    """A fact of a DICOM header, where the field allows it."""
    with suppress(CellError):
        read = value(plan.agreed.schema.by_name[name], str(fact), values={}, unit="", separator=".")
        if read is not None:
            values[name] = read


def _report(plan: Plan, job: Job, known: Known, told: list[Told]) -> str:
    """The report without what leads to a person."""
    c = plan.agreed.to("report_text") or plan.agreed.to(REPORT_FILE)
    if c is None or not (cell := plan.cell(job.cells, c.to)):
        return ""
    try:
        text = _unmarked(cell if c.to == "report_text" else _text_of(plan.files.find(cell)))
        blanked, count = known.blank(unicodedata.normalize("NFKC", text))
        cleaned = clean(blanked)
    except CellError as error:
        told.append(Told(job.row, c.column, str(error), "left out"))
        return ""
    except FieldError as error:
        told.append(Told(job.row, c.column, error.what, "left out"))
        return ""
    if count:
        told.append(Told(job.row, c.column, f"words of the patient's own identifiers were blanked: {count}", "changed"))
    told += [Told(job.row, c.column, notice.rstrip("."), "changed") for notice in cleaned.notices]
    return cleaned.text


def _text_of(source: Path | bytes) -> str:
    try:
        if isinstance(source, bytes):
            data = source
        else:
            with source.open("rb") as file:
                data = file.read(_MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise CellError(f"cannot be read ({error.strerror})") from None
    if len(data) > _MAX_REPORT_BYTES:
        raise CellError("over 1 MB, which is no report")
    if data.startswith(_DOCUMENTS):
        raise CellError("a PDF or Word file; save it as plain text")
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        if any(data[1:200:2]):
            raise CellError("no plain text")
        return data.decode("utf-16-le", "replace")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _unmarked(text: str) -> str:
    """A text without the marks of a web page, in which a name hides from every search: M&uuml;ller, <b>M</b>üller.

    Raises
    ------
    CellError
        For a rich text file, which spells letters and hides its author in marks of its own.
    """
    if text.lstrip().startswith("{\\rtf"):
        raise CellError("a rich text file (RTF); save it as plain text")
    text = _INLINE.sub("", _HIDDEN.sub("", text))
    return html.unescape(_TAG.sub("\n", text))


def _plain_words(text: str) -> int:
    """How many words of a text are written neither like a name nor with figures."""
    return sum(not (w.istitle() or any(c.isdigit() for c in w)) for w in text.split())


def _as_words(file_name: str) -> str:
    """A file's name as text, for a search of names, dates and numbers."""
    return re.sub(r"[_./\\-]+", " ", file_name)


def _written(found: Value) -> str:
    """A value as `cases.csv` holds it."""
    if isinstance(found, bool):
        return "yes" if found else "no"
    return f"{found:.6g}" if isinstance(found, float) else str(found)


def _write(path: Path, data: bytes) -> None:
    """Plainly: a file of an unfinished import counts only once its row does, and is written again otherwise."""
    with path.open("wb") as file:
        file.write(data)
