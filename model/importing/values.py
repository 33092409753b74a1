"""One cell → a value: numbers with their units, dates, yes and no in other words. None of it repeats what a cell holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from model.errors import FieldError
from model.ingest.parts import parse_single
from model.schema import Field, Value, is_missing

DateOrder = Literal["", "ymd", "dmy", "mdy"]
OTHERS = "*"
"""Stands in a value mapping for every value that is not named."""
OLDEST = 90.0
"""Ages above 89 are stored as 90, as the HIPAA Safe Harbor asks: the very old are few enough to be known."""

LENGTHS = ("size_mm", "height_mm", "width_mm")
SMALLEST, LARGEST = 2.0, 60.0
"""In mm: hardly a nodule is smaller, hardly one larger."""

_FACTORS: Mapping[str, Mapping[str, float]] = {
    "mm": {"mm": 1.0, "cm": 10.0, "m": 1000.0, "µm": 0.001, "um": 0.001, "in": 25.4},
    "years": {"years": 1.0, "year": 1.0, "y": 1.0, "yrs": 1.0, "yr": 1.0, "a": 1.0, "months": 1 / 12, "month": 1 / 12},
}
_NUMBER = re.compile(r"([-+]?\d+(?:[.,]\d+)?(?:e[-+]?\d+)?)\s*([a-zµ%/]*)\.?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+")
_MORE_FLAGS = {
    "ja": "yes", "oui": "yes", "si": "yes", "sí": "yes", "是": "yes", "有": "yes", "+": "yes", "pos": "yes", "x": "yes",
    "nein": "no", "non": "no", "否": "no", "无": "no", "-": "no", "−": "no", "neg": "no", "wildtype": "no", "wild-type": "no",
}  # fmt: skip
_DATE = re.compile(r"(\d{1,4})[-./](\d{1,2})[-./](\d{1,4})(?:[ T].*)?|(\d{4})(\d{2})(\d{2})")
_MONTHS = {  # by their first letters: English, German, French, Spanish, Italian
    start: month
    for month, starts in enumerate(
        ("jan jän ene gen", "feb fév fev", "mar mär mrz", "apr avr abr", "may mai mag", "jun juin giu", "jul juil lug",
         "aug aoû aou ago", "sep set", "oct okt ott", "nov", "dec dez déc dic"), 1,
    )
    for start in starts.split()
}  # fmt: skip
_NAMED = re.compile(
    r"(?:(\d{1,2})\.?[-/ ]*([^\W\d_]{3,10})\.?|([^\W\d_]{3,10})\.? (\d{1,2}),?)[-/ ,]*(\d{4})(?:[ T].*)?"
)
_SERIAL = re.compile(r"\d{4,5}")
_SERIAL_START, SERIAL_LOW, SERIAL_HIGH = date(1899, 12, 30), 7_000, 60_000
"""A day as Excel counts it, where its format was lost: 1919 to 2064."""


class CellError(Exception):
    """Why a cell was not taken, in words that do not repeat it."""


@dataclass(frozen=True)
class Number:
    """A number as written, and the unit written beside it ("" where none)."""

    value: float
    unit: str


def number(cell: str, separator: str) -> Number:
    """Read a number with "." or "," as decimal sign and a unit behind it; raises CellError."""
    plain = cell.strip().replace("\u00a0", " ")
    if separator in ("", ",") and _THOUSANDS.fullmatch(plain):
        raise CellError("a comma that may be a decimal sign or mark thousands; write it without")
    match = _NUMBER.fullmatch(plain)
    if match is None:
        raise CellError("not a number")
    return Number(float(match[1].replace(",", ".")), match[2].lower())


def known_units(unit: str) -> tuple[str, ...]:
    """Units that a number of this unit may be given in."""
    return tuple(_FACTORS.get(unit, {unit: 1.0} if unit else {}))


def factor(given: str, wanted: str) -> float:
    """What a number in `given` is multiplied by to be in `wanted`; raises CellError where the two do not go together."""
    if not given or given == wanted.lower():
        return 1.0
    try:
        return _FACTORS[wanted][given]
    except KeyError:
        raise CellError(f"its unit is not {wanted}" if wanted else "a unit where there should be none") from None


def date_of(cell: str, order: DateOrder) -> date:
    """Read a date, or a day as Excel counts it; `order` says which of day and month comes first. Raises CellError."""
    match = _DATE.fullmatch(cell.strip())
    if match is None:
        return _named_or_counted(cell.strip())
    if match[4]:
        parts = int(match[4]), int(match[5]), int(match[6])
    elif len(match[1]) == 4:
        parts = int(match[1]), int(match[2]), int(match[3])
    else:
        first, second, year = int(match[1]), int(match[2]), int(match[3])
        if len(match[3]) < 4:
            raise CellError("a year of two figures; write it with four")
        if order not in ("dmy", "mdy"):
            raise CellError("a date whose day and month could be either; say the order of the column")
        parts = (year, second, first) if order == "dmy" else (year, first, second)
    try:
        return date(*parts)
    except ValueError:
        raise CellError("no day of the calendar, or day and month in the other order") from None


def _named_or_counted(cell: str) -> date:
    """A date whose month is a word, or a day as Excel counts it; raises CellError."""
    if _SERIAL.fullmatch(cell) and SERIAL_LOW <= int(cell) <= SERIAL_HIGH:
        return _SERIAL_START + timedelta(int(cell))
    match = _NAMED.fullmatch(cell)
    word = (match[2] or match[3]).lower() if match else ""
    month = _MONTHS.get(word[:4], _MONTHS.get(word[:3]))
    if match is None or month is None:
        raise CellError("not a date")
    try:
        return date(int(match[5]), month, int(match[1] or match[4]))
    except ValueError:
        raise CellError("no day of the calendar") from None


def date_orders(cell: str) -> frozenset[DateOrder]:
    """The orders in which a cell is a date: empty where it is none, or a number that Excel may count days by."""
    match = _DATE.fullmatch(cell.strip())
    if match is None and _SERIAL.fullmatch(cell.strip()):
        return frozenset()
    if match is None or match[4] or len(match[1] or "") == 4:
        try:
            date_of(cell, "ymd")
        except CellError:
            return frozenset()
        return frozenset({"ymd"})
    fits: set[DateOrder] = set()
    for order in ("dmy", "mdy"):
        try:
            date_of(cell, order)
        except CellError:
            continue
        fits.add(order)
    return frozenset(fits)


DAY_FIRST: frozenset[DateOrder] = frozenset({"dmy"})
MONTH_FIRST: frozenset[DateOrder] = frozenset({"mdy"})
EITHER: frozenset[DateOrder] = frozenset({"dmy", "mdy"})


def age(born: date, seen: date) -> float:
    """Whole years between birth and examination; raises CellError where they are not in that order."""
    if seen < born:
        raise CellError("examined before birth")
    return float(seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day)))


def coded(cell: str, values: Mapping[str, str]) -> str | None:
    """What a value mapping says of a cell, None where it says nothing; letter case and white space do not count."""
    by_plain = {plain(raw): to for raw, to in values.items()}
    found = by_plain.get(plain(cell))
    if found is None and OTHERS in values and not is_missing(cell):
        return values[OTHERS]
    return found


def plain(cell: str) -> str:
    """A cell as value mappings compare it: "2.0" is 2, letter case and white space do not count."""
    return re.sub(r"^(\d+)\.0+$", r"\1", " ".join(cell.split()).lower())


def value(spec: Field, cell: str, *, values: Mapping[str, str], unit: str, separator: str) -> Value | None:
    """A cell as its field's value, None where it is missing.

    Parameters
    ----------
    spec : the field.
    cell : as the table holds it.
    values : value mapping, consulted first; a value mapped to "" is missing.
    unit : unit of the column, where the cell names none; "" for the field's own.
    separator : of the table, for decimal commas.

    Raises
    ------
    CellError
        If it is not allowed.
    """
    if (mapped := coded(cell, values)) is not None:
        cell = mapped
    if is_missing(cell) and cell.strip().lower() not in spec.values:
        return None
    if spec.kind == "number":
        read = number(cell, separator)
        raw = read.value * factor(read.unit or unit, spec.unit)
        if spec.name == "age_years" and raw > 89 and raw <= spec.high:
            raw = OLDEST
        return _parsed(spec, round(raw, 6))
    if spec.kind == "flag":
        return _parsed(spec, _MORE_FLAGS.get(plain(cell), plain(cell)))
    return _parsed(spec, re.sub(r"^(\d)\.0+$", r"\1", cell.strip()))


def _parsed(spec: Field, raw: object) -> Value | None:
    try:
        return parse_single(spec, raw)
    except FieldError:
        raise CellError(f"not {spec.allowed()}") from None
