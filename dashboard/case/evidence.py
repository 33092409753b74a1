"""Why: Shapley values over the feature groups."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.case import trust
from dashboard.figures.case_shapley import agreement_bars, agreement_table, shapley_table, waterfall
from dashboard.parts import figure
from model.explain.shapley import ShapleyResult
from model.explain.truth import agreement


@st.fragment
def shapley_section(result: ShapleyResult) -> None:
    """Waterfall with its scale, caption and data."""
    scale = st.segmented_control("Scale", ["probability", "logit"], default="probability", key="shapley-scale", required=True)
    figure(
        waterfall(result, scale=scale),
        f"{result.method}. Baseline: {result.baseline}. {result.model_rows:,} coalitions run; the parts sum to the "
        f"prediction within {max(abs(result.residual), 1e-9):.0e} logit. Orange raises the risk, blue lowers it; "
        "pp: percentage points. They explain the model, not the disease.",
        key="shapley",
        data=shapley_table(result),
    )
    trust.verdict_line("shapley")


def truth_section(result: ShapleyResult, row: pd.Series, reference: pd.DataFrame) -> None:
    """The Shapley values beside the true contributions of a simulated case."""
    found = agreement(result, row, reference)
    table = agreement_table(result, found)
    figure(
        agreement_bars(table),
        f"Rank agreement with the truth: Spearman's ρ = {found.rank_correlation:.2f} over {len(table)} groups (1: same order). "
        "True contributions are those of the risk equation, from their mean over the sample cases. What the model was not told, "
        "it cannot explain.",
        key="agreement", data=table,
    )  # fmt: skip
