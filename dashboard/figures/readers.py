"""Doctors and model on the same cases: the ROC plane and the scores by outcome."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import MARKED, OBSERVED, PREDICTED, REFERENCE, SUBGROUPS, faded, styled
from model.cohort.discrimination import OperatingPoint, RocCurve
from model.cohort.readers import ReaderCases, ReaderPoint

MOST_DOTS = 2000
"""Cases above which the raincloud has no single dots."""


def plane(
    points: Sequence[ReaderPoint],
    *,
    model: tuple[RocCurve, OperatingPoint] | None = None,
    doctors: tuple[RocCurve, OperatingPoint] | None = None,
) -> go.Figure:
    """Readers in the ROC plane, the mean of each group as a cross, over the model's curve.

    Parameters
    ----------
    points : the single readers; may be empty.
    model, doctors : curve and operating point of the model, and of the doctors' mean score.
    """
    figure = go.Figure(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            line={"color": REFERENCE, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    curves = (("model", model, OBSERVED), ("doctors, mean score", doctors, PREDICTED))
    for name, given, colour in curves:
        if given is None:
            continue
        curve = given[0]
        figure.add_scatter(
            x=curve.false_positive_rate, y=curve.sensitivity, mode="lines", line={"color": colour, "width": 3}, name=name,
            legendgroup=name, hovertemplate=f"sensitivity %{{y:.0%}}, false positives %{{x:.0%}}<extra>{name}</extra>",
        )  # fmt: skip
    groups = list(dict.fromkeys(p.group for p in points))
    for group, colour in zip(groups, [MARKED] if len(groups) == 1 else SUBGROUPS[2:] * len(groups), strict=False):
        mine = [p for p in points if p.group == group]
        name = group or "readers"
        x, y = [1 - p.specificity for p in mine], [p.sensitivity for p in mine]
        figure.add_scatter(
            x=x, y=y, mode="markers", marker={"size": 8, "color": colour, "opacity": 0.65}, name=f"{name} ({len(mine)})",
            legendgroup=f"group {group}", text=[p.reader for p in mine],
            hovertemplate="%{text}: sensitivity %{y:.0%}, false positives %{x:.0%}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=[np.mean(x)], y=[np.mean(y)], mode="markers",
            marker={"size": 17, "color": colour, "symbol": "cross", "line": {"color": "white", "width": 1.5}},
            name=f"mean of {name}", showlegend=False, legendgroup=f"group {group}",
            hovertemplate=f"mean of {name}: sensitivity %{{y:.0%}}, false positives %{{x:.0%}}<extra></extra>",
        )  # fmt: skip
    for name, given, colour in curves:  # last, so that no reader lies over them
        if given is None:
            continue
        point = given[1]
        s, t = point.sensitivity, point.specificity
        figure.add_scatter(
            x=[1 - t.value], y=[s.value], mode="markers", marker={"size": 11, "color": colour, "symbol": "diamond"},
            error_x={"type": "data", "symmetric": False, "array": [t.value - t.low], "arrayminus": [t.high - t.value],
                     "thickness": 1.5, "width": 4},
            error_y={"type": "data", "symmetric": False, "array": [s.high - s.value], "arrayminus": [s.value - s.low],
                     "thickness": 1.5, "width": 4},
            showlegend=False, legendgroup=name, hovertemplate=f"{name} at {point.cutoff:.0%}<extra></extra>",
        )  # fmt: skip
    styled(figure, height=490, legend=True)  # as high as the raincloud beside it
    figure.update_xaxes(
        title="false positive rate (1 − specificity)", tickformat=".0%", range=[-0.02, 1.02], fixedrange=True
    )
    figure.update_yaxes(title="sensitivity", tickformat=".0%", range=[-0.02, 1.03], fixedrange=True)
    return figure


def plane_table(points: Sequence[ReaderPoint]) -> pd.DataFrame:
    """Readers as a table."""
    return pd.DataFrame(
        [(p.reader, p.group, p.sensitivity, p.specificity) for p in points],
        columns=["reader", "group", "sensitivity", "specificity"],
    )


def raincloud(cases: ReaderCases) -> go.Figure:
    """Score of every case by the doctors (mean) and the model, by outcome: density, box and, up to `MOST_DOTS` cases, dots.

    Doctors and model have the colours of their curves in `plane`; those without the outcome are paler.
    """
    figure = go.Figure()
    scores = {"doctors": (cases.doctors.probability, PREDICTED)}
    if cases.model is not None:
        scores["model"] = cases.model, OBSERVED
    label = cases.doctors.label
    dots = "all" if len(label) <= MOST_DOTS else False
    for who, (of_cases, colour) in reversed(scores.items()):
        for outcome, words, opacity in ((0, "without outcome", 0.25), (1, "with outcome", 0.6)):
            values = of_cases[label == outcome]
            figure.add_violin(
                x=values, y=[f"{who},<br>{words}"] * len(values), orientation="h", side="positive", width=1.1, spanmode="hard",
                points=dots, pointpos=-0.32, jitter=0.25, marker={"size": 4, "opacity": 0.8, "color": colour},
                line={"color": colour, "width": 1.5}, fillcolor=faded(colour, opacity), meanline={"visible": False},
                box={"visible": True, "width": 0.14, "fillcolor": "rgba(255,255,255,0.7)"},
                name=f"{who}, {words}", hoveron="points", hovertemplate="%{x:.2f}<extra></extra>",
            )  # fmt: skip
    figure.add_vline(x=0.5, line={"color": REFERENCE, "width": 1.2, "dash": "dot"})
    styled(figure, height=110 + 95 * 2 * len(scores))
    figure.update_xaxes(title="score from 0 to 1 (dotted: cut-off 0.5)", range=[-0.02, 1.02], fixedrange=True)
    figure.update_yaxes(fixedrange=True)
    return figure


def cases_table(cases: ReaderCases) -> pd.DataFrame:
    """Cases as a table."""
    table = pd.DataFrame(
        {"case": cases.case_ids, "llnm": cases.doctors.label, "doctor_mean": cases.doctors.probability}
    )
    return table if cases.model is None else table.assign(model=cases.model)
