"""How well probabilities tell outcomes apart: AUROC with DeLong intervals, ROC, operating points, stages."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import stats

from model.cohort.scores import FloatArray, IntArray, ScoredCases
from model.errors import StatisticsError

_Z2 = 1.959963984540054**2  # of the 95 % interval


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """A share with numerator, denominator and 95 % Wilson interval; NaN where the denominator is 0."""

    value: float
    numerator: int
    denominator: int
    low: float
    high: float


@dataclass(frozen=True)
class OperatingPoint:
    """Rates at a cut-off: a case is called positive where its probability is at least the cut-off."""

    cutoff: float
    accuracy: Rate
    sensitivity: Rate
    specificity: Rate
    positive_predictive_value: Rate
    negative_predictive_value: Rate


@dataclass(frozen=True)
class RocCurve:
    """Points of the ROC curve from (0, 0) to (1, 1), with the cut-off of each."""

    false_positive_rate: FloatArray
    sensitivity: FloatArray
    cutoff: FloatArray


def wilson(numerator: int, denominator: int) -> Rate:
    """A share with its 95 % Wilson score interval (Wilson 1927)."""
    if denominator == 0:
        return Rate(float("nan"), 0, 0, 0.0, 1.0)
    value, share = numerator / denominator, _Z2 / denominator
    centre, half = value + share / 2, sqrt(share * (value * (1 - value) + share / 4))
    low, high = max(0.0, (centre - half) / (1 + share)), min(1.0, (centre + half) / (1 + share))
    return Rate(value, int(numerator), int(denominator), low, high)


def auroc(probability: FloatArray, label: IntArray) -> Estimate:
    """Area under the ROC curve with DeLong's 95 % interval, computed on the logit scale so that it stays in 0…1.

    DeLong et al. 1988, by the midranks of Sun and Xu 2014 in O(n log n).

    Raises
    ------
    StatisticsError
        If only one class is there.
    """
    area, positives, negatives = _placements(probability, label)
    variance = _variance(positives) / len(positives) + _variance(negatives) / len(negatives)
    if not 0 < area < 1 or variance <= 0:
        return Estimate(area, area, area)
    centre = np.log(area / (1 - area))
    half = stats.norm.ppf(0.975) * np.sqrt(variance) / (area * (1 - area))
    return Estimate(area, float(1 / (1 + np.exp(half - centre))), float(1 / (1 + np.exp(-half - centre))))


def delong_test(first: FloatArray, second: FloatArray, label: IntArray) -> tuple[Estimate, float]:
    """Difference of two AUROCs on the same cases, with 95 % interval, and its two-sided p-value (DeLong 1988)."""
    area_1, positives_1, negatives_1 = _placements(first, label)
    area_2, positives_2, negatives_2 = _placements(second, label)
    spread = positives_1 - positives_2, negatives_1 - negatives_2
    error = float(np.sqrt(sum(_variance(s) / len(s) for s in spread)))
    difference = area_1 - area_2
    if error == 0:
        return Estimate(difference, difference, difference), 1.0
    half = float(stats.norm.ppf(0.975)) * error
    return Estimate(difference, difference - half, difference + half), float(2 * stats.norm.sf(abs(difference) / error))


def _placements(probability: FloatArray, label: IntArray) -> tuple[float, FloatArray, FloatArray]:
    """Area, and the structural components of positives and negatives."""
    p, y = np.asarray(probability, float), np.asarray(label).astype(bool)
    m, n = int(y.sum()), int((~y).sum())
    if m == 0 or n == 0:
        raise StatisticsError(
            f"{m} cases with and {n} without the outcome", where="AUROC", fix="Both are needed to tell them apart."
        )
    together = stats.rankdata(p)
    among_positives, among_negatives = stats.rankdata(p[y]), stats.rankdata(p[~y])
    positives = (together[y] - among_positives) / n
    negatives = 1 - (together[~y] - among_negatives) / m
    return float(positives.mean()), positives, negatives


def _variance(values: FloatArray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def roc_curve(scores: ScoredCases, points: int = 400) -> RocCurve:
    """ROC curve thinned to about `points` points, ends kept."""
    order = np.argsort(-scores.probability, kind="stable")
    p, y = scores.probability[order], scores.label[order]
    last = np.append(np.flatnonzero(np.diff(p)), len(p) - 1)
    hits, misses = np.cumsum(y)[last], np.cumsum(1 - y)[last]
    if hits[-1] == 0 or misses[-1] == 0:
        raise StatisticsError("one class only", where="ROC curve", fix="Both outcomes are needed.")
    keep = np.unique(np.linspace(0, len(last) - 1, min(points, len(last))).astype(int))
    return RocCurve(
        np.concatenate([[0.0], misses[keep] / misses[-1]]),
        np.concatenate([[0.0], hits[keep] / hits[-1]]),
        np.concatenate([[np.inf], p[last][keep]]),
    )


def operating_point(scores: ScoredCases, cutoff: float = 0.5) -> OperatingPoint:
    """Accuracy, sensitivity, specificity and predictive values at a cut-off, each with counts and Wilson interval."""
    called, ill = scores.probability >= cutoff, scores.label == 1
    hit, rejected = int((called & ill).sum()), int((~called & ~ill).sum())
    return OperatingPoint(
        cutoff=cutoff,
        accuracy=wilson(hit + rejected, len(scores)),
        sensitivity=wilson(hit, int(ill.sum())),
        specificity=wilson(rejected, int((~ill).sum())),
        positive_predictive_value=wilson(hit, int(called.sum())),
        negative_predictive_value=wilson(rejected, int((~called).sum())),
    )


def stage_auroc(probabilities: FloatArray, stage: IntArray, *, seed: int = 0, rounds: int = 500) -> Estimate:
    """Mean one-versus-rest AUROC of stages 1, 2 and 3 with a bootstrap 95 % interval.

    Parameters
    ----------
    probabilities : (n, 3).
    stage : (n,) of 1, 2, 3; each must be there.
    """

    def mean(rows: IntArray) -> float:
        areas = []
        for k in range(3):
            is_stage = (stage[rows] == k + 1).astype(np.int64)
            if 0 < is_stage.sum() < len(rows):
                areas.append(_placements(probabilities[rows, k], is_stage)[0])
        return float(np.mean(areas)) if len(areas) == 3 else float("nan")

    everyone = np.arange(len(stage))
    value = mean(everyone)
    if np.isnan(value):
        raise StatisticsError(
            "not all three stages are there", where="stage AUROC", fix="Give cases of stages 1, 2, 3."
        )
    rng = np.random.default_rng(seed)
    drawn = [mean(rng.choice(everyone, len(everyone))) for _ in range(rounds)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
