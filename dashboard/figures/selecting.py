"""Cases over capsule distance and predicted probability, to draw a region round."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import LOWERS, MARKED, RAISES, styled
from model.cohort.selection import Region
from model.schema import LLNM


def cases_to_select(
    sample: pd.DataFrame, region: Region | None = None, *, drawing: bool = True, outcome: str = LLNM.short
) -> go.Figure:
    """One point a case, by outcome; the region that was drawn before in red.

    Parameters
    ----------
    sample : capsule_distance_mm, probability, llnm and, where there is one, case_id, which points carry.
    drawing : whether the mouse draws a lasso, or picks points: Streamlit tells of clicks only where it does not draw.
    outcome : what the label is of, as plain text.
    """
    figure = go.Figure()
    ids = sample["case_id"].fillna("") if "case_id" in sample else pd.Series("", index=sample.index)
    what = escape(outcome)
    for hit, name, colour, symbol in ((False, f"No {what}", LOWERS, "circle"), (True, what, RAISES, "diamond")):
        here = (sample["llnm"] == hit).to_numpy()
        figure.add_scatter(
            x=sample["capsule_distance_mm"][here].round(2), y=sample["probability"][here].round(3), mode="markers",
            name=f"{name} (n = {int(here.sum()):,})", customdata=ids[here].to_numpy()[:, None],
            marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.6},
            hovertemplate="%{customdata[0]} %{x:.1f} mm, %{y:.0%}<extra>" + name + "</extra>",
        )  # fmt: skip
    if region is not None:
        path = " L ".join(f"{x},{y}" for x, y in region.corners)
        figure.add_shape(type="path", path=f"M {path} Z", line={"color": MARKED, "width": 2})
    figure.update_xaxes(title="Capsule distance (mm)", rangemode="tozero")
    figure.update_yaxes(title="Predicted probability", tickformat=".0%", range=[-0.03, 1.03])
    styled(figure, height=420, legend=True)
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(fixedrange=True)
    figure.update_layout(dragmode="lasso" if drawing else False, margin_t=60)  # the bar lies above the legend
    return figure
