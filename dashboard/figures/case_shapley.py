"""Shapley values of a case as a waterfall from the base to the prediction."""

from __future__ import annotations

import math
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import LOWERS, MUTED, OBSERVED, RAISES, REFERENCE, TOTAL, styled
from model.explain.owen import OwenResult
from model.explain.shapley import ShapleyResult
from model.explain.truth import Agreement

PARTS = 12
"""Parts of a group that are drawn, at most."""


def shapley_table(result: ShapleyResult) -> pd.DataFrame:
    """One row a group, largest contribution first: group, given, logit, probability."""
    table = pd.DataFrame(
        {
            "group": [g.label for g in result.groups],
            "given": result.present,
            "logit": result.values,
            "probability": result.probability_values,
        }
    )
    order = np.lexsort((-table["logit"].abs(), ~table["given"]))
    return table.iloc[order].reset_index(drop=True)


def agreement_table(result: ShapleyResult, found: Agreement) -> pd.DataFrame:
    """One row a group, largest true contribution first: group, true, explained (both in logits)."""
    table = pd.DataFrame({"group": [g.label for g in result.groups], "true": found.true, "explained": found.explained})
    order = table["true"].abs().sort_values(ascending=False).index
    return table.reindex(order).reset_index(drop=True)


def agreement_bars(table: pd.DataFrame) -> go.Figure:
    """True contribution and Shapley value of each group, side by side."""
    figure = go.Figure()
    for column, name, colour in (("true", "True, simulated", REFERENCE), ("explained", "Shapley value", OBSERVED)):
        figure.add_bar(
            x=table[column], y=table["group"], orientation="h", name=name, marker={"color": colour},
            hovertemplate=f"%{{y}}, {name.lower()}: %{{x:+.2f}} logit<extra></extra>",
        )  # fmt: skip
    styled(figure, height=90 + 34 * len(table), legend=True)
    figure.update_layout(barmode="group", bargap=0.3, bargroupgap=0.05, margin={"t": 40})
    figure.update_xaxes(title="contribution to the logit of LLNM", fixedrange=True)
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    return figure


def waterfall(result: ShapleyResult, *, scale: str = "probability") -> go.Figure:
    """From what the model says knowing nothing of the case to what it says knowing all.

    Parameters
    ----------
    scale : "probability" or "logit".
    """
    table = shapley_table(result)
    in_probability = scale == "probability"
    base, end = _ends(result, in_probability)
    names = [f"{g}" if given else f"{g} (not given)" for g, given in zip(table["group"], table["given"], strict=True)]
    values = table[scale].tolist()
    texts = [f"{100 * v:+.1f} pp" if in_probability else f"{v:+.2f}" for v in values]
    ends = [f"{100 * v:.1f} %" if in_probability else f"{v:.2f}" for v in (base, end)]
    figure = go.Figure(
        go.Waterfall(
            orientation="h", base=0, y=[result.start, *names, "Prediction"],
            x=[base, *values, 0], measure=["absolute", *["relative"] * len(values), "total"],
            text=[ends[0], *texts, ends[1]], textposition="none",
            increasing={"marker": {"color": RAISES}}, decreasing={"marker": {"color": LOWERS}},
            totals={"marker": {"color": TOTAL}}, connector={"line": {"color": MUTED, "width": 1}},
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, height=70 + 30 * (len(values) + 2))
    # In a column of their own: beside short bars they lie over the names on a narrow screen.
    figure.update_layout(annotations=[
        {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 6, "y": name, "text": text, "showarrow": False}
        for name, text in zip(figure.data[0].y, figure.data[0].text, strict=True)
    ])  # fmt: skip
    reached = np.cumsum([base, *values])
    low, high = min(0.0, float(reached.min())), max(float(reached.max()), 0.0)
    figure.update_xaxes(
        title=f"probability of {result.endpoint}" if in_probability else f"calibrated logit of {result.endpoint}",
        tickformat=".0%" if in_probability else "", range=[1.01 * low, 1.01 * high], fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)
    figure.update_layout(margin={"r": 64})  # room for the numbers, however narrow the screen
    return figure


def force_bar(result: ShapleyResult, *, scale: str = "probability") -> go.Figure:
    """What raises the risk against what lowers it: two rows of segments that meet at the prediction.

    Parameters
    ----------
    scale : "probability" or "logit".
    """
    table = shapley_table(result)
    in_probability = scale == "probability"
    base, end = _ends(result, in_probability)
    figure = go.Figure()
    for sign, colour, row in ((1, RAISES, "raises"), (-1, LOWERS, "lowers")):
        side = table[sign * table[scale] > 0]
        at = end - sign * float(side[scale].abs().sum())
        for group, value in zip(side["group"], side[scale], strict=True):
            size = f"{100 * value:+.1f} pp" if in_probability else f"{value:+.2f}"
            figure.add_bar(
                x=[abs(value)], y=[row], base=[min(at, at + value)], orientation="h", text=group, textposition="inside",
                insidetextanchor="middle", marker={"color": colour, "line": {"color": "white", "width": 1}},
                hovertemplate=f"{group}: {size}<extra></extra>",
            )  # fmt: skip
            at += value
    for value, dash in ((base, "dot"), (end, "solid")):
        figure.add_vline(x=value, line={"color": MUTED, "width": 2, "dash": dash})
    styled(figure, height=150)
    figure.update_layout(barmode="overlay", bargap=0.15, uniformtext={"minsize": 9, "mode": "hide"})
    figure.update_xaxes(
        title=f"probability of {result.endpoint}" if in_probability else f"calibrated logit of {result.endpoint}",
        tickformat=".0%" if in_probability else "", fixedrange=True,
        # What raises and what lowers may each reach past 100 %: such a length is no probability and gets no label.
        tickvals=[0, 0.25, 0.5, 0.75, 1] if in_probability else None,
    )  # fmt: skip
    figure.update_yaxes(showgrid=False, fixedrange=True)
    return figure


def owen_table(result: OwenResult) -> pd.DataFrame:
    """One row a part, largest contribution first: part, kind, logit, standard error."""
    table = pd.DataFrame(
        {
            "part": [p.label for p in result.parts], "kind": [p.kind for p in result.parts],
            "logit": result.values, "standard error": result.errors,
        }
    )  # fmt: skip
    order = table["logit"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index()


def owen_bars(table: pd.DataFrame) -> go.Figure:
    """The strongest parts of a group with their standard errors; a word that occurs twice keeps its place number."""
    top = table.head(PARTS)
    rows = top[["part", "kind", "index"]].itertuples(index=False)
    names = [escape(f"{part}  ·{at + 1}" if kind == "word" else part) for part, kind, at in rows]
    figure = go.Figure(
        go.Bar(
            x=top["logit"], y=names, orientation="h", marker={"color": [RAISES if v > 0 else LOWERS for v in top["logit"]]},
            error_x={"type": "data", "array": top["standard error"], "thickness": 1.2, "width": 3},
            hovertemplate="%{y}: %{x:+.3f} logit<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, height=70 + 24 * len(top))
    figure.update_xaxes(title="part of the logit (bars: standard error)", fixedrange=True)
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True, type="category")
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    return figure


def _ends(result: ShapleyResult, in_probability: bool) -> tuple[float, float]:
    """Where the contributions start and end."""
    if in_probability:
        return result.base_probability, 1 / (1 + math.exp(-result.logit))
    return result.base_logit, result.logit
