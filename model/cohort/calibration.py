"""Whether probabilities mean what they say: Brier score, expected calibration error, slope and intercept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm

from model.cohort.discrimination import Estimate, Rate, wilson
from model.cohort.scores import FloatArray, IntArray, ScoredCases
from model.errors import StatisticsError

BINS = 10


@dataclass(frozen=True)
class CalibrationBin:
    """Cases with probabilities in one of ten bins of equal width: mean predicted, and observed share with interval."""

    predicted: float
    observed: Rate


def calibration_bins(scores: ScoredCases) -> tuple[CalibrationBin, ...]:
    """The bins that hold any case, from low to high."""
    which = _bin_numbers(scores.probability)
    return tuple(
        CalibrationBin(
            float(scores.probability[which == b].mean()),
            wilson(int(scores.label[which == b].sum()), int((which == b).sum())),
        )
        for b in range(BINS)
        if (which == b).any()
    )


def expected_calibration_error(probability: FloatArray, label: FloatArray) -> float:
    """Mean |observed − predicted| over ten bins of equal width, weighted by their counts (Guo et al. 2017)."""
    which = _bin_numbers(probability)
    gap = np.bincount(which, weights=label - probability, minlength=BINS)
    return float(np.abs(gap).sum() / len(label))


def _bin_numbers(probability: FloatArray) -> IntArray:
    """Which of the bins of equal width each probability falls into; 1 into the last."""
    return np.minimum((probability * BINS).astype(np.int64), BINS - 1)


def brier(probability: FloatArray, label: FloatArray) -> float:
    """Mean squared distance of probability from outcome (Brier 1950)."""
    return float(np.mean((probability - label) ** 2))


@dataclass(frozen=True)
class CalibrationLine:
    """Logistic regression of the outcome on the logit: slope 1 and intercept 0 are perfect (Cox 1958)."""

    slope: Estimate
    intercept: Estimate


def calibration_line(scores: ScoredCases) -> CalibrationLine:
    """Slope, and intercept with the slope held at 1 (calibration in the large), with 95 % Wald intervals."""
    if scores.positives in (0, len(scores)):
        raise StatisticsError("one class only", where="calibration slope", fix="Both outcomes are needed.")
    p = np.clip(scores.probability, 1e-9, 1 - 1e-9)
    logit = np.log(p / (1 - p))
    family = sm.families.Binomial()
    line = sm.GLM(scores.label, sm.add_constant(logit), family=family).fit()
    shift = sm.GLM(scores.label, np.ones((len(p), 1)), family=family, offset=logit).fit()
    (_, _), (slope_low, slope_high) = line.conf_int()
    ((low, high),) = shift.conf_int()
    return CalibrationLine(
        Estimate(float(line.params[1]), float(slope_low), float(slope_high)),
        Estimate(float(shift.params[0]), float(low), float(high)),
    )
