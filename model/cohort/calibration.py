"""Whether probabilities mean what they say: Brier score, expected calibration error, slope and intercept, curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from model.cohort.curves import MIN_CASES, MIN_OUTCOMES, RiskCurve, spline_basis
from model.cohort.discrimination import Estimate, Rate, Z, wilson
from model.cohort.logistic import fit_logistic
from model.cohort.scores import FloatArray, IntArray, ScoredCases
from model.errors import StatisticsError

BINS = 10
_KNOTS = (0.05, 0.35, 0.65, 0.95)  # Harrell 2015, Table 2.3, for four knots


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
    logit = _logit(scores.probability)
    y, one = scores.label.astype(float), np.ones((len(scores), 1))
    line = fit_logistic(np.column_stack([one, logit]), y, names=("constant", "logit of the probability"))
    return CalibrationLine(line.estimate(1), calibration_in_the_large(scores))


def calibration_in_the_large(scores: ScoredCases) -> Estimate:
    """Intercept on the logit scale with the slope held at 1: above 0 there is more of the outcome than predicted."""
    if scores.positives in (0, len(scores)):
        raise StatisticsError("one class only", where="calibration in the large", fix="Both outcomes are needed.")
    one = np.ones((len(scores), 1))
    return fit_logistic(one, scores.label.astype(float), offset=_logit(scores.probability)).estimate(0)


def calibration_curve(scores: ScoredCases, points: int = 100) -> RiskCurve:
    """Observed risk as a smooth function of the predicted one: restricted cubic spline on the logit, with its band.

    `x` of the result is the predicted probability, from the first to the last percentile of the cases.

    Raises
    ------
    StatisticsError
        If there are fewer than 30 cases or 10 of either outcome, or the predictions hardly vary.
    """
    if len(scores) < MIN_CASES or min(scores.positives, len(scores) - scores.positives) < MIN_OUTCOMES:
        raise StatisticsError(
            f"too few: {len(scores)} cases, {scores.positives} with the outcome",
            where="calibration curve",
            fix=f"At least {MIN_CASES} cases and {MIN_OUTCOMES} of each outcome are needed.",
        )
    logit = _logit(scores.probability)
    knots = np.unique(np.quantile(logit, _KNOTS))
    if len(knots) < 3:
        raise StatisticsError("too few different predictions", where="calibration curve", fix="Use the bins instead.")
    fit = fit_logistic(spline_basis(logit, knots), scores.label.astype(float), robust=True)
    first, last = np.quantile(logit, [0.01, 0.99])
    grid = np.linspace(first, last, points)
    basis = spline_basis(grid, knots)
    centre = basis @ fit.coefficients
    half = Z * np.sqrt(np.einsum("ij,jk,ik->i", basis, fit.covariance, basis))
    return RiskCurve(expit(grid), expit(centre), expit(centre - half), expit(centre + half), len(scores), scores.positives)


def _logit(probability: FloatArray) -> FloatArray:
    """Logits, with probabilities kept off 0 and 1."""
    p = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))
