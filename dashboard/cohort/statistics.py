"""Statistics on the Cohort page: Table 1, odds ratios, ablation; each as CSV and LaTeX."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.figures.quality import told
from dashboard.parts import asked, missing, problem
from model.cohort.discrimination import Estimate
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
            "Table 1 by",
            splits,
            key="table-one-by",
            width=320,
            format_func=lambda v: "Outcome" if v == "llnm" else FIELD[v].label,
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
        measured = pd.read_csv(ABLATION)
        _table(
            _in_words(measured),
            "Ablation of the shipped model on synthetic external cases, whatever the filters: inputs hidden at prediction, no new "
            "training; 95 % DeLong intervals, paired DeLong p unadjusted. "
            "Published: networks trained without the input, real patients.",
            "ablation",
            measured,
        )


def _in_words(ablation: pd.DataFrame) -> pd.DataFrame:
    """The ablation table with figures and intervals in one cell each."""
    rows = []
    for r in ablation.itertuples():
        first = r.difference == 0 and r.p == 1
        rows.append(
            {
                "Model": str(r.variant), "LLNM / cases": f"{r.positives:,} / {r.cases:,}",
                "AUROC (95 %)": told(Estimate(r.auroc, r.low, r.high)),
                "Difference (95 %)": "–" if first else told(Estimate(r.difference, r.difference_low, r.difference_high)),
                "p": "–" if first else "<0.001" if r.p < 0.001 else f"{r.p:.3f}",
                "Published AUROC": "–" if pd.isna(r.published) else f"{r.published:.3f}",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _table(table: pd.DataFrame, caption: str, key: str, data: pd.DataFrame | None = None) -> None:
    """A table with its caption and two downloads; `data` is what goes into the CSV where it is not the table itself."""
    names = {c: st.column_config.Column(width=290) for c in ("variable",) if c in table and "level" in table}
    st.dataframe(table, hide_index=True, height="content", column_config=names)
    st.caption(caption)
    with st.container(horizontal=True):
        st.download_button(
            "CSV", (table if data is None else data).to_csv(index=False), f"{key}.csv", "text/csv", key=f"{key}-csv",
            type="tertiary", icon=":material/download:",
        )  # fmt: skip
        st.download_button(
            "LaTeX", to_latex(table, caption), f"{key}.tex", "text/plain", key=f"{key}-tex", type="tertiary",
            icon=":material/download:",
        )  # fmt: skip
