"""Risk by place in the gland, and whether the capsule distance matters alike in every place."""

from __future__ import annotations

import streamlit as st

from dashboard.cohort.part import Part, by_content, panel
from dashboard.figures.lobe_map import FEW, lobe_map, position_table
from dashboard.figures.near_far import near_far, near_far_table
from dashboard.figures.risk_curve import PUBLISHED_DISTANCE_MM
from dashboard.parts import asked, figure, missing
from model.cohort.position import Interaction, NearAndFar, distance_interaction, near_and_far
from model.errors import StatisticsError

COLUMNS = ("side", "third", "capsule_distance_mm", "llnm")


def section(part: Part) -> None:
    """Side × third on a drawn thyroid; near against far from the capsule when asked for."""
    if "side" not in part or "third" not in part:
        return  # told at the head of the page
    st.subheader("Risk by lobe position")
    if not any(p.observed.denominator for p in part.counts.positions()):
        missing("Lobe position", "none of these cases has a known place.")
        return
    _map(part)
    if "capsule_distance_mm" not in part:
        missing("Place × capsule distance", "the table has no column capsule_distance_mm.")
    elif asked("Compare near and far from the capsule, place by place", "near"):
        _near_far(part)


@panel
def _map(part: Part) -> None:
    shown = st.segmented_control(
        "Colour by", ["observed", "predicted"], default="observed", key="lobe-colour", required=True
    )
    risks = part.counts.positions()
    placed = sum(p.observed.denominator for p in risks)
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left:
        figure(
            lobe_map(risks, predicted=shown == "predicted"),
            f"Front view; {placed:,} of {part.counts.cases:,} cases with a known place. Hover for counts and 95 % Wilson "
            "intervals. "
            f"Places with fewer than {FEW} cases are left grey.",
            key="lobe-map",
            data=position_table(risks, outcome=part.outcome),
            method=part.method(
                f"Cases were grouped by the nodule's place, side × third of the lobe or isthmus ({placed:,} with a known "
                "place). Each "
                f"place has its {shown} risk; observed rates have 95 % Wilson score intervals, not adjusted for comparing "
                "seven places.",
                f"""
from dashboard.figures.lobe_map import lobe_map, position_table
places = cohort.aggregate(filters).positions()
table = position_table(places, outcome=cohort.outcome)
figure = lobe_map(places, predicted={shown == "predicted"})
""",
            ),
        )
    with right:
        st.dataframe(position_table(risks, outcome=part.outcome), hide_index=True)


@panel
def _near_far(part: Part) -> None:
    cut = st.slider("Near means below (mm)", 0.5, 8.0, PUBLISHED_DISTANCE_MM, 0.5, key="near-cut")
    rows = _compared(part, cut)
    known = sum(r.near.denominator + r.far.denominator for r in rows)
    try:
        test = _said_of(_interaction(part))
    except StatisticsError as error:
        test = ""
        missing("Test of interaction", f"{error.what}. {error.fix}")
    figure(
        near_far(rows, cut, outcome=part.outcome),
        f"Observed risk below {cut:g} mm of capsule distance and from there on, with 95 % Wilson intervals; {known:,} cases "
        f"with place and distance. Groups with fewer than {FEW} cases are not drawn.",
        key="near-far", data=near_far_table(rows, cut),
        method=part.method(
            f"In each place the observed risk below {cut:g} mm of capsule distance was compared with that from there on "
            f"({known:,} cases "
            "with place and distance): 95 % Wilson intervals of the rates, Newcombe's of their difference, not adjusted "
            "for comparing "
            f"seven places. {test.replace('**', '')}",
            f"""
from dashboard.figures.near_far import near_far, near_far_table
from model.cohort.position import near_and_far
cases = cohort.rows(filters, {list(COLUMNS)!r})
rows = near_and_far(cases, {cut!r})
table = near_far_table(rows, {cut!r})
figure = near_far(rows, {cut!r}, outcome=cohort.outcome)
""",
        ),
    )  # fmt: skip
    st.dataframe(near_far_table(rows, cut), hide_index=True)
    st.markdown(test)


@st.cache_data(max_entries=64, show_spinner="Comparing near and far …", hash_funcs=by_content)
def _compared(part: Part, cut: float) -> tuple[NearAndFar, ...]:
    return near_and_far(part.rows(*COLUMNS), cut)


@st.cache_data(max_entries=32, show_spinner="Testing the interaction …", hash_funcs=by_content)
def _interaction(part: Part) -> Interaction:
    return distance_interaction(part.rows(*COLUMNS))


def _said_of(test: Interaction) -> str:
    p = "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}"
    verdict = (
        "the log-odds fall differently with distance from place to place" if test.p_value < 0.05
        else "no sign that the log-odds fall differently from place to place"
    )  # fmt: skip
    out = f" Too few cases to take part: {', '.join(test.left_out)}." if test.left_out else ""
    return (
        f"Place × distance, likelihood-ratio test: χ² = {test.statistic:.1f}, {test.degrees} degrees of freedom, **{p}**, "
        f"n = {test.cases:,}: {verdict} (restricted cubic spline, 3 knots).{out}"
    )
