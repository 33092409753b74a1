"""The same figure in every subgroup: AUROC with heterogeneity, and gaps between groups with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from model.cohort.adjusted import Missing, Numbers, adjusted_curve
from model.cohort.calibration import calibration_in_the_large
from model.cohort.curves import RiskCurve, risk_curve
from model.cohort.discrimination import Estimate, Z, auroc, delong, newcombe, operating_point
from model.cohort.scores import ScoredCases
from model.errors import StatisticsError

MIN_EACH = 5
"""Cases of each outcome below which a subgroup's AUROC is not told."""

BANDS: dict[str, tuple[str, tuple[float, ...], str]] = {
    "age band": ("age_years", (35, 45, 55, 65), "years"),
    "size band": ("size_mm", (10, 20, 40), "mm"),
}
"""Bands by name: column, cut points (a case on one falls into the band above) and unit. 55 years and 10, 20, 40 mm are
those of the TNM stages."""

DIVISIONS: tuple[str, ...] = ("centre", "histology", "sex", "age band", "size band", "tirads")
"""What a cohort is divided by."""


@dataclass(frozen=True)
class Subgroup:
    """One group: its size, and its AUROC (DeLong) where it has enough cases of each outcome, else None."""

    name: str
    cases: int
    positives: int
    auroc: Estimate | None

    @property
    def too_few(self) -> str:
        """Why there is no AUROC, in words; empty where there is one."""
        if self.auroc is not None:
            return ""
        return f"too few (n = {self.cases:,}; {self.positives:,} with the outcome, {self.cases - self.positives:,} without)"


@dataclass(frozen=True)
class Heterogeneity:
    """Whether AUROCs differ by more than chance, on the logit scale.

    Parameters
    ----------
    pooled : random-effects mean (DerSimonian and Laird 1986) with its 95 % interval.
    q, degrees, p : Cochran's Q, its degrees of freedom and p-value.
    i_squared : share of the spread that is not chance, 0…1 (Higgins and Thompson 2002).
    """

    pooled: Estimate
    q: float
    degrees: int
    p: float
    i_squared: float


@dataclass(frozen=True)
class Gap:
    """A figure of a group minus that of the reference group, with 95 % interval; None where it cannot be computed."""

    group: str
    cases: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    auroc: Estimate | None
    calibration: Estimate | None


@dataclass(frozen=True)
class GroupCurves:
    """Risk curves by group; groups without one as text with their size, and cases of unknown group."""

    curves: Mapping[str, RiskCurve]
    few: tuple[str, ...]
    unknown: int


def curves_by_group(
    frame: pd.DataFrame, groups: pd.Series, grid: npt.ArrayLike, *, adjust: Sequence[str] = (), numbers: Numbers = "linear",
    missing: Missing = "complete", most: int = 7,
) -> GroupCurves:  # fmt: skip
    """Risk over the capsule distance in each group, adjusted within the group where covariates are given.

    Parameters
    ----------
    frame : capsule_distance_mm (known), llnm (0/1) and the covariates.
    groups : from `division`.
    grid : distances, mm.
    adjust, numbers, missing : as for `model.cohort.adjusted.adjusted_curve`.
    most : the largest groups get a curve, at most so many.
    """
    found: dict[str, RiskCurve] = {}
    few = []
    for name in groups.value_counts().index:
        part = frame[(groups == name).to_numpy()]
        try:
            if len(found) == most:
                raise StatisticsError("too many groups", where="curves by group", fix="Look at the larger ones.")
            x = part["capsule_distance_mm"].to_numpy(float)
            found[str(name)] = (
                adjusted_curve(part, "capsule_distance_mm", "llnm", adjust, grid, numbers=numbers, missing=missing).curve
                if adjust else risk_curve(x, part["llnm"].to_numpy(), grid)
            )  # fmt: skip
        except StatisticsError:
            if len(part):
                few.append(f"{name} (n = {len(part):,})")
    order = [str(c) for c in groups.cat.categories if str(c) in found]
    return GroupCurves({name: found[name] for name in order}, tuple(few), int(groups.isna().sum()))


def division(frame: pd.DataFrame, name: str) -> pd.Series | None:
    """The group of each case (missing where unknown), in the order of the bands; None where the column is not there."""
    column, cuts, unit = BANDS.get(name, (name, (), ""))
    if column not in frame or not frame[column].notna().any():
        return None
    if not cuts:
        return frame[column].astype("category")
    labels = [f"<{cuts[0]:g}", *(f"{a:g} to <{b:g}" for a, b in pairwise(cuts)), f"≥{cuts[-1]:g}"]
    edges = [-np.inf, *cuts, np.inf]
    return pd.cut(frame[column], edges, right=False, labels=[f"{text} {unit}" for text in labels])


def by_group(scores: ScoredCases, groups: pd.Series) -> tuple[Subgroup, ...]:
    """AUROC of every group that has a case; cases of unknown group are left out."""
    result = []
    for name, part in _parts(scores, groups):
        n, m = len(part), part.positives
        area = auroc(part.probability, part.label) if min(m, n - m) >= MIN_EACH else None
        result.append(Subgroup(name, n, m, area))
    return tuple(result)


def heterogeneity(groups: tuple[Subgroup, ...]) -> Heterogeneity:
    """Cochran's Q and I² of the groups that have an AUROC with an interval.

    Raises
    ------
    StatisticsError
        If fewer than two have one.
    """
    areas = [g.auroc for g in groups if g.auroc is not None and g.auroc.low < g.auroc.high]
    if len(areas) < 2:
        raise StatisticsError(
            f"{len(areas)} groups with an AUROC", where="heterogeneity", fix="At least two large enough are needed."
        )
    centre = np.array([_logit(a.value) for a in areas])
    error = np.array([(_logit(a.high) - _logit(a.low)) / (2 * Z) for a in areas])
    weight, degrees = error**-2, len(areas) - 1
    q = float((weight * (centre - np.average(centre, weights=weight)) ** 2).sum())
    between = max(0.0, (q - degrees) / float(weight.sum() - (weight**2).sum() / weight.sum()))
    weight = 1 / (error**2 + between)
    mean, half = float(np.average(centre, weights=weight)), Z / float(np.sqrt(weight.sum()))
    low, value, high = (float(1 / (1 + np.exp(-x))) for x in (mean - half, mean, mean + half))
    return Heterogeneity(
        Estimate(value, low, high),
        q,
        degrees,
        float(stats.chi2.sf(q, degrees)),
        max(0.0, 1 - degrees / q) if q else 0.0,
    )


def gaps(scores: ScoredCases, groups: pd.Series, *, reference: str, cutoff: float = 0.5) -> tuple[Gap, ...]:
    """Every other group against the reference.

    Sensitivity and specificity at the cut-off: Newcombe's interval; AUROC: normal, from DeLong's variances, which add
    since the groups share no case; calibration in the large (difference of the intercepts on the logit scale with the
    slope held at 1; above 0: more LLNM than predicted, compared with the reference): Wald's. Not adjusted for testing
    several groups.

    Raises
    ------
    StatisticsError
        If the reference is not among the groups.
    """
    parts = dict(_parts(scores, groups))
    if reference not in parts:
        raise StatisticsError(f"no case in {reference!r}", where="reference group", fix="Choose a group with cases.")
    base = parts.pop(reference)
    return tuple(_gap(name, part, base, cutoff) for name, part in parts.items())


def _gap(name: str, part: ScoredCases, base: ScoredCases, cutoff: float) -> Gap:
    here, there = operating_point(part, cutoff), operating_point(base, cutoff)
    enough = [min(s.positives, len(s) - s.positives) >= MIN_EACH for s in (part, base)]
    ill = min(part.positives, base.positives) >= MIN_EACH
    well = min(len(s) - s.positives for s in (part, base)) >= MIN_EACH
    return Gap(
        group=name,
        cases=len(part),
        sensitivity=newcombe(here.sensitivity, there.sensitivity) if ill else None,
        specificity=newcombe(here.specificity, there.specificity) if well else None,
        auroc=_difference(part, base, lambda s: delong(s.probability, s.label)) if all(enough) else None,
        calibration=_difference(part, base, _intercept) if all(enough) else None,
    )


def _difference(
    part: ScoredCases, base: ScoredCases, figure: Callable[[ScoredCases], tuple[float, float]]
) -> Estimate | None:
    """Difference of a figure in two groups without common cases, from values and variances."""
    try:
        (a, va), (b, vb) = figure(part), figure(base)
    except StatisticsError:
        return None
    half = Z * float(np.sqrt(va + vb))
    return Estimate(a - b, a - b - half, a - b + half)


def _intercept(scores: ScoredCases) -> tuple[float, float]:
    found = calibration_in_the_large(scores)
    return found.value, ((found.high - found.low) / (2 * Z)) ** 2


def _parts(scores: ScoredCases, groups: pd.Series) -> list[tuple[str, ScoredCases]]:
    codes = groups.astype("category").cat
    held = codes.codes.to_numpy()
    result = []
    for i, name in enumerate(codes.categories):
        rows = held == i
        if rows.any():
            result.append((str(name), ScoredCases(scores.probability[rows], scores.label[rows])))
    return result


def _logit(value: float) -> float:
    return float(np.log(value / (1 - value)))
