"""Odds ratios: each variable alone and all together, with what was missing and what cannot be separated told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.cohort.discrimination import Estimate
from model.cohort.logistic import LogisticFit, fit_logistic
from model.cohort.scores import FloatArray, IntArray
from model.cohort.tiles import cross_products
from model.errors import StatisticsError
from model.schema import DEFAULT, FIELD, LLNM

BoolArray = npt.NDArray[np.bool_]

UNITS: Mapping[str, float] = {
    "age_years": 10, "size_mm": 5, "height_mm": 5, "width_mm": 5, "capsule_distance_mm": 1,
    "capsule_distance_fraction": 0.1, "echo_difference": 0.1,
}  # fmt: skip
"""The step an odds ratio of a number is told for, in the field's own unit."""

VARIABLES: tuple[str, ...] = DEFAULT.tokens
"""What can be regressed on: every field known before surgery that the model reads."""

EVENTS_PER_TERM = 10
"""Outcomes of the rarer kind for each estimated odds ratio below which a fit is told to be unsure (Peduzzi 1996)."""

HIGH_VIF = 5.0
_BLOCK = 8192
"""Rows of a design that are written at a time, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class Term:
    """One odds ratio.

    Parameters
    ----------
    variable : column.
    contrast : "per 10 years", "male against female".
    cases, positives : of this level, or of all used where the variable is a number.
    crude, crude_p : alone; None where no finite estimate exists, and `note` says why.
    adjusted, adjusted_p : together with the others; None where that fit was not possible.
    vif : variance inflation of the variable in the fit of all: GVIF ^ (1 ÷ degrees) (Fox and Monette 1992), the plain
        VIF where it has one term. NaN where there is no such fit.
    missing : cases without a value.
    """

    variable: str
    contrast: str
    cases: int
    positives: int
    crude: Estimate | None
    crude_p: float
    adjusted: Estimate | None
    adjusted_p: float
    vif: float
    missing: int
    note: str


@dataclass(frozen=True)
class Regression:
    """Odds ratios of several variables.

    Parameters
    ----------
    terms : one for each step or level.
    cases, positives : that the fit of all used, having every variable.
    total : cases given.
    problem : why there is no fit of all; empty where there is one.
    """

    terms: tuple[Term, ...]
    cases: int
    positives: int
    total: int
    problem: str

    @property
    def unsure(self) -> bool:
        """Whether there are too few outcomes of the rarer kind for so many terms."""
        return min(self.positives, self.cases - self.positives) < EVENTS_PER_TERM * len(self.terms)


@dataclass(frozen=True)
class _Variable:
    """One variable over all n cases.

    Parameters
    ----------
    contrasts : what each of its terms compares; none where all known values are the same.
    known : (n,) whether there is a value.
    values : (n,) a number in steps, NaN where missing; or a level, −1 where missing and 0 the reference.
    """

    contrasts: tuple[str, ...]
    known: BoolArray
    values: FloatArray | IntArray

    @property
    def has_levels(self) -> bool:
        """Whether it is a category."""
        return self.values.dtype.kind == "i"

    def columns(self, values: FloatArray | IntArray, contrasts: IntArray) -> FloatArray | BoolArray:
        """(k, contrasts) columns of a design, of k of its values and some of its contrasts, by their places."""
        return np.asarray(values[:, None] == contrasts + 1 if self.has_levels else values[:, None])

    def differing(self, values: FloatArray | IntArray) -> IntArray:
        """Places of the contrasts that hold more than one number among k of its values."""
        if not self.has_levels:
            return np.flatnonzero([np.ptp(values) > 0])
        hits = np.bincount(values, minlength=len(self.contrasts) + 1)[1:]
        return np.flatnonzero((hits > 0) & (hits < len(values)))

    def rows(self, contrast: int) -> BoolArray:
        """The cases a contrast counts: those of its level, or all that have a value."""
        return self.values == contrast + 1 if self.has_levels and self.contrasts else self.known


_Part = tuple[_Variable, FloatArray | IntArray, IntArray]


def odds_ratios(frame: pd.DataFrame, variables: Sequence[str], *, units: Mapping[str, float] = UNITS) -> Regression:
    """Univariable and multivariable logistic regression of the outcome.

    Parameters
    ----------
    frame : column llnm (0/1) and the variables; numbers are told per step of `units`, categories against their first
        level that is there (schema order; by name for other columns).
    variables : columns; each fit uses the cases that have all it needs.

    Raises
    ------
    StatisticsError
        If there is no variable, or a single outcome only.
    """
    chosen = [v for v in variables if v in frame]
    y = frame["llnm"].to_numpy(float)
    positive = y > 0
    if not chosen or not 0 < y.sum() < len(y):
        raise StatisticsError(
            "no variable" if not chosen else f"{int(y.sum()):,} of {len(y):,} cases with the outcome",
            where="logistic regression", fix="Choose at least one variable, and cases of both outcomes.",
        )  # fmt: skip
    columns = {v: _columns(frame[v], v, units) for v in chosen}
    complete = np.logical_and.reduce([c.known for c in columns.values()])
    together, place, vif, problem = _together(columns, y, complete)
    terms: list[Term] = []
    for name, c in columns.items():
        alone, note = _alone(c, y)
        if not c.contrasts:
            note = "one level only"
        for k, contrast in enumerate(c.contrasts or ("–",)):
            rows = c.rows(k)
            at = place.get((name, contrast))
            left_out = together is not None and at is None and bool(c.contrasts)
            terms.append(
                Term(
                    variable=name,
                    contrast=contrast,
                    cases=int(rows.sum()),
                    positives=int(np.count_nonzero(rows & positive)),
                    crude=None if alone is None else _exp(alone.estimate(k + 1)),
                    crude_p=float("nan") if alone is None else alone.p_value(k + 1),
                    adjusted=None if together is None or at is None else _exp(together.estimate(at)),
                    adjusted_p=float("nan") if together is None or at is None else together.p_value(at),
                    vif=vif.get(name, float("nan")),
                    missing=int((~c.known).sum()),
                    note="no case of it has every variable" if left_out else note,
                )
            )
    return Regression(tuple(terms), int(complete.sum()), int(y[complete].sum()), len(y), problem)


def as_table(result: Regression, *, outcome: str = LLNM.short) -> pd.DataFrame:
    """One row an odds ratio, in words and rounded: for the page, CSV, LaTeX; `outcome` names what is counted."""

    def told(ratio: Estimate | None) -> str:
        return "–" if ratio is None else f"{ratio.value:.3g} ({ratio.low:.3g}–{ratio.high:.3g})"

    def p(value: float) -> str:
        return "–" if np.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"

    return pd.DataFrame(
        [
            {
                "variable": FIELD[t.variable].label if t.variable in FIELD else t.variable, "contrast": t.contrast,
                f"{outcome} / cases": f"{t.positives:,} / {t.cases:,}", "missing": t.missing,
                "crude OR (95 % CI)": told(t.crude), "crude p": p(t.crude_p),
                "adjusted OR (95 % CI)": told(t.adjusted), "adjusted p": p(t.adjusted_p),
                "VIF": "–" if np.isnan(t.vif) else f"{t.vif:.1f}" + (" (high)" if t.vif > HIGH_VIF else ""),
                "note": t.note,
            }
            for t in result.terms
        ]
    )  # fmt: skip


def _alone(c: _Variable, y: FloatArray) -> tuple[LogisticFit | None, str]:
    if not c.contrasts:
        return None, "one level only"
    rows, weights = np.flatnonzero(c.known), None
    outcome = y[rows]
    if not 0 < outcome.sum() < len(outcome):
        return None, f"too few (n = {len(outcome):,} with a value, one outcome only)"
    values = c.values[rows]
    if c.has_levels:  # they repeat: count them instead of carrying every case
        counts = np.bincount(values * 2 + outcome.astype(np.int64), minlength=2 * len(c.contrasts) + 2).astype(float)
        used = np.flatnonzero(counts)
        values, outcome, weights = used // 2, (used % 2).astype(float), counts[used]
    x = _design([(c, values, np.arange(len(c.contrasts)))])
    try:
        return fit_logistic(x, outcome, names=("constant", *c.contrasts), weights=weights), ""
    except StatisticsError as error:
        return None, error.what


def _together(
    columns: Mapping[str, _Variable], y: FloatArray, complete: BoolArray
) -> tuple[LogisticFit | None, dict[tuple[str, str], int], dict[str, float], str]:
    """Fit of all variables, the place of each term in it, their variance inflation, and why there is no fit.

    A level that no complete case has (the third of a lobe in the isthmus) is left out of this fit.
    """
    rows = np.flatnonzero(complete)
    outcome = y[rows]
    if not 0 < outcome.sum() < len(outcome):
        return None, {}, {}, f"too few (n = {len(outcome):,} with every variable; both outcomes are needed)"
    kept, parts = list[tuple[str, str]](), list[_Part]()
    for name, c in columns.items():
        if c.contrasts:
            values = c.values[rows]
            parts.append((c, values, c.differing(values)))
            kept += [(name, c.contrasts[i]) for i in parts[-1][2]]
    if not kept:
        return None, {}, {}, "no variable differs among the cases that have all"
    x = _design(parts)
    try:
        fit = fit_logistic(x, outcome, names=("constant", *(f"{v}: {text}" for v, text in kept)))
    except StatisticsError as error:
        return None, {}, {}, error.what
    return fit, {term: i + 1 for i, term in enumerate(kept)}, _vif(x, [v for v, _ in kept]), ""


def _design(parts: Sequence[_Part]) -> FloatArray:
    """A constant beside columns of variables → (n, 1 + contrasts).

    Parameters
    ----------
    parts : variable, its values in the same n cases, places of its contrasts.
    """
    rows = len(parts[0][1])
    x = np.empty((rows, 1 + sum(len(contrasts) for _, _, contrasts in parts)))
    for k in range(0, rows, _BLOCK):
        block, at = x[k : k + _BLOCK], 1
        block[:, 0] = 1
        for c, values, contrasts in parts:
            block[:, at : at + len(contrasts)] = c.columns(values[k : k + _BLOCK], contrasts)
            at += len(contrasts)
    return x


def _vif(x: FloatArray, owners: Sequence[str]) -> dict[str, float]:
    """Generalised variance inflation by determinants of the correlation matrix (Fox and Monette 1992).

    Parameters
    ----------
    x : (n, 1 + k) a constant and k columns.
    owners : (k,) variable of each.
    """
    products = cross_products(x) / len(x)
    mean = products[0, 1:]
    spread = products[1:, 1:] - np.outer(mean, mean)  # as good as numpy's corrcoef here, without its copies
    correlation = spread / np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
    whole = np.linalg.det(correlation)
    result = {}
    for name in dict.fromkeys(owners):
        mine = np.array([o == name for o in owners])
        inside = np.linalg.det(correlation[np.ix_(mine, mine)]) * np.linalg.det(correlation[np.ix_(~mine, ~mine)])
        result[name] = float((inside / whole) ** (1 / mine.sum()))
    return result


def _columns(values: pd.Series, name: str, units: Mapping[str, float]) -> _Variable:
    known = values.notna().to_numpy()
    field = FIELD.get(name)
    if pd.api.types.is_float_dtype(values) or (field is not None and field.kind == "number"):
        step, unit = units.get(name, 1.0), field.unit if field is not None else ""
        number = values.to_numpy(float) / step
        differs = known.any() and np.ptp(number[known]) > 0
        return _Variable((f"per {step:g} {unit}".rstrip(),) if differs else (), known, number)
    flag = field is not None and field.kind == "flag"
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, found = values.cat.codes.to_numpy(), list(values.cat.categories)
    else:
        codes, uniques = pd.factorize(values, sort=False)
        found = list(uniques)
    present = [("yes" if level else "no") if flag else str(level) for level in found]
    order = ("no", "yes") if flag else field.values if field is not None else ()
    used = np.bincount(codes[codes >= 0], minlength=len(present)) > 0
    there = {v for v, held in zip(present, used, strict=True) if held}
    levels = [v for v in order if v in there] or sorted(there)
    position = np.array([levels.index(v) if v in levels else -1 for v in present] or [-1])
    level = np.where(codes >= 0, position[codes], -1)
    return _Variable(tuple(f"{text} against {levels[0]}" for text in levels[1:]), level >= 0, level)


def _exp(estimate: Estimate) -> Estimate:
    return Estimate(*(float(np.exp(min(v, 700.0))) for v in (estimate.value, estimate.low, estimate.high)))
