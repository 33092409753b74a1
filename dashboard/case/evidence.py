"""Why: Shapley values over the feature groups."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources, state
from dashboard.case import trust
from dashboard.case.maps import MAP_LABELS, map_picture
from dashboard.figures.case_shapley import (
    agreement_bars,
    agreement_table,
    force_bar,
    owen_bars,
    owen_table,
    shapley_table,
    waterfall,
)  # fmt: skip
from dashboard.parts import asked, figure, problem
from model.encode import MeasuredCase
from model.errors import ProblemError
from model.explain.shapley import ShapleyResult
from model.explain.truth import agreement

BACKGROUNDS = {
    "missing": "Nothing known", "all": "All cases", "centre": "Same centre", "peers": "Same sex and age band"
}  # fmt: skip


def choose_background(key: str, model: str, measured: MeasuredCase) -> ShapleyResult:
    """The Shapley values against the background that the user chose among the sample cases."""
    name = state.chosen("background", list(BACKGROUNDS)) or "missing"
    name = st.segmented_control(
        "Compared with", list(BACKGROUNDS), default=name, format_func=BACKGROUNDS.__getitem__, key="shapley-background",
        required=True, help="Where the contributions start from: the model's “missing” tokens, or the mean over sample cases.",
    )  # fmt: skip
    state.write(background=None if name == "missing" else name)
    exact = name == "missing" and asked("Run every coalition", "exact")
    try:
        return resources.shapley(key, model, measured, name, exact)
    except ProblemError as error:
        problem(error)
        return resources.shapley(key, model, measured)


@st.fragment
def shapley_section(result: ShapleyResult) -> None:
    """Waterfall and force bar with their scale, caption and data."""
    scale = st.segmented_control("Scale", ["probability", "logit"], default="probability", key="shapley-scale", required=True)
    figure(
        waterfall(result, scale=scale),
        f"{result.method}. Background: {result.baseline}. {result.model_rows:,} model calls; the parts sum to the "
        f"prediction within {max(abs(result.residual), 1e-9):.0e} logit. Orange raises the risk, blue lowers it; "
        "pp: percentage points. They explain the model, not the disease.",
        key="shapley",
        data=shapley_table(result),
    )
    figure(force_bar(result, scale=scale), "The same as a balance: dotted the background, solid the prediction.", key="force")
    trust.verdict_line("shapley")


@st.fragment
def owen_section(key: str, model: str, measured: MeasuredCase, shapley: ShapleyResult) -> None:
    """The words, picture regions and fields inside one group."""
    given = [g.name for g, there in zip(shapley.groups, shapley.present, strict=True) if there]
    labels = {g.name: g.label for g in shapley.groups}
    group = st.selectbox(
        "Group", given, index=given.index("report") if "report" in given else 0, format_func=labels.__getitem__, key="owen-group"
    )
    found = resources.owen(key, model, group, shapley, measured)
    table = owen_table(found)
    figure(
        owen_bars(table),
        f"Owen values inside “{labels[group]}”, which sum to its Shapley value against nothing known "
        f"({found.values.sum():+.2f} logit); {len(found.parts)} parts, the strongest shown; {found.model_rows:,} model calls.",
        key="owen", data=table,
    )  # fmt: skip
    places = dict.fromkeys(p.place[:2] for p in found.parts if p.place is not None)
    strongest = float(abs(found.values).max()) or 1.0
    for column, (view, map_name) in zip(st.columns(max(2, len(places))), places, strict=False):
        weights = found.map_of(view, map_name, resources.loaded(model).net.config.grid) / strongest
        with column:
            figure(
                map_picture(measured, view, map_name, height=320, weights=weights, title="lowers ← → raises", signed_opacity=0.7),
                f"{MAP_LABELS[map_name]} map, {view} view; 1: the strongest part of the group.", key=f"owen-{view}-{map_name}",
            )  # fmt: skip


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
