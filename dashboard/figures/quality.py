"""How good predictions are: ROC, precision–recall, calibration, net benefit, subgroups, stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.figures.style import MARKED, OBSERVED, PREDICTED, REFERENCE, styled
from model.cohort.benefit import Benefit
from model.cohort.calibration import CalibrationBin
from model.cohort.curves import RiskCurve
from model.cohort.discrimination import Estimate, OperatingPoint, PrecisionCurve, Rate, RocCurve
from model.cohort.scores import FloatArray, IntArray
from model.cohort.subgroups import Gap, Heterogeneity, Subgroup
from model.schema import LLNM

RATES = {
    "accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity",
    "positive_predictive_value": "Positive predictive value", "negative_predictive_value": "Negative predictive value",
    "called": "Called positive", "f1": "F1 score", "youden": "Youden's index",
    "positive_likelihood_ratio": "Positive likelihood ratio", "negative_likelihood_ratio": "Negative likelihood ratio",
}  # fmt: skip
"""Figures of an operating point in words, in the order of the table."""

GAPS = {
    "sensitivity": "Sensitivity", "specificity": "Specificity", "auroc": "AUROC", "calibration": "Calibration (logit)",
}  # fmt: skip
"""Gaps between groups in words."""


def told(value: Rate | Estimate | None, digits: int = 3) -> str:
    """A figure with its interval as text; "too few" where it cannot be computed."""
    if value is None or np.isnan(value.value):
        return "too few"
    middle = "–" if value.low >= 0 else " to "
    text = f"{value.value:.{digits}f} ({value.low:.{digits}f}{middle}{value.high:.{digits}f})"
    return text.replace("-", "−")


def rates_table(point: OperatingPoint) -> pd.DataFrame:
    """An operating point as a table: figure, value with its 95 % interval, and the counts of those that are shares of cases."""
    rows = []
    for name, words in RATES.items():
        value: Rate | Estimate = getattr(point, name)
        # F1 is no share of cases: 2·TP of called + positives would count hits twice.
        counts = f"{value.numerator:,} of {value.denominator:,}" if isinstance(value, Rate) and name != "f1" else "–"
        rows.append({"Figure": words, "Value (95 % interval)": told(value), "Cases": counts})
    return pd.DataFrame(rows)


def calibration(
    bins: tuple[CalibrationBin, ...], curve: RiskCurve | None = None, *, outcome: str = LLNM.short
) -> go.Figure:
    """Observed rate against prediction: ten bins with Wilson intervals, and smooth with its band; the diagonal is perfect."""
    figure = _plane(_diagonal(go.Figure(), "perfect"), "predicted probability", f"observed rate of {escape(outcome)}")
    if curve is not None:
        _band(figure, curve.x, curve.low, curve.high, PREDICTED)
        figure.add_scatter(
            x=curve.x, y=curve.risk, mode="lines", name="smooth (95 % band)", line={"color": PREDICTED, "width": 2.5},
            hovertemplate="predicted %{x:.0%}, observed %{y:.0%}<extra>smooth</extra>",
        )  # fmt: skip
    rates = [b.observed for b in bins]
    figure.add_scatter(
        x=[b.predicted for b in bins], y=[r.value for r in rates], mode="markers", name="ten bins (95 % Wilson)",
        marker={"color": OBSERVED, "size": 8},
        error_y={"type": "data", "symmetric": False, "array": [r.high - r.value for r in rates],
                 "arrayminus": [r.value - r.low for r in rates], "thickness": 1.3, "width": 4},
        customdata=[[r.numerator, r.denominator] for r in rates],
        hovertemplate="predicted %{x:.0%}, observed %{y:.0%} (%{customdata[0]} of %{customdata[1]})<extra></extra>",
    )  # fmt: skip
    return figure


def calibration_table(bins: tuple[CalibrationBin, ...]) -> pd.DataFrame:
    """The bins as a table."""
    return pd.DataFrame(
        [
            {
                "predicted": b.predicted, "observed": b.observed.value, "low": b.observed.low, "high": b.observed.high,
                "llnm": b.observed.numerator, "cases": b.observed.denominator,
            }
            for b in bins
        ]
    )  # fmt: skip


def roc(
    curve: RocCurve, point: OperatingPoint, band: tuple[FloatArray, FloatArray, FloatArray] | None = None
) -> go.Figure:
    """ROC curve with the operating point and its intervals.

    Parameters
    ----------
    band : false positive rates, and the low and high end of the sensitivity at each.
    """
    figure = _plane(_diagonal(go.Figure(), "chance"), "false positive rate (1 − specificity)", "sensitivity")
    if band is not None:
        _band(figure, *band, OBSERVED)
    figure.add_scatter(
        x=curve.false_positive_rate, y=curve.sensitivity, mode="lines", line={"color": OBSERVED, "width": 3}, name="model",
        hovertemplate="sensitivity %{y:.0%}, false positives %{x:.0%}<extra></extra>",
    )  # fmt: skip
    _mark(figure, 1 - point.specificity.value, point.sensitivity, point.cutoff, x_rate=point.specificity)
    return figure


def roc_table(curve: RocCurve) -> pd.DataFrame:
    """Points of the curve."""
    return pd.DataFrame(
        {"cutoff": curve.cutoff, "false_positive_rate": curve.false_positive_rate, "sensitivity": curve.sensitivity}
    )


def precision_recall(curve: PrecisionCurve, point: OperatingPoint, prevalence: float) -> go.Figure:
    """Precision over recall with the operating point; the dotted line is what calling at random would give."""
    figure = _plane(go.Figure(), "recall (sensitivity)", "precision (positive predictive value)")
    figure.add_scatter(
        x=[0, 1], y=[prevalence, prevalence], mode="lines", line={"color": REFERENCE, "dash": "dot"}, hoverinfo="skip",
        name="chance",
    )  # fmt: skip
    figure.add_scatter(
        x=curve.recall, y=curve.precision, mode="lines", line={"color": OBSERVED, "width": 3}, name="model",
        hovertemplate="recall %{x:.0%}, precision %{y:.0%}<extra></extra>",
    )  # fmt: skip
    _mark(figure, point.sensitivity.value, point.positive_predictive_value, point.cutoff)
    return figure


def precision_table(curve: PrecisionCurve) -> pd.DataFrame:
    """Points of the curve."""
    return pd.DataFrame({"cutoff": curve.cutoff, "recall": curve.recall, "precision": curve.precision})


def decision_curve(benefit: Benefit) -> go.Figure:
    """Net benefit of the model with its band, beside treating everyone and nobody."""
    figure = go.Figure()
    _band(figure, benefit.threshold, benefit.low, benefit.high, OBSERVED)
    for name, y, line in (
        ("treat by the model", benefit.model, {"color": OBSERVED, "width": 3}),
        ("treat all", benefit.treat_all, {"color": PREDICTED, "width": 2, "dash": "dash"}),
        ("treat none", 0 * benefit.model, {"color": REFERENCE, "width": 2, "dash": "dot"}),
    ):
        figure.add_scatter(
            x=benefit.threshold, y=y, mode="lines", name=name, line=line,
            hovertemplate=f"%{{x:.0%}}: %{{y:.3f}}<extra>{name}</extra>",
        )  # fmt: skip
    top = max(0.02, float(benefit.high.max()), benefit.positives / benefit.cases)
    _threshold_axis(figure, benefit)
    figure.update_yaxes(title="net benefit (true positives a case)", range=[-0.18 * top, 1.06 * top], fixedrange=True)
    return figure


def clinical_impact(benefit: Benefit, *, outcome: str = LLNM.short) -> go.Figure:
    """Of 1,000 such patients, how many would be treated by the model, and how many of these have the outcome."""
    figure = go.Figure()
    for name, y, line in (
        ("called positive", benefit.called, {"color": OBSERVED, "width": 3}),
        (f"of them with {escape(outcome)}", benefit.hits, {"color": PREDICTED, "width": 3, "dash": "dash"}),
    ):
        figure.add_scatter(
            x=benefit.threshold, y=1000 * y / benefit.cases, mode="lines", name=name, line=line,
            hovertemplate=f"%{{x:.0%}}: %{{y:.0f}} of 1,000<extra>{name}</extra>",
        )  # fmt: skip
    _threshold_axis(figure, benefit)
    top = max(50.0, 1000 * float(benefit.called.max()) / benefit.cases)
    figure.update_yaxes(title="per 1,000 patients", range=[0, 1.06 * top], tickformat=",d", fixedrange=True)
    return figure


def benefit_table(benefit: Benefit) -> pd.DataFrame:
    """Net benefit with its band, and counts per 1,000, by threshold."""
    per = 1000 / benefit.cases
    return pd.DataFrame(
        {
            "threshold": benefit.threshold, "model": benefit.model, "low": benefit.low, "high": benefit.high,
            "treat_all": benefit.treat_all, "called_per_1000": per * benefit.called, "hits_per_1000": per * benefit.hits,
        }
    )  # fmt: skip


def forest(groups: Sequence[Subgroup], spread: Heterogeneity | None) -> go.Figure:
    """AUROC of each group with its DeLong interval, squares by size, and the random-effects mean as a diamond.

    Groups without an AUROC keep their row, with the reason.
    """
    names = [f"{g.name}<br><span style='font-size:11px'>{g.positives:,} of {g.cases:,}</span>" for g in groups]
    shown = [(name, g, g.auroc) for name, g in zip(names, groups, strict=True) if g.auroc is not None]
    largest = max((g.cases for g in groups), default=1)
    figure = go.Figure()
    figure.add_scatter(
        x=[a.value for _, _, a in shown], y=[name for name, _, _ in shown], mode="markers",
        marker={"symbol": "square", "color": OBSERVED, "size": [7 + 11 * np.sqrt(g.cases / largest) for _, g, _ in shown]},
        error_x={"type": "data", "symmetric": False, "array": [a.high - a.value for _, _, a in shown],
                 "arrayminus": [a.value - a.low for _, _, a in shown], "thickness": 1.6, "width": 4},
        customdata=[[a.low, a.high] for _, _, a in shown],
        hovertemplate="AUROC %{x:.3f} (%{customdata[0]:.3f}–%{customdata[1]:.3f})<extra></extra>",
    )  # fmt: skip
    order = names
    if spread is not None:
        order = [*names, "<b>mean</b>"]
        figure.add_scatter(
            x=[spread.pooled.value], y=["<b>mean</b>"], mode="markers",
            marker={"symbol": "diamond", "color": MARKED, "size": 14},
            error_x={"type": "data", "symmetric": False, "array": [spread.pooled.high - spread.pooled.value],
                     "arrayminus": [spread.pooled.value - spread.pooled.low], "thickness": 2.5, "width": 6},
            hovertemplate="random-effects mean %{x:.3f}<extra></extra>",
        )  # fmt: skip
        figure.add_vline(x=spread.pooled.value, line={"color": MARKED, "width": 1, "dash": "dot"})
    lows = [a.low for _, _, a in shown] or [0.5]
    left = min(0.95, max(0.0, np.floor(20 * min(lows) - 0.2) / 20))
    for name, g in zip(names, groups, strict=True):
        if g.auroc is None:
            figure.add_scatter(
                x=[left], y=[name], mode="text", text=["too few"], textposition="middle right", textfont={"color": REFERENCE},
                hovertemplate=f"{g.too_few}<extra></extra>",
            )  # fmt: skip
    styled(figure, height=110 + 44 * len(order))
    figure.update_xaxes(title="AUROC (95 % DeLong interval)", range=[left, 1.005], fixedrange=True)
    figure.update_yaxes(
        categoryorder="array", categoryarray=order[::-1], range=[-0.6, len(order) - 0.4], fixedrange=True
    )
    return figure


def groups_table(groups: Sequence[Subgroup]) -> pd.DataFrame:
    """Groups as a table."""
    return pd.DataFrame(
        [
            {"group": g.name, "cases": g.cases, "llnm": g.positives}
            | ({} if g.auroc is None else {"auroc": g.auroc.value, "low": g.auroc.low, "high": g.auroc.high})
            for g in groups
        ],
        columns=["group", "cases", "llnm", "auroc", "low", "high"],
    )


def gap_dots(gaps: Sequence[Gap]) -> go.Figure:
    """Each group minus the reference as a dot with its interval, a panel a figure; 0 is no gap."""
    panel, between = 26 * len(gaps) + 14, 66  # pixels
    inside = len(GAPS) * panel + (len(GAPS) - 1) * between
    figure = make_subplots(
        rows=len(GAPS), cols=1, subplot_titles=list(GAPS.values()), vertical_spacing=between / inside
    )
    order = [g.group for g in gaps]
    for row, name in enumerate(GAPS, start=1):
        found = [(g.group, getattr(g, name)) for g in gaps if getattr(g, name) is not None]
        figure.add_scatter(
            x=[e.value for _, e in found], y=[group for group, _ in found], mode="markers",
            marker={"size": 9, "color": [MARKED if e.low > 0 or e.high < 0 else OBSERVED for _, e in found]},
            error_x={"type": "data", "symmetric": False, "array": [e.high - e.value for _, e in found],
                     "arrayminus": [e.value - e.low for _, e in found], "thickness": 1.5, "width": 4, "color": OBSERVED},
            customdata=[[e.low, e.high] for _, e in found],
            hovertemplate="%{y}: %{x:+.3f} (%{customdata[0]:+.3f} to %{customdata[1]:+.3f})<extra></extra>", row=row, col=1,
        )  # fmt: skip
        few = [group for group in order if group not in {g for g, _ in found}]
        figure.add_scatter(
            x=[0] * len(few), y=few, mode="text", text=["  too few"] * len(few), textposition="middle right",
            textfont={"color": REFERENCE, "size": 12}, hoverinfo="skip", row=row, col=1,
        )  # fmt: skip
        figure.add_vline(
            x=0, line={"color": REFERENCE, "width": 1.2, "dash": "dot"}, row=row, col=1
        )  # after the dots: an empty panel takes no line
        ends = [abs(v) for _, e in found for v in (e.low, e.high)]
        half = 1.1 * max(ends, default=0.1)
        figure.update_xaxes(range=[-half, half], tickformat="+.2~f", nticks=6, fixedrange=True, row=row, col=1)
    styled(figure, height=inside + 32 + 36)
    figure.update_layout(margin={"t": 32, "b": 36})
    figure.update_yaxes(
        categoryorder="array", categoryarray=order[::-1], range=[-0.6, len(order) - 0.4], fixedrange=True
    )
    figure.update_annotations(font_size=13)
    return figure


def gaps_table(gaps: Sequence[Gap]) -> pd.DataFrame:
    """Gaps with intervals, one row a group and figure."""
    return pd.DataFrame(
        [
            {"group": g.group, "cases": g.cases, "figure": name}
            | {f.name: getattr(value, f.name) for f in fields(Estimate)}
            for g in gaps
            for name in GAPS
            if (value := getattr(g, name)) is not None
        ]
    )


def confusion_table(counts: IntArray, names: Sequence[str]) -> pd.DataFrame:
    """Counts, a row for each true value."""
    return pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=list(names)).reset_index()


def confusion(counts: IntArray, names: Sequence[str]) -> go.Figure:
    """Counts (k, k), rows the truth, columns what was called; the colour is the share of the row."""
    of = counts.sum(1, keepdims=True)
    share = counts / np.maximum(of, 1)
    figure = go.Figure(
        go.Heatmap(
            z=share, x=list(names), y=list(names), colorscale=[[0, "#eaf2f5"], [1, OBSERVED]], zmin=0, zmax=1,
            showscale=False, xgap=3, ygap=3, hovertemplate="true %{y}, called %{x}: %{z:.0%}<extra></extra>",
        )
    )  # fmt: skip
    for i, true in enumerate(names):
        for j, called in enumerate(names):
            figure.add_annotation(
                x=called,
                y=true,
                text=f"<b>{counts[i, j]:,}</b><br>{share[i, j]:.0%}",
                showarrow=False,
                font={"size": 14, "color": "white" if share[i, j] > 0.6 else "#12303b"},
            )
    styled(figure, height=340)
    figure.update_xaxes(title="most probable stage", showgrid=False, fixedrange=True)
    figure.update_yaxes(title="true stage", autorange="reversed", showgrid=False, fixedrange=True)
    return figure


def _diagonal(figure: go.Figure, name: str) -> go.Figure:
    return figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": REFERENCE, "dash": "dot"}, hoverinfo="skip", name=name
    )


def _plane(figure: go.Figure, x: str, y: str) -> go.Figure:
    """Two shares from 0 to 1; a point on an edge keeps its whole mark."""
    styled(figure, height=400, legend=True)
    figure.update_xaxes(title=x, tickformat=".0%", range=[-0.02, 1.02], fixedrange=True)
    figure.update_yaxes(title=y, tickformat=".0%", range=[-0.02, 1.03], fixedrange=True)
    return figure


def _mark(figure: go.Figure, x: float, y: Rate, cutoff: float, x_rate: Rate | None = None) -> None:
    """The operating point with its intervals; `x_rate` is the specificity, of which x is the rest to 1."""
    across = {}
    if x_rate is not None:
        across = {"error_x": {"type": "data", "symmetric": False, "array": [x_rate.value - x_rate.low],
                              "arrayminus": [x_rate.high - x_rate.value], "thickness": 1.5, "width": 4}}  # fmt: skip
    figure.add_scatter(
        x=[x], y=[y.value], mode="markers", marker={"size": 11, "color": MARKED, "symbol": "diamond"},
        name=f"cut-off {cutoff:.0%}",
        error_y={"type": "data", "symmetric": False, "array": [y.high - y.value], "arrayminus": [y.value - y.low],
                 "thickness": 1.5, "width": 4},
        hovertemplate=f"cut-off {cutoff:.0%}<extra></extra>", **across,
    )  # fmt: skip


def _threshold_axis(figure: go.Figure, benefit: Benefit) -> None:
    styled(figure, height=380, legend=True)
    figure.update_xaxes(
        title="threshold probability",
        tickformat=".0%",
        range=[benefit.threshold[0], benefit.threshold[-1]],
        fixedrange=True,
    )


def _band(figure: go.Figure, x: FloatArray, low: FloatArray, high: FloatArray, colour: str) -> None:
    figure.add_scatter(
        x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=colour, opacity=0.16, line={"width": 0},
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip
