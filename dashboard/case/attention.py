"""Why: cross-attention between picture and report, plain and weighted by its gradient, linked by clicks both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.case import trust
from dashboard.case.maps import MAP_LABELS, map_picture
from dashboard.figures.case_attention import region_table, shaded_tokens, token_bars, token_table
from dashboard.figures.case_image import with_regions
from dashboard.parts import data_button, figure
from model.encode import MeasuredCase
from model.explain.attention import CrossAttention
from model.schema import MAPS, MapName, View

STATE = ("view", "layer", "head", "word", "region")
"""What of the address bar is this section's."""

ALL = "all"
"""The stop of the slider that follows attention through the whole network."""

ROWS = (
    (
        "Attention",
        "Attention shows what was read together, not what caused the prediction.",
        "what the head reads",
    ),
    (
        "Attention × gradient: for the logit of the prediction",
        "What was read, where reading it raised the logit of this case (Chefer, Gur and Wolf 2021). What lowers it is cut.",
        "the relevance for the logit",
    ),
)
"""Title, meaning, and what the shares are of through all layers."""
HEIGHT = 330


@dataclass(frozen=True)
class Choice:
    """What is looked at.

    Parameters
    ----------
    view : the picture.
    layer : "mean", the number of a layer, or `ALL`.
    head : "mean", "max", or the number of a head.
    token : a word or field, whose regions are shown.
    region : map, row and column, whose words are shown.
    """

    view: View
    layer: str
    head: str
    token: int
    region: tuple[MapName, int, int]

    def weights(self, attention: CrossAttention) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Regions (3, grid, grid) and tokens (words + fields,): shares of each one's sum, through all layers of their joint sum."""
        if self.layer == ALL:
            at = attention.views.index(self.view)
            return attention.rollout[at], attention.rollout_clinical[at]
        layer = "mean" if self.layer == "mean" else int(self.layer)
        head = self.head if self.head in ("mean", "max") else int(self.head)
        regions = attention.regions_of(self.token, self.view, layer=layer, head=head)
        return _shares(regions), _shares(attention.words_of(*self.region, self.view, layer=layer, head=head))


@st.fragment
def section(measured: MeasuredCase, plain: CrossAttention, weighted: CrossAttention) -> None:
    """A word and where it looks, a region and what it reads, both at once; a click changes either."""
    views = [v for v in plain.views if v in measured.features]
    if not views:
        st.info("Nodule or gland was not found on any view, so there is no picture to attend to. Outline them by hand.")
        return
    choice, keys = _choose(plain, weighted, views)
    if choice.layer == ALL:
        st.caption(
            "Share of each region, word and field in what the head reads, through all layers: attention rolled out (Abnar and "
            "Zuidema 2020), and relevance by Chefer's update rules."
        )
    else:
        st.caption(
            "**Click a word or field**: the pictures show where it looks. **Click a disc on a picture**: words and fields are "
            "shaded by how much that region reads them. What is chosen is outlined."
        )
    tables = []
    for told, attention, key in zip(ROWS, (plain, weighted), ("attention", "weighted"), strict=True):
        tables.append(_row(told, measured, attention, choice, keys, key))
    with st.expander("Most-read words and fields as bars"):
        for column, (title, _, whole), table, key in zip(
            st.columns(2, gap="large"), ROWS, tables, ("plain", "weighted"), strict=True
        ):
            with column:
                of = whole if choice.layer == ALL else "what the outlined region reads"
                what = "Words of the report (coloured; the number is the word's place) and fields (grey): share"
                figure(token_bars(table), f"{title}. {what} of {of}.", key=f"attention-bars-{key}", data=table)
    with st.expander("Report in full"):
        st.text(measured.case.report_text or "No report was given.")


def _choose(plain: CrossAttention, weighted: CrossAttention, views: list[View]) -> tuple[Choice, tuple[str, ...]]:
    """View, layer and head; word and region without a mouse. Also the keys under which a click puts word and region."""
    a, b, c = st.columns([1, 2, 1])
    view: View = a.selectbox("View", views, index=_index("view", views), key="attention-view", format_func=str.capitalize)
    layers = ["mean", *map(str, range(len(plain.layers))), ALL]
    named = {"mean": "mean of all", ALL: "through all"} | {str(i): name for i, name in enumerate(plain.layers)}
    layer: str = b.select_slider(
        "Layer", layers, value=layers[_index("layer", layers)], key="attention-layer", format_func=named.__getitem__,
        help="The fusion layers join the two streams; the joint layers attend over both. The last stop follows attention "
        "through the whole network.",
    )  # fmt: skip
    heads = ["mean", "max", *map(str, range(plain.clinical_to_image.shape[2]))]
    head: str = c.selectbox(
        "Head", heads, index=_index("head", heads), key="attention-head", disabled=layer == ALL,
        format_func=lambda h: {"mean": "Mean of all", "max": "Maximum"}.get(h) or f"Head {int(h) + 1}",
    )  # fmt: skip
    names = _labels(plain)
    case = f"{plain.case_id}-{len(names)}"
    keys = tuple(f"attention-{part}-{case}" for part in ("word", "map", "row", "column"))
    for key, value in zip(keys, _first(plain, weighted, view), strict=True):
        st.session_state.setdefault(key, value)
    d, e, f, g = st.columns([2, 2, 1, 1])
    token: int = d.selectbox("Word or field", range(len(names)), format_func=names.__getitem__, key=keys[0], disabled=layer == ALL)
    map_name: MapName = e.selectbox(
        "Region: map", MAPS, format_func=MAP_LABELS.__getitem__, key=keys[1], disabled=layer == ALL
    )
    row, column = (
        int(place.selectbox(label, range(plain.grid), format_func=lambda v: str(v + 1), key=key, disabled=layer == ALL))
        for place, label, key in ((f, "Row", keys[2]), (g, "Column", keys[3]))
    )
    state.write(
        view=view, layer=layer if layer != "mean" else None, head=head if head != "mean" else None, word=str(token),
        region=f"{map_name}-{row + 1}-{column + 1}",
    )  # fmt: skip
    return Choice(view, layer, head, token, (map_name, row, column)), keys


def _first(plain: CrossAttention, weighted: CrossAttention, view: View) -> tuple[int, MapName, int, int]:
    """Word and region of the address bar, else those with the most relevance over all layers."""
    at, words = weighted.views.index(view), [i for i, w in enumerate(plain.words) if any(ch.isalnum() for ch in w.text)]
    raw = state.read("word")
    if raw.isdecimal() and int(raw) < len(plain.tokens):
        token = int(raw)
    else:
        token = max(words or range(len(plain.tokens)), key=lambda i: float(weighted.rollout_clinical[at, i]))
    regions = {f"{name}-{r + 1}-{c + 1}": (name, r, c) for name in MAPS for r in range(plain.grid) for c in range(plain.grid)}
    region = regions.get(state.read("region"))
    if region is None:
        region = list(regions.values())[int(weighted.rollout[at].argmax())]
    return token, *region


def _row(
    told: tuple[str, str, str], measured: MeasuredCase, attention: CrossAttention, choice: Choice, keys: tuple[str, ...], key: str
) -> pd.DataFrame:
    """Words and the three maps of one kind of attention, `told` as in `ROWS`; the table of its words."""
    title, meaning, whole = told
    regions, tokens = choice.weights(attention)
    table = token_table(attention.tokens, len(attention.words), tokens)
    head, button = st.columns([6, 1], vertical_alignment="bottom")
    head.markdown(f"**{title}**")
    head.caption(meaning)
    with head:
        trust.verdict_line("rollout" if key == "attention" else key, "Through all layers: ")
    with button:
        parts = [region_table(name, part).assign(kind="region") for name, part in zip(MAPS, regions, strict=True)]
        data_button(pd.concat([table, *parts]), key)
    everything = choice.layer == ALL
    left, *places = st.columns([4, 3, 3, 3])
    with left:
        _clickable(
            shaded_tokens(attention.tokens, len(attention.words), tokens, None if everything else choice.token),
            "Report words, then fields; the darker, the "
            f"{f'larger its share of {whole}' if everything else 'more the region reads it'}.",
            f"{key}-words-{keys[0]}", None if everything else keys[:1],
        )  # fmt: skip
    # Over the whole network the shares are told as they are; of one word, against an even share over its regions.
    heat = 100 * regions if everything else regions.size * regions
    scale = (float(heat.min()), float(heat.max()))
    read = whole if everything else "what the word reads of the picture"
    for place, name, part in zip(places, MAPS, heat, strict=True):
        drawn = map_picture(
            measured, choice.view, name, height=HEIGHT, weights=part if regions.any() else None, heat_range=scale,
            title="% of all" if everything else "attention ÷ an even share",
        )  # fmt: skip
        if not everything:
            at = choice.region[1:] if choice.region[0] == name else None
            with_regions(drawn, measured.features[choice.view].box(name), attention.grid, name, at)
        said = f"{regions[MAPS.index(name)].sum():.0%} of {read}" if regions.any() else "nothing here raises the logit"
        with place:
            _clickable(
                drawn, f"{MAP_LABELS[name]}: {said}.", f"{key}-{choice.view}-{name}-{keys[0]}", None if everything else keys[1:]
            )
    return table


def _clickable(drawn, caption: str, key: str, chosen: tuple[str, ...] | None) -> None:  # type: ignore[no-untyped-def]
    """A figure; a click on one of its points puts what the point names under the keys `chosen`."""
    if chosen is None:
        figure(drawn, caption, key=f"{key}-still")
    else:
        figure(drawn, caption, key=key, on_select=_clicked(key, chosen), selection_mode="points")


def _clicked(chart: str, keys: tuple[str, ...]) -> Callable[[], None]:
    def take() -> None:
        points = st.session_state[chart]["selection"]["points"]
        last = f"{chart}-last"
        # A second click on a point takes its selection away, and means the point all the same.
        marked = next((p["customdata"] for p in points if p.get("customdata")), st.session_state.get(last))
        if marked is not None:
            st.session_state[last] = marked
            for key, value in zip(keys, marked, strict=False):
                st.session_state[key] = value

    return take


def _labels(attention: CrossAttention) -> list[str]:
    """Words with their place in the report, since they come more than once, then fields."""
    words = len(attention.words)
    return [f"{name} ·{i + 1}" if i < words else name for i, name in enumerate(attention.tokens)]


def _shares(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Brought to a sum of one; zero stays zero."""
    total = float(weights.sum())
    return weights / total if total > 0 else weights


def _index(name: str, options: list[str] | list[View]) -> int:
    """Place of the address bar's value among the options; the first where it is none of them."""
    return list(options).index(state.chosen(name, options) or options[0])
