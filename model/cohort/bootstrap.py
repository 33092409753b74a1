"""Bootstrap intervals that do not grow with the cohort: cases are put into cells by score, and cells are redrawn.

Drawing n cases with replacement is drawing the cells' counts from a multinomial distribution, so up to `CELLS` distinct
scores the percentile bootstrap is exact. With more, neighbouring scores share a cell: a figure of the cells differs
from that of the cases by less than 1 ÷ CELLS, and the interval is that of the cells moved onto the cases' own figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.cohort.discrimination import Estimate
from model.cohort.scores import FloatArray, IntArray, ScoredCases

CELLS = 1000


@dataclass(frozen=True)
class Cells:
    """Cases by score, from low to high.

    Parameters
    ----------
    counts : (k, 2) cases without and with the outcome.
    error, square : (k, 2) mean of outcome − probability, and of its square.
    tenth : (k,) which of ten bins of equal width the cell lies in.
    """

    counts: IntArray
    error: FloatArray
    square: FloatArray
    tenth: IntArray

    def draw(self, rounds: int, seed: int) -> IntArray:
        """Counts (rounds, k, 2) of as many resamples of all cases."""
        flat = self.counts.ravel()
        drawn = np.random.default_rng(seed).multinomial(int(flat.sum()), flat / flat.sum(), size=rounds)
        return drawn.reshape(rounds, *self.counts.shape)


def cells(scores: ScoredCases) -> Cells:
    """Put cases into at most about `CELLS` cells of equal size that keep to the tenths of the calibration bins."""
    order = np.argsort(scores.probability)
    p, y = scores.probability[order], scores.label[order]
    first = np.flatnonzero(np.diff(p, prepend=-1.0))  # where each distinct score begins
    if len(first) > CELLS:
        first = first[np.linspace(0, len(first), CELLS + 1)[:-1].astype(int)]
    tenth = np.minimum((p * 10).astype(np.int64), 9)
    starts = np.union1d(first, np.flatnonzero(np.diff(tenth, prepend=-1)))

    def total(values: FloatArray | IntArray) -> FloatArray:
        return np.stack([np.add.reduceat(np.where(y == k, values, 0), starts) for k in (0, 1)], 1)

    counts = total(np.ones_like(y))
    held = np.maximum(counts, 1)
    return Cells(counts.astype(np.int64), total(y - p) / held, total((y - p) ** 2) / held, tenth[starts])


def interval(
    made: Cells, figure: Callable[[Cells, npt.NDArray[np.int64]], FloatArray], value: float, drawn: IntArray
) -> Estimate:
    """Percentile 95 % interval of a figure.

    Parameters
    ----------
    figure : cells and counts (r, k, 2) → its value (r,) for each; NaN where it cannot be computed.
    value : the figure of the cases themselves.
    drawn : counts from `Cells.draw`.
    """
    of_cells = float(figure(made, made.counts[None])[0])
    low, high = np.nanpercentile(figure(made, drawn), [2.5, 97.5]) - of_cells + value
    return Estimate(value, float(low), float(high))


def auroc_of(_: Cells, counts: IntArray) -> FloatArray:
    """AUROC of counts (r, k, 2)."""
    negatives, positives = counts[..., 0], counts[..., 1]
    below = np.cumsum(negatives, -1) - negatives / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positives * below).sum(-1) / positives.sum(-1) / negatives.sum(-1))


def average_precision_of(_: Cells, counts: IntArray) -> FloatArray:
    """Average precision of counts (r, k, 2)."""
    positives = counts[..., ::-1, 1]
    hits, called = np.cumsum(positives, -1), np.cumsum(counts[..., ::-1, :].sum(-1), -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positives * hits / np.maximum(called, 1)).sum(-1) / hits[..., -1])


def brier_of(made: Cells, counts: IntArray) -> FloatArray:
    """Brier score of counts (r, k, 2)."""
    return np.asarray((counts * made.square).sum((-1, -2)) / counts.sum((-1, -2)))


def calibration_error_of(made: Cells, counts: IntArray) -> FloatArray:
    """Expected calibration error over ten bins of counts (r, k, 2)."""
    gaps = (counts * made.error).sum(-1)
    starts = np.flatnonzero(np.diff(made.tenth, prepend=-1))
    return np.asarray(np.abs(np.add.reduceat(gaps, starts, axis=-1)).sum(-1) / counts.sum((-1, -2)))


def roc_band(drawn: IntArray, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pointwise 95 % band of the sensitivity at given false positive rates, from counts (r, k, 2)."""
    down = np.cumsum(drawn[:, ::-1], 1).astype(float)
    rates = down / np.maximum(down[:, -1:], 1)
    curves = np.stack([np.interp(at, np.append(0, r[:, 0]), np.append(0, r[:, 1])) for r in rates])
    low, high = np.percentile(curves, [2.5, 97.5], axis=0)
    return low, high
