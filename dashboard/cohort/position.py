"""Risk by place in the gland, and whether the capsule distance matters alike in every place."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.figures.lobe_map import FEW, lobe_map, position_table
from dashboard.figures.near_far import near_far, near_far_table
from dashboard.figures.risk_curve import PUBLISHED_DISTANCE_MM
from dashboard.parts import asked, figure, missing
from model.cohort.cube import Aggregate
from model.cohort.position import Interaction, distance_interaction, near_and_far, risk_by_position
from model.errors import StatisticsError


def section(part: pd.DataFrame, counts: Aggregate | None = None) -> None:
    """Side × third on a drawn thyroid; near against far from the capsule when asked for.

    Parameters
    ----------
    part : filtered table with llnm (0/1) and, where there are, side, third, probability, capsule_distance_mm.
    counts : of the same cases, where they were counted before.
    """
    st.subheader("Risk by lobe position")
    absent = [c for c in ("side", "third") if c not in part]
    if absent:
        missing("Lobe position", f"the table has no column {' and '.join(absent)}.")
        return
    placed = part[part["side"].notna() & (part["third"].notna() | (part["side"] == "isthmus"))]
    if placed.empty:
        missing("Lobe position", "none of these cases has a known place.")
        return
    _map(placed, len(part), counts)
    if "capsule_distance_mm" not in part:
        missing("Place × capsule distance", "the table has no column capsule_distance_mm.")
    elif asked("Compare near and far from the capsule, place by place", "near"):
        _near_far(placed[placed["capsule_distance_mm"].notna()])


@st.fragment
def _map(placed: pd.DataFrame, cases: int, counts: Aggregate | None) -> None:
    kinds = ["observed", "predicted"] if "probability" in placed else ["observed"]
    shown = st.segmented_control("Colour by", kinds, default="observed", key="lobe-colour", required=True)
    risks = risk_by_position(placed) if counts is None else counts.positions()
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left:
        figure(
            lobe_map(risks, predicted=shown == "predicted"),
            f"Front view; {len(placed):,} of {cases:,} cases with a known place. Hover for counts and 95 % Wilson intervals. "
            f"Places with fewer than {FEW} cases are left grey.",
            key="lobe-map",
            data=position_table(risks),
        )
    with right:
        st.dataframe(position_table(risks), hide_index=True)


@st.fragment
def _near_far(known: pd.DataFrame) -> None:
    cut = st.slider("Near means below (mm)", 0.5, 8.0, PUBLISHED_DISTANCE_MM, 0.5, key="near-cut")
    rows = near_and_far(known, cut)
    figure(
        near_far(rows, cut),
        f"Observed risk below {cut:g} mm of capsule distance and from there on, with 95 % Wilson intervals; {len(known):,} cases "
        f"with place and distance. Groups with fewer than {FEW} cases are not drawn.",
        key="near-far", data=near_far_table(rows, cut),
    )  # fmt: skip
    st.dataframe(near_far_table(rows, cut), hide_index=True)
    try:
        st.markdown(_said_of(_interaction(known[["side", "third", "capsule_distance_mm", "llnm"]])))
    except StatisticsError as error:
        missing("Test of interaction", f"{error.what}. {error.fix}")


@st.cache_data(max_entries=32, show_spinner="Testing the interaction …")
def _interaction(known: pd.DataFrame) -> Interaction:
    return distance_interaction(known)


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
