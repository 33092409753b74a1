"""What a performance report says in figures: a scored cohort → discrimination, calibration, benefit, subgroups; each with its n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from model.cohort.benefit import Benefit, net_benefit
from model.cohort.calibration import (
    CalibrationBin,
    CalibrationLine,
    calibration_bins,
    calibration_curve,
    calibration_line,
)
from model.cohort.coverage import Coverage, achieved
from model.cohort.curves import RiskCurve
from model.cohort.discrimination import OperatingPoint, Rate, RocCurve, operating_point, roc_curve, wilson
from model.cohort.evaluate import Evaluation
from model.cohort.scores import ScoredCases
from model.cohort.subgroups import (
    DIVISIONS,
    MIN_EACH,
    Gap,
    Heterogeneity,
    Subgroup,
    by_group,
    division,
    gaps,
    heterogeneity,
)
from model.errors import StatisticsError
from model.schema import Schema
from model.uncertainty.conformal import Thresholds

THRESHOLDS = tuple(k / 20 for k in range(1, 20))
"""Threshold probabilities of the decision curve's table."""
MOST_GROUPS = 20
"""Groups above which a division is not told: a field of free values is no subgroup."""


@dataclass(frozen=True)
class Group:
    """A subgroup with all that is told of it.

    Parameters
    ----------
    of : name, counts and AUROC.
    sensitivity, specificity : at the cut-off 0.5, with counts.
    observed, predicted : share with the outcome with its interval, and mean predicted probability.
    """

    of: Subgroup
    sensitivity: Rate
    specificity: Rate
    observed: Rate
    predicted: float


@dataclass(frozen=True)
class Division:
    """The cohort divided by one field.

    Parameters
    ----------
    name : of the field or band.
    groups : with at least one case, in the field's order.
    reference : largest group, with which the others are compared.
    gaps : of every other group to it.
    spread : whether AUROCs differ by more than chance; None where fewer than two groups have one.
    unknown : cases of unknown group, which stand in none.
    """

    name: str
    groups: tuple[Group, ...]
    reference: str
    gaps: tuple[Gap, ...]
    spread: Heterogeneity | None
    unknown: int


@dataclass(frozen=True, eq=False)
class Performance:
    """Everything counted on n cases with known outcome; None where there are too few to tell.

    Parameters
    ----------
    evaluation : as `llnm evaluate` gives it.
    scores : the cases.
    point : rates at cut-off 0.5.
    roc, line, curve, bins : discrimination and calibration.
    observed, expected : share with the outcome, and mean predicted probability.
    benefit : decision curve over 1 to 99 %.
    table : the same at `THRESHOLDS`.
    coverage : of the conformal sets of the stated level; None without a checkpoint's thresholds.
    divisions : subgroups; none where the cases' fields are not known.
    """

    evaluation: Evaluation
    scores: ScoredCases
    point: OperatingPoint
    roc: RocCurve | None
    line: CalibrationLine | None
    curve: RiskCurve | None
    bins: tuple[CalibrationBin, ...]
    observed: Rate
    expected: float
    benefit: Benefit
    table: Benefit
    coverage: Coverage | None
    divisions: tuple[Division, ...]


def performance(
    evaluation: Evaluation,
    frame: pd.DataFrame,
    schema: Schema,
    *,
    limits: Thresholds | None = None,
) -> Performance:
    """Count a scored cohort.

    Parameters
    ----------
    evaluation : of the same cases.
    frame : one row a case with its outcome (the endpoint's column, known), `probability`, and `logit` and fields where known.
    schema : of the model.
    limits : thresholds of the conformal sets to judge.

    Raises
    ------
    StatisticsError
        If there is no case, or a probability or outcome is none.
    """
    label = frame[schema.endpoint.name].astype(bool).to_numpy(np.int64)
    scores = ScoredCases.from_arrays(frame["probability"].to_numpy(float), label)
    both = 0 < scores.positives < len(scores)
    try:
        curve = calibration_curve(scores)
    except StatisticsError:
        curve = None
    try:
        line = calibration_line(scores)
    except StatisticsError:
        line = None
    return Performance(
        evaluation=evaluation,
        scores=scores,
        point=operating_point(scores),
        roc=roc_curve(scores) if both else None,
        line=line,
        curve=curve,
        bins=calibration_bins(scores),
        observed=wilson(scores.positives, len(scores)),
        expected=float(scores.probability.mean()),
        benefit=net_benefit(scores, np.linspace(0.01, 0.99, 99)),
        table=net_benefit(scores, THRESHOLDS),
        coverage=None
        if limits is None or "logit" not in frame
        else achieved(limits, frame["logit"].to_numpy(float), label == 1),
        divisions=divide(frame, scores, divisions_of(schema)),
    )


def divisions_of(schema: Schema) -> tuple[str, ...]:
    """What cases are divided by: the usual fields, then the categories of the schema's own."""
    own = [f.name for f in schema.own if f.kind in ("category", "flag") and f.is_token]
    return (*DIVISIONS, *own)


def divide(frame: pd.DataFrame, scores: ScoredCases, names: Sequence[str]) -> tuple[Division, ...]:
    """Subgroups by each of the fields that the cases have at least two values of."""
    result = []
    for name in names:
        groups = division(frame, name)
        if groups is None or not 2 <= groups.nunique() <= MOST_GROUPS:
            continue
        found = by_group(scores, groups)
        largest = max(found, key=lambda g: g.cases).name
        try:
            spread = heterogeneity(found)
        except StatisticsError:
            spread = None
        told = groups.astype(object).map(str, na_action="ignore").to_numpy()
        parts = tuple(
            _group(g, ScoredCases(scores.probability[told == g.name], scores.label[told == g.name])) for g in found
        )
        result.append(
            Division(name, parts, largest, gaps(scores, groups, reference=largest), spread, int(groups.isna().sum()))
        )
    return tuple(result)


def too_few(group: Subgroup) -> str:
    """Why a subgroup has no AUROC, in words."""
    return (
        f"too few: {group.positives:,} with, {group.cases - group.positives:,} without; {MIN_EACH} of each are needed"
    )


def _group(of: Subgroup, part: ScoredCases) -> Group:
    point = operating_point(part)
    return Group(
        of, point.sensitivity, point.specificity, wilson(of.positives, of.cases), float(part.probability.mean())
    )
