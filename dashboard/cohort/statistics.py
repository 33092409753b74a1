"""Statistics on the Cohort page: Table 1, odds ratios, ablation; each as CSV and LaTeX."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.parts import asked, missing, problem
from model.cohort.regression import VARIABLES, as_table, odds_ratios
from model.cohort.table_one import table_one, to_latex
from model.errors import StatisticsError
from model.schema import FIELD

ABLATION = resources.SAMPLES / "ablation.csv"
DEFAULT = ("age_years", "sex", "size_mm", "multifocal", "capsule_distance_mm", "histology")


@st.fragment
def section(part: pd.DataFrame) -> None:
    """Tables of the cases that pass the filters; computed when asked for."""
    st.subheader("Statistics")
    if not asked("Show statistics", "statistics"):
        return
    there = [v for v in VARIABLES if v in part and part[v].notna().any()]
    if not there:
        missing("Table 1 and odds ratios", "the table has none of the fields known before surgery.")
    else:
        chosen = st.multiselect(
            "Variables",
            there,
            default=[v for v in DEFAULT if v in there] or there[:6],
            key="statistics-variables",
            format_func=lambda v: FIELD[v].label_with_unit,
        )
        splits = [s for s in ("llnm", "centre", "sex", "histology") if s in part]
        by = st.selectbox(
            "Table 1 by", splits, key="table-one-by", format_func=lambda v: "outcome" if v == "llnm" else FIELD[v].label
        )
        try:
            with st.spinner("Describing the cases …"):
                described = table_one(part, chosen, by=by)
            _table(
                described,
                "Characteristics of the cases. Missing values are counted; shares are of the known ones; p unadjusted.",
                "table-one",
            )
        except StatisticsError as error:
            problem(error)
        try:
            with st.spinner("Fitting …"):
                found = odds_ratios(part, chosen)
            unsure = " Fewer than 10 outcomes for each term: unsure." if found.unsure else ""
            told = f" No fit of all together: {found.problem}." if found.problem else ""
            _table(
                as_table(found),
                f"Odds ratios of LLNM with 95 % Wald intervals: each variable alone, and adjusted for the others in the "
                f"{found.cases:,} of {found.total:,} cases that have every variable ({found.positives:,} with LLNM). "
                f"Associations, not causes. VIF above 5: collinear.{unsure}{told}",
                "odds-ratios",
            )
        except StatisticsError as error:
            problem(error)
    if ABLATION.exists():
        _table(
            pd.read_csv(ABLATION).round(3),
            "Ablation of the shipped model on synthetic external cases, whatever the filters: inputs hidden at prediction, no new "
            "training; 95 % DeLong intervals, paired DeLong p unadjusted. "
            "Published: networks trained without the input, real patients.",
            "ablation",
        )


def _table(table: pd.DataFrame, caption: str, key: str) -> None:
    """A table with its caption and two downloads."""
    st.dataframe(table, hide_index=True)
    st.caption(caption)
    left, right, _ = st.columns([1, 1, 4])
    left.download_button("CSV", table.to_csv(index=False), f"{key}.csv", "text/csv", key=f"{key}-csv", type="tertiary")
    right.download_button(
        "LaTeX", to_latex(table, caption), f"{key}.tex", "text/plain", key=f"{key}-tex", type="tertiary"
    )
