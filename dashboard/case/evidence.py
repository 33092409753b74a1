"""Why: cross-attention between picture and report, and Shapley values over the feature groups."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard import state
from dashboard.figures.case_attention import token_bars, token_table
from dashboard.figures.case_image import picture, with_regions
from dashboard.figures.case_shapley import shapley_table, waterfall
from dashboard.parts import figure
from model.encode import MeasuredCase
from model.explain.attention import CrossAttention, paint
from model.explain.shapley import ShapleyResult
from model.features.extract import ViewFeatures
from model.schema import MAPS, MapName, View

MAP_LABELS: dict[MapName, str] = {"location": "Location", "internal": "Internal morphology", "margin": "Margin"}
WAYS = ("Word → picture", "Picture → words", "All layers")


def shapley_section(result: ShapleyResult) -> None:
    """Waterfall with its scale, caption and data."""
    scale = st.segmented_control("Scale", ["probability", "logit"], default="probability", key="shapley-scale")
    drawn = waterfall(result, scale=scale or "probability")
    figure(
        drawn,
        f"{result.method}. Baseline: {result.baseline}. {result.model_rows:,} coalitions run; the parts sum to the "
        f"prediction within {max(abs(result.residual), 1e-9):.0e} logit. Orange raises the risk, blue lowers it; "
        "pp: percentage points. They explain the model, not the disease.",
        key="shapley",
        data=shapley_table(result),
    )


def attention_section(measured: MeasuredCase, attention: CrossAttention) -> None:
    """Choose a word and see where it looks, or a region and see what it reads."""
    st.caption("Attention shows what was read together, not what caused the prediction.")
    way = st.segmented_control("Direction", WAYS, default=WAYS[0], key="attention-way") or WAYS[0]
    a, b, c, d = st.columns(4)
    views = [v for v in attention.views if v in measured.features]
    if not views:
        st.info("No view was measured, so there is no picture to attend to.")
        return
    view = a.selectbox("View", views, key="attention-view", format_func=str.capitalize)
    map_name: MapName = b.selectbox("Map", MAPS, key="attention-map", format_func=MAP_LABELS.__getitem__, index=1)
    layers, heads = attention.clinical_to_image.shape[0], attention.clinical_to_image.shape[2]
    deep = way == WAYS[2]
    layer = c.selectbox(
        "Fusion layer", ["mean", *range(layers)], key="attention-layer", disabled=deep,
        format_func=lambda v: "Mean of all" if v == "mean" else f"Layer {v + 1}",
    )  # fmt: skip
    head = d.selectbox(
        "Head", ["mean", "max", *range(heads)], key="attention-head", disabled=deep,
        format_func=lambda v: f"Head {v + 1}" if isinstance(v, int) else {"mean": "Mean of all", "max": "Maximum"}[v],
    )  # fmt: skip
    features = measured.features[view]
    left, right = st.columns(2)
    if way == WAYS[0]:
        with right:
            token = _choose_token(attention)
        weights = attention.regions_of(token, view, layer=layer, head=head)
        with left:
            share = float(weights[MAPS.index(map_name)].sum() / weights.sum())
            _heat(
                measured, view, features, weights[MAPS.index(map_name)], map_name,
                f"Where “{attention.tokens[token]}” looks in the {MAP_LABELS[map_name].lower()} map: "
                f"{share:.0%} of its attention to the three maps. Brightest = its own maximum.",
            )  # fmt: skip
    elif way == WAYS[1]:
        with left:
            row, column = _choose_region(measured, view, features, map_name, attention.grid)
        with right:
            table = token_table(
                attention.tokens, len(attention.words),
                attention.words_of(map_name, row, column, view, layer=layer, head=head),
            )  # fmt: skip
            figure(
                token_bars(table),
                f"What the region in row {row + 1}, column {column + 1} of the {MAP_LABELS[map_name].lower()} map reads: "
                "words of the report (dark; the number is the word's place) and fields (grey).",
                key="region-words",
                data=table,
            )
    else:
        at = attention.views.index(view)
        with left:
            _heat(
                measured, view, features, attention.rollout[at, MAPS.index(map_name)], map_name,
                "Share of each region in what the head reads, attention rolled out over all layers (Abnar and Zuidema).",
            )  # fmt: skip
        with right:
            table = token_table(attention.tokens, len(attention.words), attention.rollout_clinical[at])
            figure(
                token_bars(table), "Share of words and fields in what the head reads.", key="rollout-words", data=table
            )
    with right:
        st.markdown("**Report as read**")
        st.text(measured.case.report_text or "No report was given.")


def _choose_token(attention: CrossAttention) -> int:
    """A word of the report in reading order, or a field."""
    words = [i for i, w in enumerate(attention.words) if any(ch.isalnum() for ch in w.text)]
    names = attention.tokens
    kind = st.segmented_control("Choose", ["Report words", "Fields"], default="Report words" if words else "Fields")
    options = words if kind == "Report words" and words else list(range(len(attention.words), len(names)))
    wanted = state.read("word")
    default = int(wanted) if wanted.isdigit() and int(wanted) in options else options[0]
    picked = st.pills(
        "Word or field", options, default=default, format_func=names.__getitem__, key=f"token-{attention.case_id}-{kind}",
        label_visibility="collapsed",
    )  # fmt: skip
    token = default if picked is None else picked
    state.write(word=str(token))
    return token


def _choose_region(
    measured: MeasuredCase, view: View, features: ViewFeatures, map_name: MapName, grid: int
) -> tuple[int, int]:
    """A region by a click on its marker, or by row and column."""
    name = f"region-{measured.case.case_id}-{view}-{map_name}"
    row, column = st.session_state.get(name, (grid // 2, grid // 2))
    image = measured.case.images[view]
    box = features.location_box if map_name == "location" else features.crop_box
    found = measured.segmentations[view]
    drawn = with_regions(
        picture(image.pixels, nodule=found.nodule, spacing_mm=image.pixel_spacing_mm, height=400),
        box, grid, map_name, (row, column),
    )  # fmt: skip
    event = figure(
        drawn, "Click a circle to choose a region of the map.", key=f"{name}-picture", on_select="rerun",
        selection_mode="points",
    )  # fmt: skip
    points = event["selection"]["points"] if event else []
    clicked = next((tuple(p["customdata"][1:3]) for p in points if p.get("customdata")), None)
    if clicked is not None and clicked != st.session_state.get(f"{name}-clicked"):
        st.session_state[f"{name}-clicked"] = clicked
        row, column = (int(v) for v in clicked)
        st.session_state[name] = (row, column)
        st.rerun()
    a, b = st.columns(2)
    numbers = list(range(grid))
    new = (
        a.selectbox("Row", numbers, index=row, format_func=lambda v: str(v + 1), key=f"{name}-row-{row}"),
        b.selectbox("Column", numbers, index=column, format_func=lambda v: str(v + 1), key=f"{name}-column-{column}"),
    )
    if new != (row, column):
        st.session_state[name] = new
        st.rerun()
    return row, column


def _heat(
    measured: MeasuredCase, view: View, features: ViewFeatures, weights: np.ndarray, map_name: MapName, caption: str
) -> None:  # fmt: skip
    image = measured.case.images[view]
    box = features.location_box if map_name == "location" else features.crop_box
    heat = paint(weights, box, (image.pixels.shape[0], image.pixels.shape[1]))
    found = measured.segmentations[view]
    drawn = picture(image.pixels, nodule=found.nodule, spacing_mm=image.pixel_spacing_mm, heat=heat, height=400)
    figure(drawn, caption, key="attention-picture")
