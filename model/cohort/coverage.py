"""What coverage conformal sets achieve: in all scored cases, by outcome, and in each centre.

The stated coverage holds for cases like the validation cases. A centre with other patients or another machine may get
more or less; here it is counted. Where a centre has enough labelled cases of its own, thresholds are also taken from
them, and what those achieve is counted on cases they were not taken from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.cohort.discrimination import Rate, wilson
from model.cohort.scores import FloatArray
from model.uncertainty.conformal import Thresholds, thresholds

FEWEST_EACH = 50
"""Cases of either outcome that a centre needs for thresholds of its own: with 50, the coverage that one draw of
calibration cases gives lies within about 8 percentage points of 90 % (a Beta distribution; Angelopoulos & Bates 2023,
section 3.2)."""
FOLDS = 10
"""Parts of a centre's cases; the thresholds that judge one come from the others."""


@dataclass(frozen=True)
class Coverage:
    """What sets of one level achieved.

    Parameters
    ----------
    all, llnm, no_llnm : share of cases whose set holds their outcome: of all, of those with LLNM, of those without.
    undecided, empty : share of cases whose set holds both outcomes, or none.
    """

    all: Rate
    llnm: Rate
    no_llnm: Rate
    undecided: Rate
    empty: Rate


@dataclass(frozen=True)
class CentreCoverage:
    """Coverage in one centre.

    Parameters
    ----------
    centre : its name.
    shipped : by the thresholds of the checkpoint.
    own : by thresholds from the centre's own cases, each case judged by those of the other folds; None where too few.
    own_thresholds : thresholds from all of the centre's cases, for its next one; None where too few.
    why_not : why there are none, in words; "" where there are.
    """

    centre: str
    shipped: Coverage
    own: Coverage | None
    own_thresholds: Thresholds | None
    why_not: str


def achieved(limits: Thresholds | Sequence[Thresholds], logits: npt.ArrayLike, labels: npt.ArrayLike) -> Coverage:
    """Count what sets achieve.

    Parameters
    ----------
    limits : thresholds for all cases, or one for each.
    logits, labels : (n,) calibrated logits and outcomes (bool).
    """
    scores, outcomes = np.asarray(logits, float), np.asarray(labels, bool)
    each = [limits] * len(scores) if isinstance(limits, Thresholds) else limits
    sets = [t.of(float(score)) for t, score in zip(each, scores, strict=True)]
    covered = np.array([s.covers(bool(y)) for s, y in zip(sets, outcomes, strict=True)], bool)
    n = len(sets)
    return Coverage(
        all=wilson(int(covered.sum()), n),
        llnm=wilson(int(covered[outcomes].sum()), int(outcomes.sum())),
        no_llnm=wilson(int(covered[~outcomes].sum()), int((~outcomes).sum())),
        undecided=wilson(sum(s.positive and s.negative for s in sets), n),
        empty=wilson(sum(not s.outcomes for s in sets), n),
    )


def by_centre(
    limits: Thresholds, logits: FloatArray, labels: npt.NDArray[np.bool_], centres: Sequence[str], *, seed: int = 0
) -> tuple[CentreCoverage, ...]:
    """Coverage in each centre, in the order of their names; cases without a centre are left out.

    Parameters
    ----------
    limits : of the checkpoint.
    logits, labels, centres : (n,) calibrated logits, outcomes and centres.
    seed : of the folds.
    """
    where = np.asarray(centres, object)
    return tuple(
        _centre(str(name), limits, logits[where == name], labels[where == name], seed)
        for name in sorted({c for c in where if isinstance(c, str) and c})
    )


def _centre(
    name: str, limits: Thresholds, logits: FloatArray, labels: npt.NDArray[np.bool_], seed: int
) -> CentreCoverage:
    shipped = achieved(limits, logits, labels)
    fewest = int(min(labels.sum(), (~labels).sum()))
    if fewest < FEWEST_EACH:
        which = "with" if labels.sum() == fewest else "without"
        why = f"only {fewest} labelled cases {which} LLNM; {FEWEST_EACH} of each are needed"
        return CentreCoverage(name, shipped, None, None, why)
    fold = np.random.default_rng(seed).permutation(len(logits)) % FOLDS
    of_fold = [thresholds(logits[fold != k], labels[fold != k], limits.level) for k in range(FOLDS)]
    own = achieved([of_fold[k] for k in fold], logits, labels)
    return CentreCoverage(name, shipped, own, thresholds(logits, labels, limits.level), "")
