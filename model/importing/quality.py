"""Is a cohort fit to learn from? Missing values, ranges, classes, duplicates, and how the centres differ; in one pass.

Differences between a centre and all others are standardised (difference of means or shares ÷ pooled standard deviation);
0.2 and 0.5 are commonly called small and medium (J. Cohen, 1988). They need no test and do not grow with the cohort.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from model.cohort.discrimination import wilson
from model.ingest.table import IMAGE_COLUMNS
from model.schema import Field, Schema, is_missing

MEDIUM = 0.5
_LEAST_CASES = 10
_MOST_CENTRES = 200
_FEW_CASES = 50
_RARE = 10


@dataclass(frozen=True)
class FieldQuality:
    """One field.

    Parameters
    ----------
    name, label, unit : of the field.
    filled, missing : cases.
    low, mean, high : of a number, None for others.
    counts : cases of each value of a category or flag.
    by_centre : share filled, by centre.
    """

    name: str
    label: str
    unit: str
    filled: int
    missing: int
    low: float | None
    mean: float | None
    high: float | None
    counts: Mapping[str, int]
    by_centre: Mapping[str, float]


@dataclass(frozen=True)
class CentreQuality:
    """One centre: cases, how many have an outcome and are positive, and the share with its 95 % interval (Wilson)."""

    centre: str
    cases: int
    known: int
    positive: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """How one centre differs from the others in a field: standardised, and whether in its values or in what is missing."""

    centre: str
    field: str
    label: str
    of: str
    standardised: float


@dataclass(frozen=True)
class Quality:
    """What `quality_of` finds.

    Parameters
    ----------
    cases, patients : how many.
    endpoint : label of the outcome.
    fields : every field that is filled in at least one case.
    centres : by size.
    differences : medium and larger ones, the largest first.
    near : pairs of cases with near-identical pictures.
    notices : what a person should know, one sentence each.
    """

    cases: int
    patients: int
    endpoint: str
    fields: tuple[FieldQuality, ...]
    centres: tuple[CentreQuality, ...]
    differences: tuple[Difference, ...]
    near: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As its JSON file holds it; `quality_from` gives it back."""
        return asdict(self)


def quality_from(made: Mapping[str, Any]) -> Quality:
    """A quality of what its JSON file holds; raises TypeError or KeyError where it is none."""
    return Quality(
        made["cases"], made["patients"], made["endpoint"], tuple(FieldQuality(**f) for f in made["fields"]),
        tuple(CentreQuality(**c) for c in made["centres"]), tuple(Difference(**d) for d in made["differences"]),
        tuple((a, b) for a, b in made["near"]), tuple(made["notices"]),
    )  # fmt: skip


@dataclass
class _Sum:
    """Count, sum and sum of squares, and the ends."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.squares += value * value
        self.low, self.high = min(self.low, value), max(self.high, value)

    @property
    def mean(self) -> float:
        return self.total / self.count

    def without(self, part: _Sum) -> _Sum:
        return _Sum(self.count - part.count, self.total - part.total, self.squares - part.squares)

    @property
    def variance(self) -> float:
        return max(0.0, self.squares / self.count - self.mean**2)


@dataclass
class _Counted:
    """Everything counted of one field, in all and by centre."""

    all: _Sum = field(default_factory=_Sum)
    counts: Counter[str] = field(default_factory=Counter)
    by_centre: dict[str, _Sum] = field(default_factory=lambda: defaultdict(_Sum))
    words_by_centre: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def quality_of(rows: Iterable[Mapping[str, str]], schema: Schema, near: Iterable[tuple[str, str]] = ()) -> Quality:
    """Look at every case of a cohort once.

    Parameters
    ----------
    rows : cells of `cases.csv` by column, the cases of a patient next to each other.
    schema : of the cohort.
    near : pairs of cases with near-identical pictures.
    """
    looked = [f for f in schema.fields if f.kind != "text" and f.name != "split"]
    found = {f.name: _Counted() for f in looked}
    sizes: Counter[str] = Counter()
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    have: Counter[str] = Counter()
    patients, last = 0, ""
    for row in rows:
        centre = row.get("centre") or "–"
        centre = centre if centre in sizes or len(sizes) < _MOST_CENTRES else "others"
        sizes[centre] += 1
        patient = row.get("patient") or row["case_id"]
        patients, last = patients + (patient != last), patient
        have.update(("report",) if row.get("report_text") else ())
        have.update(("picture",) if any(row.get(c) for c in IMAGE_COLUMNS) else ())
        have.update(("spacing",) if row.get("pixel_spacing_row_mm") else ())
        outcomes[centre][row.get(schema.endpoint.name) or ""] += 1
        for f in looked:
            cell = row.get(f.name) or ""
            if is_missing(cell) and cell not in f.values:
                continue
            _count(found[f.name], f, cell, centre)
    cases = sum(sizes.values())
    centres = tuple(_centre(name, sizes[name], outcomes[name]) for name, _ in sizes.most_common())
    fields = tuple(_field(f, found[f.name], sizes, cases) for f in looked if found[f.name].all.count)
    differences = sorted(_differences(looked, found, sizes), key=lambda d: (-abs(d.standardised), d.centre, d.field))
    pairs = tuple((a, b) for a, b in near)
    notices = _notices(cases, patients, centres, fields, have, pairs, schema)
    return Quality(cases, patients, schema.endpoint.label, fields, centres, tuple(differences), pairs, tuple(notices))


def _count(counted: _Counted, spec: Field, cell: str, centre: str) -> None:
    number = float(cell) if spec.kind == "number" else 0.0
    counted.all.add(number)
    counted.by_centre[centre].add(number)
    if spec.kind != "number":
        counted.counts[cell] += 1
        counted.words_by_centre[centre][cell] += 1


def _field(spec: Field, counted: _Counted, sizes: Counter[str], cases: int) -> FieldQuality:
    is_number = spec.kind == "number"
    return FieldQuality(
        spec.name, spec.label, spec.unit, counted.all.count, cases - counted.all.count,
        counted.all.low if is_number else None, counted.all.mean if is_number else None, counted.all.high if is_number else None,
        dict(counted.counts.most_common()), {c: counted.by_centre[c].count / n for c, n in sizes.most_common()},
    )  # fmt: skip


def _centre(name: str, cases: int, outcomes: Counter[str]) -> CentreQuality:
    positive, known = outcomes["yes"], outcomes["yes"] + outcomes["no"]
    if not known:
        return CentreQuality(name, cases, 0, 0, None, None, None)
    rate = wilson(positive, known)
    return CentreQuality(name, cases, known, positive, rate.value, rate.low, rate.high)


def _differences(looked: list[Field], found: Mapping[str, _Counted], sizes: Counter[str]) -> Iterable[Difference]:
    cases = sum(sizes.values())
    for spec in looked:
        counted = found[spec.name]
        for centre, size in sizes.items():
            rest = cases - size
            if min(size, rest) < _LEAST_CASES or not counted.all.count:
                continue
            here = counted.by_centre[centre].count
            gap = _between_shares(here / size, (counted.all.count - here) / rest)
            if abs(gap) >= MEDIUM:
                yield Difference(centre, spec.name, spec.label, "filled", gap)
            there = counted.all.count - here
            if min(here, there) < _LEAST_CASES:
                continue
            if spec.kind == "number":
                gap = _between_means(counted.by_centre[centre], counted.all.without(counted.by_centre[centre]))
                if abs(gap) >= MEDIUM:
                    yield Difference(centre, spec.name, spec.label, "mean", gap)
                continue
            for value, times in counted.counts.items():
                mine = counted.words_by_centre[centre][value]
                gap = _between_shares(mine / here, (times - mine) / there)
                if abs(gap) >= MEDIUM and (spec.kind != "flag" or value == "yes"):
                    yield Difference(centre, spec.name, spec.label, value, gap)


def _between_means(one: _Sum, other: _Sum) -> float:
    spread = math.sqrt((one.variance + other.variance) / 2)
    return (one.mean - other.mean) / spread if spread else 0.0


def _between_shares(one: float, other: float) -> float:
    spread = math.sqrt((one * (1 - one) + other * (1 - other)) / 2)
    # Of a field that one centre always and the other never fills, the spread is 0 and the difference as large as can be told.
    return (one - other) / spread if spread else math.copysign(9.99, one - other) if one != other else 0.0


def _notices(
    cases: int, patients: int, centres: tuple[CentreQuality, ...], fields: tuple[FieldQuality, ...], have: Counter[str],
    near: tuple[tuple[str, str], ...], schema: Schema,
) -> Iterable[str]:  # fmt: skip
    known, positive = sum(c.known for c in centres), sum(c.positive for c in centres)
    label = schema.endpoint.label
    if patients == 1:
        yield "All cases are of one patient: nothing can be learnt or evaluated."
    elif cases < _FEW_CASES:
        yield f"{cases} cases: intervals will be wide."
    if not known:
        yield f"No case has an outcome ({label}): the cohort can be predicted, but not trained or evaluated on."
    elif positive in (0, known):
        which = "positive" if positive else "negative"
        yield f"All {known:,} cases with an outcome are {which} for {label}: no model can be trained or evaluated."
    elif min(positive, known - positive) < _RARE:
        yield f"Only {min(positive, known - positive)} cases of the rarer class of {label}."
    if 0 < known < cases:
        yield f"{cases - known:,} of {cases:,} cases have no outcome."
    for what, words in (("picture", "no picture"), ("report", "no report")):
        if 0 < have[what] < cases:
            yield f"{cases - have[what]:,} of {cases:,} cases have {words}."
    if have["picture"] and have["spacing"] < have["picture"]:
        lacking = have["picture"] - have["spacing"]
        yield f"{lacking:,} cases with pictures have no pixel spacing: distances are given in % of gland depth."
    if near:
        yield f"{len(near)} pairs of cases have near-identical pictures: the same patient twice would leak between splits."
    for f in fields:
        if f.missing > 0.5 * cases and f.name != schema.endpoint.name:
            yield f"{f.label} is missing in {f.missing:,} of {cases:,} cases."
