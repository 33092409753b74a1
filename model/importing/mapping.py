"""What a person agreed that an export's columns mean: read from and written to one JSON file.

```json
{"endpoint": {"name": "llnm"},
 "columns": {
   "PatID":   {"to": "patient"},
   "Name":    {"to": "identifying"},
   "Gender":  {"to": "sex", "values": {"F": "female", "2": "female", "M": "male", "1": "male"}},
   "Size":    {"to": "size_mm", "unit": "cm"},
   "Born":    {"to": "birth_date", "dates": "dmy"},
   "Scanned": {"to": "exam_date", "dates": "dmy"},
   "N":       {"to": "endpoint", "values": {"N1b": "yes", "*": "no"}},
   "Smoking": {"to": "own", "name": "smoking", "label": "Smoking", "kind": "flag"},
   "Stage":   {"to": "", "why": "known only afterwards"}},
 "confirmed": []}
```
A column goes to a field of `model.schema`, to one of `SPECIAL`, to "own" (a field of the cohort's own: number, category or
flag) or nowhere (""). `values` maps what cells hold, "*" being everything else. `confirmed` names columns about which a
question was answered with "it is right as it is".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from model.errors import CaseError
from model.importing.values import DateOrder, known_units
from model.importing.words import leads_to_a_person
from model.ingest.card import known_afterwards, schema_of
from model.ingest.files import atomic_write_text
from model.ingest.messages import each_once, list_faults, nearest, short, unknown_keys
from model.ingest.parts import SPACING
from model.ingest.reports import find_identifiers
from model.ingest.table import PATH_COLUMNS, SPACING_COLUMNS
from model.schema import FIELD, VIEWS, Field, Schema

OWN, ENDPOINT, PATIENT, IDENTIFYING = "own", "endpoint", "patient", "identifying"
REPORT_FILE, BORN, SEEN = "report_file", "birth_date", "exam_date"
FRAMES = tuple(f"frame_{view}" for view in VIEWS)
SPECIAL = (ENDPOINT, PATIENT, IDENTIFYING, REPORT_FILE, BORN, SEEN, *FRAMES)
FRAME = Field("frame", "Frame", "number", "identity", "Number of the frame, from 1.", "", 1, 1_000_000)
MANY = (IDENTIFYING, OWN, "")
"""Where several columns may go."""
ALL_TARGETS = (
    *(name for name in FIELD if name not in ("case_id", "llnm")), *SPECIAL, *PATH_COLUMNS, *SPACING_COLUMNS, SPACING.name, OWN, "",
)  # fmt: skip

_KEYS = ("to", "values", "unit", "dates", "name", "label", "kind", "low", "high", "help", "group", "why")
_DATED = (BORN, SEEN)


@dataclass(frozen=True)
class Column:
    """What one column means.

    Parameters
    ----------
    column : its name in the export.
    to : where it goes; "" is nowhere.
    values : cell → value, see `model.importing.values.coded`.
    unit : of its numbers, "" for the field's own.
    dates : order of day and month, "" where years come first or it is plain.
    name, label, kind, help, group : of an own field (`model.ingest.card`); `unit` is its unit.
    low, high : range of an own number, or a wider one of a built-in number.
    why : why it is left out, for people.
    """

    column: str
    to: str
    values: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    dates: DateOrder = ""
    name: str = ""
    label: str = ""
    kind: str = ""
    low: float | None = None
    high: float | None = None
    help: str = ""
    group: str = ""
    why: str = ""

    @property
    def field_name(self) -> str:
        """Name of the field that it fills: an own field's own name, else where it goes."""
        return self.name if self.to == OWN else self.to


@dataclass(frozen=True)
class Agreed:
    """A mapping: columns, endpoint, and the questions that were answered.

    Parameters
    ----------
    columns : in the order of the export.
    endpoint : `name`, `label`, `short`, `help` as on a cohort's card; empty for lateral node metastasis.
    confirmed : columns that are right as they are, although questioned.
    """

    columns: tuple[Column, ...]
    endpoint: Mapping[str, str] = field(default_factory=dict)
    confirmed: frozenset[str] = frozenset()

    def to(self, target: str) -> Column | None:
        """The column that goes to a target, None where none does."""
        return next((c for c in self.columns if c.to == target), None)

    def all_to(self, *targets: str) -> tuple[Column, ...]:
        """Every column that goes to one of the targets."""
        return tuple(c for c in self.columns if c.to in targets)

    @property
    def card(self) -> dict[str, Any]:
        """`endpoint` and `fields` of the cohort's card, as `model.ingest.card` reads them."""
        made: dict[str, Any] = {"endpoint": dict(self.endpoint)} if self.endpoint else {}
        entries = [_card_entry(c) for c in self.columns if c.to == OWN]
        entries += [
            {"name": c.to, **_range(c)}
            for c in self.columns
            if c.to in FIELD and (c.low is not None or c.high is not None)
        ]
        return {**made, "fields": entries} if entries else made

    @property
    def schema(self) -> Schema:
        """The schema of the cohort that it makes; raises CaseError."""
        return schema_of(self.card, where="mapping")


def read_mapping(path: Path) -> Agreed:
    """Read a mapping file; raises CaseError."""
    where = "mapping"

    try:
        raw = json.loads(path.read_bytes(), object_pairs_hook=each_once(where, short))
    except FileNotFoundError:
        fix = "A dry run (--dry-run) writes a proposal to it."
        raise CaseError("the file is missing", where=where, fix=fix) from None
    except OSError as error:
        raise CaseError(f"cannot be read ({error.strerror})", where=where, fix="Check the path.") from None
    except (ValueError, RecursionError) as error:
        at = f" at line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise CaseError(f"no valid JSON{at}", where=where, fix="Look for a missing comma, quote or bracket.") from None
    return mapping_of(raw)


def mapping_of(raw: object) -> Agreed:
    """A mapping of what its JSON holds; raises CaseError for everything wrong in its form together."""
    faults: list[str] = []
    if not isinstance(raw, dict) or not isinstance(raw.get("columns"), dict):
        raise CaseError("no object with “columns”", where="mapping", fix="See llnm import --dry-run for a proposal.")
    faults += unknown_keys(raw, ("endpoint", "columns", "confirmed"), "")
    columns = [_column(str(name), entry, faults) for name, entry in raw["columns"].items()]
    endpoint, confirmed = raw.get("endpoint") or {}, raw.get("confirmed") or []
    if not isinstance(endpoint, dict) or not all(isinstance(v, str) for v in endpoint.values()):
        faults.append("endpoint: not an object of texts")
        endpoint = {}
    if not isinstance(confirmed, list) or not all(isinstance(c, str) for c in confirmed):
        faults.append("confirmed: not a list of column names")
        confirmed = []
    if faults:
        raise list_faults(faults, where="mapping")
    return Agreed(tuple(c for c in columns if c is not None), endpoint, frozenset(confirmed))


def write_mapping(agreed: Agreed, path: Path) -> None:
    """Write a mapping file, whole or not at all."""
    atomic_write_text(path, json.dumps(to_dict(agreed), ensure_ascii=False, indent=1) + "\n")


def to_dict(agreed: Agreed) -> dict[str, Any]:
    """A mapping as its JSON holds it; `mapping_of` gives it back."""
    made: dict[str, Any] = {"endpoint": dict(agreed.endpoint)} if agreed.endpoint else {}
    made["columns"] = {c.column: _entry(c) for c in agreed.columns}
    return {**made, "confirmed": sorted(agreed.confirmed)}


def check(agreed: Agreed, header: tuple[str, ...]) -> None:
    """Refuse a mapping that cannot be followed.

    Raises
    ------
    CaseError
        For everything together: columns that are not there, two columns for one field, fields known only after surgery,
        identifying columns as fields, units that do not fit, and what `model.ingest.card.schema_of` refuses.
    """
    faults = [
        f"column {short(c.column)} is not in the table{nearest(c.column, header)}"
        for c in agreed.columns
        if c.column not in header
    ]
    taken: dict[str, list[str]] = {}
    for c in agreed.columns:
        if c.to not in MANY or c.to == OWN:
            taken.setdefault(c.field_name, []).append(c.column)
    endpoint = agreed.endpoint.get("name", "llnm")
    if ENDPOINT in taken and endpoint in taken:
        taken[endpoint] += taken.pop(ENDPOINT)
    faults += [
        f"{len(columns)} columns are mapped to {target}: {', '.join(columns)}; keep one"
        for target, columns in taken.items()
        if len(columns) > 1
    ]
    for c in agreed.columns:
        faults += _column_faults(c)
    if (agreed.to(BORN) is None) != (agreed.to(SEEN) is None):
        faults.append("an age needs both birth_date and exam_date")
    elif agreed.to(BORN) and agreed.to("age_years"):
        faults.append("age_years is given by a column and by dates; keep one")
    if "report_text" in taken and REPORT_FILE in taken:
        faults.append(
            f"2 columns are mapped to the report: {', '.join(taken['report_text'] + taken[REPORT_FILE])}; keep one"
        )
    if faults:
        raise list_faults(faults, where="mapping")
    _ = agreed.schema


def _column_faults(c: Column) -> list[str]:
    place = f"column {short(c.column)}"
    if c.to not in ALL_TARGETS:
        return [f"{place}: there is no field {short(c.to)}{nearest(c.to, ALL_TARGETS)}"]
    faults = []
    feature = c.to == OWN or (c.to in FIELD and FIELD[c.to].role in ("input", "measured"))
    if feature and known_afterwards(c.column):
        faults.append(f"{place} is known only after surgery or follow-up; it must not be a feature (map it to nothing)")
    if c.to == OWN and leads_to_a_person(c.column):
        faults.append(f"{place} leads to a person; map it to “identifying”")
    units = known_units("" if c.to == OWN else _spec(c).unit) if c.to not in ("", IDENTIFYING) else ()
    if c.to != OWN and c.unit and c.unit not in units:
        faults.append(f"{place}: unit {short(c.unit)}; give one of {', '.join(units) or 'none'}")
    if c.dates and c.to not in _DATED:
        faults.append(f"{place}: an order of dates where no dates go")
    # What is mapped to ends up in the cohort: it must not lead to anybody either.
    written = [v for v in c.values.values() if v] if c.to in (OWN, "centre") else []
    if any(find_identifiers(text).notices for text in (*written, c.label, c.help)):
        faults.append(f"{place}: its values, label or help look like a name, a date or a number of a person")
    return faults


def _spec(c: Column) -> Field:
    """The field that a column's cells are read as."""
    if c.to in FIELD:
        return FIELD[c.to]
    if c.to in FRAMES:
        return FRAME
    if c.to in (*SPACING_COLUMNS, SPACING.name):
        return SPACING
    return Field(c.to, c.to, "flag" if c.to == ENDPOINT else "text", "identity", "")


def own_values(c: Column) -> tuple[str, ...]:
    """Values of an own category in the order of its value mapping."""
    return tuple(dict.fromkeys(v for v in c.values.values() if v))


def field_name_of(column: str) -> str:
    """A name for an own field: small letters, digits and "_", a letter first."""
    made = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:60]
    return made if re.match(r"[a-z]", made) else f"field_{made}".rstrip("_")[:60]


def _card_entry(c: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": c.name, "label": c.label or c.column, "kind": c.kind}
    if c.help:
        entry["help"] = c.help
    if c.group:
        entry["group"] = c.group
    if c.kind == "number":
        entry |= {"unit": c.unit, **_range(c)}
    if c.kind == "category":
        entry["values"] = list(own_values(c))
    return entry


def _range(c: Column) -> dict[str, float]:
    return {key: value for key, value in (("low", c.low), ("high", c.high)) if value is not None}


def _entry(c: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {"to": c.to}
    if c.values:
        entry["values"] = dict(c.values)
    entry |= {k: v for k in ("name", "label", "kind", "unit", "dates", "help", "group", "why") if (v := getattr(c, k))}
    return entry | _range(c)


def _column(name: str, entry: object, faults: list[str]) -> Column | None:
    place = f"column {short(name)}"
    if not isinstance(entry, dict):
        faults.append(f"{place}: not an object in braces")
        return None
    faults += unknown_keys(entry, _KEYS, f"{place}: ")
    texts = {k: entry.get(k, "") for k in ("to", "unit", "dates", "name", "label", "kind", "help", "group", "why")}
    if wrong := [k for k, v in texts.items() if not isinstance(v, str)]:
        faults.append(f"{place}: {', '.join(wrong)} must be text")
        return None
    values, ends = entry.get("values", {}), {k: entry.get(k) for k in ("low", "high")}
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        faults.append(f"{place}: values must map texts to texts")
        return None
    if wrong := [
        k for k, v in ends.items() if v is not None and (isinstance(v, bool) or not isinstance(v, int | float))
    ]:
        faults.append(f"{place}: {', '.join(wrong)} must be numbers")
        return None
    if texts["dates"] not in ("", "ymd", "dmy", "mdy"):
        faults.append(f"{place}: dates {short(texts['dates'])}; give ymd, dmy or mdy")
        return None
    return Column(column=name, values={str(k): v for k, v in values.items()}, **cast(Any, {**texts, **ends}))
