"""Risk curves adjusted for covariates by marginal standardisation (the g-formula over the cohort)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from model.cohort.curves import RiskCurve, curve_with_band, fitted_spline, require_enough
from model.cohort.logistic import LogisticFit, fit_logistic
from model.cohort.scores import FloatArray
from model.cohort.tiles import added
from model.errors import StatisticsError

Numbers = Literal["linear", "spline"]
Missing = Literal["complete", "indicator"]

MAX_LEVELS = 20
"""A column of words with more different ones is a name, no category."""
OUTCOMES_PER_COLUMN = 5
"""Of the rarer outcome for each column of the model (Vittinghoff and McCulloch 2007: 5 to 9 do for adjustment)."""

_COVARIATE_KNOTS = 4  # a covariate needs less shape than the curve itself
_FEW = 5  # a word in fewer cases is joined with the other rare ones


@dataclass(frozen=True)
class Covariates:
    """Covariates as columns of a model, the constant left out.

    Parameters
    ----------
    matrix : (m, k) for the rows that are used.
    names : (k,) of the columns.
    used : (n,) bool, the rows of the table that are used.
    missing : rows without a value, by covariate; those without any are left out.
    constant : covariates that have only one value among the rows used and so cannot be adjusted for.
    """

    matrix: FloatArray
    names: tuple[str, ...]
    used: npt.NDArray[np.bool_]
    missing: Mapping[str, int]
    constant: tuple[str, ...]


@dataclass(frozen=True)
class AdjustedCurve:
    """A standardised curve, and the covariates behind it."""

    curve: RiskCurve
    covariates: Covariates


def covariate_columns(
    frame: pd.DataFrame, columns: Sequence[str], *, numbers: Numbers = "linear", missing: Missing = "complete"
) -> Covariates:
    """Numbers as they are or as splines of three knots, categories as 0/1 columns against the most frequent value.

    Parameters
    ----------
    frame : (n) rows.
    columns : covariates among its columns; yes/no and words are categories.
    numbers : "linear" or "spline".
    missing : "complete" uses only the rows with every value; "indicator" uses all rows, with a column of its own for "not
        known" (a number is set to its mean there).

    Raises
    ------
    StatisticsError
        If a column has more than 20 different words.
    """
    absent = {name: frame[name].isna().to_numpy() for name in columns}
    used = np.ones(len(frame), bool)
    if missing == "complete":
        for gaps in absent.values():
            used &= ~gaps
    parts: list[FloatArray] = []
    names: list[str] = []
    constant = []
    for name in columns:
        values, gaps = frame[name][used], absent[name][used]
        made = _number(values, gaps, name, numbers) if _is_number(frame[name]) else _category(values, name)
        if gaps.any() and not gaps.all() and _is_number(frame[name]):
            made[f"{name}: not known"] = gaps.astype(float)
        if not made:
            constant.append(name)
        parts += made.values()
        names += made
    matrix = np.stack(parts, 1) if parts else np.empty((int(used.sum()), 0))
    gone = {name: int(gaps.sum()) for name, gaps in absent.items() if gaps.any()}
    return Covariates(matrix, tuple(names), used, gone, tuple(constant))


def adjusted_curve(
    frame: pd.DataFrame,
    value: str,
    outcome: str,
    columns: Sequence[str],
    grid: npt.ArrayLike,
    *,
    numbers: Numbers = "linear",
    missing: Missing = "complete",
) -> AdjustedCurve:
    """Mean risk of the whole cohort, were every case at x, for each x of the grid, with a 95 % band.

    Logistic regression on a restricted cubic spline of x and the covariates (main effects only); its predictions with x set
    to each point of the grid are averaged over the cohort (marginal standardisation: Robins 1986; Hernán and Robins,
    Causal Inference, ch. 13). The band is the delta method's on the logit scale, with the robust influence of every case
    and the sampling of the covariates both in it. A comparison at equal covariates: it is causal only if these are all
    the confounders.

    Parameters
    ----------
    frame : one row a case.
    value : column of x; rows without it are left out.
    outcome : column of 0/1, or of probabilities.
    columns, numbers, missing : as for `covariate_columns`; none gives the curve standardised over nothing, the crude one.
    grid : where to give the curve.

    Raises
    ------
    StatisticsError
        If there are too few cases or outcomes for so many columns, or on collinearity or separation (columns are named).
    """
    where = "adjusted curve"
    known = frame[frame[value].notna()]
    beside = covariate_columns(known, columns, numbers=numbers, missing=missing)
    x, y = (known[c].to_numpy(float)[beside.used] for c in (value, outcome))
    at = np.asarray(grid, float)
    require_enough(y, where)
    spline = fitted_spline(x)
    design = np.concatenate([spline.columns(x), beside.matrix], 1)
    rarer = min(y.sum(), len(y) - y.sum())
    if rarer < OUTCOMES_PER_COLUMN * (design.shape[1] - 1):
        raise StatisticsError(
            f"too few: {rarer:.0f} cases with the rarer outcome for {design.shape[1] - 1} columns",
            where=where,
            fix=f"Choose fewer covariates; at least {OUTCOMES_PER_COLUMN} such cases a column are needed.",
        )
    fit = fit_logistic(design, y, names=[*spline.names(value), *beside.names])
    logit, error = _standardised(fit, design, y, spline.columns(at))
    return AdjustedCurve(curve_with_band(at, logit, error, y), beside)


def _standardised(fit: LogisticFit, design: FloatArray, y: FloatArray, basis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logit of the standardised risk at each grid point (g,), and its standard error.

    With p(i, g) the prediction of case i at point g and μ(g) its mean, the influence of case i on μ(g) is
    ∂μ(g)/∂β · influence(i) + (p(i, g) − μ(g)) / n; the variance is the sum of its squares.

    Parameters
    ----------
    design : (n, s + c) columns of the spline, then the covariates.
    basis : (g, s) of the spline at the grid.
    """
    params, (n, width), split = fit.coefficients, design.shape, basis.shape[1]
    at_grid = basis @ params[:split]

    def work(rows: slice, tile: int) -> tuple[FloatArray, ...]:
        cases = design[rows].reshape(-1, tile, width)
        covariates = cases[..., split:]
        residual = y[rows].reshape(-1, tile) - special.expit(cases @ params)
        influence = (cases * residual[..., None]) @ fit.covariance
        p = special.expit((covariates @ params[split:])[..., None] + at_grid)
        steep = p * (1 - p)
        return (
            p.sum((0, 1)), (p**2).sum((0, 1)), steep.sum((0, 1)), (steep.transpose(0, 2, 1) @ covariates).sum(0),
            (p.transpose(0, 2, 1) @ influence).sum(0), influence.sum((0, 1)), (influence.transpose(0, 2, 1) @ influence).sum(0),
        )  # fmt: skip

    total, square, steep, crossed, together, of_all, spread = added(work, n, max(width, len(basis)))
    mean, slope = total / n, np.concatenate([steep[:, None] * basis, crossed], 1) / n
    centred = together - mean[:, None] * of_all
    variance = (
        np.einsum("gk,kl,gl->g", slope, spread, slope)
        + 2 * (slope * centred).sum(1) / n
        + np.maximum(square / n - mean**2, 0) / n
    )
    return special.logit(mean), np.sqrt(np.maximum(variance, 0)) / (mean * (1 - mean))


def _is_number(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values)) and not pd.api.types.is_bool_dtype(values)


def _number(values: pd.Series, gaps: npt.NDArray[np.bool_], name: str, numbers: Numbers) -> dict[str, FloatArray]:
    """A number's columns; none where it does not vary."""
    x = values.to_numpy(float)
    if gaps.all() or np.nanmax(x) == np.nanmin(x):
        return {}
    # Centred, so that 0 stands for the mean and a gap weighs nothing.
    if numbers == "linear":
        return {name: np.where(gaps, 0.0, x - np.nanmean(x))}
    try:
        spline = fitted_spline(x[~gaps], _COVARIATE_KNOTS)
    except StatisticsError:
        return _number(values, gaps, name, "linear")
    # Orthogonal to the constant, so every column has mean 0.
    columns = np.zeros((len(x), len(spline.knots) - 1))
    columns[~gaps] = spline.columns(x[~gaps])[:, 1:]
    return dict(zip(spline.names(name)[1:], columns.T, strict=True))


def _category(values: pd.Series, name: str) -> dict[str, FloatArray]:
    """0/1 columns of a category's values but the most frequent; those in fewer than 5 cases are joined."""
    words = values.astype(object).where(values.notna(), "not known").astype(str)
    counts = words.value_counts()
    if len(counts) > MAX_LEVELS:
        raise StatisticsError(
            f"{len(counts)} different values", where=name, fix="Adjust for columns with few different values."
        )
    rare = list(counts.index[counts < _FEW])
    if len(rare) > 1:
        words = words.where(~words.isin(rare), "rare")
        counts = words.value_counts()
    return {f"{name}: {level}": (words == level).to_numpy(float) for level in counts.index[1:]}
