"""Choose one of the cases from a table that can be searched and sorted."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.parts import literal
from dashboard.resources import SAMPLES, cohort_folder, sample_cohort
from model.schema import Case, Schema

DEFAULT = "syn-40-00027"
"""The case that a newcomer sees first."""
COLUMNS = ("case_id", "centre", "age_years", "sex", "size_mm", "side", "third", "tirads")
"""Columns of the table, where the cohort has them; its own fields and the outcome follow."""


def choose() -> Case:
    """The case of the address bar, or the first; a table to change it."""
    cohort = sample_cohort()
    kind = "Sample case" if cohort_folder() == SAMPLES else "Case"
    ids = list(cohort.case_ids)
    wanted = state.read("case")
    current = wanted if wanted in ids else DEFAULT if DEFAULT in ids else ids[0]
    if wanted and wanted not in ids:
        st.warning(f"There is no {kind.lower()} of that name; the first one is shown.", icon=":material/search_off:")
    with st.expander(f"{kind} **{literal(current)}**  ·  choose another of {len(ids)}", icon=":material/table_rows:"):
        table = _columns(cohort.table, cohort.schema)
        words = st.text_input("Search", placeholder="centre, sex, side, TI-RADS …", key="case-search").lower().split()
        if words:
            text = table.astype(str).agg(" ".join, axis=1).str.lower()
            table = table[[all(word in line for word in words) for line in text]]
        event = st.dataframe(
            _readable(table, cohort.schema),
            hide_index=True,
            height=260,
            on_select="rerun",
            selection_mode="single-row",
            key="case-table",
        )
        simulated = " Synthetic cases: the outcome is simulated." if cohort.provenance == "synthetic" else ""
        st.caption(f"Click a row to open it; click a column's head to sort.{simulated}")
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


def _columns(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The columns that say anything, the outcome last."""
    known = [n for n in (*COLUMNS, *(f.name for f in schema.own)) if (table[n].notna() & (table[n] != "")).any()]
    return table[[*known, schema.endpoint.name]].copy()


def _readable(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Column heads with units, outcome in words."""
    shown, endpoint = table.copy(), schema.endpoint
    shown[endpoint.name] = shown[endpoint.name].map({True: endpoint.short, False: f"no {endpoint.short}"})
    for name in shown.columns.intersection([f.name for f in schema.own if f.kind == "flag"]):
        shown[name] = shown[name].map({True: "yes", False: "no"})
    heads = {n: schema.by_name[n].label_with_unit for n in shown.columns}
    return shown.rename(columns={**heads, endpoint.name: "Outcome"})
