"""Cases from a cohort folder, a JSON file or a form.

A cohort folder holds

- `cases.csv`: one row a case. Columns are the names of the schema's fields (labels too), the `PATH_COLUMNS` and
  `SPACING_COLUMNS` of `model.ingest.table`, and `provenance`; only `case_id` must be there.
- the pictures and masks that its cells name, relative to the folder.
- optionally `cohort.json`, its card: `name`, `provenance` (synthetic or user), an `endpoint` and `fields` of its own
  (`model.ingest.card`), and anything else worth keeping, such as seed and generator version.

A case may have pictures, a report, fields, or any mixture of the three.

Whatever is wrong in one input is collected and told at once, in one `CaseError`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import pandas as pd

from model.errors import CaseError, FieldError, ProblemError
from model.ingest.card import schema_of
from model.ingest.images import DecodedImage
from model.ingest.messages import each_once, list_faults, nearest, short, told, unknown_keys
from model.ingest.parts import (
    PROVENANCE,
    TARGETS,
    Spacing,
    Target,
    clean,
    id_faults,
    load_view,
    only,
    parse_single,
    parse_spacing,
)
from model.ingest.table import SPACING_COLUMNS, TABLE_NAME, image_column, mask_column, present_values, read_table
from model.schema import DEFAULT, VIEWS, Case, Field, Mask, Provenance, Schema, Value, View, ViewImage

CARD_NAME = "cohort.json"

_MASK_KEYS: Mapping[str, Target] = {"nodule_mask": "nodule", "gland_mask": "gland"}
_VIEW_KEYS = ("file", "pixel_spacing_mm", *_MASK_KEYS)
_CASE_KEYS = ("case_id", "centre", "provenance", "report_text", "images", "fields", "labels")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ViewMasks:
    """True masks of one view, each (height, width) bool as its decoded picture, None where there is none."""

    nodule: Mask | None = None
    gland: Mask | None = None


@dataclass(frozen=True, eq=False)
class Cohort:
    """A validated table of cases whose pictures are decoded only when a case is asked for.

    Parameters
    ----------
    name : from the card, or the folder's name.
    provenance : from the card; without one, that of the rows if they agree, else "user".
    table : one row a case and always the same columns: every field of `schema` (numbers float64; flags
        True, False or None; categories `category` with their values in order; text str, "" where none),
        `PATH_COLUMNS` (text, as given), `SPACING_COLUMNS` (float64, of the files) and `provenance`.
    root : the folder that the pictures lie in.
    notices : what was changed or ignored on reading, one sentence each.
    card : what `cohort.json` holds.
    use_masks : whether `case` attaches the masks on disk; False leaves them to the network, as for a user's picture.
    schema : fields, groups and endpoint.
    """

    name: str
    provenance: Provenance
    table: pd.DataFrame
    root: Path
    notices: tuple[str, ...] = ()
    card: Mapping[str, object] = field(default_factory=dict)
    use_masks: bool = False
    schema: Schema = DEFAULT

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.table)

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Pseudonyms in the order of the table."""
        return tuple(self.table["case_id"])

    def case(self, case_id: str) -> Case:
        """Decode and return one case; what was changed in its pictures is logged.

        Raises
        ------
        CaseError
            If the cohort has no such case, or the case nothing to read.
        ImageError
            If a picture (or, with `use_masks`, a mask) cannot be read.
        """
        row = self._row(case_id)
        values = present_values(row, self.schema)
        return _case(case_id, self._images(row, self.use_masks), values, str(row["provenance"]), self.schema)

    def iter_cases(self) -> Iterator[Case]:
        """Every case in the order of the table, decoded one at a time."""
        return map(self.case, self.case_ids)

    def true_masks(self, case_id: str) -> dict[View, ViewMasks]:
        """Masks on disk by view, for evaluation, whatever `use_masks` says; raises as `case` does."""
        images = self._images(self._row(case_id), with_masks=True)
        return {view: ViewMasks(image.nodule_mask, image.gland_mask) for view, image in images.items()}

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {case_id: i for i, case_id in enumerate(self.case_ids)}

    def _row(self, case_id: str) -> dict[str, object]:
        if case_id not in self._positions:
            what = f"there is no case {short(case_id)}{nearest(case_id, self._positions)}"
            raise CaseError(what, where=f"cohort {self.name}", fix="Choose one of its cases.")
        return {str(column): value for column, value in self.table.iloc[self._positions[case_id]].items()}

    def _images(self, row: Mapping[str, object], with_masks: bool) -> dict[View, ViewImage]:
        row_mm, column_mm = (cast(float, row[column]) for column in SPACING_COLUMNS)
        spacing = None if pd.isna(row_mm) else (float(row_mm), float(column_mm))
        images: dict[View, ViewImage] = {}
        for view in VIEWS:
            if file := str(row[image_column(view)]):
                masks = {t: name for t in TARGETS if with_masks and (name := str(row[mask_column(t, view)]))}
                images[view], notices = load_view(self.root, file, masks, spacing, where=f"case {row['case_id']}")
                for notice in notices:
                    _LOG.info(notice)
        return images


def read_cohort(path: Path | str, *, use_masks: bool = False) -> Cohort:
    """Read and validate a cohort; its pictures are only looked for, not decoded.

    Parameters
    ----------
    path : the cohort folder, or a CSV file in it.
    use_masks : see `Cohort`.

    The table may be separated by commas, semicolons or tabs (with the latter two, decimal commas are read too), in
    UTF-8, UTF-16 or Windows-1252. Row numbers in messages count the header as row 1, as spreadsheets do.

    Raises
    ------
    CaseError
        If the table or card is missing or unreadable, or for all bad cells, doubled cases and missing files together
        (the first 20 are told, with their rows).
    """
    path = Path(path)
    csv_path = path / TABLE_NAME if path.is_dir() else path
    root = csv_path.parent
    card = read_card(root)
    schema = schema_of(card, where=str(root / CARD_NAME))
    table, notices = read_table(csv_path, schema)
    rows = set(table["provenance"].dropna())
    given = str(card.get("provenance") or (rows.pop() if len(rows) == 1 else "user"))
    table["provenance"] = table["provenance"].fillna(given)
    name = str(card.get("name") or root.resolve().name)
    return Cohort(name, cast(Provenance, given), table, root, notices, card, use_masks, schema)


def read_case(path: Path | str, schema: Schema = DEFAULT) -> Case:
    """Read one case from a JSON file whose files are relative to its folder and may not leave it.

    ```json
    {"case_id": "A1", "centre": "H2", "provenance": "user", "report_text": "…",
     "images": {"transverse": "t.png",
                "longitudinal": {"file": "l.png", "pixel_spacing_mm": [0.1, 0.1],
                                 "nodule_mask": "n.png", "gland_mask": "g.png"}},
     "fields": {"age_years": 43, "sex": "female"}, "labels": {"llnm": true}}
    ```
    Only `case_id` and an image, a report or a field must be there. What was changed on the way in is logged as a warning.

    Raises
    ------
    CaseError
        If the file is no JSON object, or for all its faults together.
    """
    path = Path(path)
    raw = _read_object(path)
    faults = unknown_keys(raw, _CASE_KEYS, "")
    images, notices = _images_from_json(path.parent, _object(raw, "images", faults), faults)
    labels = _object(raw, "labels", faults)
    label_names = [spec.name for spec in schema.labels]
    faults += unknown_keys(labels, label_names, "labels: ")
    values = {**_object(raw, "fields", faults), **{name: labels[name] for name in label_names if name in labels}}
    if "centre" in raw:
        values["centre"] = raw["centre"]
    report, origin = raw.get("report_text"), raw.get("provenance")
    case, more = _assemble(raw.get("case_id"), images, values, report, origin, faults, where=str(path), schema=schema)
    for notice in (*notices, *more):
        _LOG.warning("%s: %s", path.name, notice)
    return case


def case_from_form(
    case_id: str,
    images: Mapping[View, DecodedImage],
    spacing_mm: Spacing | Mapping[View, Spacing | None] | None,
    fields: Mapping[str, object],
    report_text: str,
    schema: Schema = DEFAULT,
) -> tuple[Case, tuple[str, ...]]:
    """Make a case of what a form holds, with the notices that its reader should see.

    Parameters
    ----------
    case_id : pseudonym.
    images : decoded pictures by view.
    spacing_mm : size of a pixel of the files as uploaded, for all views or by view; None where unknown. Where a picture
        was shrunk, its spacing is widened to match.
    fields : raw values by field name, `centre` and labels among them; empty ones are missing.
    report_text : the report as pasted.
    schema : of the model that is to read it.

    Raises
    ------
    CaseError
        Once, listing everything that is not allowed.
    """
    faults: list[str] = []
    views: dict[View, ViewImage] = {}
    for view, image in images.items():
        raw = spacing_mm.get(view) if isinstance(spacing_mm, Mapping) else spacing_mm
        try:
            spacing = parse_spacing(raw, f"{view} view")
            views[view] = ViewImage(image.pixels, None if spacing is None else image.spacing(spacing))
        except ProblemError as error:
            faults.append(told(error))
    case, notices = _assemble(case_id, views, fields, report_text, None, faults, where="form", schema=schema)
    return case, (*(notice for image in images.values() for notice in image.notices), *notices)


def read_cases(path: Path | str, *, use_masks: bool = False, schema: Schema = DEFAULT) -> Iterator[Case]:
    """Cases of a JSON file, a cohort folder, a cohort's CSV file or a folder of JSON files, one at a time.

    A table is validated whole before the first case comes; `use_masks` is for tables alone (see `Cohort`),
    `schema` for JSON files alone, since a table has a card of its own.

    Raises
    ------
    CaseError, ImageError
        As `read_case` and `Cohort.case` do; or if there is nothing to read, or a folder's files share a `case_id`.
    """
    path = Path(path)
    if path.is_dir() and not (path / TABLE_NAME).is_file():
        files = sorted(file for file in path.glob("*.json") if file.name != CARD_NAME)
        if not files:
            what = f"neither {TABLE_NAME} nor any JSON file in it"
            raise CaseError(what, where=str(path), fix="Name a JSON file, a table or a cohort folder.")
        return _read_each(files, schema)
    if path.suffix.lower() == ".json":
        return _read_each([path], schema)
    return read_cohort(path, use_masks=use_masks).iter_cases()


def _read_each(files: Iterable[Path], schema: Schema) -> Iterator[Case]:
    seen: dict[str, str] = {}
    for file in files:
        case = read_case(file, schema)
        if case.case_id in seen:
            what = f"case_id {short(case.case_id)} is also in {seen[case.case_id]}"
            raise CaseError(what, where=str(file), fix="Give every case its own pseudonym.")
        seen[case.case_id] = file.name
        yield case


def _case(
    case_id: str, images: Mapping[View, ViewImage], values: Mapping[str, Value], provenance: str, schema: Schema
) -> Case:
    """A case of validated values: each goes where its role says, so that no label can become an input."""
    return Case(
        case_id=case_id,
        images=images,
        fields=only(values, "input", "measured", "comparator", schema=schema),
        report_text=str(values.get("report_text", "")),
        centre=str(values.get("centre", "")),
        provenance=cast(Provenance, provenance),
        labels=only(values, "label", schema=schema),
        schema=schema,
    )


def _assemble(
    case_id: object,
    images: Mapping[View, ViewImage],
    raw_values: Mapping[str, object],
    report_text: object,
    provenance: object,
    faults: list[str],
    where: str,
    schema: Schema,
) -> tuple[Case, tuple[str, ...]]:
    """Validate the rest and build the case, or raise one CaseError with `faults` and all that is found here."""
    specs = {name: spec for name, spec in schema.by_name.items() if name not in ("case_id", "report_text")}
    faults += unknown_keys(raw_values, specs, "fields: ")

    def take(spec: Field, raw: object) -> Value | None:
        try:
            return parse_single(spec, raw)
        except FieldError as error:
            faults.append(told(error))
            return None

    values = {name: value for name, spec in specs.items() if (value := take(spec, raw_values.get(name))) is not None}
    pseudonym = take(schema.by_name["case_id"], case_id)
    faults += id_faults(pseudonym)
    origin = take(PROVENANCE, provenance) or "user"
    notices: tuple[str, ...] = ()
    if isinstance(report_text, str):
        try:
            report = clean(report_text)
            values["report_text"], notices = report.text, report.notices
        except FieldError as error:
            faults.append(told(error))
    elif report_text is not None:
        faults.append("report_text: not a text")
    readable = (
        only(values, "input", "measured", "comparator", schema=schema) or str(values.get("report_text", "")).strip()
    )
    if not images and not readable and not faults:  # else a faulty picture would be told twice
        faults.append("nothing to read; give a transverse or longitudinal picture, a report or a field")
    if faults:
        raise list_faults(faults, where=where)
    return _case(str(pseudonym), images, values, str(origin), schema), notices


def _images_from_json(
    root: Path, entries: Mapping[str, object], faults: list[str]
) -> tuple[dict[View, ViewImage], list[str]]:
    """Decoded views and their notices; what is wrong is added to `faults`."""
    faults += unknown_keys(entries, VIEWS, "images: ")
    images: dict[View, ViewImage] = {}
    notices: list[str] = []
    for view in VIEWS:
        raw = entries.get(view)
        if raw is None:
            continue
        where = f"images, {view}"
        entry: dict[str, object] = raw if isinstance(raw, dict) else {"file": raw}
        faults += unknown_keys(entry, _VIEW_KEYS, f"{where}: ")
        file = entry.get("file")
        masks = {target: name for key, target in _MASK_KEYS.items() if (name := entry.get(key)) is not None}
        if not isinstance(file, str) or not all(isinstance(name, str) for name in masks.values()):
            faults.append(f"{where}: give file names as text")
            continue
        try:
            spacing = parse_spacing(entry.get("pixel_spacing_mm"), where)
            images[view], more = load_view(root, file, cast(dict[Target, str], masks), spacing, where=where)
            notices += more
        except ProblemError as error:
            faults.append(told(error))
    return images, notices


def _object(raw: Mapping[str, object], key: str, faults: list[str]) -> dict[str, object]:
    """The JSON object under a key, empty where there is none; anything else is a fault."""
    value = raw.get(key)
    if value is not None and not isinstance(value, dict):
        faults.append(f"{key}: not an object in braces")
    return value if isinstance(value, dict) else {}


def _read_object(path: Path) -> dict[str, object]:
    where = str(path)

    try:
        found = json.loads(path.read_bytes(), object_pairs_hook=each_once(where))
    except FileNotFoundError:
        raise CaseError("the file is missing", where=where, fix="Check the path.") from None
    except OSError as error:
        raise CaseError(f"cannot be read ({error.strerror})", where=where, fix="Check the path.") from error
    except json.JSONDecodeError as error:
        what = f"no valid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise CaseError(what, where=where, fix="Look for a missing comma, quote or bracket there.") from error
    except (ValueError, RecursionError) as error:  # no Unicode, a number of thousands of digits, brackets without end
        raise CaseError("no valid JSON", where=where, fix="Save it as JSON in UTF-8.") from error
    if not isinstance(found, dict):
        raise CaseError("no JSON object", where=where, fix="Give one object, in braces.")
    return found


def read_card(root: Path) -> dict[str, object]:
    """The card of a cohort folder, empty where it has none; raises `CaseError` where it cannot be read."""
    path = root / CARD_NAME
    if not path.is_file():
        return {}
    card = _read_object(path)
    if card.get("provenance", "user") not in PROVENANCE.values:
        raise CaseError(f"provenance {short(card['provenance'])}", where=str(path), fix=f"Give {PROVENANCE.allowed()}.")
    return card
