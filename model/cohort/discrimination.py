"""How well probabilities tell outcomes apart: AUROC with DeLong intervals, ROC, precision, operating points, stages."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd
from scipy import stats

from model.cohort.scores import FloatArray, IntArray, ScoredCases
from model.errors import StatisticsError

STAGE_COLUMNS = ("stage_1", "stage_2", "stage_3")

Z = float(stats.norm.ppf(0.975))
"""Half the width of a 95 % normal interval, in standard errors."""


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
    """Rates at a cut-off: a case is called positive where its probability is at least the cut-off.

    `f1` is 2·TP ÷ (2·TP + FP + FN) and `youden` is sensitivity + specificity − 1; `called` is the share called positive.
    The likelihood ratios are NaN where a rate they divide by is 0.
    """

    cutoff: float
    accuracy: Rate
    sensitivity: Rate
    specificity: Rate
    positive_predictive_value: Rate
    negative_predictive_value: Rate
    f1: Rate
    called: Rate
    youden: Estimate
    positive_likelihood_ratio: Estimate
    negative_likelihood_ratio: Estimate


@dataclass(frozen=True)
class RocCurve:
    """Points of the ROC curve from (0, 0) to (1, 1), with the cut-off of each."""

    false_positive_rate: FloatArray
    sensitivity: FloatArray
    cutoff: FloatArray


@dataclass(frozen=True)
class PrecisionCurve:
    """Precision (positive predictive value) over recall (sensitivity), from the highest cut-off to the lowest.

    `average` is the average precision: the mean of precision over the recalls, without interpolation.
    """

    recall: FloatArray
    precision: FloatArray
    cutoff: FloatArray
    average: float


def wilson(numerator: int, denominator: int) -> Rate:
    """A share with its 95 % Wilson score interval (Wilson 1927)."""
    if denominator == 0:
        return Rate(float("nan"), 0, 0, 0.0, 1.0)
    value, share = numerator / denominator, Z**2 / denominator
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
    area, variance = delong(probability, label)
    if not 0 < area < 1 or variance <= 0:
        return Estimate(area, area, area)
    return on_logit_scale(area, float(np.sqrt(variance)))


def delong(probability: FloatArray, label: IntArray) -> tuple[float, float]:
    """AUROC and DeLong's variance of it (0 where a class has a single case); raises as `auroc` does."""
    area, positives, negatives = _placements(probability, label)
    return area, _variance(positives) / len(positives) + _variance(negatives) / len(negatives)


def on_logit_scale(value: float, error: float) -> Estimate:
    """95 % interval of a figure strictly between 0 and 1 from its standard error, made on the logit scale."""
    centre, half = np.log(value / (1 - value)), Z * error / (value * (1 - value))
    return Estimate(value, float(1 / (1 + np.exp(half - centre))), float(1 / (1 + np.exp(-half - centre))))


def delong_test(first: FloatArray, second: FloatArray, label: IntArray) -> tuple[Estimate, float]:
    """Difference of two AUROCs on the same cases, with 95 % interval, and its two-sided p-value (DeLong 1988)."""
    area_1, positives_1, negatives_1 = _placements(first, label)
    area_2, positives_2, negatives_2 = _placements(second, label)
    spread = positives_1 - positives_2, negatives_1 - negatives_2
    error = float(np.sqrt(sum(_variance(s) / len(s) for s in spread)))
    difference = area_1 - area_2
    if error == 0:
        return Estimate(difference, difference, difference), 1.0
    half = Z * error
    return Estimate(difference, difference - half, difference + half), float(2 * stats.norm.sf(abs(difference) / error))


def _placements(probability: FloatArray, label: IntArray) -> tuple[float, FloatArray, FloatArray]:
    """Area, and the structural components of positives and negatives."""
    p, y = np.asarray(probability, float), np.asarray(label).astype(bool)
    m, n = int(y.sum()), int((~y).sum())
    if m == 0 or n == 0:
        raise StatisticsError(
            f"{m} cases with and {n} without the outcome", where="AUROC", fix="Both are needed to tell them apart."
        )
    return (float(np.mean(above := _share_below(p[y], p[~y]))), above, 1 - _share_below(p[~y], p[y]))


def _share_below(values: FloatArray, others: FloatArray) -> FloatArray:
    """For each value the share of others below it, ties counted half; sorted keys make a million quick."""
    order, others = np.argsort(values), np.sort(others)
    keys = values[order]
    below = np.searchsorted(others, keys, "left") + np.searchsorted(others, keys, "right")
    result = np.empty(len(values))
    result[order] = below / (2 * len(others))
    return result


def _variance(values: FloatArray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def roc_curve(scores: ScoredCases, points: int = 400) -> RocCurve:
    """ROC curve thinned to about `points` points, ends kept."""
    order = np.argsort(-scores.probability)
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


def precision_curve(scores: ScoredCases, points: int = 400) -> PrecisionCurve:
    """Precision–recall curve thinned to about `points` points, and its average precision over all of them."""
    order = np.argsort(-scores.probability)
    p, y = scores.probability[order], scores.label[order]
    last = np.append(np.flatnonzero(np.diff(p)), len(p) - 1)
    hits = np.cumsum(y)[last]
    if hits[-1] == 0:
        raise StatisticsError("no case with the outcome", where="precision–recall curve", fix="Both are needed.")
    recall, precision = hits / hits[-1], hits / (last + 1)
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    keep = np.unique(np.linspace(0, len(last) - 1, min(points, len(last))).astype(int))
    return PrecisionCurve(recall[keep], precision[keep], p[last][keep], average)


def operating_point(scores: ScoredCases, cutoff: float = 0.5) -> OperatingPoint:
    """Rates at a cut-off, each with its counts and 95 % interval.

    Wilson's for shares; for F1 Wilson's on TP ÷ (TP + FP + FN), of which F1 is a monotone function; Newcombe's for
    Youden's index; on the log scale for likelihood ratios (Simel et al. 1991).
    """
    called, ill = scores.probability >= cutoff, scores.label == 1
    hit, rejected = int((called & ill).sum()), int((~called & ~ill).sum())
    positives, negatives, calls = int(ill.sum()), int((~ill).sum()), int(called.sum())
    false_alarms = negatives - rejected
    sensitivity, specificity = wilson(hit, positives), wilson(rejected, negatives)
    overlap = wilson(hit, calls + positives - hit)  # TP of TP + FP + FN
    return OperatingPoint(
        cutoff=cutoff,
        accuracy=wilson(hit + rejected, len(scores)),
        sensitivity=sensitivity,
        specificity=specificity,
        positive_predictive_value=wilson(hit, calls),
        negative_predictive_value=wilson(rejected, len(scores) - calls),
        f1=Rate(_f1(overlap.value), 2 * hit, calls + positives, _f1(overlap.low), _f1(overlap.high)),
        called=wilson(calls, len(scores)),
        youden=newcombe(sensitivity, wilson(false_alarms, negatives)),
        positive_likelihood_ratio=_ratio(hit, positives, false_alarms, negatives),
        negative_likelihood_ratio=_ratio(positives - hit, positives, rejected, negatives),
    )


def _f1(overlap: float) -> float:
    """F1 from TP ÷ (TP + FP + FN)."""
    return 2 * overlap / (1 + overlap)


def newcombe(first: Rate, second: Rate) -> Estimate:
    """Difference of two independent shares with Newcombe's 95 % hybrid score interval (Newcombe 1998, method 10)."""
    difference = first.value - second.value
    down = np.hypot(first.value - first.low, second.high - second.value)
    up = np.hypot(first.high - first.value, second.value - second.low)
    return Estimate(difference, float(difference - down), float(difference + up))


def _ratio(hits: int, n: int, others: int, m: int) -> Estimate:
    """Ratio of two shares with its 95 % interval on the log scale (Simel et al. 1991); NaN where a share is 0."""
    if min(hits, others) == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    value = (hits / n) / (others / m)
    spread = float(np.exp(Z * np.sqrt(1 / hits - 1 / n + 1 / others - 1 / m)))
    return Estimate(value, value / spread, value * spread)


def staged_cases(frame: pd.DataFrame) -> tuple[FloatArray, IntArray]:
    """Probabilities (n, 3) and true stages (n,) of the cases with LLNM that have both.

    Parameters
    ----------
    frame : columns llnm (0/1), stage ("1" to "3", or numbers) and `STAGE_COLUMNS`.
    """
    known = frame[frame["stage"].notna() & frame[list(STAGE_COLUMNS)].notna().all(axis=1) & (frame["llnm"] == 1)]
    predicted: FloatArray = known[list(STAGE_COLUMNS)].to_numpy(float)
    stage: IntArray = known["stage"].to_numpy().astype(np.int64)
    return predicted, stage


def confusion(probabilities: FloatArray, stage: IntArray) -> IntArray:
    """Counts (3, 3): rows the true stages 1–3, columns the most probable stage.

    Parameters
    ----------
    probabilities : (n, 3).
    stage : (n,) of 1, 2, 3.
    """
    called = np.argmax(probabilities, 1)
    return np.bincount((stage - 1) * 3 + called, minlength=9).reshape(3, 3)


def stage_auroc(probabilities: FloatArray, stage: IntArray) -> Estimate:
    """Mean one-versus-rest AUROC of stages 1, 2 and 3 with a 95 % interval on the logit scale.

    Its variance is that of the mean of the cases' influences on the three areas: DeLong's estimator for a sum of
    areas on the same cases, in O(n log n) where a bootstrap of a million rows would take minutes.

    Parameters
    ----------
    probabilities : (n, 3).
    stage : (n,) of 1, 2, 3; each must be there.
    """
    if len(np.unique(stage)) < 3:
        raise StatisticsError(
            "not all three stages are there", where="stage AUROC", fix="Give cases of stages 1, 2, 3."
        )
    areas, influence = [], np.zeros(len(stage))
    for k in range(3):
        is_stage = stage == k + 1
        area, positives, negatives = _placements(probabilities[:, k], is_stage.astype(np.int64))
        influence[is_stage] += (positives - area) / is_stage.mean() / 3
        influence[~is_stage] += (negatives - area) / (~is_stage).mean() / 3
        areas.append(area)
    value, error = float(np.mean(areas)), float(np.sqrt(_variance(influence) / len(stage)))
    return on_logit_scale(value, error) if 0 < value < 1 and error > 0 else Estimate(value, value, value)
