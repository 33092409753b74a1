"""Model quality on the Cohort page: discrimination, cut-off, calibration, net benefit, subgroups, stages."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.figures import quality as draw
from dashboard.figures.quality import told
from dashboard.figures.style import percent
from dashboard.parts import asked, figure, missing, problem
from model.cohort.benefit import net_benefit
from model.cohort.bootstrap import average_precision_of, cells, interval, roc_band
from model.cohort.calibration import CalibrationLine, calibration_curve, calibration_line
from model.cohort.calibration import calibration_bins as bins_of
from model.cohort.curves import RiskCurve
from model.cohort.discrimination import (
    Estimate,
    OperatingPoint,
    PrecisionCurve,
    RocCurve,
    confusion,
    operating_point,
    precision_curve,
    roc_curve,
    stage_auroc,
)
from model.cohort.evaluate import Evaluation, evaluate
from model.cohort.scores import FloatArray, ScoredCases
from model.cohort.subgroups import DIVISIONS, Gap, Heterogeneity, Subgroup, by_group, division, gaps, heterogeneity
from model.errors import StatisticsError
from model.schema import FIELD

STAGE_COLUMNS = ("stage_1", "stage_2", "stage_3")
ROUNDS = 1000


@dataclass(frozen=True)
class _Curves:
    """What does not hang on the cut-off; `roc`, `band`, `precision`, `average` are None where one outcome is there only."""

    evaluation: Evaluation
    roc: RocCurve | None
    band: tuple[FloatArray, FloatArray, FloatArray] | None
    precision: PrecisionCurve | None
    average: Estimate | None
    smooth: RiskCurve | None
    line: CalibrationLine | None


@st.fragment
def section(part: pd.DataFrame) -> None:
    """Quality of the predictions of the cases that pass the filters; computed when asked for."""
    st.subheader("How good are the predictions?")
    if not asked("Show model quality", "quality"):
        return
    try:
        scores = ScoredCases.from_arrays(part["probability"].to_numpy(), part["llnm"].to_numpy())
    except StatisticsError as error:
        problem(error)
        return
    key = _key(scores)
    found = _curves(key, scores)
    _headline(found, len(scores))
    cutoff = _cutoff()
    point = operating_point(scores, cutoff)
    st.dataframe(draw.rates_table(point), hide_index=True)
    _discrimination(found, point, scores)
    _calibration(found, scores)
    _benefit(scores)
    _subgroups(key, scores, part, cutoff)
    _stages(part)


def _key(scores: ScoredCases) -> str:
    """Hash of every probability and outcome: Streamlit's own hash of a long array looks at a sample of it."""
    return hashlib.sha256(scores.probability.tobytes() + scores.label.tobytes()).hexdigest()


@st.cache_data(max_entries=16, show_spinner="Resampling for the intervals …")
def _curves(key: str, _scores: ScoredCases) -> _Curves:  # noqa: ARG001
    both = 0 < _scores.positives < len(_scores)
    made = cells(_scores)
    drawn = made.draw(ROUNDS, 0)
    roc = band = precision = average = smooth = line = None
    if both:
        roc, precision = roc_curve(_scores), precision_curve(_scores)
        at = np.linspace(0, 1, 101)
        band = (at, *roc_band(drawn, at))
        average = interval(made, average_precision_of, precision.average, drawn)
        average = Estimate(average.value, max(average.low, 0.0), min(average.high, 1.0))
    with suppress(StatisticsError):  # what is missing is told below the figure
        smooth = calibration_curve(_scores)
    with suppress(StatisticsError):
        line = calibration_line(_scores)
    return _Curves(evaluate(_scores, rounds=ROUNDS), roc, band, precision, average, smooth, line)


def _headline(found: _Curves, n: int) -> None:
    e = found.evaluation
    named = {
        "AUROC": (e.auroc, "DeLong"),
        "Average precision": (found.average, "bootstrap"),
        "Calibration error (ECE)": (e.ece, "bootstrap"),
        "Brier score": (e.brier, "bootstrap"),
    }
    for cell, (name, (value, how)) in zip(st.columns(4), named.items(), strict=True):
        cell.metric(name, "–" if value is None else f"{value.value:.3f}")
        cell.caption(
            f"one outcome only, n = {n:,}" if value is None
            else f"95 % {value.low:.3f}–{value.high:.3f} ({how}), n = {n:,}"
        )  # fmt: skip


def _cutoff() -> float:
    """The cut-off, in the address bar as a percentage."""
    try:
        start = min(max(int(state.read("cutoff") or 50), 1), 99)
    except ValueError:
        start = 50
    cutoff = st.slider("Cut-off: called positive from this probability on (%)", 1, 99, start, key="quality-cutoff")
    state.write(cutoff=None if cutoff == 50 else str(cutoff))
    return cutoff / 100


def _discrimination(found: _Curves, point: OperatingPoint, scores: ScoredCases) -> None:
    if found.roc is None or found.precision is None or found.average is None:
        missing("ROC and precision–recall curves", f"only one outcome is there (n = {len(scores):,}).")
        return
    left, right = st.columns(2)
    counts = f"{scores.positives:,} of {len(scores):,} cases with LLNM"
    with left:
        figure(
            draw.roc(found.roc, point, found.band),
            f"ROC curve with a pointwise 95 % bootstrap band ({counts}). Diamond: the cut-off with 95 % Wilson intervals.",
            key="roc",
            data=draw.roc_table(found.roc),
        )
    with right:
        prevalence = scores.positives / len(scores)
        figure(
            draw.precision_recall(found.precision, point, prevalence),
            f"Precision over recall. Average precision {told(found.average)}; by chance {prevalence:.3f}, the share with LLNM.",
            key="precision-recall",
            data=draw.precision_table(found.precision),
        )


def _calibration(found: _Curves, scores: ScoredCases) -> None:
    bins = bins_of(scores)
    line = found.line
    said = (
        "Calibration slope and intercept: cannot be estimated from these cases." if line is None
        else f"Calibration slope {told(line.slope)}, perfect 1; intercept (in the large) {told(line.intercept)}, perfect 0."
    )  # fmt: skip
    smooth = "too few cases for a smooth curve" if found.smooth is None else "line: restricted cubic spline, 95 % band"
    figure(
        draw.calibration(bins, found.smooth),
        f"Calibration: observed rate against prediction. Dots: ten bins, 95 % Wilson intervals; {smooth}. {said}",
        key="calibration",
        data=draw.calibration_table(bins),
    )


def _benefit(scores: ScoredCases) -> None:
    low, high = _thresholds()
    benefit = net_benefit(scores, np.arange(low, high + 1) / 100)
    left, right = st.columns(2)
    with left:
        figure(
            draw.decision_curve(benefit),
            "Decision curve: net benefit of treating by the model, everyone, or nobody, with a pointwise 95 % band. At threshold t "
            "one treatment in vain weighs t ÷ (1 − t) of one that was needed.",
            key="decision",
            data=draw.benefit_table(benefit),
        )
    with right:
        middle = len(benefit.threshold) // 2
        per = 1000 / benefit.cases
        figure(
            draw.clinical_impact(benefit),
            f"Clinical impact: of 1,000 such patients, how many are called positive and how many of these have LLNM. At "
            f"{percent(benefit.threshold[middle])}: {per * benefit.called[middle]:.0f} called, {per * benefit.hits[middle]:.0f} "
            f"with LLNM (n = {benefit.cases:,}).",
            key="impact",
            data=draw.benefit_table(benefit),
        )


def _thresholds() -> tuple[int, int]:
    """The range of threshold probabilities in %, in the address bar."""
    try:
        low, high = (min(max(int(v), 1), 99) for v in (state.read("thresholds") or "1-99").split("-"))
    except ValueError:
        low, high = 1, 99
    low, high = st.slider(
        "Threshold probabilities (%)", 1, 99, (low, high) if low < high else (1, 99), key="quality-thresholds"
    )
    high = max(high, low + 1) if low < 99 else high
    low = min(low, high - 1)
    state.write(thresholds=None if (low, high) == (1, 99) else f"{low}-{high}")
    return low, high


def _division_label(name: str) -> str:
    return FIELD[name].label if name in FIELD else name.capitalize()


def _subgroups(key: str, scores: ScoredCases, part: pd.DataFrame, cutoff: float) -> None:
    wanted = state.chosen("by", DIVISIONS) or DIVISIONS[0]
    by = st.selectbox(
        "Subgroups by",
        DIVISIONS,
        index=DIVISIONS.index(wanted),
        key="quality-by",
        format_func=_division_label,
        width=320,
    )
    state.write(by=None if by == DIVISIONS[0] else by)
    groups = division(part, by)
    label = _division_label(by)
    label = label if label[:2].isupper() else label[0].lower() + label[1:]
    if groups is None:
        missing(f"Subgroups by {label}", "the table has no such column.")
        return
    codes = hashlib.sha256(
        groups.cat.codes.to_numpy().tobytes() + repr(list(groups.cat.categories)).encode()
    ).hexdigest()
    found, spread = _grouped(key, codes, scores, groups)
    if not found:
        missing(f"Subgroups by {label}", "no case has one.")
        return
    unknown = int(groups.isna().sum())
    figure(
        draw.forest(found, spread),
        f"AUROC by {label}; beneath each name its cases with LLNM of all, and the square grows with them. "
        f"{_said_of_spread(spread)}" + (f" {unknown:,} cases of unknown group are left out." if unknown else ""),
        key="forest",
        data=draw.groups_table(found),
    )
    reference = max(found, key=lambda g: g.cases).name
    apart = _gaps(key, codes, reference, cutoff, scores, groups)
    if apart:
        figure(
            draw.gap_dots(apart),
            f"At the cut-off {percent(cutoff)}: each group minus the largest, {reference}, with 95 % intervals (red: without 0; "
            "not adjusted for testing several groups). Calibration: above 0, more LLNM than predicted compared with it.",
            key="gaps",
            data=draw.gaps_table(apart),
        )


@st.cache_data(max_entries=64, show_spinner="Comparing the groups …")
def _grouped(
    key: str,  # noqa: ARG001
    codes: str,  # noqa: ARG001
    _scores: ScoredCases,
    _groups: pd.Series,
) -> tuple[tuple[Subgroup, ...], Heterogeneity | None]:
    found = by_group(_scores, _groups)
    try:
        return found, heterogeneity(found)
    except StatisticsError:
        return found, None


@st.cache_data(max_entries=64, show_spinner="Comparing the groups …")
def _gaps(
    key: str,  # noqa: ARG001
    codes: str,  # noqa: ARG001
    reference: str,
    cutoff: float,
    _scores: ScoredCases,
    _groups: pd.Series,
) -> tuple[Gap, ...]:
    return gaps(_scores, _groups, reference=reference, cutoff=cutoff)


def _said_of_spread(spread: Heterogeneity | None) -> str:
    """Heterogeneity in words."""
    if spread is None:
        return "Heterogeneity cannot be told: fewer than two groups are large enough."
    much = "little" if spread.i_squared < 0.25 else "moderate" if spread.i_squared < 0.5 else "much"
    p = "< 0.001" if spread.p < 0.001 else f"= {spread.p:.3f}"
    return (
        f"Random-effects mean {told(spread.pooled)}. I² = {percent(spread.i_squared)} of the spread is more than chance ({much}); "
        f"Cochran's Q = {spread.q:.1f} on {spread.degrees} degrees of freedom, p {p}."
    )


def _stages(part: pd.DataFrame) -> None:
    if not {"stage", *STAGE_COLUMNS} <= set(part):
        missing("Stages", "the table has no columns stage, stage_1, stage_2 and stage_3.")
        return
    known = part[part["stage"].notna() & part[list(STAGE_COLUMNS)].notna().all(axis=1) & (part["llnm"] == 1)]
    if known.empty:
        missing("Stages", "no case with LLNM has a known stage.")
        return
    predicted, stage = known[list(STAGE_COLUMNS)].to_numpy(float), known["stage"].astype(int).to_numpy()
    try:
        area = f"Mean one-against-rest AUROC of the three stages {told(stage_auroc(predicted, stage))}"
    except StatisticsError as error:
        area = f"No AUROC: {error.what}"
    counts = confusion(predicted, stage)
    right = int(np.trace(counts))
    names = [f"stage {k}" for k in (1, 2, 3)]
    figure(
        draw.confusion(counts, names),
        f"Stages of the {len(known):,} cases with LLNM and a known stage; shares are of the row. {area}. "
        f"Most probable stage right in {right:,} of {len(known):,} ({percent(right / len(known))}).",
        key="stages",
        data=pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=names).reset_index(),
    )
