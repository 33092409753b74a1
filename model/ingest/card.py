"""A cohort's card → its schema: an endpoint and fields of its own beside the built-in ones.

```json
{"endpoint": {"name": "malignant", "label": "Malignancy", "short": "malignancy", "help": "Cancer in the specimen."},
 "fields": [{"name": "adenopathy", "label": "Adenopathy", "kind": "category", "values": ["none", "left", "right"],
             "help": "Enlarged nodes on clinical examination of the neck.", "group": "neck"},
            {"name": "tsh", "label": "TSH", "kind": "number", "unit": "mIU/L", "low": 0, "high": 200},
            {"name": "age_years", "low": 1, "high": 110}]}
```
`kind` is number, category or flag. Fields of one `group` are one player of a Shapley attribution; it may be a built-in
group's name. An entry of a built-in number's name widens or narrows its range and nothing else. Without an endpoint it is
lateral node metastasis (`llnm`). A checkpoint's card holds the same entries, with the scale that numbers were given by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from model.ingest.messages import list_faults, short, unknown_keys
from model.schema import DEFAULT, FIELD, LLNM, Endpoint, Field, Kind, Schema

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_KEYS = ("name", "label", "kind", "unit", "low", "high", "values", "help", "group", "mean", "spread")
_ENDPOINT_KEYS = ("name", "label", "short", "help")
_KINDS = ("number", "category", "flag")
_TAKEN = re.compile(
    r"provenance|pixel_spacing.*|image_.*|.*_mask_.*|case|probability|logit|interval_.*|stage_\d|prediction"
)
"""Columns that a cohort or a scored table has for other things."""

MAX_FIELDS, MAX_VALUES, MAX_TEXT = 200, 50, 300

_NODES, _COUNT = r"(lymph_?)?(nodes?|lns?)", r"((total|no|num|number|count|n)_)?(of_)?"
AFTERWARDS = re.compile(
    r"(.*_)?(recurr\w*|response|relapse|outcome|survival|death|died|deceased|followup|follow_up|vital_status)(_.*)?"
    r"|(p|yp)?[nm]([_ ]?stage)?|(p|c)?tnm|(ajcc|tnm|figo|uicc)(_.*)?|stage|ata_risk|risk(_group|_stratification)?"
    r"|y?p_?t(_(stage|category|classification))?|y?p_[nm]|p[nm]_(category|classification)|patholog(ic|ical)_.*"
    rf"|{_COUNT}(positive|metastatic|involved|removed|excised|dissected|resected|examined|harvested)_(.*_)?{_NODES}(_.*)?"
    rf"|{_COUNT}{_NODES}_(positive|removed|excised|dissected|involved|resected|examined|harvested|yield|ratio)(_.*)?|lnr"
    r"|.*(final|post_?op\w*|surgical)_?(pathology|histology|diagnosis|report)|(.*_)?post_?op\w*(_.*)?"
    rf"|(central_|lateral_|cervical_)?{_NODES}_metastas\w+|(central|lateral|cervical)_{_NODES}|(c|l)lnm|lnm"
    r"|extranodal_extension|ene|(lympho?_?)?vascular_invasion|lvi|angioinvasion|(perineural|capsular)_invasion"
    r"|rai(_.*)?|radioiodine(_.*)?|(persistent|residual)_disease|disease_status|(dfs|rfs|pfs|os)(_(months|years|days|time|status))?"
    r"|(extent|type)_of_(surgery|operation|resection)|(surgery|operation|resection)_(type|extent)"
    r"|((lateral|central|selective|radical)_)?(neck|node)_dissection(_.*)?|complications?(_.*)?"
)
"""Names of what is known only after surgery or follow-up: no field of a model."""


def known_afterwards(name: str) -> bool:
    """Whether a column's name says that it is known only after surgery or follow-up ("Recurred", "pN", "Stage")."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")
    return AFTERWARDS.fullmatch(plain) is not None or (plain in FIELD and FIELD[plain].role == "label")


def schema_of(card: Mapping[str, object], *, where: str) -> Schema:
    """The schema that a card describes; `DEFAULT` where it names neither endpoint nor fields.

    Parameters
    ----------
    card : of a cohort or a checkpoint.
    where : file, for the message.

    Raises
    ------
    CaseError
        For everything wrong in it together: names, kinds, ranges, values, fields known only after surgery.
    """
    faults: list[str] = []
    endpoint = _endpoint(card.get("endpoint"), faults)
    raw = card.get("fields", [])
    entries = raw if isinstance(raw, list) else []
    if not isinstance(raw, list):
        faults.append("fields: not a list in brackets")
    if len(entries) > MAX_FIELDS:
        faults.append(f"fields: {len(entries)} of them; at most {MAX_FIELDS}")
        entries = []
    own: dict[str, Field] = {}
    groups: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        place = f"fields, number {number}"
        if not isinstance(entry, dict):
            faults.append(f"{place}: not an object in braces")
            continue
        before = len(faults)
        made = _field(entry, place, faults)
        if made is None or len(faults) > before:
            continue
        if made.name in own or made.name == endpoint.name:
            faults.append(f"{place}: the name {made.name!r} is given twice")
        own[made.name] = made
        if "group" in entry:
            groups[made.name] = str(entry["group"])
    if faults:
        raise list_faults(faults, where=where)
    return DEFAULT.extended(tuple(own.values()), groups, endpoint) if own or endpoint != LLNM else DEFAULT


def card_of(schema: Schema) -> dict[str, Any]:
    """Endpoint and own fields of a schema as the card holds them; nothing where it is the built-in one."""
    groups = {name: g.name for g in schema.groups for name in g.fields}
    changed = [
        f for f in schema.fields if f.name in FIELD and (f.low, f.high) != (FIELD[f.name].low, FIELD[f.name].high)
    ]
    entries = [{"name": f.name, **_range(f)} for f in changed]
    entries += [_entry(f, groups[f.name]) for f in schema.own]
    result: dict[str, Any] = {}
    if schema.endpoint != LLNM:
        e = schema.endpoint
        result["endpoint"] = {"name": e.name, "label": e.label, "short": e.short, "help": e.help}
    return {**result, "fields": entries} if entries else result


def _entry(spec: Field, group: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": spec.name,
        "label": spec.label,
        "kind": spec.kind,
        "help": spec.help,
        "group": group,
    }
    if spec.kind == "number":
        entry |= {"unit": spec.unit, **_range(spec), "mean": spec.mean, "spread": spec.spread}
    if spec.kind == "category":
        entry["values"] = list(spec.values)
    return entry


def _range(spec: Field) -> dict[str, float]:
    return {key: value for key, value in (("low", spec.low), ("high", spec.high)) if math.isfinite(value)}


def _endpoint(raw: object, faults: list[str]) -> Endpoint:
    if raw is None:
        return LLNM
    if not isinstance(raw, dict):
        faults.append("endpoint: not an object in braces")
        return LLNM
    faults += unknown_keys(raw, _ENDPOINT_KEYS, "endpoint: ")
    name = raw.get("name")
    if name == LLNM.name:
        name_faults = []
    else:
        name_faults = _name_faults(name, "endpoint")
        if not name_faults and name in FIELD and FIELD[str(name)].role != "label":
            name_faults = [f"endpoint: {name!r} is a field; an outcome needs a name of its own"]
        if not name_faults and name in FIELD and FIELD[str(name)].kind != "flag":
            name_faults = [f"endpoint: {name!r} is no yes or no; name a column that is"]
    faults += name_faults
    known = FIELD.get(str(name))
    label = _text(raw, "label", known.label if known else str(name), "endpoint", faults)
    return Endpoint(
        str(name), label,
        _text(raw, "short", LLNM.short if name == LLNM.name else label, "endpoint", faults),
        _text(raw, "help", known.help if known else label, "endpoint", faults),
    )  # fmt: skip


def _field(entry: Mapping[str, object], place: str, faults: list[str]) -> Field | None:
    faults += unknown_keys(entry, _KEYS, f"{place}: ")
    name = entry.get("name")
    if isinstance(name, str) and name in FIELD:
        return _ranged(FIELD[name], entry, place, faults)
    if wrong := _name_faults(name, place):
        faults += wrong
        return None
    label = _text(entry, "label", str(name), place, faults)
    if known_afterwards(str(name)) or known_afterwards(label):
        faults.append(f"{place}: {name!r} is known only after surgery or follow-up; a model must not be given it")
    kind = entry.get("kind")
    if kind not in _KINDS:
        faults.append(f"{place}: kind {short(kind)}; give one of {', '.join(_KINDS)}")
        return None
    low, high = _number(entry, "low", -math.inf, place, faults), _number(entry, "high", math.inf, place, faults)
    if not low < high:
        faults.append(f"{place}: low {low:g} is not below high {high:g}")
    given = entry.get("values")
    values = tuple(v.strip() for v in given if isinstance(v, str)) if isinstance(given, list) else ()
    proper = isinstance(given, list) and len(given) == len(values) and all(0 < len(v) <= 100 for v in values)
    if kind == "category" and not (proper and 2 <= len({v.lower() for v in values}) == len(values) <= MAX_VALUES):
        faults.append(f"{place}: values must be 2 to {MAX_VALUES} different texts")
        return None
    bounded = math.isfinite(low) and math.isfinite(high)
    mean = _number(entry, "mean", (low + high) / 2 if bounded else 0.0, place, faults)
    spread = _number(entry, "spread", (high - low) / 4 if bounded else 1.0, place, faults)
    if spread <= 0:
        faults.append(f"{place}: spread {spread:g} is not above 0")
    if "group" in entry and not isinstance(entry["group"], str):
        faults.append(f"{place}: group {short(entry['group'])} is no text")
    return Field(
        str(name), label, cast(Kind, kind), "input", _text(entry, "help", label, place, faults),
        _text(entry, "unit", "", place, faults), low, high, mean, spread,
        values if kind == "category" else (),
    )  # fmt: skip


def _ranged(spec: Field, entry: Mapping[str, object], place: str, faults: list[str]) -> Field | None:
    """A built-in number in another range."""
    if set(entry) - {"name", "low", "high"} or spec.kind != "number" or not spec.is_token:
        faults.append(f"{place}: {spec.name!r} is built in; only the low and high of a number can be changed")
        return None
    low, high = _number(entry, "low", spec.low, place, faults), _number(entry, "high", spec.high, place, faults)
    if not low < high:
        faults.append(f"{place}: low {low:g} is not below high {high:g}")
    return replace(spec, low=low, high=high)


def _name_faults(name: object, place: str) -> list[str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return [f"{place}: name {short(name)}; give small letters, digits and _, a letter first, at most 60"]
    if _TAKEN.fullmatch(name):
        return [f"{place}: the name {name!r} is used for something else in a table; choose another"]
    return []


def _text(raw: Mapping[str, object], key: str, default: str, place: str, faults: list[str]) -> str:
    value = raw.get(key, default)
    if (
        not isinstance(value, str)
        or len(value) > MAX_TEXT
        or not value.isprintable()
        or (default and not value.strip())
    ):
        faults.append(f"{place}: {key} {short(value)}; give one line of text, at most {MAX_TEXT} characters")
        return default
    return value.strip()


def _number(raw: Mapping[str, object], key: str, default: float, place: str, faults: list[str]) -> float:
    value = raw.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        faults.append(f"{place}: {key} {short(value)} is no finite number")
        return default
    return float(value)
