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
    """One variable over all n cases: `number` (n,) in steps, or `level` (n,) with −1 where missing and 0 the reference."""

    contrasts: tuple[str, ...]
    known: BoolArray
    number: FloatArray | None = None
    level: IntArray | None = None

    def design(self, rows: BoolArray) -> FloatArray:
        """Columns (rows, contrasts) of some cases that have a value."""
        if not self.contrasts:
            return np.empty((int(rows.sum()), 0))
        if self.number is not None:
            return np.asarray(self.number[rows, None])
        assert self.level is not None
        return np.asarray(self.level[rows, None] == np.arange(1, len(self.contrasts) + 1), dtype=np.float64)

    def rows(self, contrast: int) -> BoolArray:
        """The cases a contrast counts: those of its level, or all that have a value."""
        return self.known if self.level is None or not self.contrasts else self.level == contrast + 1


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
                    positives=int(y[rows].sum()),
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
    outcome, weights = y[c.known], None
    if not 0 < outcome.sum() < len(outcome):
        return None, f"too few (n = {len(outcome):,} with a value, one outcome only)"
    if c.level is None:
        x = c.design(c.known)
    else:  # levels repeat: count them instead of carrying every case
        k = len(c.contrasts) + 1
        counts = np.bincount(c.level[c.known] * 2 + outcome.astype(np.int64), minlength=2 * k).astype(float)
        used = np.flatnonzero(counts)
        x, outcome, weights = np.eye(k)[used // 2, 1:], (used % 2).astype(float), counts[used]
    try:
        design = np.column_stack([np.ones(len(x)), x])
        return fit_logistic(design, outcome, names=("constant", *c.contrasts), weights=weights), ""
    except StatisticsError as error:
        return None, error.what


def _together(
    columns: Mapping[str, _Variable], y: FloatArray, complete: BoolArray
) -> tuple[LogisticFit | None, dict[tuple[str, str], int], dict[str, float], str]:
    """Fit of all variables, the place of each term in it, their variance inflation, and why there is no fit.

    A level that no complete case has (the third of a lobe in the isthmus) is left out of this fit.
    """
    outcome = y[complete]
    if not 0 < outcome.sum() < len(outcome):
        return None, {}, {}, f"too few (n = {len(outcome):,} with every variable; both outcomes are needed)"
    terms = [(v, text) for v, c in columns.items() for text in c.contrasts]
    x = np.ones((len(outcome), 1 + len(terms)))
    at, differs = 1, list[bool]()
    for c in columns.values():
        part = c.design(complete)
        x[:, at : at + part.shape[1]] = part
        at += part.shape[1]
        if c.number is not None:
            differs += [bool(np.ptp(part) > 0)] * part.shape[1]
        else:  # 0 and 1
            differs += [0 < hits < len(part) for hits in np.ones(len(part)) @ part]
    varies = np.flatnonzero(differs)
    if not len(varies):
        return None, {}, {}, "no variable differs among the cases that have all"
    kept = [terms[i] for i in varies]
    x = x if len(kept) == len(terms) else x[:, [0, *(varies + 1)]]
    try:
        fit = fit_logistic(x, outcome, names=("constant", *(f"{v}: {text}" for v, text in kept)))
    except StatisticsError as error:
        return None, {}, {}, error.what
    return fit, {term: i + 1 for i, term in enumerate(kept)}, _vif(x[:, 1:], [v for v, _ in kept]), ""


def _vif(x: FloatArray, owners: Sequence[str]) -> dict[str, float]:
    """Generalised variance inflation by determinants of the correlation matrix (Fox and Monette 1992)."""
    mean = x.mean(0)
    spread = x.T @ x / len(x) - np.outer(mean, mean)  # as good as numpy's corrcoef here, without its copies
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
        return _Variable((f"per {step:g} {unit}".rstrip(),) if differs else (), known, number=number)
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
    return _Variable(tuple(f"{text} against {levels[0]}" for text in levels[1:]), level >= 0, level=level)


def _exp(estimate: Estimate) -> Estimate:
    return Estimate(*(float(np.exp(min(v, 700.0))) for v in (estimate.value, estimate.low, estimate.high)))
