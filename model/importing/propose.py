"""A first mapping for a person to correct: columns by their names, their values, and whether the two agree.

Nothing is guessed where a guess could do harm: what leads to a person, what is known only afterwards, and what no field
means and no rule makes safe is left out, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from model.importing.manifest import Manifest
from model.importing.mapping import (
    ALL_TARGETS,
    BORN,
    ENDPOINT,
    IDENTIFYING,
    OWN,
    PATIENT,
    SEEN,
    Agreed,
    Column,
    field_name_of,
)
from model.importing.profile import Profile
from model.importing.values import (
    DAY_FIRST,
    LARGEST,
    LENGTHS,
    MONTH_FIRST,
    OTHERS,
    SMALLEST,
    CellError,
    DateOrder,
    plain,
    value,
)
from model.importing.words import N_CATEGORY, leads_to_a_person, meanings, name_and_unit, plain_name
from model.ingest.card import known_afterwards
from model.ingest.reports import find_identifiers
from model.ingest.table import PATH_COLUMNS, SPACING_COLUMNS
from model.schema import FIELD, Field, is_missing

_LEAST_FIT = 0.9  # share of the cells that a field must understand
_LONGEST_VALUE = 60
_FREE_TEXT = 80
_MOST_OWN_VALUES = 20
_RECENT = 30_000  # 1982 as Excel counts days; few measurements are such numbers throughout
# Words in which an export may say what a field's values are, beside the schema's own synonyms.
_MORE_VALUES: Mapping[str, Mapping[str, str]] = {
    "sex": {"female": "female", "male": "male", "weiblich": "female", "männlich": "male", "maennlich": "male", "femme": "female",
            "homme": "male", "女": "female", "男": "male", "2": "female", "1": "male"},
    "multifocal": {"multi focal": "yes", "multifocal": "yes", "multiple": "yes", "uni focal": "no", "unifocal": "no",
                   "single": "no", "solitary": "no"},
    "side": {"left side": "left", "right side": "right", "links": "left", "rechts": "right", "左": "left", "右": "right"},
    "histology": {"papillary carcinoma": "PTC", "papillary thyroid carcinoma": "PTC", "follicular carcinoma": "FTC",
                  "medullary carcinoma": "MTC"},
    "braf_v600e": {"mutant": "yes", "mut": "yes", "v600e": "yes", "wt": "no", "wild": "no"},
    "split": {"training": "train", "valid": "validation", "val": "validation", "tuning": "validation", "testing": "test"},
}  # fmt: skip
_FLAG_PAIRS = (
    ("yes", "no"),
    ("positive", "negative"),
    ("present", "absent"),
    ("true", "false"),
    ("1", "0"),
    ("y", "n"),
)


def propose(manifest: Manifest, found: Mapping[str, Profile], endpoint: Mapping[str, str] | None = None) -> Agreed:
    """A mapping for every column of an export.

    Parameters
    ----------
    manifest : the export.
    found : profile of each column.
    endpoint : as a cohort's card names it, None for lateral node metastasis.
    """
    columns: list[Column] = []
    taken: set[str] = set()
    # Exact names first, so that "Age" is not taken by "Age at first scan".
    order = sorted(manifest.header, key=lambda name: (not _exact(name), manifest.header.index(name)))
    for name in order:
        made = _proposed(name, found[name], taken)
        if made.to not in (IDENTIFYING, OWN, ""):
            taken.add(made.to)
        if made.to == OWN:
            taken.add(made.name)
        columns.append(made)
    columns.sort(key=lambda c: manifest.header.index(c.column))
    if {BORN, SEEN} <= taken and "age_years" in taken:
        columns = [
            Column(c.column, IDENTIFYING, why="the age has a column of its own") if c.to in (BORN, SEEN) else c
            for c in columns
        ]
    elif (BORN in taken) != (SEEN in taken):
        columns = [Column(c.column, IDENTIFYING, why="a date") if c.to in (BORN, SEEN) else c for c in columns]
    return Agreed(tuple(columns), dict(endpoint or {}))


def _exact(column: str) -> bool:
    name = plain_name(column)
    return any(name == plain_name(target) for target in ALL_TARGETS)


def _proposed(name: str, seen: Profile, taken: set[str]) -> Column:
    if not seen.filled:
        return Column(name, "", why="empty")
    if plain_name(name) in N_CATEGORY and ENDPOINT not in taken and _has(seen, "n1b"):
        return Column(
            name, ENDPOINT, _present({"n1b": "yes", OTHERS: "no"}, seen), why="N1b is lateral node metastasis"
        )
    for target in meanings(name):
        if target not in taken and (made := _fits(name, target, seen)) is not None:
            return made
    if known_afterwards(name):
        return Column(name, "", why="known only after surgery or follow-up")
    if leads_to_a_person(name) or seen.mostly_dates:
        return Column(name, IDENTIFYING, why="leads to a person, or is a date")
    if seen.pictures or seen.texts:
        return Column(name, "", why="files that no field means")
    if seen.like_numbers_of_persons:
        return Column(name, IDENTIFYING, why="numbers of which none comes twice: a record number?")
    if seen.like_days(_RECENT):
        return Column(name, IDENTIFYING, why="whole numbers as Excel counts days: dates?")
    return _own(name, seen, taken)


def _fits(name: str, target: str, seen: Profile) -> Column | None:
    """The column as it would go to a target, None where its cells are not of that kind."""
    if target == PATIENT:
        return Column(name, PATIENT) if not (seen.mostly_dates or seen.pictures) else None
    if target in PATH_COLUMNS:
        return Column(name, target) if seen.pictures >= 0.5 * seen.filled else None
    if target in (BORN, SEEN):
        return Column(name, target, dates=_order(seen)) if seen.mostly_dates or seen.like_days() else None
    if target == "report_file":
        return Column(name, target) if seen.texts >= 0.5 * seen.filled else None
    if target == "report_text":
        if seen.texts >= 0.5 * seen.filled:
            return Column(name, "report_file")
        return Column(name, target) if seen.longest > 15 and not seen.mostly_numbers and not seen.pictures else None
    if target == "centre":
        return Column(name, target) if not seen.pictures and seen.longest <= _LONGEST_VALUE * 2 else None
    if target.startswith("frame_") or target.startswith("pixel_spacing") or target in SPACING_COLUMNS:
        return Column(name, target) if seen.mostly_numbers else None
    if target == ENDPOINT:
        values = _values(Field(ENDPOINT, "", "flag", "label", ""), ENDPOINT, seen)
        return None if values is None else Column(name, ENDPOINT, values)
    spec = FIELD[target]
    if spec.role in ("input", "measured") and known_afterwards(name):
        return None
    if spec.kind == "number":
        return _number(name, spec, seen)
    values = _values(spec, target, seen)
    return None if values is None else Column(name, target, values)


def _number(name: str, spec: Field, seen: Profile) -> Column | None:
    if not seen.mostly_numbers:
        return None
    unit = name_and_unit(name)[1]
    if (
        not unit
        and spec.unit == "mm"
        and spec.name in LENGTHS
        and not seen.units["mm"] + seen.units["cm"]
    ):
        middle = sorted(seen.sampled)[len(seen.sampled) // 2][0]
        unit = "cm" if middle < 3.5 else ""  # few nodules are under 3.5 mm or over 35 mm in the middle of a cohort
    unit = "" if unit == spec.unit else unit
    low = high = None
    inside = 0
    for number, written in seen.sampled:
        try:
            inside += value(spec, f"{number!r} {written}", values={}, unit=unit, separator=".") is not None
        except CellError:
            continue
    if spec.name == "age_years" and 0 <= seen.low < spec.low and seen.high <= spec.high:
        low, inside = 0.0, len(seen.sampled)  # children, too
    # A length of cm and mm is still a length: the survey asks about it. As a field of its own nobody would.
    bare = [number for number, written in seen.sampled if not written]
    mixed = spec.name in LENGTHS and bool(bare) and min(bare) < SMALLEST and max(bare) * 10 > LARGEST
    if inside < _LEAST_FIT * len(seen.sampled) and not mixed:
        return None
    return Column(name, spec.name, unit=unit, low=low, high=high)


def _values(spec: Field, target: str, seen: Profile) -> dict[str, str] | None:
    """A value mapping for all values of a column, None where too few fit."""
    if seen.counts is None:
        return None
    more = _MORE_VALUES.get(target, {})
    made: dict[str, str] = {}
    fits = 0
    for raw, times in seen.counts.items():
        if is_missing(raw) and raw.lower() not in spec.values:
            continue
        try:
            to = value(spec, raw, values={}, unit="", separator="")
        except CellError:
            to = more.get(plain(raw).replace("-", " "))
            if to is None:
                continue
            made[raw] = to
        fits += times
    return (
        made
        if seen.filled and fits >= _LEAST_FIT * sum(t for v, t in seen.counts.items() if not is_missing(v))
        else None
    )


def _own(name: str, seen: Profile, taken: set[str]) -> Column:
    """A column that no field means, as a field of the cohort's own where that is safe."""
    own = field_name_of(name)
    unit = name_and_unit(name)[1] or (next(iter(seen.units)) if len(seen.units) == 1 else "")
    label = (
        " ".join(re.sub(rf"[\s_]*[(\[]?{unit}[)\]]?\s*$", "", name, flags=re.IGNORECASE).replace("_", " ").split())
        or name
    )
    while own in taken or own in FIELD:
        own = f"{own}_own"
    values = list(seen.counts or ())
    given = [v for v in values if not is_missing(v) or v.lower() == "none"]
    flag = len(given) <= 2 and any({plain(v) for v in given} <= set(pair) for pair in _FLAG_PAIRS)
    if seen.counts is not None and flag:
        return Column(name, OWN, name=own, label=label, kind="flag")
    if seen.mostly_numbers:
        if seen.low == seen.high:
            return Column(name, "", why="one value throughout")
        spread = seen.high - seen.low
        low = 0.0 if seen.low >= 0 else seen.low - spread
        return Column(
            name,
            OWN,
            name=own,
            label=label,
            kind="number",
            unit=unit,
            low=low,
            high=seen.high + spread,
        )
    if seen.longest > _FREE_TEXT:
        return Column(name, IDENTIFYING, why="free text")
    many = len(given) > _MOST_OWN_VALUES or not seen.repeated
    if seen.counts is None or many or any(len(v) > _LONGEST_VALUE for v in given):
        return Column(name, IDENTIFYING, why="too many different words to be a category; may lead to a person")
    if len(given) < 2:
        return Column(name, "", why="one value throughout")
    if any(find_identifiers(v).notices for v in given):
        return Column(name, IDENTIFYING, why="values that look like names, dates or numbers of persons")
    return Column(name, OWN, {v: v for v in given}, name=own, label=label, kind="category")


def _has(seen: Profile, wanted: str) -> bool:
    return seen.counts is not None and any(plain(v) == wanted for v in seen.counts)


def _present(values: Mapping[str, str], seen: Profile) -> dict[str, str]:
    """A value mapping in the spelling of the column."""
    spelled = {plain(v): v for v in seen.counts or ()}
    return {spelled.get(raw, raw): to for raw, to in values.items()}


def _order(seen: Profile) -> DateOrder:
    """The order of day and month where the column's dates tell; "" where they do not."""
    day_first, month_first = seen.dates[DAY_FIRST], seen.dates[MONTH_FIRST]
    if bool(day_first) == bool(month_first):
        return ""
    return "dmy" if day_first else "mdy"
