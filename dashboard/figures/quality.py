"""How good predictions are: calibration and ROC."""

from __future__ import annotations

import plotly.graph_objects as go

from dashboard.figures.style import MARKED, MUTED, OBSERVED, styled
from model.cohort.benefit import Benefit
from model.cohort.calibration import CalibrationBin
from model.cohort.discrimination import OperatingPoint, RocCurve


def calibration(bins: tuple[CalibrationBin, ...]) -> go.Figure:
    """Observed rate against mean prediction in ten bins, with Wilson intervals; the diagonal is perfect."""
    rates = [b.observed for b in bins]
    figure = go.Figure(
        go.Scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": MUTED, "dash": "dot"}, hoverinfo="skip", name="perfect"
        )
    )
    figure.add_scatter(
        x=[b.predicted for b in bins], y=[r.value for r in rates], mode="markers+lines", name="observed",
        marker={"color": OBSERVED, "size": 8}, line={"width": 1},
        error_y={"type": "data", "symmetric": False, "array": [r.high - r.value for r in rates],
                 "arrayminus": [r.value - r.low for r in rates], "thickness": 1.3},
        customdata=[[r.numerator, r.denominator] for r in rates],
        hovertemplate="predicted %{x:.0%}, observed %{y:.0%} (%{customdata[0]} of %{customdata[1]})<extra></extra>",
    )  # fmt: skip
    styled(figure, height=360)
    figure.update_xaxes(title="mean predicted probability", tickformat=".0%", range=[0, 1], fixedrange=True)
    figure.update_yaxes(title="observed rate of LLNM", tickformat=".0%", range=[0, 1.02], fixedrange=True)
    return figure


def roc(curve: RocCurve, point: OperatingPoint) -> go.Figure:
    """ROC curve with the operating point marked."""
    figure = go.Figure(
        go.Scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": MUTED, "dash": "dot"}, hoverinfo="skip", name="chance"
        )
    )
    figure.add_scatter(
        x=curve.false_positive_rate, y=curve.sensitivity, mode="lines", line={"color": OBSERVED, "width": 3}, name="ROC",
        hovertemplate="sensitivity %{y:.0%}, false positives %{x:.0%}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[1 - point.specificity.value], y=[point.sensitivity.value], mode="markers",
        marker={"size": 12, "color": MARKED, "symbol": "x"}, name=f"cut-off {point.cutoff:g}",
        hovertemplate=f"cut-off {point.cutoff:g}<extra></extra>",
    )  # fmt: skip
    styled(figure, height=360)
    figure.update_xaxes(title="false positive rate", tickformat=".0%", range=[0, 1], fixedrange=True)
    figure.update_yaxes(title="sensitivity", tickformat=".0%", range=[0, 1.02], fixedrange=True)
    return figure


def decision_curve(benefit: Benefit) -> go.Figure:
    """Net benefit of the model with its band, beside treating everyone and nobody."""
    x = [*benefit.threshold, *benefit.threshold[::-1]]
    figure = go.Figure(
        go.Scatter(
            x=x, y=[*benefit.high, *benefit.low[::-1]], fill="toself", fillcolor=OBSERVED, opacity=0.16, line={"width": 0},
            hoverinfo="skip", showlegend=False,
        )
    )  # fmt: skip
    for name, y, colour in (("model", benefit.model, OBSERVED), ("treat all", benefit.treat_all, MARKED),
                            ("treat none", 0 * benefit.model, MUTED)):  # fmt: skip
        figure.add_scatter(x=benefit.threshold, y=y, mode="lines", name=name, line={"color": colour, "width": 2})
    styled(figure, height=380, legend=True)
    figure.update_xaxes(title="threshold probability", tickformat=".0%", range=[0, 1], fixedrange=True)
    figure.update_yaxes(title="net benefit", range=[-0.1, max(0.1, 1.1 * benefit.positives / benefit.cases)], fixedrange=True)
    return figure
