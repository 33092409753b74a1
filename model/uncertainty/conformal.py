"""Conformal sets: the outcomes that cannot be ruled out, with a stated coverage.

Split conformal prediction, one threshold for each outcome (label-conditional, "Mondrian": Vovk et al. 2005, ch. 4; Vovk
2012; Angelopoulos & Bates 2023, section 4.2). Of the two usual guarantees it is the stronger: not only do the sets hold
the true outcome in at least the stated share of all cases; they do so among patients with LLNM and among patients
without, however common LLNM is. So the rate of missed metastases is bounded by itself, and a centre with another
prevalence keeps the guarantee as long as each kind of patient looks as it did in validation.

The guarantee is an average over validation cases and the next case drawn alike from one population. It says nothing of a
single patient, and does not hold where centres shift; `model.cohort.coverage` measures what is achieved there.

The temperature was fitted on the same validation cases. That does not matter: only the order of scores counts, and
dividing by a temperature keeps it. The choice of the best epoch on them does, by less than can be measured here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.schema import LLNM

LEVELS = (0.8, 0.9, 0.95)
STATED = 0.9
"""The level that is shown beside a probability."""


@dataclass(frozen=True)
class ConformalSet:
    """The outcomes that cannot be ruled out at a level: one, both or none.

    Parameters
    ----------
    level : stated coverage, 0…1, of either outcome.
    positive, negative : whether the set holds the outcome, and whether its absence.
    endpoint : short name of the outcome.
    """

    level: float
    positive: bool
    negative: bool
    endpoint: str = LLNM.short

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What the set holds."""
        return (self.endpoint,) * self.positive + (f"no {self.endpoint}",) * self.negative

    @property
    def words(self) -> str:
        """What the set holds, for a reader: "LLNM", "no LLNM", "undecided" or "neither fits"."""
        return "undecided" if self.positive and self.negative else " ".join(self.outcomes) or "neither fits"

    @property
    def sentence(self) -> str:
        """What the set says of a case, and what its level promises."""
        if len(self.outcomes) == 1:
            other = f"no {self.endpoint}" if self.positive else self.endpoint
            said = f"{self.outcomes[0]} alone is left; {other} is ruled out at this level."
        elif self.outcomes:
            said = f"undecided; neither {self.endpoint} nor its absence is ruled out at this level."
        else:
            said = "neither outcome fits; the case is unlike validation cases of either kind."
        share = f"{100 * self.level:g} %"
        return (
            f"{share} conformal set: {said} Of cases like the validation cases, at least {share} of those with {self.endpoint} "
            "and of those without have their outcome in their set."
        )

    def covers(self, outcome: bool) -> bool:
        """Whether the set holds an outcome."""
        return self.positive if outcome else self.negative


@dataclass(frozen=True)
class Thresholds:
    """Where the sets of one level begin and end, in logits.

    Parameters
    ----------
    level : stated coverage, 0…1.
    positive : a set holds the outcome from this logit up; −inf where there were too few cases to rule it out.
    negative : a set holds its absence from this logit down; +inf likewise.
    positives, negatives : calibration cases with and without the outcome.
    endpoint : short name of the outcome.
    """

    level: float
    positive: float
    negative: float
    positives: int
    negatives: int
    endpoint: str = LLNM.short

    def of(self, logit: float) -> ConformalSet:
        """The set of a case."""
        return ConformalSet(self.level, logit >= self.positive, logit <= self.negative, self.endpoint)


def thresholds(
    logits: npt.ArrayLike, labels: npt.ArrayLike, level: float, endpoint: str = LLNM.short
) -> Thresholds:
    """Thresholds from cases that the model was not trained on.

    Parameters
    ----------
    logits, labels : (n,) logits (any increasing score) and outcomes (bool) of the calibration cases.
    level : coverage wanted, 0 < level < 1.
    endpoint : short name of the outcome.

    Raises
    ------
    ValueError
        If the level is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: must lie between 0 and 1, got {level}")
    scores, outcomes = np.asarray(logits, float), np.asarray(labels, bool)
    with_it, without = scores[outcomes], scores[~outcomes]
    return Thresholds(
        level, -conformal_quantile(-with_it, level), conformal_quantile(without, level), len(with_it), len(without), endpoint
    )


def all_thresholds(
    logits: npt.ArrayLike, labels: npt.ArrayLike, endpoint: str = LLNM.short
) -> Mapping[float, Thresholds]:
    """`thresholds` of every level of `LEVELS`."""
    return {level: thresholds(logits, labels, level, endpoint) for level in LEVELS}


def conformal_quantile(scores: npt.ArrayLike, level: float) -> float:
    """The score that the next one, drawn alike, does not exceed with probability at least `level`.

    The ⌈(n + 1) · level⌉-th smallest of (n,) scores; +inf where there is none, since n are then too few to tell.
    """
    ordered = np.sort(np.asarray(scores, float))
    rank = math.ceil(round((len(ordered) + 1) * level, 9))  # 10 · 0.9 must be 9, not 9.000000000000002
    return float(ordered[rank - 1]) if rank <= len(ordered) else math.inf
