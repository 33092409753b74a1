"""Risk against capsule distance: observed bins, smooth curve with band, mean prediction, counts."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.figures.style import ADJUSTED, MARKED, MUTED, OBSERVED, PREDICTED, REFERENCE, SUBGROUPS, percent, styled
from model.cohort.curves import LevelDistance, RiskBin, RiskCurve
from model.schema import LLNM

PUBLISHED_DISTANCE_MM, PUBLISHED_RISK = 2.5, 0.72
"""Shen et al. 2025, Fig. 4b: mean probability above 72 % below 0.25 cm."""


def distance_curve(
    bins: tuple[RiskBin, ...],
    observed: RiskCurve | None,
    predicted: RiskCurve | None,
    adjusted: RiskCurve | None = None,
    level: LevelDistance | None = None,
    *,
    outcome: str = LLNM.short,
) -> go.Figure:
    """Observed, predicted and adjusted risk over the distance, with the number of cases beneath.

    Parameters
    ----------
    bins : observed rates with Wilson intervals.
    observed, predicted : smooth curves; None where there are too few cases.
    adjusted : standardised curve, where covariates were chosen.
    level : distance below which the risk exceeds a level, drawn with its interval where the curve passes the level.
    outcome : what the risk is of, as plain text; the published lines are drawn where it is LLNM.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.8, 0.2], vertical_spacing=0.04)
    if observed is not None:
        _band(figure, observed, OBSERVED, "Observed, smooth (95 % band)")
    if adjusted is not None:
        _band(figure, adjusted, ADJUSTED, "Adjusted (95 % band)")
    if predicted is not None:
        figure.add_scatter(
            x=predicted.x, y=predicted.risk, mode="lines", line={"color": PREDICTED, "width": 2, "dash": "dash"},
            name="Predicted, mean", hovertemplate="%{x:.1f} mm: %{y:.0%}<extra>predicted</extra>", row=1, col=1,
        )  # fmt: skip
    middle = [(b.low + b.high) / 2 for b in bins]
    rates = [b.observed for b in bins]
    figure.add_scatter(
        x=middle, y=[r.value for r in rates], mode="markers", name="Observed by bin (95 % Wilson)",
        marker={"color": OBSERVED, "size": 8},
        error_y={"type": "data", "symmetric": False, "array": [r.high - r.value for r in rates],
                 "arrayminus": [r.value - r.low for r in rates], "thickness": 1.4, "width": 4},
        customdata=[[r.numerator, r.denominator, b.low, b.high] for r, b in zip(rates, bins, strict=True)],
        hovertemplate="%{customdata[2]:.1f}–%{customdata[3]:.1f} mm: %{y:.0%} "
                      "(%{customdata[0]} of %{customdata[1]})<extra></extra>",
        row=1, col=1,
    )  # fmt: skip
    figure.add_bar(
        x=middle, y=[r.denominator for r in rates], width=[0.92 * (b.high - b.low) for b in bins], name="Cases",
        marker={"color": MUTED}, text=[r.denominator for r in rates], textposition="outside", cliponaxis=False,
        showlegend=False, hovertemplate="%{y} cases<extra></extra>", row=2, col=1,
    )  # fmt: skip
    _reference(figure, outcome)
    if level is not None and level.value is not None:
        _level(figure, level, level.value, bins)
    return _axes(figure, bins, outcome)


def subgroup_curves(curves: Mapping[str, RiskCurve], *, outcome: str = LLNM.short) -> go.Figure:
    """One smooth observed curve with its band for each subgroup."""
    figure = make_subplots(rows=1, cols=1)
    for (name, curve), colour in zip(curves.items(), SUBGROUPS, strict=False):
        _band(figure, curve, colour, f"{name} (n = {curve.cases:,})")
    _reference(figure, outcome)
    styled(figure, height=420, legend=True)
    figure.update_xaxes(title="capsule distance (mm)", fixedrange=True)
    figure.update_yaxes(title=f"risk of {escape(outcome)}", tickformat=".0%", range=[0, 1.02], fixedrange=True)
    return figure


def curve_table(bins: tuple[RiskBin, ...]) -> pd.DataFrame:
    """The bins as a table: limits (mm), cases, those with the outcome, observed rate with interval, mean prediction."""
    return pd.DataFrame(
        [
            {
                "from_mm": b.low, "to_mm": b.high, "cases": b.observed.denominator, "llnm": b.observed.numerator,
                "observed": b.observed.value, "observed_low": b.observed.low, "observed_high": b.observed.high,
                "predicted": b.predicted,
            }
            for b in bins
        ]
    )  # fmt: skip


def distance_table(bins: tuple[RiskBin, ...], smooth: Mapping[str, RiskCurve]) -> pd.DataFrame:
    """All that the figure of the distance shows: the bins, then the points of each smooth curve (mm)."""
    curves = [
        pd.DataFrame({"what": f"{name}, smooth", "mm": c.x, "risk": c.risk, "low": c.low, "high": c.high})
        for name, c in smooth.items()
    ]
    rates = curve_table(bins).rename(columns={"observed": "risk", "observed_low": "low", "observed_high": "high"})
    rates.insert(0, "what", "observed, by bin")
    rates.insert(1, "mm", (rates["from_mm"] + rates["to_mm"]) / 2)
    return pd.concat([rates, *curves], ignore_index=True)


def curves_table(curves: Mapping[str, RiskCurve]) -> pd.DataFrame:
    """Smooth curves as one long table: name, distance (mm), risk with its band."""
    return pd.concat(
        [
            pd.DataFrame({"curve": name, "mm": c.x, "risk": c.risk, "low": c.low, "high": c.high})
            for name, c in curves.items()
        ],
        ignore_index=True,
    )


def levels_table(distances: Mapping[str, LevelDistance]) -> pd.DataFrame:
    """Distances below which the risk exceeds the level, by curve; "–" where the curve does not pass it."""

    def told(value: float | None, *, open_end: str) -> str:
        return open_end if value is None else f"{value:.1f}"

    return pd.DataFrame(
        [
            {
                "group": name,
                f"risk above {percent(d.level)} below (mm)": told(d.value, open_end="–"),
                "95 % interval (mm)": "–" if d.value is None
                else f"{told(d.low, open_end='open')} to {told(d.high, open_end='open')}",
            }
            for name, d in distances.items()
        ]
    )  # fmt: skip


def _band(figure: go.Figure, curve: RiskCurve, colour: str, name: str) -> None:
    x = [*curve.x, *curve.x[::-1]]
    figure.add_scatter(
        x=x, y=[*curve.high, *curve.low[::-1]], fill="toself", fillcolor=colour, opacity=0.16, line={"width": 0},
        hoverinfo="skip", showlegend=False, row=1, col=1,
    )  # fmt: skip
    figure.add_scatter(
        x=curve.x, y=curve.risk, mode="lines", line={"color": colour, "width": 3}, name=name,
        customdata=[[low, high] for low, high in zip(curve.low, curve.high, strict=True)],
        hovertemplate="%{x:.1f} mm: %{y:.0%} (%{customdata[0]:.0%}–%{customdata[1]:.0%})<extra></extra>", row=1, col=1,
    )  # fmt: skip


def _reference(figure: go.Figure, outcome: str) -> None:
    if outcome != LLNM.short:  # what was published is of no other outcome
        return
    line = {"color": REFERENCE, "width": 1.2, "dash": "dot"}
    figure.add_vline(x=PUBLISHED_DISTANCE_MM, line=line, row=1, col=1)
    figure.add_hline(y=PUBLISHED_RISK, line=line, row=1, col=1)
    figure.add_annotation(
        x=PUBLISHED_DISTANCE_MM, y=1.0, text="published: >72 % below 2.5 mm", showarrow=False, xanchor="left", yanchor="top",
        xshift=6, font={"color": REFERENCE, "size": 12}, row=1, col=1,
    )  # fmt: skip


def _level(figure: go.Figure, level: LevelDistance, value: float, bins: tuple[RiskBin, ...]) -> None:
    """The distance with its interval as a bar across the curve; an open end runs to the end of the bins."""
    low = bins[0].low if level.low is None else level.low
    high = bins[-1].high if level.high is None else level.high
    figure.add_scatter(
        x=[value], y=[level.level], mode="markers", name=f"Risk falls to {percent(level.level)} (95 %)",
        marker={"color": MARKED, "size": 11, "symbol": "diamond"},
        error_x={"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low],
                 "thickness": 2.5, "width": 6, "color": MARKED},
        hovertemplate=f"%{{x:.1f}} mm ({low:.1f}–{high:.1f})<extra></extra>", row=1, col=1,
    )  # fmt: skip


def _axes(figure: go.Figure, bins: tuple[RiskBin, ...], outcome: str) -> go.Figure:
    styled(figure, height=520, legend=True)
    figure.update_layout(margin={"t": 56})
    figure.update_yaxes(title=f"risk of {escape(outcome)}", tickformat=".0%", range=[0, 1.02], fixedrange=True, row=1, col=1)
    tallest = max((b.observed.denominator for b in bins), default=1)
    figure.update_yaxes(title="cases", range=[0, tallest * 1.45], fixedrange=True, nticks=3, row=2, col=1)
    figure.update_xaxes(fixedrange=True, row=1, col=1)
    figure.update_xaxes(title="capsule distance (mm)", fixedrange=True, row=2, col=1)
    return figure
