"""What drives the model over a cohort: shares of the groups, beeswarm, dependence, sub-phenotypes, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import (
    MUTED,
    OBSERVED,
    RAISES,
    REFERENCE,
    SIGNED,
    SUBGROUPS,
    folded,
    percent,
    styled,
    words,
)
from model.cohort.discrimination import Rate
from model.cohort.drivers import Clusters, Dependence, ErrorLevel, Share, Swarm, is_number, levels
from model.cohort.explained import Explanations
from model.cohort.scores import FloatArray, IntArray
from model.schema import FIELD, LLNM, Value

VALUES = "Viridis"
"""Low to high values of a field, which are no risks."""


def field_label(name: str) -> str:
    """A column's name in words, with its unit."""
    return FIELD[name].label_with_unit if name in FIELD else name


def value_words(name: str, value: Value | None) -> str:
    """A field's value as text, with its unit."""
    if value is None or value != value:
        return "not known"
    if name in FIELD and isinstance(value, float | str | bool):
        return words(FIELD[name], value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def share_table(found: Sequence[Share]) -> pd.DataFrame:
    """One row a group: share, 95 % interval, mean |contribution| in logits."""
    return pd.DataFrame(
        [
            {"group": s.group, "share": s.share.value, "low": s.share.low, "high": s.share.high, "mean |logit|": s.mean}
            for s in found
        ]
    )


def share_bars(found: Sequence[Share]) -> go.Figure:
    """Share of each group with its 95 % interval, largest first."""
    values = np.array([[s.share.value, s.share.low, s.share.high] for s in found])
    figure = go.Figure(
        go.Bar(
            x=values[:, 0], y=[folded(s.group, 16) for s in found], orientation="h", marker={"color": OBSERVED},
            error_x={"type": "data", "symmetric": False, "array": values[:, 2] - values[:, 0],
                     "arrayminus": values[:, 0] - values[:, 1], "thickness": 1.5, "color": REFERENCE},
            customdata=np.column_stack([values[:, 1:], [s.mean for s in found]]),
            hovertemplate="%{y}: %{x:.1%} (95 % %{customdata[0]:.1%}–%{customdata[1]:.1%}; mean |contribution| "
                          "%{customdata[2]:.2f} logits)<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, height=90 + 32 * len(found))
    figure.update_xaxes(title="share of mean |contribution|", tickformat=".0%", rangemode="tozero", fixedrange=True)
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True, tickfont={"size": 11})
    return figure


def beeswarm(
    found: Sequence[Swarm],
    labels: Sequence[str],
    order: Sequence[int],
    colours: Sequence[FloatArray],
    told: Sequence[Sequence[str]],
    *,
    outcome: str = LLNM.short,
) -> go.Figure:
    """One row a group, one mark a drawn case.

    Parameters
    ----------
    found : of each group.
    labels : of each group.
    order : groups from top to bottom.
    colours : of each group, place of each drawn case's value among all cases, 0 (lowest) to 1; NaN where it has none.
    told : of each group, the value of each drawn case in words.
    outcome : what is predicted, as plain text.
    """
    figure = go.Figure()
    for row, g in enumerate(order):
        swarm, colour = found[g], np.asarray(colours[g], float)
        known = np.isfinite(colour)
        for here, marker in (
            (~known, {"color": REFERENCE}),
            (known, {"color": colour[known].round(3).astype(np.float32), "colorscale": VALUES, "cmin": 0, "cmax": 1}),
        ):
            if here.any():
                figure.add_scatter(
                    x=swarm.values[here].round(3).astype(np.float32),
                    y=(row + 0.42 * swarm.offset[here]).round(3).astype(np.float32), mode="markers",
                    marker={**marker, "size": 4, "opacity": 0.75}, text=[told[g][i] for i in np.flatnonzero(here)], name=labels[g],
                    hovertemplate=f"{escape(labels[g])} %{{x:+.2f}}<br>%{{text}}<extra></extra>",
                )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], mode="markers", hoverinfo="skip",
        marker={"color": [0], "colorscale": VALUES, "cmin": 0, "cmax": 1, "showscale": True,
                "colorbar": {"title": {"text": "value", "side": "top"}, "tickvals": [0.02, 0.98], "ticktext": ["low", "high"],
                             "thickness": 10, "len": 0.5, "outlinewidth": 0}},
    )  # fmt: skip
    styled(figure, height=90 + 44 * len(order))
    figure.add_vline(x=0, line={"color": REFERENCE, "width": 1})
    figure.update_xaxes(title=f"contribution to the logit of {escape(outcome)}", fixedrange=True)
    figure.update_yaxes(
        tickvals=list(range(len(order))), ticktext=[folded(labels[g], 16) for g in order],
        range=[len(order) - 0.4, -0.6], showgrid=False, fixedrange=True, tickfont={"size": 11},
    )  # fmt: skip
    return figure


def swarm_values(frame: pd.DataFrame, told: Explanations, rows: IntArray) -> tuple[list[FloatArray], list[list[str]]]:
    """Of each group and drawn case: place of the group's first field among all cases, 0 to 1, and its value in words.

    Parameters
    ----------
    frame : all cases.
    rows : those that are drawn.
    """
    places, said = [], []
    for column in told.columns:
        lead = next(iter(told.fields.get(column, ())), None)
        if lead is None or lead not in frame:
            places.append(np.full(len(rows), np.nan))
            said.append([""] * len(rows))
        else:
            places.append(_place_among_all(frame[lead])[rows])
            said.append([f"{field_label(lead)}: {value_words(lead, v)}" for v in frame[lead].iloc[rows]])
    return places, said


def _place_among_all(column: pd.Series) -> FloatArray:
    if is_number(column):
        return column.rank(pct=True).to_numpy(float)
    codes = levels(column).cat
    place = codes.codes.to_numpy(float) / max(len(codes.categories) - 1, 1)
    return np.asarray(np.where(codes.codes.to_numpy() < 0, np.nan, place))


def swarm_table(found: Sequence[Swarm], labels: Sequence[str]) -> pd.DataFrame:
    """All cases by group and contribution: group, from, to (logits), cases."""
    return pd.concat(
        [
            pd.DataFrame({"group": label, "from": s.edges[:-1], "to": s.edges[1:], "cases": s.counts})
            for s, label in zip(found, labels, strict=True)
        ]
    )


def dependence_figure(
    found: Dependence, values: FloatArray, field: pd.Series, group: str, colour: str | None
) -> go.Figure:
    """Medians and quartiles of the bins of each level of the colour, over some cases.

    Parameters
    ----------
    values, field : of all cases, which `found` is of.
    group, colour : in words.
    """
    figure = go.Figure()
    names = found.order or ("all",)
    x = field.to_numpy()
    ticks = list(dict.fromkeys(b.name for b in sorted(found.bins, key=lambda b: b.x)))
    shift = np.random.default_rng(1).uniform(-0.25, 0.25, len(found.rows))
    for i, name in enumerate(names):
        ink = OBSERVED if len(names) == 1 else SUBGROUPS[i % len(SUBGROUPS)]
        here = np.array([c == name or not found.order for c in found.colours], dtype=bool)
        rows = found.rows[here]
        at = x[rows].astype(float).round(2) if found.numeric else [_place(v, ticks) for v in x[rows]] + shift[here]
        figure.add_scatter(
            x=at, y=values[rows].round(3), mode="markers", marker={"color": ink, "size": 4, "opacity": 0.35}, showlegend=False,
            hovertemplate="%{y:+.2f} logits<extra></extra>",
        )  # fmt: skip
        bins = [b for b in found.bins if b.colour == name]
        side = 0.0 if found.numeric else 0.12 * (i - (len(names) - 1) / 2)
        figure.add_scatter(
            x=[b.x + side if found.numeric else ticks.index(b.name) + side for b in bins], y=[b.median for b in bins],
            mode="lines+markers" if found.numeric else "markers", name=name,
            marker={"color": ink, "size": 9}, line={"color": ink, "width": 2},
            error_y={"type": "data", "symmetric": False, "array": [b.high - b.median for b in bins],
                     "arrayminus": [b.median - b.low for b in bins], "thickness": 1.6, "width": 4, "color": ink},
            customdata=[[b.name, b.cases, b.low, b.high] for b in bins],
            hovertemplate="%{customdata[0]}: median %{y:+.2f} (quartiles %{customdata[2]:+.2f} to %{customdata[3]:+.2f}; "
                          f"n = %{{customdata[1]}})<extra>{escape(name)}</extra>",
        )  # fmt: skip
    styled(figure, height=430, legend=len(names) > 1)
    if len(names) > 1:
        figure.update_layout(legend_title_text=escape(colour or ""), margin_t=60)
    figure.add_hline(y=0, line={"color": REFERENCE, "width": 1})
    figure.update_xaxes(title=escape(field_label(str(field.name))), fixedrange=True)
    if not found.numeric:
        figure.update_xaxes(tickvals=list(range(len(ticks))), ticktext=[escape(t) for t in ticks])
    figure.update_yaxes(title=f"{folded(group, 28)}<br>(logits)", fixedrange=True)
    return figure


def dependence_table(found: Dependence) -> pd.DataFrame:
    """One row a bin: colour, bin, cases, median, quartiles."""
    return pd.DataFrame([vars(b) for b in found.bins]).drop(columns="x")


def cluster_heat(found: Clusters, labels: Sequence[str], order: Sequence[int]) -> go.Figure:
    """Mean contribution of every group in every sub-phenotype."""
    means = np.array([[c.mean[g] for g in order] for c in found.clusters])
    top = float(np.abs(means).max()) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=means.T, x=[f"{i + 1}<br>n = {c.cases:,}" for i, c in enumerate(found.clusters)],
            y=[folded(labels[g], 16) for g in order], colorscale=SIGNED, zmin=-top, zmax=top, xgap=2, ygap=2, showscale=False,
            texttemplate="%{z:+.2f}", textfont={"size": 11},
            hovertemplate="sub-phenotype %{x}, %{y}: mean %{z:+.2f} logits<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, height=110 + 34 * len(order))
    figure.update_xaxes(title="sub-phenotype", side="top", fixedrange=True, showgrid=False, type="category")
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False, tickfont={"size": 11})
    return figure


def cluster_table(
    found: Clusters, frame: pd.DataFrame, fields: Sequence[str], *, outcome: str = LLNM.short
) -> pd.DataFrame:
    """One row a sub-phenotype: cases, observed rate with interval, prediction, drivers, and its fields.

    Parameters
    ----------
    frame : the cases.
    fields : columns to describe by their mean, or by their most frequent value.
    """
    rows = []
    for i, cluster in enumerate(found.clusters):
        here = frame[found.labels == i]
        described = {field_label(name): _middle(here[name]) for name in fields}
        rows.append(
            {
                "sub-phenotype": i + 1, "cases": cluster.cases, f"{outcome} observed (95 %)": rate_words(cluster.observed),
                "predicted, mean": percent(cluster.predicted),
                "driven by (logits from the mean of all)": "; ".join(f"{g} {d:+.2f}" for g, d in cluster.drivers), **described,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def error_bars(found: Sequence[ErrorLevel]) -> go.Figure:
    """Share got wrong in each level, and among the rest, with Wilson intervals."""
    names = [_level(e) for e in found]
    figure = go.Figure()
    for kind, name, colour, symbol in (
        ("rest", "all other cases", REFERENCE, "circle-open"),
        ("here", "these cases", RAISES, "circle"),
    ):
        rates: list[Rate] = [getattr(e, kind) for e in found]
        figure.add_scatter(
            x=[r.value for r in rates], y=names, mode="markers", name=name, marker={"color": colour, "size": 10, "symbol": symbol},
            error_x={"type": "data", "symmetric": False, "array": [r.high - r.value for r in rates],
                     "arrayminus": [r.value - r.low for r in rates], "thickness": 1.6, "color": colour},
            customdata=[[r.numerator, r.denominator, r.low, r.high] for r in rates],
            hovertemplate="%{y}: %{x:.1%} (%{customdata[0]} of %{customdata[1]}; 95 % %{customdata[2]:.1%}–%{customdata[3]:.1%})"
                          f"<extra>{name}</extra>",
        )  # fmt: skip
    styled(figure, height=120 + 40 * len(names), legend=True)
    figure.update_xaxes(title="share of cases got wrong", tickformat=".0%", rangemode="tozero", fixedrange=True)
    figure.update_yaxes(autorange="reversed", fixedrange=True, gridcolor=MUTED, tickfont={"size": 11})
    return figure


def error_table(found: Sequence[ErrorLevel]) -> pd.DataFrame:
    """One row a level: rates with counts, difference in percentage points with interval, p and Holm's p."""
    return pd.DataFrame(
        [
            {
                "which cases": f"{field_label(e.field)}: {e.level}", "wrong": rate_words(e.here),
                "wrong, the rest": rate_words(e.rest),
                "difference (95 %), points": f"{100 * e.difference.value:+.1f} ({100 * e.difference.low:+.1f} to "
                                             f"{100 * e.difference.high:+.1f})",
                "p": _p(e.p), "p, Holm": _p(e.adjusted),
            }
            for e in found
        ]
    )  # fmt: skip


def rate_words(rate: Rate) -> str:
    """A share with its interval and counts."""
    if not rate.denominator:
        return "no case"
    return (
        f"{percent(rate.value)} ({percent(rate.low)}–{percent(rate.high)}; {rate.numerator:,} of {rate.denominator:,})"
    )


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _level(found: ErrorLevel) -> str:
    return folded(escape(f"{field_label(found.field)}: {found.level}"), 24)


def _middle(column: pd.Series) -> str:
    """Mean and spread of a number, or the most frequent value with its share of the known ones."""
    known = column.dropna()
    if known.empty:
        return "not known"
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return f"{known.mean():.3g} ± {known.std(ddof=0):.2g}"
    counts = known.astype(object).value_counts()
    return f"{value_words(str(column.name), counts.index[0])} {percent(counts.iloc[0] / len(known))}"


def _place(value: object, ticks: Sequence[str]) -> float:
    told = {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool | np.bool_) else str(value)
    return float(ticks.index(told)) if told in ticks else np.nan
