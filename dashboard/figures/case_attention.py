"""Attention of a case: the report shaded by weight, and bars over words and fields."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import MUTED, OBSERVED, styled
from model.schema import MapName

TOP = 12
LINE_CHARACTERS = 40
"""Characters a line of the shaded report: what a narrow screen holds."""

LINE_HEIGHT = 26
"""Its pixels."""

_LONGEST = 24


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


def shaded_report(words: Sequence[str], weights: npt.NDArray[np.float32]) -> go.Figure:
    """The words that were read, in reading order, each on a ground as dark as its weight.

    Parameters
    ----------
    words : as written.
    weights : (words,) non-negative; the lowest stays clear and the highest is darkest.
    """
    places, lines = _lay_out(words)
    low, high = float(weights.min()), float(weights.max())
    level = (weights - low) / (high - low) if high > low else np.zeros(len(words))
    figure = go.Figure()
    for (line, start, end), share in zip(places, level, strict=True):
        if share > 0.02:
            figure.add_shape(
                type="rect", x0=start - 0.3, x1=end + 0.3, y0=line - 0.42, y1=line + 0.42, line={"width": 0},
                fillcolor=OBSERVED, opacity=0.6 * float(share), layer="below",
            )  # fmt: skip
    figure.add_scatter(
        x=[(start + end) / 2 for _, start, end in places], y=[line for line, _, _ in places], mode="text",
        text=[escape(cut(w)) for w in words], customdata=weights, textfont={"family": "monospace", "size": 13},
        hovertemplate="%{text}: %{customdata:.2%}<extra></extra>", cliponaxis=False,
    )  # fmt: skip
    styled(figure, height=LINE_HEIGHT * lines + 8)
    figure.update_xaxes(visible=False, range=[-0.5, LINE_CHARACTERS + 0.5], fixedrange=True)
    figure.update_yaxes(visible=False, range=[lines - 0.5, -0.5], fixedrange=True)
    figure.update_layout(margin={"l": 0, "r": 0, "t": 4, "b": 4})
    return figure


def _lay_out(words: Sequence[str]) -> tuple[list[tuple[int, int, int]], int]:
    """(line, first, last character) of each word, broken into lines, and the number of lines."""
    places, line, at = [], 0, 0
    for word in words:
        length = len(cut(word))
        if at and at + length > LINE_CHARACTERS:
            line, at = line + 1, 0
        places.append((line, at, at + length))
        at += length + 1
    return places, line + 1


def cut(word: str) -> str:
    """A word short enough to be drawn."""
    return word if len(word) <= _LONGEST else word[: _LONGEST - 1] + "…"
