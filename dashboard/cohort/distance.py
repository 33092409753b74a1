"""Risk against capsule distance: observed, predicted, adjusted; the distance below a level; by subgroup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.cohort.part import Part, by_content, panel
from dashboard.figures.risk_curve import (
    PUBLISHED_DISTANCE_MM,
    PUBLISHED_RISK,
    curves_table,
    distance_curve,
    distance_table,
    levels_table,
    subgroup_curves,
)
from dashboard.figures.style import percent
from dashboard.parts import Method, figure, literal, missing, problem
from model.cohort.adjusted import MAX_LEVELS, AdjustedCurve, Missing, Numbers, adjusted_curve
from model.cohort.curves import RiskCurve, distance_grid, knot_count, level_distance, risk_curve
from model.cohort.store import CohortStore
from model.cohort.subgroups import BANDS, GroupCurves, curves_by_group, division
from model.errors import StatisticsError
from model.schema import DEFAULT, FIELD

DISTANCE = "capsule_distance_mm"
# What follows from the outcome, from the distance or from the prediction is no covariate of the distance.
_NO_COVARIATE = frozenset(
    {
        *(f.name for f in DEFAULT.labels), DISTANCE,
        "capsule_distance_fraction", "case_id", "provenance", "report_text", "probability",
        "logit", "interval_low", "interval_high", "stage_1", "stage_2", "stage_3", "nodule_iou", "gland_iou",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Adjustment:
    """What a curve is adjusted for, and how."""

    columns: tuple[str, ...] = ()
    numbers: Numbers = "linear"
    missing: Missing = "complete"


def section(part: Part) -> None:
    """Observed, predicted and adjusted risk over the capsule distance, whole and by subgroup."""
    if DISTANCE not in part:
        return  # told at the head of the page
    st.subheader("Risk against capsule distance")
    if not part.counts.with_distance:
        missing("Capsule distance", "none of these cases has one.")
        return
    _shown(part)


@panel
def _shown(part: Part) -> None:
    """Controls, the figure, what it says, and the split."""
    level, adjustment = _controls(part)
    counts = part.counts
    up_to = float(max(2, math.ceil(counts.distance_quantile(0.99))))
    bins = counts.distance_bins(up_to=up_to)
    observed, predicted = _curve(part, "llnm"), _curve(part, "probability")
    adjusted = _adjusted_or_told(part, adjustment)
    read = observed if adjusted is None else adjusted.curve
    crossing = None if read is None else level_distance(read, level)
    smooth = {"observed": observed, "predicted": predicted, "adjusted": None if adjusted is None else adjusted.curve}
    figure(
        distance_curve(bins, observed, predicted, smooth["adjusted"], crossing, outcome=part.outcome),
        f"{counts.with_distance:,} cases with a measured distance ({counts.cases - counts.with_distance:,} without). Points: "
        "observed rate in bins of 0.5 mm with 95 % Wilson intervals; line: restricted cubic spline with a pointwise 95 % band; "
        "beneath: cases in each bin.",
        key="distance-curve",
        data=distance_table(bins, {name: c for name, c in smooth.items() if c is not None}),
        method=_method(part, up_to, smooth, level, adjustment),
    )
    if adjusted is not None:
        st.caption(_said_of(adjusted, adjustment))
    near = counts.near(PUBLISHED_DISTANCE_MM)
    if near.denominator:
        st.markdown(
            f"Below {PUBLISHED_DISTANCE_MM} mm: **{percent(near.value)}** had {literal(part.outcome)} "
            f"({near.numerator:,} of {near.denominator:,}; 95 % {percent(near.low)}–{percent(near.high)})."
            + (f" Published, on real patients: above {percent(PUBLISHED_RISK)}." if part.is_llnm else "")
        )
    if read is None:
        st.info("Too few cases for a smooth curve; the bins are shown.", icon=":material/info:")
    else:
        st.markdown(_said_of_level(read, level, "observed" if adjusted is None else "adjusted"))
    _split(part, level, adjustment)


def _method(
    part: Part, up_to: float, smooth: Mapping[str, RiskCurve | None], level: float, adjustment: Adjustment
) -> Method:
    """The paragraph and the code of the curve."""
    counts, fitted = part.counts, smooth["observed"]
    words = (
        f"Risk was related to the smallest distance of nodule to thyroid capsule ({counts.with_distance:,} cases with one). "
        "Observed rates in bins of 0.5 mm have 95 % Wilson score intervals."
    )
    lines = [
        "from dashboard.figures.risk_curve import distance_curve, distance_table",
        f"bins = cohort.aggregate(filters).distance_bins(up_to={up_to!r})",
        "smooth = {}",
    ]
    if fitted is not None:
        words += (
            f" Smooth curves are logistic regressions on a restricted cubic spline ({knot_count(fitted.cases)} knots at quantiles; "
            "Harrell 2015) with pointwise 95 % bands from the robust (sandwich) covariance; the mean predicted probability was "
            "smoothed alike."
        )
        lines += [
            "from model.cohort.curves import distance_grid, risk_curve",
            *_fetched(("probability", "llnm", *adjustment.columns)),
            'x = cases["capsule_distance_mm"].to_numpy()',
            "grid = distance_grid(x)",
            'smooth["observed"] = risk_curve(x, cases["llnm"].to_numpy(), grid)',
            'smooth["predicted"] = risk_curve(x, cases["probability"].to_numpy(), grid)',
        ]
    read = smooth["adjusted"] or fitted
    if smooth["adjusted"] is not None:
        words += f" {_adjusted_in_words(smooth['adjusted'], adjustment)}"
        lines += [
            "from model.cohort.adjusted import adjusted_curve",
            f'smooth["adjusted"] = {_call(adjustment, "cases")}',
        ]
    if read is not None:
        words += f" {_said_of_level(read, level, 'observed' if read is fitted else 'adjusted').replace('**', '')}"
        which = "observed" if read is fitted else "adjusted"
        lines += [
            "from model.cohort.curves import level_distance",
            f"level = level_distance(smooth[{which!r}], {level!r})",
        ]
    lines += [
        "table = distance_table(bins, smooth)",
        'figure = distance_curve(bins, smooth.get("observed"), smooth.get("predicted"), smooth.get("adjusted")'
        + (", level" if read is not None else "") + ", outcome=cohort.outcome)",
    ]
    return part.method(words, "\n".join(lines))


def _fetched(columns: Sequence[str]) -> list[str]:
    """Code that fetches the cases with a distance."""
    names = ", ".join(repr(c) for c in (DISTANCE, *columns))
    return [f"cases = cohort.rows(filters, [{names}])", f'cases = cases[cases["{DISTANCE}"].notna()]']


def _call(adjustment: Adjustment, cases: str) -> str:
    """Code of an adjusted curve."""
    return (
        f'adjusted_curve({cases}, "{DISTANCE}", "llnm", {list(adjustment.columns)!r}, grid, '
        f"numbers={adjustment.numbers!r}, missing={adjustment.missing!r}).curve"
    )


def _controls(part: Part) -> tuple[float, Adjustment]:
    """The level, and what to adjust for; all of it in the address bar."""
    left, right = st.columns([2, 3], gap="large", vertical_alignment="top")
    usual = round(100 * PUBLISHED_RISK) if part.is_llnm else 50
    try:
        start = min(max(int(state.read("level") or usual), 5), 95)
    except ValueError:
        start = usual
    level = left.slider("Distance below which the risk exceeds (%)", 5, 95, start, key="level")
    state.write(level=None if level == usual else str(level))
    options = [c for c in part.store.columns if _may_adjust(part.store, c)]
    wanted = [c for c in state.read("adjust").split(",") if c in options]
    chosen = right.multiselect(
        "Adjust for", options, default=wanted, key="adjust", format_func=_label, placeholder="nothing: the crude curve"
    )
    state.write(adjust=",".join(chosen))
    if not chosen:
        return level / 100, Adjustment()
    with right.container(horizontal=True):
        curved = st.toggle("Numbers as curves", value=state.read("curved") == "1", key="curved-on")
        marked = st.toggle(
            "Keep cases with gaps", value=state.read("gaps") == "1", key="gaps-on",
            help="Off: only cases with every covariate. On: “not known” becomes a category of its own, a number is set to its mean "
            "and marked.",
        )  # fmt: skip
    state.write(curved="1" if curved else None, gaps="1" if marked else None)
    return level / 100, Adjustment(
        tuple(chosen), "spline" if curved else "linear", "indicator" if marked else "complete"
    )


def _may_adjust(store: CohortStore, name: str) -> bool:
    """A number or a category of the whole table that varies, and is neither outcome nor prediction nor place."""
    if name in _NO_COVARIATE or name.endswith("_normalised"):
        return False
    if name in store.ranges:
        return store.ranges[name][0] < store.ranges[name][1]
    return name in FIELD and 2 <= len(store.options.get(name, FIELD[name].values or ("no", "yes"))) <= MAX_LEVELS


def _label(name: str) -> str:
    return FIELD[name].label_with_unit if name in FIELD else name


@st.cache_data(max_entries=64, show_spinner="Standardising over the cohort …", hash_funcs=by_content)
def _adjusted(part: Part, adjustment: Adjustment) -> AdjustedCurve:
    cases = _known(part, "llnm", *adjustment.columns)
    return adjusted_curve(
        cases, DISTANCE, "llnm", adjustment.columns, distance_grid(cases[DISTANCE].to_numpy()), numbers=adjustment.numbers,
        missing=adjustment.missing,
    )  # fmt: skip


def _known(part: Part, *columns: str) -> pd.DataFrame:
    """The cases with a distance."""
    cases = part.rows(DISTANCE, *columns)
    return cases[cases[DISTANCE].notna()]


def _adjusted_or_told(part: Part, adjustment: Adjustment) -> AdjustedCurve | None:
    """The adjusted curve; None where none was asked for, or where it cannot be had (told)."""
    if not adjustment.columns:
        return None
    try:
        return _adjusted(part, adjustment)
    except StatisticsError as error:
        problem(error)
        return None


@st.cache_data(max_entries=128, show_spinner="Fitting the curve …", hash_funcs=by_content)
def _curve(part: Part, outcome: str) -> RiskCurve | None:
    """A smooth curve, or None where there are too few cases."""
    cases = _known(part, outcome)
    x = cases[DISTANCE].to_numpy(float)
    try:
        return risk_curve(x, cases[outcome].to_numpy(float), distance_grid(x))
    except StatisticsError:
        return None


def _adjusted_in_words(curve: RiskCurve, adjustment: Adjustment) -> str:
    """How a curve was adjusted, in a sentence."""
    numbers = "restricted cubic splines" if adjustment.numbers == "spline" else "linear terms"
    gaps = "cases with a gap left out" if adjustment.missing == "complete" else "gaps kept as a category “not known”"
    return (
        f"The adjusted curve is the mean risk of these {curve.cases:,} cases, were each at that distance: marginal standardisation "
        f"over {', '.join(map(_label, adjustment.columns))} (logistic regression, main effects, numbers as {numbers}, "
        f"{gaps}; band by "
        "the delta method)."
    )


def _said_of(adjusted: AdjustedCurve, adjustment: Adjustment) -> str:
    """How the adjusted curve came about."""
    beside = adjusted.covariates
    gone = int((~beside.used).sum())
    gaps = ", ".join(f"{_label(c)} {n:,}" for c, n in beside.missing.items())
    told = (
        f" {gone:,} cases with a gap were left out ({gaps} missing)." if gone
        else f" Gaps were kept as “not known” ({gaps} missing)." if gaps else " No value is missing."
    )  # fmt: skip
    same = f" {', '.join(map(_label, beside.constant))}: one value only, not adjusted for." if beside.constant else ""
    return f"{_adjusted_in_words(adjusted.curve, adjustment)}{told}{same} Associations at equal covariates, not proof of cause."


def _said_of_level(curve: RiskCurve, level: float, which: str) -> str:
    """The distance below which the risk exceeds the level, with its interval."""
    found = level_distance(curve, level)
    if found.value is None:
        above = curve.risk[0] >= level
        where = "stays above" if above else "starts below"
        return f"The {which} curve {where} {percent(level)} at these distances ({curve.x[0]:.1f}–{curve.x[-1]:.1f} mm)."
    low = f"below {curve.x[0]:.1f}" if found.low is None else f"{found.low:.1f}"
    high = f"above {curve.x[-1]:.1f}" if found.high is None else f"{found.high:.1f}"
    return (
        f"The {which} risk exceeds {percent(level)} below **{found.value:.1f} mm** (95 % interval {low} to {high} mm, "
        f"from the band; n = {curve.cases:,})."
    )


def _split(part: Part, level: float, adjustment: Adjustment) -> None:
    """One curve a subgroup, adjusted where covariates were chosen; those too small for one are named."""
    options = ["none", *(b for b, (column, _, _) in BANDS.items() if column in part)]
    options += [c for c in part.store.columns if c not in part.store.ranges and _may_adjust(part.store, c)]
    wanted = state.chosen("split", options) or "none"
    by = st.selectbox("Split by", options, index=options.index(wanted), key="split", format_func=_label, width=320)
    state.write(split=None if by == "none" else by)
    if by == "none":
        return
    column = BANDS[by][0] if by in BANDS else by
    apart = Adjustment(
        tuple(c for c in adjustment.columns if c not in (by, column)), adjustment.numbers, adjustment.missing
    )
    found = _curves(part, by, apart)
    note = f" Too few for a curve of their own: {', '.join(found.few)}." if found.few else ""
    note += f" {found.unknown:,} cases of unknown group are left out." if found.unknown else ""
    if not found.curves:
        missing("Curves by subgroup", f"no subgroup is large enough.{note}")
        return
    what = "Risk adjusted within each subgroup" if apart.columns else "Observed risk"
    made = "\n".join(
        [
            "from dashboard.figures.risk_curve import curves_table, subgroup_curves",
            "from model.cohort.curves import distance_grid",
            "from model.cohort.subgroups import curves_by_group, division",
            *_fetched(tuple(dict.fromkeys(("llnm", column, *apart.columns)))),
            'grid = distance_grid(cases["capsule_distance_mm"].to_numpy())',
            f"found = curves_by_group(cases, division(cases, {by!r}), grid, adjust={list(apart.columns)!r}, "
            f"numbers={apart.numbers!r}, missing={apart.missing!r})",
            "table = curves_table(found.curves)",
            "figure = subgroup_curves(found.curves, outcome=cohort.outcome)",
        ]
    )
    figure(
        subgroup_curves(found.curves, outcome=part.outcome),
        f"{what} by {_label(by).lower()}, with pointwise 95 % bands.{note}", key="split-curve",
        data=curves_table(found.curves),
        method=part.method(
            f"{what} over the capsule distance was estimated within each group ({', '.join(found.curves)}) by logistic "
            "regression on "
            f"a restricted cubic spline, with pointwise 95 % bands, not adjusted for comparing several groups.{note}", made,
        ),
    )  # fmt: skip
    st.dataframe(levels_table({n: level_distance(c, level) for n, c in found.curves.items()}), hide_index=True)


@st.cache_data(max_entries=64, show_spinner="Fitting a curve for each group …", hash_funcs=by_content)
def _curves(part: Part, by: str, adjustment: Adjustment) -> GroupCurves:
    cases = _known(part, "llnm", BANDS[by][0] if by in BANDS else by, *adjustment.columns)
    groups = division(cases, by)
    if groups is None:
        return GroupCurves({}, (), len(cases))
    return curves_by_group(
        cases, groups, distance_grid(cases[DISTANCE].to_numpy()), adjust=adjustment.columns, numbers=adjustment.numbers,
        missing=adjustment.missing,
    )  # fmt: skip
