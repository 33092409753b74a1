"""Image evidence: shares of relevance by part of the neck, for each method."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import MUTED, REFERENCE, percent, styled
from model.explain.evidence import Shares

PARTS = {
    "capsule_side": ("capsule side of the nodule", "#9c3f0b"), "nodule": ("rest of the nodule", "#ffb000"),
    "gland": ("rest of the gland", "#56b4e9"), "outside": ("outside the gland", REFERENCE),
}  # fmt: skip


def share_table(shares: Mapping[str, Shares]) -> pd.DataFrame:
    """One row a method and part: method, part, share."""
    return pd.DataFrame(
        [
            {"method": method, "part": label, "share": getattr(found, part)}
            for method, found in shares.items()
            for part, (label, _) in PARTS.items()
        ],
        columns=["method", "part", "share"],
    )


def share_bars(shares: Mapping[str, Shares]) -> go.Figure:
    """One stacked bar a method, from the capsule side outwards."""
    figure = go.Figure()
    for part, (label, colour) in PARTS.items():
        values = [getattr(found, part) for found in shares.values()]
        figure.add_bar(
            x=values, y=list(shares), orientation="h", name=label, marker={"color": colour},
            text=[percent(v) if v >= 0.06 else "" for v in values], textposition="inside", insidetextanchor="middle",
            textangle=0, hovertemplate=f"%{{y}}, {label}: %{{x:.1%}}<extra></extra>",
        )  # fmt: skip
    styled(figure, height=128 + 40 * len(shares), legend=True)
    # Room for a name a line, as on a phone; higher, plotly gives the legend a scroll bar.
    figure.update_layout(barmode="stack", bargap=0.35, margin={"t": 92}, legend={"traceorder": "normal", "maxheight": 90})
    figure.update_xaxes(range=[0, 1], tickformat=".0%", fixedrange=True, gridcolor=MUTED)
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False)
    return figure
