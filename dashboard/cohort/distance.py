"""Risk against capsule distance: observed, predicted, adjusted; the distance below a level; by subgroup."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.figures.risk_curve import (
    PUBLISHED_DISTANCE_MM,
    PUBLISHED_RISK,
    curve_table,
    curves_table,
    distance_curve,
    levels_table,
    subgroup_curves,
)
from dashboard.figures.style import SUBGROUPS, percent
from dashboard.parts import figure, missing, problem
from model.cohort.adjusted import MAX_LEVELS, AdjustedCurve, Missing, Numbers, adjusted_curve
from model.cohort.cube import Aggregate
from model.cohort.curves import RiskCurve, level_distance, risk_by_bins, risk_curve
from model.cohort.discrimination import wilson
from model.cohort.scores import FloatArray
from model.cohort.subgroups import BANDS, division
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


def section(part: pd.DataFrame, counts: Aggregate | None = None) -> None:
    """Risk against capsule distance.

    Parameters
    ----------
    part : filtered table with llnm (0/1) and, where there are, probability, capsule_distance_mm and the schema's fields.
    counts : of the same cases, where they were counted before.
    """
    st.subheader("Risk against capsule distance")
    if DISTANCE not in part:
        missing("Capsule distance", "the table has no column capsule_distance_mm.")
        return
    known = part[part[DISTANCE].notna()]
    if known.empty:
        missing("Capsule distance", "none of these cases has one.")
        return
    _shown(known, len(part) - len(known), counts)


@st.fragment
def _shown(known: pd.DataFrame, without: int, counts: Aggregate | None) -> None:
    """Controls, the figure, what it says, and the split."""
    x, y = known[DISTANCE].to_numpy(float), known["llnm"].to_numpy(float)
    p = known["probability"].to_numpy(float) if "probability" in known else None
    level, adjustment = _controls(known)
    edges = np.arange(0, max(2.0, math.ceil(np.quantile(x, 0.99))) + 0.5, 0.5)
    if counts is None:
        inside = x <= edges[-1]
        bins = risk_by_bins(x[inside], y[inside].astype(np.int64), None if p is None else p[inside], edges)
    else:
        bins = counts.distance_bins(up_to=float(edges[-1]))
    grid = np.linspace(float(np.quantile(x, 0.01)), float(np.quantile(x, 0.99)), 80)
    observed, predicted = _curve(x, y, grid), None if p is None else _curve(x, p, grid)
    adjusted = _adjusted_or_told(known, grid, adjustment)
    read = observed if adjusted is None else adjusted.curve
    crossing = None if read is None else level_distance(read, level)
    figure(
        distance_curve(bins, observed, predicted, None if adjusted is None else adjusted.curve, crossing),
        f"{len(known):,} cases with a measured distance ({without:,} without). Points: observed rate in bins of 0.5 mm with 95 % "
        "Wilson intervals; line: restricted cubic spline with a pointwise 95 % band; beneath: cases in each bin."
        + (" No predictions in this table." if p is None else ""),
        key="distance-curve",
        data=curve_table(bins),
    )
    if adjusted is not None:
        st.caption(_said_of(adjusted, adjustment))
    near = x < PUBLISHED_DISTANCE_MM
    if near.any():
        rate = wilson(int(y[near].sum()), int(near.sum()))
        st.markdown(
            f"Below {PUBLISHED_DISTANCE_MM} mm: **{percent(rate.value)}** had LLNM ({rate.numerator:,} of {rate.denominator:,}; "
            f"95 % {percent(rate.low)}–{percent(rate.high)}). Published, on real patients: above {percent(PUBLISHED_RISK)}."
        )
    if read is None:
        st.info("Too few cases for a smooth curve; the bins are shown.", icon=":material/info:")
    else:
        st.markdown(_said_of_level(read, level, "observed" if adjusted is None else "adjusted"))
    _split(known, grid, level, adjustment)


def _controls(known: pd.DataFrame) -> tuple[float, Adjustment]:
    """The level, and what to adjust for; all of it in the address bar."""
    left, right = st.columns([2, 3], gap="large", vertical_alignment="top")
    try:
        start = min(max(int(state.read("level") or 100 * PUBLISHED_RISK), 5), 95)
    except ValueError:
        start = round(100 * PUBLISHED_RISK)
    level = left.slider("Distance below which the risk exceeds (%)", 5, 95, start, key="level")
    state.write(level=None if level == round(100 * PUBLISHED_RISK) else str(level))
    options = [c for c in known.columns if _may_adjust(known, str(c))]
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


def _may_adjust(known: pd.DataFrame, name: str) -> bool:
    """A number, or a category with few values, that varies and is neither outcome nor prediction nor place in mm."""
    if name in _NO_COVARIATE or "," in name or name.endswith("_normalised"):
        return False
    kinds = known[name].nunique()
    return bool(kinds > 1 and (kinds <= MAX_LEVELS or pd.api.types.is_numeric_dtype(known[name])))


def _label(name: str) -> str:
    return FIELD[name].label_with_unit if name in FIELD else name


@st.cache_data(max_entries=64, show_spinner="Standardising over the cohort …")
def _adjusted(known: pd.DataFrame, grid: FloatArray, adjustment: Adjustment) -> AdjustedCurve:
    return adjusted_curve(
        known, DISTANCE, "llnm", adjustment.columns, grid, numbers=adjustment.numbers, missing=adjustment.missing
    )


def _adjusted_or_told(known: pd.DataFrame, grid: FloatArray, adjustment: Adjustment) -> AdjustedCurve | None:
    """The adjusted curve; None where none was asked for, or where it cannot be had (told)."""
    if not adjustment.columns:
        return None
    try:
        return _adjusted(known[[DISTANCE, "llnm", *adjustment.columns]], grid, adjustment)
    except StatisticsError as error:
        problem(error)
        return None


@st.cache_data(max_entries=128, show_spinner="Fitting the curve …")
def _curve(x: FloatArray, y: FloatArray, grid: FloatArray) -> RiskCurve | None:
    """A smooth curve, or None where there are too few cases."""
    try:
        return risk_curve(x, y, grid)
    except StatisticsError:
        return None


def _said_of(adjusted: AdjustedCurve, adjustment: Adjustment) -> str:
    """How the adjusted curve came about."""
    beside, names = adjusted.covariates, [_label(c) for c in adjustment.columns]
    gone = int((~beside.used).sum())
    gaps = ", ".join(f"{_label(c)} {n:,}" for c, n in beside.missing.items())
    told = (
        f" {gone:,} cases with a gap were left out ({gaps} missing)." if gone
        else f" Gaps were kept as “not known” ({gaps} missing)." if gaps else " No value is missing."
    )  # fmt: skip
    same = f" {', '.join(map(_label, beside.constant))}: one value only, not adjusted for." if beside.constant else ""
    return (
        f"Adjusted for {', '.join(names)} by marginal standardisation: the mean risk of these {adjusted.curve.cases:,} cases, were "
        "each at that distance (logistic regression, main effects; band by the delta method)."
        f"{told}{same} Associations at equal covariates, not proof of cause."
    )


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


def _split(known: pd.DataFrame, grid: FloatArray, level: float, adjustment: Adjustment) -> None:
    """One curve a subgroup, adjusted where covariates were chosen; those too small for one are named."""
    options = ["none", *(b for b, (column, _, _) in BANDS.items() if column in known)]
    options += [c for c in known.columns if _may_adjust(known, str(c)) and known[c].nunique() <= MAX_LEVELS]
    wanted = state.chosen("split", options) or "none"
    by = st.selectbox("Split by", options, index=options.index(wanted), key="split", format_func=_label, width=320)
    state.write(split=None if by == "none" else by)
    if by == "none":
        return
    groups = division(known, by)
    assert groups is not None  # its column is there and varies
    columns = tuple(c for c in adjustment.columns if c not in (by, *(BANDS[by][:1] if by in BANDS else ())))
    curves: dict[str, RiskCurve] = {}
    few = []
    for name in groups.value_counts().index:
        group = known[(groups == name).to_numpy()]
        curve = _curve(group[DISTANCE].to_numpy(float), group["llnm"].to_numpy(float), grid)
        if curve is not None and columns:
            try:
                curve = _adjusted(group[[DISTANCE, "llnm", *columns]], grid, Adjustment(
                    columns, adjustment.numbers, adjustment.missing)).curve  # fmt: skip
            except StatisticsError:
                curve = None
        if curve is None or len(curves) == len(SUBGROUPS):
            few.append(f"{name} (n = {len(group):,})")
        else:
            curves[str(name)] = curve
    note = f" Too few for a curve of their own: {', '.join(few)}." if few else ""
    unknown = int(groups.isna().sum())
    note += f" {unknown:,} cases of unknown group are left out." if unknown else ""
    if not curves:
        missing("Curves by subgroup", f"no subgroup is large enough.{note}")
        return
    order = [str(c) for c in groups.cat.categories if str(c) in curves]
    curves = {name: curves[name] for name in order}
    what = "Risk adjusted within each subgroup" if columns else "Observed risk"
    figure(
        subgroup_curves(curves), f"{what} by {_label(by).lower()}, with pointwise 95 % bands.{note}", key="split-curve",
        data=curves_table(curves),
    )  # fmt: skip
    st.dataframe(levels_table({n: level_distance(c, level) for n, c in curves.items()}), hide_index=True)
