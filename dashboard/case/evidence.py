"""Why: cross-attention between picture and report, and Shapley values over the feature groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.case import trust
from dashboard.case.maps import MAP_LABELS, map_picture
from dashboard.figures.case_attention import region_table, shaded_report, token_bars, token_table
from dashboard.figures.case_image import with_regions
from dashboard.figures.case_shapley import agreement_bars, agreement_table, shapley_table, waterfall
from dashboard.parts import figure
from model.encode import MeasuredCase
from model.explain.attention import CrossAttention, Heads, Layers
from model.explain.shapley import ShapleyResult
from model.explain.truth import agreement
from model.schema import MAPS, MapName, View

WAYS = {"words": "Word → picture", "regions": "Picture → words", "rollout": "All layers"}
HEIGHT = 400


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


@st.fragment
def attention_section(measured: MeasuredCase, attention: CrossAttention) -> None:
    """Choose a word and see where it looks, or a region and see what it reads."""
    st.caption("Attention shows what was read together, not what caused the prediction.")
    views = [v for v in attention.views if v in measured.features]
    if not views:
        st.info("Nodule or gland was not found on any view, so there is no picture to attend to. Outline them by hand.")
        return
    way = st.segmented_control(
        "Direction", list(WAYS), default=state.chosen("way", list(WAYS)) or "words", key="attention-way",
        format_func=WAYS.__getitem__, required=True,
    )  # fmt: skip
    a, b, c, d = st.columns(4)
    view: View = a.selectbox(
        "View", views, index=_index("view", views), key="attention-view", format_func=str.capitalize
    )
    map_name: MapName = b.selectbox(
        "Map", MAPS, index=_index("map", MAPS), key="attention-map", format_func=MAP_LABELS.__getitem__
    )
    layers, heads = attention.clinical_to_image.shape[0], attention.clinical_to_image.shape[2]
    deep = way == "rollout"
    layer: Layers = c.selectbox(
        "Fusion layer", ["mean", "last", *range(layers)], key="attention-layer", disabled=deep,
        format_func=lambda v: f"Layer {v + 1}" if isinstance(v, int) else {"mean": "Mean of all", "last": "Last"}[v],
    )  # fmt: skip
    head: Heads = d.selectbox(
        "Head", ["mean", "max", *range(heads)], key="attention-head", disabled=deep,
        format_func=lambda v: f"Head {v + 1}" if isinstance(v, int) else {"mean": "Mean of all", "max": "Maximum"}[v],
    )  # fmt: skip
    state.write(way=way if way != "words" else None, view=view, map=map_name)
    left, right = st.columns(2, gap="large")
    if way == "words":
        _word_to_picture(left, right, measured, attention, view, map_name, layer, head)
    elif way == "regions":
        _picture_to_words(left, right, measured, attention, view, map_name, layer, head)
    else:
        _all_layers(left, right, measured, attention, view, map_name)
    with right.expander("Report in full"):
        st.text(measured.case.report_text or "No report was given.")


def _word_to_picture(
    left: st.delta_generator.DeltaGenerator, right: st.delta_generator.DeltaGenerator, measured: MeasuredCase,
    attention: CrossAttention, view: View, map_name: MapName, layer: Layers, head: Heads,
) -> None:  # fmt: skip
    with right.container():
        token = _choose_token(attention, view)
    weights = attention.regions_of(token, view, layer=layer, head=head)
    here = weights[MAPS.index(map_name)]
    even = here * weights.size  # a row sums to one over the regions of the three maps
    share = float(here.sum() / weights.sum())
    name = attention.tokens[token]
    with left:
        _heat(
            measured, view, map_name, even, "attention ÷ an even share",
            f"Where “{name}” looks in the {MAP_LABELS[map_name].lower()} map: {even.min():.2g} to {even.max():.2g} times "
            f"an even share{' (nearly even)' if even.max() < 1.5 and even.min() > 0.67 else ''}. This map holds "
            f"{share:.0%} of its attention to the three maps.",
        )  # fmt: skip


def _picture_to_words(
    left: st.delta_generator.DeltaGenerator, right: st.delta_generator.DeltaGenerator, measured: MeasuredCase,
    attention: CrossAttention, view: View, map_name: MapName, layer: Layers, head: Heads,
) -> None:  # fmt: skip
    with left:
        row, column = _choose_region(measured, view, map_name, attention.grid)
    weights = attention.words_of(map_name, row, column, view, layer=layer, head=head)
    with right:
        _tokens(
            attention, weights,
            f"What the region in row {row + 1}, column {column + 1} of the {MAP_LABELS[map_name].lower()} map reads",
        )  # fmt: skip


def _all_layers(
    left: st.delta_generator.DeltaGenerator, right: st.delta_generator.DeltaGenerator, measured: MeasuredCase,
    attention: CrossAttention, view: View, map_name: MapName,
) -> None:  # fmt: skip
    at = attention.views.index(view)
    with left:
        _heat(
            measured, view, map_name, 100 * attention.rollout[at, MAPS.index(map_name)], "% of what the head reads",
            "Share of each region in what the head reads, attention rolled out over all layers (Abnar and Zuidema 2020).",
        )  # fmt: skip
        trust.verdict_line("rollout")
    with right:
        _tokens(attention, attention.rollout_clinical[at], "Share of words and fields in what the head reads")


def _tokens(attention: CrossAttention, weights: npt.NDArray[np.float32], what: str) -> None:
    """Report shaded by weight, and the most-read words and fields as bars."""
    words = len(attention.words)
    if words:
        figure(
            shaded_report([w.text for w in attention.words], weights[:words]),
            "The report as the model read it; the darker a word's ground, the more attention.", key="attention-report",
        )  # fmt: skip
    table = token_table(attention.tokens, words, weights)
    figure(
        token_bars(table), f"{what}: words of the report (coloured; the number is the word's place) and fields (grey).",
        key="attention-tokens", data=table,
    )  # fmt: skip


def _choose_token(attention: CrossAttention, view: View) -> int:
    """A word of the report in reading order, or a field; at first the one of which most reaches the head."""
    words = [i for i, w in enumerate(attention.words) if any(ch.isalnum() for ch in w.text)]
    fields = list(range(len(attention.words), len(attention.tokens)))
    raw = state.read("word")
    wanted = int(raw) if raw.isdecimal() else -1
    kinds = ["Report words", "Fields"] if words else ["Fields"]
    kind = st.segmented_control(
        "Choose", kinds, default=kinds[-1] if wanted in fields else kinds[0], required=True,
        key=f"token-kind-{attention.case_id}",
    )  # fmt: skip
    options = words if kind == "Report words" else fields
    shares = attention.rollout_clinical[attention.views.index(view)]
    default = wanted if wanted in options else max(options, key=lambda i: float(shares[i]))
    token: int = st.pills(
        "Word or field", options, default=default, format_func=attention.tokens.__getitem__, required=True, wrap=True,
        key=f"token-{attention.case_id}-{kind}", label_visibility="collapsed",
    )  # fmt: skip
    state.write(word=str(token))
    return token


def _choose_region(measured: MeasuredCase, view: View, map_name: MapName, grid: int) -> tuple[int, int]:
    """A region by a click on its marker, or by row and column."""
    name = f"region-{measured.case.case_id}-{view}-{map_name}"
    keys = (f"{name}-row", f"{name}-column")

    def clicked() -> None:
        points = st.session_state[f"{name}-picture"]["selection"]["points"]
        marked = next((p["customdata"] for p in points if p.get("customdata")), None)
        if marked is not None:
            for key, value in zip(keys, marked[1:3], strict=True):
                st.session_state[key] = int(value)

    for key in keys:
        st.session_state.setdefault(key, grid // 2)
    row, column = (int(st.session_state[key]) for key in keys)
    drawn, box = map_picture(measured, view, map_name, height=HEIGHT), measured.features[view].box(map_name)
    figure(
        with_regions(drawn, box, grid, map_name, (row, column)),
        "Click a disc to choose a region of the map, or choose its row and column.",
        key=f"{name}-picture", on_select=clicked, selection_mode="points",
    )  # fmt: skip
    for column_of_page, key, label in zip(st.columns(2), keys, ("Row", "Column"), strict=True):
        column_of_page.selectbox(label, range(grid), format_func=lambda v: str(v + 1), key=key)
    return row, column


def _heat(
    measured: MeasuredCase, view: View, map_name: MapName, weights: npt.NDArray[np.float32], title: str, caption: str
) -> None:
    drawn = map_picture(measured, view, map_name, height=HEIGHT + 58, weights=weights, title=title)
    figure(drawn, caption, key="attention-picture", data=region_table(map_name, weights))


def _index(name: str, options: tuple[str, ...] | list[str]) -> int:
    """Place of the address bar's value among the options; the first where it is none of them."""
    return list(options).index(state.chosen(name, options) or options[0])
