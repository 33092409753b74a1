"""Select cases by hand: a region in a figure becomes a named sub-cohort, kept in the address bar."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard import resources, state
from dashboard.figures.selecting import cases_to_select
from dashboard.parts import asked, case_link, figure, literal
from model.cohort.selection import Filters, Region
from model.cohort.store import CohortStore

SHOWN, NAME_LENGTH = 2000, 60


def section(store: CohortStore, filters: Filters) -> None:
    """The figure to draw in, when asked for, and the sub-cohort that was drawn.

    Parameters
    ----------
    store : of the cohort; without a capsule distance there is nothing to draw in.
    filters : those of the page, with the region drawn before.
    """
    if "capsule_distance_mm" not in store.columns:
        return
    if asked("Select cases in a figure", "select"):
        _figure(store, filters)
    if filters.region is None:
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
    st.caption(f"{called}: every figure and table below is of the cases inside the region. The address of this page restores it.")
    _openable(store, filters)


@st.fragment
def _figure(store: CohortStore, filters: Filters) -> None:
    sample = store.sample(replace(filters, region=None), SHOWN)
    if sample.empty:
        st.caption("None of these cases has a capsule distance.")
        return
    # A new key lets a cleared drawing go.
    key = f"select-cases-{st.session_state.get('selection-round', 0)}"
    part = ", drawn at random" if len(sample) == SHOWN else ""
    event = figure(
        cases_to_select(sample, filters.region),
        f"{len(sample):,} cases with a measured distance that pass the filters{part}. "
        "Draw round points with the lasso or the box: every case inside is selected, shown here or not.",
        key=key, data=sample, on_select="rerun", selection_mode=("box", "lasso"),
    )  # fmt: skip
    region = drawn_region(event["selection"])
    # A drawing is acted on once: the address bar may change later by itself.
    if region is not None and st.session_state.get("selection-acted") != (key, region):
        st.session_state["selection-acted"] = (key, region)
        state.write_filters(replace(filters, region=region))
        st.rerun()


def drawn_region(selection: Any) -> Region | None:
    """The lasso or box of a selection in a Plotly figure; None where there is none."""
    for path in (*selection.get("lasso", ()), *selection.get("box", ())):
        return Region.drawn(path["x"], path["y"])
    return None


def _openable(store: CohortStore, filters: Filters) -> None:
    """One of the selected cases to be opened, where the pictures of any are there."""
    if "case_id" not in store.columns:
        return
    samples = set(resources.sample_cohort().case_ids)
    ids = [c for c in resources.cohort_rows(store.key, filters, ("case_id",), store)["case_id"] if c in samples]
    if ids:
        chosen = st.selectbox(
            f"Open one of the {len(ids)} cases whose pictures are there", ids, index=None,
            key="selection-open", width=320,
        )  # fmt: skip
        if chosen:
            case_link(chosen)
