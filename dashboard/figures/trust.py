"""How far explanations may be trusted: checks by method, cascades, deletion and insertion, agreement with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import MUTED, REFERENCE, SUBGROUPS, folded, styled
from model.explain.trust import CHECKS, MAP_CAUSES

Trust = Mapping[str, Any]

PASS, FAIL = "#cfe3ee", "#f3c9a8"
"""Grounds of what passes and what fails; the sign in the cell says it, too."""
STAGES = ("trained", "heads", "+ joint<br>attention", "+ fusion", "+ tokens", "+ stem<br>(all)")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def check_table(trust: Trust) -> pd.DataFrame:
    """One row a method and check: value, 95 % interval, cases, threshold, whether it passed."""
    rules = {rule["key"]: rule for rule in trust["checks"]}
    return pd.DataFrame(
        [
            {"method": method["label"], "check": rules[key]["label"], **found,
             "passes": f"{'above' if rules[key]['above'] else 'below'} {rules[key]['threshold']:g}"}
            for method in trust["methods"].values()
            for key, found in method["checks"].items()
        ]
    )  # fmt: skip


def heat(trust: Trust) -> go.Figure:
    """Methods by checks: sign, value and interval in every cell, its ground by pass or fail."""
    methods = list(trust["methods"].values())
    z, text, hover = [], [], []
    for method in methods:
        found = [method["checks"].get(check.key) for check in CHECKS]
        z.append([None if f is None else float(f["passed"]) for f in found])
        text.append(["–" if f is None else f"{'✓' if f['passed'] else '✗'}<br>{_number(f['value'])}" for f in found])
        hover.append(
            [
                "does not apply" if f is None else
                f"{'passes' if f['passed'] else 'fails'}: {_number(f['value'])} (95 % {_number(f['low'])} to "
                f"{_number(f['high'])}, {f['cases']} cases); must be {'above' if c.above else 'below'} {c.threshold:g}"
                for c, f in zip(CHECKS, found, strict=True)
            ]
        )  # fmt: skip
    names = [f"{folded(c.label)} {'>' if c.above else '<'} {c.threshold:g}" for c in CHECKS]
    figure = go.Figure(
        go.Heatmap(
            z=z, x=names, y=[folded(m["label"]) for m in methods], text=text, texttemplate="%{text}",
            customdata=hover, hovertemplate="%{y}: %{customdata}<extra></extra>", xgap=3, ygap=3, zmin=0, zmax=1,
            colorscale=[[0, FAIL], [1, PASS]], showscale=False, textfont={"color": "#1c2226", "size": 12},
        )
    )  # fmt: skip
    styled(figure, height=150 + 46 * len(methods))
    # Heads stand upright where a narrow screen leaves them no room side by side.
    figure.update_xaxes(
        side="top", showgrid=False, fixedrange=True, autotickangles=[0, -90], tickfont={"size": 10}
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True, tickfont={"size": 10})
    return figure


def cascade_curves(trust: Trust) -> go.Figure:
    """Likeness to the explanation of the trained network, stage by stage, with 95 % intervals."""
    figure = go.Figure()
    for i, method in enumerate(trust["methods"].values()):
        points = np.array([[1, 1, 1], *method["cascade"]])
        figure.add_scatter(
            x=list(STAGES), y=points[:, 0], name=method["label"], mode="lines+markers", line=_line(i),
            error_y={"type": "data", "symmetric": False, "array": points[:, 2] - points[:, 0],
                     "arrayminus": points[:, 0] - points[:, 1], "thickness": 1, "width": 2},
            hovertemplate=f"{method['label']}, %{{x}}: ρ = %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    threshold = next(c.threshold for c in CHECKS if c.key == "randomisation")
    figure.add_hline(y=threshold, line={"color": REFERENCE, "dash": "dot", "width": 1.5})
    styled(figure, height=430, legend=True)
    figure.update_layout(margin={"t": 100})
    figure.update_xaxes(fixedrange=True, tickangle=0, tickfont={"size": 11})
    figure.update_yaxes(title="Spearman's ρ", range=[-0.6, 1.05], fixedrange=True)
    return figure


def order_curves(trust: Trust, kind: str) -> go.Figure:
    """Deletion (solid) and insertion (dashed) curves of the methods of a kind, with the band of random orders."""
    share = np.linspace(0, 1, len(trust["random"][kind][0][0]))
    figure = go.Figure()
    low, high = (np.array(bound) for bound in trust["random"][kind])
    for way in range(2):
        figure.add_scatter(
            x=[*share, *share[::-1]], y=[*high[way], *low[way][::-1]], fill="toself", fillcolor=MUTED, mode="lines",
            line={"color": REFERENCE, "width": 0.5}, name="random orders", showlegend=way == 0, hoverinfo="skip",
        )  # fmt: skip
    for i, method in enumerate(trust["methods"].values()):
        if method["kind"] != kind:
            continue
        for curve, dash, what in zip(method["curves"], ("solid", "dash"), ("taken away", "put in"), strict=True):
            figure.add_scatter(
                x=share, y=curve, mode="lines", name=method["label"], showlegend=dash == "solid",
                line={"color": SUBGROUPS[i % len(SUBGROUPS)], "dash": dash, "width": 2}, legendgroup=method["label"],
                hovertemplate=f"{method['label']}, %{{x:.0%}} {what}: %{{y:.1%}}<extra></extra>",
            )  # fmt: skip
    styled(figure, height=430, legend=True)
    figure.update_layout(margin={"t": 100})
    figure.update_xaxes(title="share taken away or put in", tickformat=".0%", fixedrange=True)
    figure.update_yaxes(title="probability of LLNM", tickformat=".0%", fixedrange=True)
    return figure


def bars(trust: Trust, check: str) -> go.Figure:
    """A check's share for every method it applies to, in percentage points, with 95 % intervals."""
    rows = [(m["label"], m["checks"][check]) for m in trust["methods"].values() if check in m["checks"]]
    values = np.array([[f["value"], f["low"], f["high"]] for _, f in rows]) * 100
    figure = go.Figure(
        go.Bar(
            x=values[:, 0], y=[folded(name) for name, _ in rows], orientation="h",
            marker={"color": [PASS if f["passed"] else FAIL for _, f in rows], "line": {"color": REFERENCE, "width": 1}},
            error_x={"type": "data", "symmetric": False, "array": values[:, 2] - values[:, 0],
                     "arrayminus": values[:, 0] - values[:, 1], "thickness": 1.5},
            hovertemplate="%{y}: %{x:+.1f} pp<extra></extra>",
        )
    )  # fmt: skip
    for i, (_, found) in enumerate(rows):
        figure.add_annotation(
            x=max(values[i, 2], 0), xanchor="left", xshift=4, y=i, showarrow=False, font={"size": 12},
            text=f"{'✓' if found['passed'] else '✗'} {values[i, 0]:+.1f} pp",
        )  # fmt: skip
    styled(figure, height=430)
    figure.add_vline(x=0, line={"color": REFERENCE, "dash": "dot", "width": 1.5})
    low, high = min(values[:, 1].min(), 0), max(values[:, 2].max(), 0)
    room = 0.4 * (high - low)  # for the words right of the longest bar, on a narrow screen too
    figure.update_xaxes(
        title="share in the true nodule<br>− share of the area there (pp)", range=[low, high + room], fixedrange=True
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)
    return figure


def rank_table(trust: Trust) -> pd.DataFrame:
    """One row a mark: method, of (a cause in its map, or all groups of a case), Spearman's ρ."""
    return pd.DataFrame(
        [
            {"method": m["label"], "of": MAP_CAUSES[i] if m["kind"] == "pixels" else "all groups of a case", "rho": rho}
            for m in trust["methods"].values()
            for i, rho in enumerate(m["ranks"])
        ]
    )


def rank_dots(trust: Trust) -> go.Figure:
    """Every ρ as a mark, and each method's figure with its 95 % interval."""
    table = rank_table(trust)
    figure = go.Figure()
    symbols = ("circle", "diamond", "square", "line-ns-open")
    for i, (of, symbol) in enumerate(zip([*MAP_CAUSES, "all groups of a case"], symbols, strict=True)):
        part = table[table["of"] == of]
        figure.add_scatter(
            x=part["rho"], y=[folded(m) for m in part["method"]], mode="markers", name=of,
            marker={"symbol": symbol, "size": 11, "color": SUBGROUPS[i], "opacity": 0.75, "line": {"width": 1.5}},
            hovertemplate=f"%{{y}}, {of}: ρ = %{{x:.2f}}<extra></extra>",
        )  # fmt: skip
    rows = [(m["label"], m["checks"]["rank"]) for m in trust["methods"].values() if "rank" in m["checks"]]
    figure.add_scatter(
        x=[f["value"] for _, f in rows], y=[folded(name) for name, _ in rows], mode="markers", name="figure, 95 % interval",
        marker={"symbol": "x", "size": 9, "color": "#5b6770"},
        error_x={"type": "data", "symmetric": False, "array": [f["high"] - f["value"] for _, f in rows],
                 "arrayminus": [f["value"] - f["low"] for _, f in rows], "thickness": 1.5},
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )  # fmt: skip
    styled(figure, height=120 + 46 * len(rows), legend=True)
    figure.update_layout(margin={"t": 72})
    figure.add_vline(x=0, line={"color": REFERENCE, "dash": "dot", "width": 1.5})
    figure.update_xaxes(title="Spearman's ρ with the true contribution", range=[-1.05, 1.05], fixedrange=True)
    figure.update_yaxes(
        autorange="reversed", fixedrange=True, categoryorder="array", categoryarray=[folded(n) for n, _ in rows]
    )
    return figure


def _line(i: int) -> dict[str, Any]:
    return {"color": SUBGROUPS[i % len(SUBGROUPS)], "dash": DASHES[i % len(DASHES)], "width": 2}


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.1g}"
