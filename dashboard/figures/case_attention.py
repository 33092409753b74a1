"""Attention of a case: what a region reads, as bars over words and fields."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import styled

TOP = 14


def token_table(tokens: tuple[str, ...], words: int, weights: npt.NDArray[np.float32]) -> pd.DataFrame:
    """One row a token in reading order: token, kind ("word" or "field"), weight."""
    kinds = ["word"] * words + ["field"] * (len(tokens) - words)
    return pd.DataFrame({"token": tokens, "kind": kinds, "weight": weights.astype(float)})


def token_bars(table: pd.DataFrame) -> go.Figure:
    """The most-read tokens; a word that occurs twice keeps its place number, so that bars do not merge."""
    top = table.nlargest(TOP, "weight")
    names = [
        f"{token}  ·{i + 1}" if kind == "word" else token for i, token, kind in top[["token", "kind"]].itertuples()
    ]
    colours = ["#1f6f8b" if kind == "word" else "#9aa5ab" for kind in top["kind"]]
    figure = go.Figure(
        go.Bar(
            x=top["weight"], y=names, orientation="h", marker={"color": colours},
            hovertemplate="%{y}: %{x:.1%} of this region's attention<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, height=60 + 22 * len(top))
    figure.update_xaxes(title="share of attention", tickformat=".0%", fixedrange=True, rangemode="tozero")
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True, type="category")
    return figure
