"""Risk against a measured value, such as capsule distance: bins, smooth curve with band, distance below a level."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm

from model.cohort.discrimination import Rate, wilson
from model.cohort.scores import FloatArray, IntArray
from model.errors import StatisticsError

MIN_CASES, MIN_OUTCOMES = 30, 10
_QUANTILES = (0.05, 0.35, 0.65, 0.95)  # knots of Harrell 2015, Table 2.3, for four knots


@dataclass(frozen=True)
class RiskBin:
    """Cases with low ≤ value < high: observed rate with Wilson interval, and mean predicted probability."""

    low: float
    high: float
    observed: Rate
    predicted: float


@dataclass(frozen=True)
class RiskCurve:
    """Smooth risk over a grid with its pointwise 95 % band.

    Parameters
    ----------
    x, risk, low, high : (k,).
    cases, positives : what it was fitted on.
    """

    x: FloatArray
    risk: FloatArray
    low: FloatArray
    high: FloatArray
    cases: int
    positives: int


def risk_by_bins(
    x: FloatArray, label: IntArray, probability: FloatArray | None, edges: npt.ArrayLike
) -> tuple[RiskBin, ...]:
    """Observed and predicted risk in bins; the last bin takes in its upper edge, empty bins are left out."""
    cuts = np.asarray(edges, float)
    bins = []
    for k, (low, high) in enumerate(pairwise(cuts)):
        inside = (x >= low) & ((x < high) | ((k == len(cuts) - 2) & (x == high)))
        if inside.any():
            predicted = float("nan") if probability is None else float(probability[inside].mean())
            bins.append(
                RiskBin(float(low), float(high), wilson(int(label[inside].sum()), int(inside.sum())), predicted)
            )
    return tuple(bins)


def risk_curve(x: FloatArray, label: npt.NDArray[np.generic], grid: npt.ArrayLike) -> RiskCurve:
    """Logistic regression on a restricted cubic spline of x, four knots (Harrell 2015), with a 95 % band.

    Parameters
    ----------
    x : (n,) values.
    label : (n,) outcomes of 0 or 1, or probabilities (then the mean prediction is smoothed, with a robust band).
    grid : where to give the curve.

    Raises
    ------
    StatisticsError
        If there are fewer than 30 cases or 10 outcomes of either kind, or x hardly varies.
    """
    y, at = np.asarray(label, float), np.asarray(grid, float)
    positives = float(y.sum())
    if len(y) < MIN_CASES or min(positives, len(y) - positives) < MIN_OUTCOMES:
        raise StatisticsError(
            f"too few: {len(y)} cases, {positives:.0f} with the outcome",
            where="risk curve",
            fix=f"At least {MIN_CASES} cases and {MIN_OUTCOMES} of each outcome are needed.",
        )
    knots = np.unique(np.quantile(x, _QUANTILES))
    if len(knots) < 3:
        raise StatisticsError("too few different values", where="risk curve", fix="Use the bins instead.")
    model = sm.GLM(y, spline_basis(x, knots), family=sm.families.Binomial())
    fit = model.fit(cov_type="HC0")
    basis = spline_basis(at, knots)
    centre = basis @ fit.params
    error = np.sqrt(np.einsum("ij,jk,ik->i", basis, fit.cov_params(), basis))
    low, risk, high = (1 / (1 + np.exp(-(centre + z * error))) for z in (-1.959964, 0.0, 1.959964))
    return RiskCurve(at, risk, low, high, len(y), round(positives))


def spline_basis(x: FloatArray, knots: FloatArray) -> FloatArray:
    """Restricted cubic spline: constant, x, and k − 2 terms that are linear beyond the outer knots (Harrell 2015)."""
    last, before = knots[-1], knots[-2]
    scale = (last - knots[0]) ** 2

    def cube(v: FloatArray) -> FloatArray:
        return np.maximum(v, 0) ** 3

    terms = [
        (
            cube(x - k)
            - cube(x - before) * (last - k) / (last - before)
            + cube(x - last) * (before - k) / (last - before)
        )
        / scale
        for k in knots[:-2]
    ]
    return np.stack([np.ones_like(x), x, *terms], 1)


def value_at_level(curve: RiskCurve, level: float) -> float | None:
    """Largest x up to which the curve stays above `level` from the left end on; None where it starts below or never
    falls to it."""
    below = np.flatnonzero(curve.risk < level)
    if not len(below) or below[0] == 0:
        return None
    i = int(below[0])
    share = (curve.risk[i - 1] - level) / (curve.risk[i - 1] - curve.risk[i])
    return float(curve.x[i - 1] + share * (curve.x[i] - curve.x[i - 1]))
