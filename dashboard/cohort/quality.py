"""Model quality on the Cohort page: discrimination, cut-off, calibration, net benefit, subgroups, stages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import streamlit as st

from dashboard import state
from dashboard.cohort.part import Part, by_content, panel
from dashboard.figures import quality as draw
from dashboard.figures.quality import told
from dashboard.figures.style import percent
from dashboard.parts import asked, figure, literal, missing
from model.cohort.benefit import net_benefit
from model.cohort.bootstrap import average_precision_of, cells, interval, roc_band
from model.cohort.calibration import CalibrationLine, calibration_curve, calibration_line
from model.cohort.calibration import calibration_bins as bins_of
from model.cohort.curves import RiskCurve
from model.cohort.discrimination import (
    STAGE_COLUMNS,
    Estimate,
    OperatingPoint,
    PrecisionCurve,
    Rate,
    RocCurve,
    confusion,
    operating_point,
    precision_curve,
    roc_curve,
    stage_auroc,
    staged_cases,
    wilson,
)
from model.cohort.evaluate import Evaluation, evaluate
from model.cohort.scores import FloatArray, IntArray, ScoredCases
from model.cohort.subgroups import (
    BANDS,
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
from model.schema import FIELD

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


@panel
def section(part: Part) -> None:
    """Quality of the predictions of the cases that pass the filters; computed when asked for."""
    st.subheader("How good are the predictions?")
    if not asked("Show model quality", "quality"):
        return
    scores = _scores(part)
    found = _curves(part)
    _headline(found, len(scores))
    cutoff = _cutoff()
    point = operating_point(scores, cutoff)
    st.dataframe(draw.rates_table(point), hide_index=True)
    _discrimination(part, found, point, scores)
    _calibration(part, found, scores)
    _benefit(part, scores)
    _subgroups(part, cutoff)
    _stages(part)


def _scores(part: Part) -> ScoredCases:
    cases = part.rows("probability", "llnm")
    return ScoredCases.from_arrays(cases["probability"].to_numpy(), cases["llnm"].to_numpy())


_SCORES = """
from model.cohort.scores import ScoredCases
cases = cohort.rows(filters, ["probability", "llnm"])
scores = ScoredCases.from_arrays(cases["probability"], cases["llnm"])
"""
"""Code that many of the figures begin with."""


@st.cache_data(max_entries=16, show_spinner="Resampling for the intervals …", hash_funcs=by_content)
def _curves(part: Part) -> _Curves:
    scores = _scores(part)
    both = 0 < scores.positives < len(scores)
    made = cells(scores)
    drawn = made.draw(ROUNDS, 0)
    roc = band = precision = average = smooth = line = None
    if both:
        roc, precision = roc_curve(scores), precision_curve(scores)
        at = np.linspace(0, 1, 101)
        band = (at, *roc_band(drawn, at))
        average = interval(made, average_precision_of, precision.average, drawn)
        average = Estimate(average.value, max(average.low, 0.0), min(average.high, 1.0))
    with suppress(StatisticsError):  # what is missing is told below the figure
        smooth = calibration_curve(scores)
    with suppress(StatisticsError):
        line = calibration_line(scores)
    return _Curves(evaluate(scores, rounds=ROUNDS), roc, band, precision, average, smooth, line)


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


def _discrimination(part: Part, found: _Curves, point: OperatingPoint, scores: ScoredCases) -> None:
    area = found.evaluation.auroc
    if found.roc is None or found.precision is None or found.average is None or area is None:
        missing("ROC and precision–recall curves", f"only one outcome is there (n = {len(scores):,}).")
        return
    left, right = st.columns(2)
    counts = f"{scores.positives:,} of {len(scores):,} cases with {literal(part.outcome)}"
    with left:
        figure(
            draw.roc(found.roc, point, found.band),
            f"ROC curve with a pointwise 95 % bootstrap band ({counts}). Diamond: the cut-off with 95 % Wilson intervals.",
            key="roc",
            data=draw.roc_table(found.roc),
            method=part.method(
                f"Discrimination was measured by the area under the ROC curve with DeLong's 95 % interval on the logit scale: "
                f"{told(area)}. The curve's band is pointwise, from {ROUNDS:,} bootstrap resamples of the cases (seed 0). "
                "At the cut-off "
                f"{percent(point.cutoff)} sensitivity was {_counted(point.sensitivity)} and specificity "
                f"{_counted(point.specificity)} "
                "(95 % Wilson intervals).",
                f"""{_SCORES}
import numpy as np
from dashboard.figures.quality import roc, roc_table
from model.cohort.bootstrap import cells, roc_band
from model.cohort.discrimination import auroc, operating_point, roc_curve
area = auroc(scores.probability, scores.label)
curve = roc_curve(scores)
at = np.linspace(0, 1, 101)
band = (at, *roc_band(cells(scores).draw({ROUNDS}, 0), at))
table = roc_table(curve)
figure = roc(curve, operating_point(scores, {point.cutoff!r}), band)
""",
            ),
        )
    with right:
        prevalence = scores.positives / len(scores)
        figure(
            draw.precision_recall(found.precision, point, prevalence),
            f"Precision over recall. Average precision {told(found.average)}; by chance {prevalence:.3f}, the share "
            f"with {literal(part.outcome)}.",
            key="precision-recall",
            data=draw.precision_table(found.precision),
            method=part.method(
                f"Precision was related to recall over all cut-offs; average precision {told(found.average)}, without "
                "interpolation, with a "
                f"95 % percentile interval from {ROUNDS:,} bootstrap resamples (seed 0). By chance it is the share with "
                f"{part.outcome}, "
                f"{prevalence:.3f}.",
                f"""{_SCORES}
from dashboard.figures.quality import precision_recall, precision_table
from model.cohort.discrimination import operating_point, precision_curve
curve = precision_curve(scores)
table = precision_table(curve)
figure = precision_recall(curve, operating_point(scores, {point.cutoff!r}), scores.positives / len(scores))
""",
            ),
        )


def _counted(rate: Rate) -> str:
    return f"{told(rate)}, {rate.numerator:,} of {rate.denominator:,}"


def _calibration(part: Part, found: _Curves, scores: ScoredCases) -> None:
    bins = bins_of(scores)
    line = found.line
    said = (
        "Calibration slope and intercept: cannot be estimated from these cases." if line is None
        else f"Calibration slope {told(line.slope)}, perfect 1; intercept (in the large) {told(line.intercept)}, perfect 0."
    )  # fmt: skip
    smooth = "too few cases for a smooth curve" if found.smooth is None else "line: restricted cubic spline, 95 % band"
    figure(
        draw.calibration(bins, found.smooth, outcome=part.outcome),
        f"Calibration: observed rate against prediction. Dots: ten bins, 95 % Wilson intervals; {smooth}. {said}",
        key="calibration",
        data=draw.calibration_table(bins),
        method=part.method(
            "Calibration was examined in ten bins of equal width (95 % Wilson intervals)"
            + (
                ", and smoothly by logistic regression on a restricted cubic spline of the logit with four knots and a "
                "robust 95 % band. "
                if found.smooth is not None
                else ". "
            )
            + f"{said} Expected calibration error {told(found.evaluation.ece)} and Brier score "
              f"{told(found.evaluation.brier)} have 95 % "
            f"percentile intervals from {ROUNDS:,} bootstrap resamples (seed 0).",
            f"""{_SCORES}
from dashboard.figures.quality import calibration, calibration_table
from model.cohort.calibration import calibration_bins{", calibration_curve" if found.smooth is not None else ""}
bins = calibration_bins(scores)
table = calibration_table(bins)
figure = calibration(bins, {"calibration_curve(scores)" if found.smooth is not None else None}, outcome=cohort.outcome)
""",
        ),
    )


def _benefit(part: Part, scores: ScoredCases) -> None:
    low, high = _thresholds()
    code = f"""{_SCORES}
import numpy as np
from model.cohort.benefit import net_benefit
benefit = net_benefit(scores, np.arange({low}, {high + 1}) / 100)
from dashboard.figures.quality import benefit_table, %s
table = benefit_table(benefit)
figure = %s
"""
    benefit = net_benefit(scores, np.arange(low, high + 1) / 100)
    left, right = st.columns(2)
    with left:
        figure(
            draw.decision_curve(benefit),
            "Decision curve: net benefit of treating by the model, everyone, or nobody, with a pointwise 95 % band. At threshold t "
            "one treatment in vain weighs t ÷ (1 − t) of one that was needed.",
            key="decision",
            data=draw.benefit_table(benefit),
            method=part.method(
                "Net benefit (Vickers and Elkin 2006) of treating by the model was compared with treating everyone and "
                "nobody over "
                f"threshold probabilities of {low} to {high} %: true positives minus false positives × t ÷ (1 − t), per "
                "case, with a "
                "pointwise 95 % band (normal, from the cases' own contributions).",
                code % ("decision_curve", "decision_curve(benefit)"),
            ),
        )
    with right:
        middle = len(benefit.threshold) // 2
        per = 1000 / benefit.cases
        figure(
            draw.clinical_impact(benefit, outcome=part.outcome),
            f"Clinical impact: of 1,000 such patients, how many are called positive and how many of these have "
            f"{literal(part.outcome)}. At "
            f"{percent(benefit.threshold[middle])}: {per * benefit.called[middle]:.0f} called, {per * benefit.hits[middle]:.0f} "
            f"with {literal(part.outcome)} (n = {benefit.cases:,}).",
            key="impact",
            data=draw.benefit_table(benefit),
            method=part.method(
                f"Clinical impact over threshold probabilities of {low} to {high} %: of 1,000 patients like these, the "
                "number whose "
                f"predicted probability reaches the threshold, and the number of them with {part.outcome}. No interval is drawn.",
                code % ("clinical_impact", "clinical_impact(benefit, outcome=cohort.outcome)"),
            ),
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


def _subgroups(part: Part, cutoff: float) -> None:
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
    column = BANDS[by][0] if by in BANDS else by
    label = _division_label(by)
    label = label if label[:2].isupper() else label[0].lower() + label[1:]
    if column not in part:
        missing(f"Subgroups by {label}", "the table has no such column.")
        return
    found = _grouped(part, by, cutoff)
    if not found.groups:
        missing(f"Subgroups by {label}", "no case has one.")
        return
    unknown = f" {found.unknown:,} cases of unknown group are left out." if found.unknown else ""
    code = f"""
from model.cohort.scores import ScoredCases
from model.cohort.subgroups import by_group, division
cases = cohort.rows(filters, ["probability", "llnm", {column!r}])
scores = ScoredCases.from_arrays(cases["probability"], cases["llnm"])
groups = division(cases, {by!r})
"""
    spread = "None" if found.spread is None else "heterogeneity(found)"
    figure(
        draw.forest(found.groups, found.spread),
        f"AUROC by {label}; beneath each name its cases with {literal(part.outcome)} of all, and the square grows with them. "
        f"{_said_of_spread(found.spread)}{unknown}",
        key="forest",
        data=draw.groups_table(found.groups),
        method=part.method(
            f"AUROC was computed within each {label} with DeLong's 95 % interval, where at least {MIN_EACH} cases of each "
            "outcome are there. "
            f"{_said_of_spread(found.spread)} Pooling is on the logit scale (DerSimonian and Laird 1986).{unknown}",
            f"""{code}
from dashboard.figures.quality import forest, groups_table
{"" if found.spread is None else "from model.cohort.subgroups import heterogeneity"}
found = by_group(scores, groups)
table = groups_table(found)
figure = forest(found, {spread})
""",
        ),
    )
    if found.gaps:
        reference = max(found.groups, key=lambda g: g.cases).name
        figure(
            draw.gap_dots(found.gaps),
            f"At the cut-off {percent(cutoff)}: each group minus the largest, {reference}, with 95 % intervals (red: without 0; "
            f"not adjusted for testing several groups). Calibration: above 0, more {literal(part.outcome)} than predicted compared "
            "with it.",
            key="gaps",
            data=draw.gaps_table(found.gaps),
            method=part.method(
                f"Each {label} was compared with the largest, {reference}: sensitivity and specificity at the cut-off "
                f"{percent(cutoff)} "
                "(Newcombe's 95 % interval of a difference), AUROC (normal interval from DeLong's variances) and "
                "calibration in the large "
                "on the logit scale (Wald). Intervals are not adjusted for testing several groups: of twenty true zeros "
                "one is expected to "
                "be missed.",
                f"""{code}
from dashboard.figures.quality import gap_dots, gaps_table
from model.cohort.subgroups import gaps
found = gaps(scores, groups, reference={reference!r}, cutoff={cutoff!r})
table = gaps_table(found)
figure = gap_dots(found)
""",
            ),
        )


@dataclass(frozen=True)
class _Groups:
    """Subgroups, their heterogeneity and the gaps to the largest; cases of unknown group."""

    groups: tuple[Subgroup, ...]
    spread: Heterogeneity | None
    gaps: tuple[Gap, ...]
    unknown: int


@st.cache_data(max_entries=64, show_spinner="Comparing the groups …", hash_funcs=by_content)
def _grouped(part: Part, by: str, cutoff: float) -> _Groups:
    cases = part.rows("probability", "llnm", BANDS[by][0] if by in BANDS else by)
    scores, groups = _scores(part), division(cases, by)
    if groups is None:
        return _Groups((), None, (), len(cases))
    found = by_group(scores, groups)
    spread = None
    with suppress(StatisticsError):  # told in words
        spread = heterogeneity(found)
    reference = max(found, key=lambda g: g.cases).name
    return _Groups(found, spread, gaps(scores, groups, reference=reference, cutoff=cutoff), int(groups.isna().sum()))


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


def _stages(part: Part) -> None:
    if not part.is_llnm:
        missing("Stages", "they are of lateral node metastasis, which is not the outcome of this table.")
        return
    if not all(c in part for c in ("stage", *STAGE_COLUMNS)):
        missing("Stages", "the table has no columns stage, stage_1, stage_2 and stage_3.")
        return
    staged = _staged(part)
    if staged is None:
        missing("Stages", "no case with LLNM has a known stage.")
        return
    names = [f"stage {k}" for k in (1, 2, 3)]
    n, right = int(staged.counts.sum()), int(np.trace(staged.counts))
    said = (
        f"{staged.area}. Most probable stage right in {right:,} of {n:,} ({percent(right / n)}; 95 % Wilson interval "
        f"{percent(wilson(right, n).low)}–{percent(wilson(right, n).high)})."
    )
    figure(
        draw.confusion(staged.counts, names),
        f"Stages of the {n:,} cases with LLNM and a known stage; shares are of the row. {said}",
        key="stages",
        data=draw.confusion_table(staged.counts, names),
        method=part.method(
            f"The stage was examined in the {n:,} cases with LLNM and a known stage ({FIELD['stage'].help.rstrip('.')}). "
            f"{said} The interval of the mean of the three AUROCs is DeLong's.",
            f"""
from dashboard.figures.quality import confusion as confusion_figure, confusion_table
from model.cohort.discrimination import confusion, staged_cases
names = {names!r}
cases = cohort.rows(filters, ["stage", "stage_1", "stage_2", "stage_3", "llnm"])
counts = confusion(*staged_cases(cases))
table = confusion_table(counts, names)
figure = confusion_figure(counts, names)
""",
        ),
    )


@dataclass(frozen=True)
class _Staged:
    """Counts (3, 3) of true and most probable stage, and the AUROC in words."""

    counts: IntArray
    area: str


@st.cache_data(max_entries=16, show_spinner="Comparing the stages …", hash_funcs=by_content)
def _staged(part: Part) -> _Staged | None:
    predicted, stage = staged_cases(part.rows("stage", *STAGE_COLUMNS, "llnm"))
    if not len(stage):
        return None
    try:
        area = f"Mean one-against-rest AUROC of the three stages {told(stage_auroc(predicted, stage))}"
    except StatisticsError as error:
        area = f"No AUROC: {error.what}"
    return _Staged(confusion(predicted, stage), area)
