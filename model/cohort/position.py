"""Risk by place in the gland: side × third, and the isthmus; and whether distance matters alike in every place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from model.cohort.curves import fitted_spline
from model.cohort.discrimination import Estimate, Rate, newcombe, wilson
from model.cohort.logistic import fit_logistic
from model.cohort.scores import FloatArray
from model.errors import StatisticsError

PLACES: tuple[tuple[str, str], ...] = (
    *((side, third) for side in ("right", "left") for third in ("upper", "middle", "lower")),
    ("isthmus", ""),
)


@dataclass(frozen=True)
class PositionRisk:
    """Risk of one place; `third` is empty for the isthmus, `predicted` NaN without predictions or cases."""

    side: str
    third: str
    observed: Rate
    predicted: float

    @property
    def name(self) -> str:
        """The place in words."""
        return place_name(self.side, self.third)


@dataclass(frozen=True)
class NearAndFar:
    """Risk of one place within a distance of the capsule and beyond it.

    `difference` is near minus far with Newcombe's 95 % interval; None where one of the two has no case.
    """

    name: str
    near: Rate
    far: Rate
    difference: Estimate | None


@dataclass(frozen=True)
class Interaction:
    """Likelihood-ratio test of place × distance.

    Parameters
    ----------
    statistic, degrees, p_value : χ² of the test.
    places : places that took part.
    left_out : places with too few cases for it.
    cases : cases that took part.
    """

    statistic: float
    degrees: int
    p_value: float
    places: tuple[str, ...]
    left_out: tuple[str, ...]
    cases: int


MIN_PLACE_CASES, MIN_PLACE_OUTCOMES = 30, 5
"""A place takes part in the test of interaction with so many cases, and so many of either outcome."""


def place_name(side: str, third: str) -> str:
    """A place in words; `third` is empty for the isthmus."""
    return "isthmus" if side == "isthmus" else f"{third} {side} lobe"


def _in_place(frame: pd.DataFrame, side: str, third: str) -> npt.NDArray[np.bool_]:
    return np.asarray((frame["side"] == side) & ((frame["third"] == third) | (side == "isthmus")))


def risk_by_position(frame: pd.DataFrame) -> tuple[PositionRisk, ...]:
    """Every place of `PLACES`, empty ones too.

    Parameters
    ----------
    frame : columns side, third, llnm (0/1), and probability if there is one. Cases without a place are left out.
    """
    result = []
    for side, third in PLACES:
        here = frame[_in_place(frame, side, third)]
        predicted = float(here["probability"].mean()) if "probability" in frame and len(here) else float("nan")
        result.append(PositionRisk(side, third, wilson(int(here["llnm"].sum()), len(here)), predicted))
    return tuple(result)


def near_and_far(frame: pd.DataFrame, cut_mm: float) -> tuple[NearAndFar, ...]:
    """Every place of `PLACES`: observed rate below `cut_mm` of capsule distance and from there on.

    Parameters
    ----------
    frame : columns side, third, capsule_distance_mm, llnm (0/1). Cases without a place or a distance are left out.
    """
    result = []
    distance, label = frame["capsule_distance_mm"].to_numpy(float), frame["llnm"].to_numpy(float)
    for side, third in PLACES:
        here = _in_place(frame, side, third)
        near, far = (
            wilson(int(label[rows].sum()), int(rows.sum()))
            for rows in (here & (distance < cut_mm), here & (distance >= cut_mm))
        )
        difference = newcombe(near, far) if near.denominator and far.denominator else None
        result.append(NearAndFar(place_name(side, third), near, far, difference))
    return tuple(result)


def distance_interaction(frame: pd.DataFrame) -> Interaction:
    """Whether the log-odds fall alike with capsule distance in every place: likelihood-ratio test of their interaction.

    Logistic regression on place and a restricted cubic spline of the distance with three knots, with against without
    place × spline. Logistic: risks may differ in their fall while the log-odds do not.

    Parameters
    ----------
    frame : as for `near_and_far`.

    Raises
    ------
    StatisticsError
        If fewer than two places have 30 cases and 5 of either outcome, the distance hardly varies, or a place tells the
        outcome without error.
    """
    where = "place × distance"
    known = frame[frame["capsule_distance_mm"].notna()]
    groups = {place_name(side, third): _in_place(known, side, third) for side, third in PLACES}
    label = known["llnm"].to_numpy(float)

    def large(rows: npt.NDArray[np.bool_]) -> bool:
        positives = float(label[rows].sum())
        return bool(rows.sum() >= MIN_PLACE_CASES and min(positives, rows.sum() - positives) >= MIN_PLACE_OUTCOMES)

    places = [name for name, rows in groups.items() if large(rows)]
    if len(places) < 2:
        raise StatisticsError(
            f"{len(places)} places with {MIN_PLACE_CASES} cases and {MIN_PLACE_OUTCOMES} of either outcome",
            where=where,
            fix="At least two are needed; widen the filters.",
        )
    used = np.any([groups[p] for p in places], axis=0)
    x, y = known["capsule_distance_mm"].to_numpy(float)[used], label[used]
    spline = fitted_spline(x, 3)
    basis = spline.columns(x)
    dummies = np.stack([groups[p][used] for p in places[1:]], 1).astype(float)
    alike = np.concatenate([basis, dummies], 1)
    crossed = np.concatenate([alike, *(basis[:, 1:] * dummy[:, None] for dummy in dummies.T)], 1)
    constant, *curve = spline.names("capsule distance")
    names = [constant, *curve, *places[1:], *(f"{c} in the {p}" for p in places[1:] for c in curve)]

    def log_likelihood(design: FloatArray) -> float:
        logit = design @ fit_logistic(design, y, names=names[: design.shape[1]]).coefficients
        return float(y @ logit - np.logaddexp(0, logit).sum())

    statistic = max(2 * (log_likelihood(crossed) - log_likelihood(alike)), 0.0)
    degrees = crossed.shape[1] - alike.shape[1]
    left_out = tuple(name for name, rows in groups.items() if rows.any() and name not in places)
    return Interaction(
        statistic, degrees, float(stats.chi2.sf(statistic, degrees)), tuple(places), left_out, int(used.sum())
    )
