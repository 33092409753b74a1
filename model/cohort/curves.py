"""Risk against a measured value, such as capsule distance: bins, smooth curve with band, distance below a level."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import special

from model.cohort.discrimination import Rate, wilson
from model.cohort.logistic import fit_logistic
from model.cohort.scores import FloatArray, IntArray
from model.errors import StatisticsError

MIN_CASES, MIN_OUTCOMES = 30, 10
Z_95 = 1.959964
_QUANTILES = ((0.05, 0.35, 0.65, 0.95), (0.05, 0.23, 0.41, 0.59, 0.77, 0.95))
"""Where knots lie (Harrell 2015, Table 2.3): four, and six from `_MANY` cases on, where the bias of four would show."""
_MANY = 1000


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


@dataclass(frozen=True)
class LevelDistance:
    """Where a falling curve passes a level, with the 95 % interval of that place.

    Parameters
    ----------
    level : risk, 0…1.
    value : largest x up to which the curve stays at or above the level from its left end on; None where it starts below
        the level or never falls to it.
    low, high : the x around `value` whose band holds the level: the band inverted, so it covers as often as the band
        does. None where the interval goes on beyond the curve's end on that side.
    """

    level: float
    value: float | None
    low: float | None
    high: float | None


def risk_curve(x: FloatArray, label: npt.NDArray[np.generic], grid: npt.ArrayLike) -> RiskCurve:
    """Logistic regression on a restricted cubic spline of x, four to six knots (Harrell 2015), with a 95 % band.

    The band is robust (sandwich) and pointwise: at each x it covers the true risk in 95 of 100 cohorts.

    Parameters
    ----------
    x : (n,) values.
    label : (n,) outcomes of 0 or 1, or probabilities (then the mean prediction is smoothed).
    grid : where to give the curve.

    Raises
    ------
    StatisticsError
        If there are fewer than 30 cases or 10 outcomes of either kind, or x hardly varies.
    """
    y, at = np.asarray(label, float), np.asarray(grid, float)
    require_enough(y, "risk curve")
    knots = spline_knots(x)
    design = spline_basis(x, knots)
    fit = fit_logistic(design, y, ["constant", *spline_names("the value", knots)], where="risk curve")
    influence = fit.influence(design, y)
    basis = spline_basis(at, knots)
    error = np.sqrt(np.einsum("ij,jk,ik->i", basis, influence.T @ influence, basis))
    return curve_with_band(at, basis @ fit.params, error, y)


def require_enough(outcome: FloatArray, where: str) -> None:
    """Raise `StatisticsError` where there are too few cases or outcomes of either kind for a curve."""
    positives = float(outcome.sum())
    if len(outcome) < MIN_CASES or min(positives, len(outcome) - positives) < MIN_OUTCOMES:
        raise StatisticsError(
            f"too few: {len(outcome)} cases, {positives:.0f} with the outcome",
            where=where,
            fix=f"At least {MIN_CASES} cases and {MIN_OUTCOMES} of each outcome are needed.",
        )


def curve_with_band(x: FloatArray, logit: FloatArray, error: FloatArray, outcome: FloatArray) -> RiskCurve:
    """A curve from logits and their standard errors (k,), fitted on `outcome` (n,)."""
    low, risk, high = (special.expit(logit + z * error) for z in (-Z_95, 0.0, Z_95))
    return RiskCurve(x, risk, low, high, len(outcome), round(float(outcome.sum())))


def spline_knots(x: FloatArray, quantiles: tuple[float, ...] | None = None) -> FloatArray:
    """Knots at quantiles of x: Harrell's by number of cases unless `quantiles` are given.

    Raises
    ------
    StatisticsError
        If x hardly varies.
    """
    knots = np.unique(np.quantile(x, quantiles or _QUANTILES[len(x) >= _MANY]))
    if len(knots) < 3:
        raise StatisticsError("too few different values", where="risk curve", fix="Use the bins instead.")
    return knots


def spline_names(name: str, knots: FloatArray) -> list[str]:
    """Names of the columns of `spline_basis` but the constant."""
    return [name, *(f"{name} (curve {i + 1})" for i in range(len(knots) - 2))]


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


def level_distance(curve: RiskCurve, level: float) -> LevelDistance:
    """The x below which the risk exceeds `level`, read off the curve, with the interval read off its band."""
    below = np.flatnonzero(curve.risk < level)
    if not len(below) or below[0] == 0:
        return LevelDistance(level, None, None, None)
    at = int(below[0])
    value = _crossing(curve.x, curve.risk, level, at)
    # The interval is the stretch around the crossing in which the level lies within the band.
    under = np.flatnonzero(curve.low[:at] >= level)
    low = _crossing(curve.x, curve.low, level, int(under[-1]) + 1) if len(under) else None
    over = np.flatnonzero(curve.high[at:] < level)
    high = _crossing(curve.x, curve.high, level, at + int(over[0])) if len(over) else None
    return LevelDistance(level, value, low, high)


def _crossing(x: FloatArray, y: FloatArray, level: float, i: int) -> float:
    """Where y falls through the level between points i − 1 and i, by linear interpolation."""
    drop = float(y[i - 1] - y[i])
    share = (float(y[i - 1]) - level) / drop if drop else 0.0
    return float(x[i - 1] + share * (x[i] - x[i - 1]))
