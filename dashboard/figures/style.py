"""One look for every figure: one sequential scale for risk, one diverging pair for sign, both colour-blind safe."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, sequential

from model.schema import Field, Value

RISK = "Cividis"
"""Risk, always from 0 to 1."""

RAISES, LOWERS = "#c4601a", "#2a6ca8"
"""What raises the risk (orange) and what lowers it (blue)."""

TOTAL = "#5b6770"
"""The ends of a waterfall."""

OBSERVED, PREDICTED, REFERENCE = "#1f6f8b", "#b5651d", "#8a8f94"
ADJUSTED = "#7b3f9e"
"""Risk at equal covariates, beside the observed one."""
MARKED = "#d7263d"
"""The one case or point that a figure is about."""
NODULE, GLAND, CAPSULE = "#ffb000", "#56b4e9", "#ff5d5d"
SUBGROUPS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f94")
HEAT = [[i / 9, "#02020a" if i == 0 else colour] for i, colour in enumerate(sequential.Inferno)]
"""Attention and other unsigned evidence over a picture. Inferno's own first colour, #000004, is one that Streamlit's
theme takes for a placeholder and paints pink."""

SIGNED = [[0.0, "#1d4f86"], [0.25, "#5b95c9"], [0.5, "#f2efe9"], [0.75, "#e08a4a"], [1.0, "#9c3f0b"]]
"""Signed evidence over a picture: blue lowers the risk, orange raises it."""

MUTED = "rgba(128,140,148,0.35)"


def styled(figure: go.Figure, *, height: int, legend: bool = False) -> go.Figure:
    """The project's layout: transparent, quiet grid, room for labels; text colour comes from the page's theme."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28 if legend else 12, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13},
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        hoverlabel={"font_size": 13},
        dragmode=False,
    )
    figure.update_xaxes(gridcolor=MUTED, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=MUTED, zeroline=False, automargin=True)
    return figure


def faded(colour: str, opacity: float) -> str:
    """A colour (#rrggbb) that lets through what is behind it."""
    return f"rgba{(*hex_to_rgb(colour), opacity)}"


def words(field: Field, value: Value, digits: int | None = None) -> str:
    """A field's value as text, a number with its unit; at most 0 digits for years, 1 for mm, 2 without unit unless told."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if digits is None:
        digits = {"years": 0, "": 2}.get(field.unit, 1)
    number = f"{value:.{digits}f}"
    return f"{number.rstrip('0').rstrip('.') if digits else number} {field.unit}".rstrip()


def folded(label: str, width: int = 12) -> str:
    """A label on lines of at most about `width` letters."""
    lines = [""]
    for word in label.split():
        if lines[-1] and len(lines[-1]) + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)


def percent(value: float, digits: int = 0) -> str:
    """A share as text: 0.8412 → 84 %."""
    return f"{100 * value:.{digits}f} %"
