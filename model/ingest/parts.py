"""The parts of a case as they come in: a value, a pseudonym, a pixel spacing, a report, a picture with its masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from model.errors import CaseError, FieldError, ImageError
from model.ingest.images import MAX_FILE_BYTES, decode_image, decode_mask
from model.ingest.messages import short
from model.ingest.reports import CleanReport, clean_report, find_identifiers
from model.schema import DEFAULT, Field, Role, Schema, Value, ViewImage, parse

Target = Literal["nodule", "gland"]
TARGETS: tuple[Target, ...] = ("nodule", "gland")
Spacing = float | tuple[float, float]
"""Size of a pixel in mm: one number, or (row, column)."""

MAX_CASE_ID_CHARACTERS = 100
SPACING = Field("pixel_spacing_mm", "Pixel spacing", "number", "identity", "Size of a pixel.", "mm", 0.01, 2)
PROVENANCE = Field(
    "provenance", "Provenance", "category", "identity", "Where a case comes from.", values=("synthetic", "user")
)


def parse_single(spec: Field, raw: object) -> Value | None:
    """`schema.parse`, refusing with a FieldError lists, objects, and control characters anywhere but in a report."""
    if isinstance(raw, Mapping | Sequence) and not isinstance(raw, str):
        raise FieldError("a list or object", where=spec.name, fix=f"Give {spec.allowed()}, or leave it empty.")
    value = parse(spec, raw)
    if isinstance(value, str) and spec.name != "report_text" and not value.isprintable():
        raise FieldError(f"{short(value)} holds characters that cannot be printed", where=spec.name, fix="Remove them.")
    return value


def parse_spacing(raw: object, where: str) -> tuple[float, float] | None:
    """One number or a (row, column) pair → (row, column) in mm, None where missing; raises FieldError."""
    pair = list(raw) if isinstance(raw, list | tuple) else [raw, raw]
    place = f"{where}, {SPACING.name}"
    if len(pair) != 2:
        raise FieldError(f"{len(pair)} numbers", where=place, fix="Give one number, or two: row and column.")
    try:
        row, column = (parse_single(SPACING, value) for value in pair)
    except FieldError as error:
        raise FieldError(error.what, where=place, fix=error.fix) from None
    if row is None and column is None:
        return None
    if row is None or column is None:
        raise FieldError("only one of row and column is given", where=place, fix="Give both.")
    return float(row), float(column)


def id_faults(case_id: object) -> list[str]:
    """What is wrong with a pseudonym that has been parsed: nothing, or one fault."""
    if case_id is None:
        return ["case_id: empty; give every case a pseudonym"]
    if len(str(case_id)) > MAX_CASE_ID_CHARACTERS:
        return [f"case_id: {short(case_id)} is longer than {MAX_CASE_ID_CHARACTERS} characters"]
    return []


def only(values: Mapping[str, Value], *roles: Role, schema: Schema = DEFAULT) -> dict[str, Value]:
    """The values whose field has one of the roles."""
    return {name: value for name, value in values.items() if schema.by_name[name].role in roles}


def clean(report_text: str) -> CleanReport:
    """A report in plain text without likely identifiers, and the notices of both steps; raises FieldError."""
    cleaned = clean_report(report_text)
    found = find_identifiers(cleaned.text)
    return CleanReport(found.text, (*cleaned.notices, *found.notices))


def inside(root: Path, file: str, where: str) -> Path:
    """The file's path, if it exists and lies, links followed, inside `root`; raises CaseError."""
    folder = os.path.realpath(root)
    try:
        path = os.path.realpath(os.path.join(folder, file.replace("\\", "/")))
    except (OSError, ValueError):  # a NUL byte, a name beyond the system's length
        raise CaseError(f"{short(file)} is no file name", where=where, fix="Name a file in the folder.") from None
    if os.path.commonpath((folder, path)) != folder:
        fix = "Copy the file into the folder and name it there."
        raise CaseError(f"{short(file)} lies outside the folder", where=where, fix=fix)
    if not os.path.isfile(path):
        raise CaseError(f"the file {short(file)} is missing", where=where, fix=f"Put it into {root}, or name none.")
    return Path(path)


def load_view(
    root: Path, file: str, masks: Mapping[Target, str], spacing: tuple[float, float] | None, *, where: str
) -> tuple[ViewImage, tuple[str, ...]]:
    """Decode a picture and its masks.

    Parameters
    ----------
    root : folder that `file` and `masks` are relative to and may not leave.
    spacing : (row, column) mm of a pixel of the file; it is widened where the picture is shrunk.

    Returns
    -------
    The view, and the picture's notices.

    Raises
    ------
    CaseError
        If a file is missing or outside `root`.
    ImageError
        If a file cannot be decoded.
    """
    image = decode_image(_read(root, file, where), name=f"{where}, {file}")
    shape = (image.pixels.shape[0], image.pixels.shape[1])
    decoded = {
        target: decode_mask(_read(root, name, where), name=f"{where}, {name}", shape=shape)
        for target, name in masks.items()
    }
    view = ViewImage(
        image.pixels,
        None if spacing is None else image.spacing(spacing),
        nodule_mask=decoded.get("nodule"),
        gland_mask=decoded.get("gland"),
    )
    return view, image.notices


def _read(root: Path, file: str, where: str) -> bytes:
    try:
        with inside(root, file, where).open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)  # one more, for the decoder to refuse it
    except OSError as error:
        place = f"{where}, {file}"
        raise ImageError(f"cannot be read ({error.strerror})", where=place, fix="Check the file.") from error
