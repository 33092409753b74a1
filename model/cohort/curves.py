"""Risk against a measured value, such as capsule distance: bins, smooth curve with band, distance below a level."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import special

from model.cohort.discrimination import Rate, Z, wilson
from model.cohort.logistic import fit_logistic
from model.cohort.scores import FloatArray, IntArray
from model.cohort.tiles import in_tiles
from model.errors import StatisticsError

MIN_CASES, MIN_OUTCOMES = 30, 10
_MANY = 1000  # cases from which the outer knots may lie nearer to the ends


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


def distance_grid(distance: FloatArray, points: int = 80) -> FloatArray:
    """Where a smooth curve over a capsule distance is given: from the first to the last percentile of the cases, mm."""
    return np.linspace(float(np.quantile(distance, 0.01)), float(np.quantile(distance, 0.99)), points)


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
    """Logistic regression on a restricted cubic spline of x (Harrell 2015), with a 95 % band.

    The band is robust (sandwich) and pointwise: at each x it covers the true risk in 95 of 100 cohorts.

    Parameters
    ----------
    x : (n,) values.
    label : (n,) outcomes of 0 or 1, or probabilities (then the mean prediction is smoothed).
    grid : where to give the curve.

    Raises
    ------
    StatisticsError
        If there are fewer than 30 cases or 10 outcomes of either kind, x hardly varies, or x tells the outcome without
        error.
    """
    y, at = np.asarray(label, float), np.asarray(grid, float)
    require_enough(y, "risk curve")
    spline = fitted_spline(x)
    design = spline.columns(x)
    fit = fit_logistic(design, y, names=spline.names("the value"), robust=True)
    basis = spline.columns(at)
    error = np.sqrt(np.einsum("ij,jk,ik->i", basis, fit.covariance, basis))
    return curve_with_band(at, basis @ fit.coefficients, error, y)


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
    low, risk, high = (special.expit(logit + z * error) for z in (-Z, 0.0, Z))
    return RiskCurve(x, risk, low, high, len(outcome), round(float(outcome.sum())))


@dataclass(frozen=True)
class Spline:
    """Restricted cubic spline with columns orthogonal over the values it was made for, so that a fit is well posed.

    Parameters
    ----------
    knots : (k,).
    turn : (k, k) from `spline_basis` to the columns; the first column is the constant.
    """

    knots: FloatArray
    turn: FloatArray

    def columns(self, x: FloatArray) -> FloatArray:
        """Columns at any x: (n, k)."""
        columns = np.empty((len(x), len(self.knots)))

        def work(rows: slice, tile: int) -> None:
            tiles = columns[rows].reshape(-1, tile, len(self.knots))
            np.matmul(spline_basis(x[rows], self.knots).reshape(tiles.shape), self.turn, out=tiles)

        in_tiles(work, *columns.shape)
        return columns

    def names(self, name: str) -> list[str]:
        """What the columns are called in messages."""
        return ["constant", name, *(f"{name} (bend {i + 1})" for i in range(len(self.knots) - 2))]


def knot_count(cases: int) -> int:
    """Knots of a curve of so many cases."""
    return int(np.clip(round(1.2 * cases**0.25), 4, 12))


def fitted_spline(x: FloatArray, knots: int | None = None) -> Spline:
    """Knots at equally spaced quantiles of x.

    Their number grows with the fourth root of the number of cases (four to twelve), so that the curve's bias stays below its
    standard error: with a fixed number the band of a large cohort would be narrow around the wrong curve.

    Raises
    ------
    StatisticsError
        If x hardly varies.
    """
    count = knots or knot_count(len(x))
    outer = 0.05 if len(x) < _MANY else 0.02
    places = np.unique(np.quantile(x, np.linspace(outer, 1 - outer, count)))
    if len(places) < 3:
        raise StatisticsError("too few different values", where="risk curve", fix="Use the bins instead.")
    values = np.asarray(x, float)

    def work(rows: slice, tile: int) -> FloatArray:
        tiles = spline_basis(values[rows], places).reshape(-1, tile, len(places))
        triangles = np.asarray(np.linalg.qr(tiles, mode="r")) if tile >= len(places) else tiles
        return triangles.reshape(-1, len(places))

    # The triangle of the triangles of parts is that of the whole (TSQR).
    triangle = np.linalg.qr(np.concatenate(in_tiles(work, len(values), len(places))), mode="r")
    turn = np.linalg.inv(triangle) * np.sqrt(len(x))
    return Spline(places, turn * np.sign(np.diag(triangle)))


def spline_basis(x: FloatArray, knots: FloatArray) -> FloatArray:
    """Restricted cubic spline: constant, x, and k − 2 terms that are linear beyond the outer knots (Harrell 2015)."""
    last, before = knots[-1], knots[-2]
    scale = (last - knots[0]) ** 2

    def cube(knot: float) -> FloatArray:
        v = np.maximum(x - knot, 0)
        return v * v * v  # ten times as fast as a power

    at_before, at_last = cube(before), cube(last)
    basis = np.empty((len(x), len(knots)))
    basis[:, 0], basis[:, 1] = 1, x
    for i, k in enumerate(knots[:-2], start=2):
        basis[:, i] = (cube(k) - at_before * ((last - k) / (last - before)) + at_last * ((before - k) / (last - before))) / scale
    return basis


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
