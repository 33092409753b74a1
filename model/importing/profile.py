"""What each column of an export holds, in numbers: one pass, in memory that does not grow with the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from model.importing.manifest import Row
from model.importing.values import SERIAL_HIGH, SERIAL_LOW, CellError, DateOrder, date_orders, number, plain
from model.schema import is_missing

MOST_VALUES = 50
"""Different values up to which a column may be a category; as `model.ingest.card` allows."""
_SAMPLED = 5000
_PICTURES, _TEXTS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".webp"), (".txt", ".text")


@dataclass
class Profile:
    """One column.

    Parameters
    ----------
    filled : cells that hold something.
    counts : times of each value, as written first; None once there are more than `MOST_VALUES`.
    numbers : cells that are numbers; `low` and `high` their range, `sampled` the first few thousand with
        the units written beside them.
    whole : whether all numbers are whole.
    units : cells with each unit written beside the number.
    dates : cells by the orders in which they are a date.
    pictures, texts : cells that name a picture, a text file.
    longest : characters of the longest cell.
    repeated : whether a value came twice, as far as was looked.
    """

    filled: int = 0
    counts: Counter[str] | None = field(default_factory=Counter)
    numbers: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    whole: bool = True
    sampled: list[tuple[float, str]] = field(default_factory=list)
    units: Counter[str] = field(default_factory=Counter)
    dates: Counter[frozenset[DateOrder]] = field(default_factory=Counter)
    pictures: int = 0
    texts: int = 0
    longest: int = 0
    repeated: bool = False
    _seen: set[int] = field(default_factory=set)
    _first: dict[str, str] = field(default_factory=dict)

    def add(self, cell: str, separator: str) -> None:
        """Count one cell."""
        # "None" may be a value of a category; whether it is missing is for the field to say.
        if not cell:
            return
        self.longest = max(self.longest, len(cell))
        key = plain(cell[:200])
        if self.counts is not None:
            self.counts[self._first.setdefault(key, cell)] += 1
            if len(self.counts) > MOST_VALUES:
                self.counts = None
        if len(self._seen) < _SAMPLED:
            mark = hash(key)
            self.repeated |= mark in self._seen
            self._seen.add(mark)
        if is_missing(cell):
            return
        self.filled += 1
        if orders := date_orders(cell):
            self.dates[orders] += 1
        low = cell.lower()
        self.pictures += low.endswith(_PICTURES)
        self.texts += low.endswith(_TEXTS)
        try:
            read = number(cell, separator)
        except CellError:
            return
        self.numbers += 1
        self.whole &= read.value == int(read.value)
        self.low, self.high = min(self.low, read.value), max(self.high, read.value)
        self.units[read.unit] += 1
        if len(self.sampled) < _SAMPLED:
            self.sampled.append((read.value, read.unit))

    @property
    def mostly_numbers(self) -> bool:
        """Whether nearly all cells are numbers."""
        return self.filled > 0 and self.numbers >= 0.9 * self.filled

    @property
    def mostly_dates(self) -> bool:
        """Whether nearly all cells are dates, in whatever order."""
        return self.filled > 0 and self.dates.total() >= 0.9 * self.filled

    def like_days(self, low: int = SERIAL_LOW) -> bool:
        """Whether it is whole numbers from `low` on as Excel counts days, where the format of dates was lost."""
        return self.mostly_numbers and self.whole and low <= self.low and self.high <= SERIAL_HIGH

    @property
    def like_numbers_of_persons(self) -> bool:
        """Whether it is long whole numbers of which none comes twice: a record number more than a measurement."""
        return self.mostly_numbers and self.whole and not self.repeated and self.filled > 1 and self.high >= 10_000


def profiles(header: tuple[str, ...], rows: Iterable[Row], separator: str) -> tuple[dict[str, Profile], int]:
    """The profile of every column, and the number of rows."""
    found = {name: Profile() for name in header}
    count = 0
    for _, cells in rows:
        count += 1
        for name, cell in zip(header, cells, strict=True):
            found[name].add(cell, separator)
    return found, count
