"""Attention of a case: words and fields shaded by weight, and bars over them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from dashboard.figures.style import MARKED, MUTED, OBSERVED, styled
from model.schema import MapName

TOP = 12
LINE_CHARACTERS = 40
"""Characters a line of the shaded report: what a narrow screen holds."""

_CLEAR, _DARK = 0.02, 0.85
"""Levels up to which there is no ground, and from which white letters are better read than dark ones: 4 to 1 at least."""
LINE_HEIGHT = 22
"""Its pixels."""

_LONGEST = LINE_CHARACTERS


def token_table(tokens: Sequence[str], words: int, weights: npt.NDArray[np.float32]) -> pd.DataFrame:
    """One row a token in reading order: token, kind ("word" or "field"), weight."""
    kinds = ["word"] * words + ["field"] * (len(tokens) - words)
    return pd.DataFrame({"token": list(tokens), "kind": kinds, "weight": weights.astype(float)})


def region_table(map_name: MapName, weights: npt.NDArray[np.float32]) -> pd.DataFrame:
    """One row a region of a map, counted from one: map, row, column, weight."""
    row, column = np.indices(weights.shape) + 1
    return pd.DataFrame(
        {"map": map_name, "row": row.ravel(), "column": column.ravel(), "weight": weights.ravel().astype(float)}
    )


def token_bars(table: pd.DataFrame) -> go.Figure:
    """The most-read tokens; a word that occurs twice keeps its place number, so that bars do not merge."""
    top = table.nlargest(TOP, "weight")
    rows = top[["token", "kind"]].itertuples()
    names = [f"{escape(cut(token))}  ·{i + 1}" if kind == "word" else token for i, token, kind in rows]
    colours = [OBSERVED if kind == "word" else "#9aa5ab" for kind in top["kind"]]
    figure = go.Figure(
        go.Bar(
            x=top["weight"], y=names, orientation="h", marker={"color": colours},
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_vline(x=1 / len(table), line={"color": MUTED, "width": 2, "dash": "dot"})
    styled(figure, height=60 + 22 * len(top))
    figure.update_xaxes(title="share of attention (dotted: even)", tickformat=".1%", fixedrange=True, rangemode="tozero")
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True, type="category")
    return figure


def shaded_tokens(
    tokens: Sequence[str], words: int, weights: npt.NDArray[np.float32], chosen: int | None = None
) -> go.Figure:
    """The report's words in reading order and the fields under them, each on a ground as dark as its weight.

    `customdata` of a point holds (token, weight); every character has a point, so that a click anywhere on it counts.

    Parameters
    ----------
    tokens : words as written, then fields.
    words : how many of them are words.
    weights : (tokens,) non-negative; the lowest stays clear and the highest is darkest.
    chosen : a token that is outlined.
    """
    places, lines = _lay_out(tokens, words)
    low, high = float(weights.min()), float(weights.max())
    level = (weights - low) / (high - low) if high > low else np.zeros(len(tokens))
    figure, shapes = go.Figure(), []
    for token, ((line, start, end), share) in enumerate(zip(places, level, strict=True)):
        ground: dict[str, Any] = {"type": "rect", "x0": start - 0.5, "x1": end + 0.2, "y0": line - 0.44, "y1": line + 0.44}
        if share > _CLEAR:
            shapes.append(ground | {"line": {"width": 0}, "fillcolor": ground_colour(float(share)), "layer": "below"})
        if token == chosen:
            shapes.append(ground | {"name": "chosen", "line": {"color": MARKED, "width": 2}})
    kinds = np.digitize(level, [_CLEAR, _DARK], right=True)
    letters = ({}, {"color": "#101418"}, {"color": "#ffffff"})  # on the page itself, the theme's own
    for kind, (name, colour) in enumerate(zip(("Words", "Words on pale", "Words on dark"), letters, strict=True)):
        at = np.flatnonzero(kinds == kind)
        figure.add_scatter(
            x=[places[i][1] for i in at], y=[places[i][0] for i in at], text=[escape(cut(tokens[i])) for i in at], name=name,
            mode="text", textposition="middle right", hoverinfo="skip", cliponaxis=False,
            textfont={"family": "monospace", "size": 12} | colour,
        )  # fmt: skip
    spots = [(at + 0.5, line, token) for token, (line, start, end) in enumerate(places) for at in range(start, end)]
    figure.add_scatter(
        x=[x for x, _, _ in spots], y=[y for _, y, _ in spots], mode="markers", name="Places",
        customdata=[[token, float(weights[token])] for _, _, token in spots], text=[escape(tokens[t]) for _, _, t in spots],
        marker={"size": 12, "opacity": 0}, selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
        hovertemplate="%{text}: %{customdata[1]:.3g}<extra></extra>",
    )  # fmt: skip
    styled(figure, height=round(LINE_HEIGHT * lines + 8))
    figure.update_xaxes(visible=False, range=[-0.5, LINE_CHARACTERS + 0.5], fixedrange=True)
    figure.update_yaxes(visible=False, range=[lines - 0.5, -0.5], fixedrange=True)
    # All shapes at once: adding one checks all before it again.
    figure.update_layout(shapes=shapes, margin={"l": 0, "r": 0, "t": 4, "b": 4}, clickmode="event+select")
    return figure


def ground_colour(share: float) -> str:
    """From white at 0 to full colour at 1, opaque, so that letters stand out the same in a light and a dark theme."""
    return str(sample_colorscale([[0, "#ffffff"], [1, OBSERVED]], [share])[0])


def _lay_out(tokens: Sequence[str], words: int) -> tuple[list[tuple[float, int, int]], float]:
    """(line, first, last character) of each token, broken into lines, and the number of lines; fields a little apart."""
    places: list[tuple[float, int, int]] = []
    line, at = 0.0, 0
    for token, text in enumerate(tokens):
        length = len(cut(text))
        if token == words and token:
            line, at = line + 1.5, 0
        if at and at + length > LINE_CHARACTERS:
            line, at = line + 1, 0
        places.append((line, at, at + length))
        at += length + (1 if token < words else 2)
    return places, line + 1


def cut(word: str) -> str:
    """A word short enough to be drawn."""
    return word if len(word) <= _LONGEST else word[: _LONGEST - 1] + "…"
