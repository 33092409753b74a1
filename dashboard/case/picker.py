"""Choose one of the sample cases from a table that can be searched and sorted."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.resources import sample_cohort
from model.schema import FIELD, Case

DEFAULT = "syn-40-00027"
"""The case that a newcomer sees first."""
COLUMNS = ("case_id", "centre", "age_years", "sex", "size_mm", "side", "third", "tirads", "llnm")


def choose() -> Case:
    """The sample case of the address bar, or the first; a table to change it."""
    cohort = sample_cohort()
    ids = list(cohort.case_ids)
    wanted = state.read("case")
    current = wanted if wanted in ids else DEFAULT if DEFAULT in ids else ids[0]
    if wanted and wanted not in ids:
        st.warning("There is no sample case of that name; the first one is shown.", icon=":material/search_off:")
    with st.expander(f"Sample case **{current}**  ·  choose another of {len(ids)}", icon=":material/table_rows:"):
        table = cohort.table[list(COLUMNS)].copy()
        words = st.text_input("Search", placeholder="centre, sex, side, TI-RADS …", key="case-search").lower().split()
        if words:
            text = table.astype(str).agg(" ".join, axis=1).str.lower()
            table = table[[all(word in line for word in words) for line in text]]
        event = st.dataframe(
            _readable(table),
            hide_index=True,
            height=260,
            on_select="rerun",
            selection_mode="single-row",
            key="case-table",
        )
        st.caption("Click a row to open it; click a column's head to sort. Synthetic cases: the outcome is simulated.")
        rows = event["selection"]["rows"]
        # A click is acted on once: the address bar may change later by itself.
        picked = str(table["case_id"].iloc[rows[0]]) if rows and rows[0] < len(table) else None
        if picked and picked != st.session_state.get("case-clicked"):
            st.session_state["case-clicked"] = picked
            _open(picked)
    place = ids.index(current)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Previous", icon=":material/chevron_left:", disabled=place == 0):
            _open(ids[place - 1])
        if st.button("Next", icon=":material/chevron_right:", icon_position="right", disabled=place == len(ids) - 1):
            _open(ids[place + 1])
        st.caption(f"Case {place + 1} of {len(ids)}", width="content")
    return cohort.case(current)


def _open(case_id: str) -> None:
    """Show another case; a word chosen in the report of the last one means nothing in the next."""
    state.write(case=case_id, word=None)
    st.rerun()


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Column heads with units, outcome in words."""
    shown = table.copy()
    shown["llnm"] = shown["llnm"].map({True: "LLNM", False: "no LLNM"})
    heads = {n: FIELD[n].label_with_unit for n in COLUMNS}
    return shown.rename(columns={**heads, "llnm": "Outcome"})
