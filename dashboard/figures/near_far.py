"""Risk near the capsule and far from it, place by place."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.lobe_map import FEW
from dashboard.figures.style import LOWERS, RAISES, percent, styled
from model.cohort.position import NearAndFar
from model.schema import LLNM


def near_far(rows: tuple[NearAndFar, ...], cut_mm: float, *, outcome: str = LLNM.short) -> go.Figure:
    """Two points a place, joined, each with its Wilson interval; points of fewer than 10 cases are left out."""
    figure = go.Figure()
    shown = [r for r in reversed(rows) if max(r.near.denominator, r.far.denominator) >= FEW]
    for row in shown:
        if min(row.near.denominator, row.far.denominator) >= FEW:
            figure.add_scatter(
                x=[row.far.value, row.near.value], y=[row.name] * 2, mode="lines", hoverinfo="skip", showlegend=False,
                line={"color": "rgba(128,140,148,0.5)", "width": 5},
            )  # fmt: skip
    for kind, name, colour in (("far", f"{cut_mm:g} mm or more", LOWERS), ("near", f"below {cut_mm:g} mm", RAISES)):
        rates = [(r.name, rate) for r in shown if (rate := getattr(r, kind)).denominator >= FEW]
        figure.add_scatter(
            x=[rate.value for _, rate in rates], y=[place for place, _ in rates], mode="markers", name=name,
            marker={"color": colour, "size": 11},
            error_x={"type": "data", "symmetric": False, "array": [r.high - r.value for _, r in rates],
                     "arrayminus": [r.value - r.low for _, r in rates], "thickness": 1.6, "width": 5, "color": colour},
            customdata=[[r.numerator, r.denominator, r.low, r.high] for _, r in rates],
            hovertemplate="%{y}: %{x:.0%} (%{customdata[0]} of %{customdata[1]}; 95 % %{customdata[2]:.0%}–%{customdata[3]:.0%})"
                          f"<extra>{name}</extra>",
        )  # fmt: skip
    styled(figure, height=130 + 38 * len(shown), legend=True)
    figure.update_xaxes(title=f"observed risk of {escape(outcome)}", tickformat=".0%", range=[0, 1.02], fixedrange=True)
    figure.update_yaxes(fixedrange=True, showgrid=False)
    return figure


def near_far_table(rows: tuple[NearAndFar, ...], cut_mm: float) -> pd.DataFrame:
    """Counts, rates and their difference (percentage points, Newcombe's 95 % interval) by place."""
    return pd.DataFrame(
        [
            {
                "place": r.name,
                f"below {cut_mm:g} mm": _rate(r, "near"),
                f"{cut_mm:g} mm or more": _rate(r, "far"),
                "difference (95 %), points": "–" if r.difference is None
                else f"{100 * r.difference.value:+.0f} ({100 * r.difference.low:+.0f} to {100 * r.difference.high:+.0f})",
            }
            for r in rows
        ]
    )  # fmt: skip


def _rate(row: NearAndFar, kind: str) -> str:
    rate = getattr(row, kind)
    return f"{percent(rate.value)} ({rate.numerator} of {rate.denominator})" if rate.denominator else "no case"
