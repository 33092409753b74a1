"""What acting on the predictions would bring: net benefit and clinical impact over the threshold probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.cohort.discrimination import Z
from model.cohort.scores import FloatArray, IntArray, ScoredCases
from model.errors import StatisticsError


@dataclass(frozen=True)
class Benefit:
    """Net benefit and counts over (t,) threshold probabilities.

    Parameters
    ----------
    threshold : from which on a case is treated: its odds are the harm of treating in vain ÷ the benefit of treating.
    model, low, high : net benefit of treating by the model, with a pointwise 95 % band.
    treat_all : net benefit of treating everyone; treating nobody has 0.
    called, hits : cases at or above the threshold, and those of them with the outcome.
    cases, positives : of the cohort.
    """

    threshold: FloatArray
    model: FloatArray
    low: FloatArray
    high: FloatArray
    treat_all: FloatArray
    called: IntArray
    hits: IntArray
    cases: int
    positives: int


def net_benefit(scores: ScoredCases, thresholds: npt.ArrayLike) -> Benefit:
    """Decision curve (Vickers and Elkin 2006): hits ÷ n − false alarms ÷ n × t ÷ (1 − t).

    It is the mean over cases of 1 for a hit and −t ÷ (1 − t) for a false alarm, so its standard error is that of a mean.

    Raises
    ------
    StatisticsError
        If a threshold is not strictly between 0 and 1, or there is no case.
    """
    t = np.asarray(thresholds, float)
    n, positives = len(scores), scores.positives
    if not n or not len(t) or not ((t > 0) & (t < 1)).all():
        raise StatisticsError(
            "no case, or a threshold outside 0 to 1", where="net benefit", fix="Choose thresholds between 1 and 99 %."
        )
    order = np.argsort(scores.probability)
    first = np.searchsorted(scores.probability[order], t, "left")
    below = np.concatenate([[0], np.cumsum(scores.label[order])])[first]
    called, hits = n - first, positives - below
    odds = t / (1 - t)
    value = hits / n - (called - hits) / n * odds
    error = np.sqrt(np.maximum(hits / n + (called - hits) / n * odds**2 - value**2, 0) / n)
    everyone = positives / n - (n - positives) / n * odds
    return Benefit(t, value, value - Z * error, value + Z * error, everyone, called, hits, n, positives)
