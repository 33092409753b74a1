"""Risk by place on a drawn thyroid, seen from the front: the patient's right is on the picture's left."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from dashboard.figures.style import MUTED, RISK, percent, styled
from model.cohort.position import PositionRisk
from model.schema import LLNM

FEW = 10
"""Places with fewer cases are drawn without colour."""


def lobe_map(risks: tuple[PositionRisk, ...], *, predicted: bool = False) -> go.Figure:
    """The seven places coloured by risk.

    Parameters
    ----------
    predicted : colour by the mean prediction, not the observed rate.
    """
    figure = go.Figure()
    figure.add_scatter(**_outline(_trachea(), "rgba(128,140,148,0.15)"), hoverinfo="skip")
    for place in risks:
        value = place.predicted if predicted else place.observed.value
        rate = place.observed
        few = rate.denominator < FEW or math.isnan(value)
        colour = "rgba(128,140,148,0.25)" if few else sample_colorscale(RISK, [value])[0]
        x, y = _shape(place.side, place.third)
        name = place.name
        text = "too few" if few else percent(value)
        figure.add_scatter(
            **_outline((x, y), colour), name=name, hoveron="fills", hoverinfo="text",
            text=f"{name}: observed {percent(rate.value) if rate.denominator else 'none'} "
                 f"({rate.numerator} of {rate.denominator}; 95 % {percent(rate.low)}–{percent(rate.high)})",
        )  # fmt: skip
        inside = "#10181d" if not few and value > 0.55 else "#ffffff"
        figure.add_annotation(
            x=float(np.mean([x.min(), x.max()])), y=float(np.mean([y.min(), y.max()])),
            text=f"<b>{text}</b><br>n = {rate.denominator}", showarrow=False,
            font={"size": 14, **({} if few else {"color": inside})},
        )  # fmt: skip
    for x, words in ((-2.3, "patient's right"), (2.3, "patient's left")):
        figure.add_annotation(x=x, y=3.35, text=words, showarrow=False, font={"size": 12})
    figure.add_scatter(
        x=[None], y=[None], mode="markers",
        marker={"colorscale": RISK, "cmin": 0, "cmax": 1, "color": [0], "showscale": True,
                "colorbar": {"title": "risk", "tickformat": ".0%", "thickness": 12, "len": 0.8}},
    )  # fmt: skip
    styled(figure, height=430)
    figure.update_xaxes(visible=False, range=[-3.6, 3.6], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-3.4, 3.7], scaleanchor="x", fixedrange=True)
    return figure


def position_table(risks: tuple[PositionRisk, ...], *, outcome: str = LLNM.short) -> pd.DataFrame:
    """The places as a table with counts and intervals."""
    return pd.DataFrame(
        [
            {
                "place": p.name, f"with {outcome}": f"{p.observed.numerator} of {p.observed.denominator}",
                "observed (95 %)": f"{percent(p.observed.value)} ({100 * p.observed.low:.0f}–{100 * p.observed.high:.0f})"
                if p.observed.denominator else "–",
                "predicted": "–" if math.isnan(p.predicted) else percent(p.predicted),
            }
            for p in risks
        ]
    )  # fmt: skip


def _shape(side: str, third: str) -> tuple[np.ndarray, np.ndarray]:
    """Outline of a place: a third of an egg-shaped lobe, or the bridge between the lobes."""
    if side == "isthmus":
        x = np.array([-0.95, 0.95, 0.95, -0.95])
        return x, np.array([-0.55, -0.55, -1.75, -1.75])
    low, high = {"upper": (1.0, 3.0), "middle": (-1.0, 1.0), "lower": (-3.0, -1.0)}[third]
    y = np.linspace(low, high, 40)
    half = 1.12 * np.sqrt(np.maximum(1 - (y / 3.0) ** 2, 0)) * (1 - 0.10 * y / 3.0)
    centre = 2.0 - 0.12 * (y + 3) / 3
    x = np.concatenate([centre - half, (centre + half)[::-1]])
    return (x if side == "left" else -x), np.concatenate([y, y[::-1]])


def _trachea() -> tuple[np.ndarray, np.ndarray]:
    return np.array([-0.75, 0.75, 0.75, -0.75]), np.array([3.2, 3.2, -3.2, -3.2])


def _outline(points: tuple[np.ndarray, np.ndarray], colour: str) -> dict[str, object]:
    x, y = points
    return {
        "x": np.append(x, x[0]), "y": np.append(y, y[0]), "mode": "lines", "fill": "toself", "fillcolor": colour,
        "line": {"color": MUTED, "width": 1.5},
    }  # fmt: skip
