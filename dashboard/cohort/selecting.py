"""Select cases by hand: a region in a figure becomes a named sub-cohort in the address bar, a clicked point opens its case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard import resources, state
from dashboard.cohort.part import Part, panel
from dashboard.figures.selecting import cases_to_select
from dashboard.parts import address, asked, case_link, figure, literal
from model.cohort.selection import Region

SHOWN, NAME_LENGTH = 2000, 60
DRAW, OPEN = "Draw a region", "Open a case"


def section(part: Part) -> None:
    """The figure to draw and to click in, when asked for, and the sub-cohort that was drawn.

    Parameters
    ----------
    part : without a capsule distance there is nothing to draw in.
    """
    if "capsule_distance_mm" not in part:
        return
    if asked("Select cases in a figure", "select"):
        _figure(part)
    if part.filters.region is None:
        state.write(name=None)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of this sub-cohort", state.read("name")[:NAME_LENGTH], max_chars=NAME_LENGTH, key="selection-name",
            placeholder="e.g. near, yet low risk", width=320,
        )  # fmt: skip
        if st.button("Clear the selection", icon=":material/close:", key="selection-clear"):
            state.write(region=None, name=None)
            for key in ("selection-name", "selection-acted"):
                st.session_state.pop(key, None)
            st.session_state["selection-round"] = st.session_state.get("selection-round", 0) + 1
            st.rerun()
    state.write(name=name.strip())
    called = f"Sub-cohort “{literal(name.strip())}”" if name.strip() else "A sub-cohort without a name"
    st.caption(
        f"{called}: every figure and table below is of the cases inside the region. The address of this page restores it."
    )
    _openable(part)


@panel
def _figure(part: Part) -> None:
    sample = part.store.sample(replace(part.filters, region=None), SHOWN)
    if sample.empty:
        st.caption("None of these cases has a capsule distance.")
        return
    does = st.segmented_control(
        "What the mouse does", (DRAW, OPEN), default=DRAW, key="selection-does", required=True, label_visibility="collapsed"
    )
    drawing = does == DRAW
    # A new key lets a cleared drawing go.
    key = f"{'select' if drawing else 'open'}-cases-{st.session_state.get('selection-round', 0)}"
    how = (
        "Draw round points with the lasso or the box: every case inside is selected, shown here or not." if drawing
        else "Click a point to open its case."
    )  # fmt: skip
    some = ", drawn at random" if len(sample) == SHOWN else ""
    event = figure(
        cases_to_select(sample, part.filters.region, drawing=drawing, outcome=part.outcome),
        f"{len(sample):,} cases with a measured distance that pass the filters{some}. {how}",
        key=key, data=sample, on_select="rerun", selection_mode=("box", "lasso") if drawing else "points",
        method=part.method(
            f"The figure shows {len(sample):,} cases with a measured distance{some}, by capsule distance and predicted "
            "probability.",
            f"""
from dataclasses import replace
from dashboard.figures.selecting import cases_to_select
table = cohort.sample(replace(filters, region=None), {SHOWN})
figure = cases_to_select(table, filters.region, drawing={drawing}, outcome=cohort.outcome)
""",
        ),
    )  # fmt: skip
    selection = event["selection"]
    region = drawn_region(selection)
    # A drawing is acted on once: the address bar may change later by itself.
    if region is not None and st.session_state.get("selection-acted") != (key, region):
        st.session_state["selection-acted"] = (key, region)
        state.write_filters(replace(part.filters, region=region))
        st.rerun()
    if region is None and (name := clicked_case(selection)):
        _open(name)


def drawn_region(selection: Any) -> Region | None:
    """The lasso or box of a selection in a Plotly figure; None where there is none."""
    for path in (*selection.get("lasso", ()), *selection.get("box", ())):
        return Region.drawn(path["x"], path["y"])
    return None


def clicked_case(selection: Any) -> str:
    """The case of the point that was clicked; empty where none was, or it has no name."""
    points = selection.get("points", ())
    carried = points[0].get("customdata") if len(points) == 1 else None
    return str(carried[0]) if carried else ""


def _open(name: str) -> None:
    """Go to a case whose pictures are there; say so of any other."""
    if name in resources.sample_cohort().case_ids:
        st.switch_page("screens/case.py", query_params={"case": name, "back": address()})
    st.text(f"{name}: this table holds no pictures of it, so its case cannot be opened.")


def _openable(part: Part) -> None:
    """One of the selected cases to be opened, where the pictures of any are there."""
    ids = part.store.among(resources.sample_cohort().case_ids, part.filters)
    if ids:
        chosen = st.selectbox(
            f"Open one of the {len(ids)} cases whose pictures are there", ids, index=None,
            key="selection-open", width=320,
        )  # fmt: skip
        if chosen:
            case_link(chosen)
