"""Shapley values of two predictions on one scale."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import MUTED, OBSERVED, PREDICTED, styled
from model.explain.shapley import ShapleyResult

SIDES = ("A", "B")
COLOURS = (OBSERVED, PREDICTED)
SYMBOLS = ("circle", "diamond")


def pair_table(a: ShapleyResult, b: ShapleyResult, *, scale: str = "logit") -> pd.DataFrame:
    """One row a group that either side has, largest difference first: group, A, B, difference (B − A), given_A, given_B.

    What a side lacks counts there as 0, so that the differences sum to that of the predictions less that of the bases.

    Parameters
    ----------
    scale : "logit" or "probability".
    """
    labels = {g.name: g.label for r in (a, b) for g in r.groups}  # two models may have other groups
    table = pd.DataFrame({"group": labels})
    for side, r in zip(SIDES, (a, b), strict=True):
        names = [g.name for g in r.groups]
        values = r.values if scale == "logit" else r.probability_values
        table[side] = pd.Series(values, names).reindex(table.index, fill_value=0.0)
        table[f"given_{side}"] = pd.Series(r.present, names).reindex(table.index, fill_value=False)
    table["difference"] = table["B"] - table["A"]
    table = table[["group", *SIDES, "difference", "given_A", "given_B"]]
    table = table[table["given_A"] | table["given_B"]]
    return table.reindex(table["difference"].abs().sort_values(ascending=False, kind="stable").index).reset_index(drop=True)


def pair_dumbbells(table: pd.DataFrame, *, scale: str = "logit") -> go.Figure:
    """A point a side and group, joined by a line; hollow where the side has nothing of the group; the difference at the right."""
    unit, digits, factor = ("percentage points", 1, 100) if scale == "probability" else ("calibrated logit", 2, 1)
    short = " pp" if scale == "probability" else ""
    figure = go.Figure()
    for group, a, b in table[["group", *SIDES]].itertuples(index=False):
        figure.add_scatter(
            x=[factor * a, factor * b], y=[group, group], mode="lines", line={"color": MUTED, "width": 5}, hoverinfo="skip",
            showlegend=False,
        )  # fmt: skip
    for side, colour, symbol in zip(SIDES, COLOURS, SYMBOLS, strict=True):
        given = table[f"given_{side}"]
        figure.add_scatter(
            x=factor * table[side], y=table["group"], mode="markers", name=side,
            customdata=["" if g else " (not given)" for g in given],
            marker={
                "color": colour, "size": 11, "line": {"color": colour, "width": 2},
                "symbol": [symbol if g else f"{symbol}-open" for g in given],
            },
            hovertemplate=f"{side}, %{{y}}%{{customdata}}: %{{x:+.{digits}f}} {unit}<extra></extra>",
        )  # fmt: skip
    for group, difference in zip(table["group"], table["difference"], strict=True):
        figure.add_annotation(
            x=1, xref="paper", y=group, text=f"{factor * difference:+.{digits}f}{short}", showarrow=False, xanchor="left", xshift=6
        )
    figure.add_annotation(
        x=1, xref="paper", y=1, yref="paper", text="<b>B − A</b>", showarrow=False, xanchor="left", yanchor="bottom", xshift=6
    )
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    styled(figure, height=100 + 30 * len(table), legend=True)
    figure.update_layout(margin={"t": 36, "r": 72})
    figure.update_xaxes(title=f"contribution ({unit})", fixedrange=True, tickformat="+", tickangle=0, nticks=5)
    figure.update_yaxes(
        autorange="reversed", fixedrange=True, categoryorder="array", categoryarray=table["group"].tolist()
    )
    return figure
