"""How sure: achieved coverage in each centre, distance from the training cases, and what missing fields could do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.figures.style import MARKED, MUTED, OBSERVED, PREDICTED, REFERENCE, percent, styled
from model.cohort.coverage import CentreCoverage, Coverage
from model.uncertainty.missing import MissingField
from model.uncertainty.novelty import NoveltyScore

BINS = 50
NEAR, ROOM = 0.2, 1.5
"""How far beyond the threshold an axis goes, and how far for a case that lies there, in widths of the validation distances;
what lies farther stands at its end."""
STRIP, GAP = 60, 64
"""Pixels of a histogram, and between two for the numbers of one and the title of the next."""
_OUTCOMES = (("llnm", "with LLNM", OBSERVED, -0.14), ("no_llnm", "without LLNM", PREDICTED, 0.14))


def coverage_table(rows: Sequence[CentreCoverage], level: float) -> pd.DataFrame:
    """One row a centre, kind of thresholds and group of cases: stated and achieved coverage with counts and 95 % interval."""
    kinds: list[tuple[str, str, Coverage]] = [(r.centre, "checkpoint", r.shipped) for r in rows]
    kinds += [(r.centre, "the centre's own cases, cross-validated", r.own) for r in rows if r.own is not None]
    return pd.DataFrame(
        [
            {
                "centre": centre, "thresholds from": kind, "among": name, "stated": level, "achieved": rate.value,
                "cases covered": rate.numerator, "cases": rate.denominator, "low": rate.low, "high": rate.high,
            }
            for centre, kind, found in kinds
            for name, rate in (
                ("all", found.all), ("with LLNM", found.llnm), ("without LLNM", found.no_llnm),
                ("undecided (of all)", found.undecided), ("neither fits (of all)", found.empty),
            )
        ]
    )  # fmt: skip


def coverage_dots(rows: Sequence[CentreCoverage], level: float) -> go.Figure:
    """Achieved coverage by outcome in each centre, with 95 % intervals; the stated one as a line; open: own thresholds."""
    figure = go.Figure()
    for attribute, name, colour, offset in _OUTCOMES:
        for own in (False, True):
            found = [(i, r.own if own else r.shipped) for i, r in enumerate(rows)]
            known = [(i, getattr(c, attribute)) for i, c in found if c is not None]
            known = [(i, rate) for i, rate in known if rate.denominator]
            if not known:
                continue
            spread = {
                "type": "data", "symmetric": False, "array": [r.high - r.value for _, r in known],
                "arrayminus": [r.value - r.low for _, r in known], "thickness": 1.5, "width": 3,
            }  # fmt: skip
            figure.add_scatter(
                x=[rate.value for _, rate in known], y=[i + offset for i, _ in known], mode="markers",
                name=f"{name}, own thresholds" if own else name, legendgroup=name,
                marker={"color": colour, "size": 9, "symbol": "diamond-open" if own else "circle"},
                error_x=None if own else spread,
                text=[f"{r.numerator} of {r.denominator} ({percent(r.low)}–{percent(r.high)})" for _, r in known],
                hovertemplate="%{x:.1%}: %{text}<extra>" + name + (", own thresholds" if own else "") + "</extra>",
            )  # fmt: skip
    figure.add_vline(x=level, line={"color": REFERENCE, "width": 1.5, "dash": "dash"})
    styled(figure, height=110 + 46 * len(rows), legend=True)
    figure.update_layout(margin={"t": 66})  # the legend takes two rows on a narrow screen
    lowest = min(
        (rate.low for r in rows for rate in (r.shipped.llnm, r.shipped.no_llnm) if rate.denominator), default=0.5
    )
    figure.update_xaxes(
        title="share of cases whose set holds their outcome",
        tickformat=".0%",
        fixedrange=True,
        range=[lowest - 0.02, 1.005],
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[f"{r.centre}, n = {r.shipped.all.denominator}" for r in rows],
        range=[len(rows) - 0.5, -0.5], fixedrange=True, showgrid=False,
    )  # fmt: skip
    return figure


def novelty_table(scores: Sequence[NoveltyScore]) -> pd.DataFrame:
    """One row a part of the case: distance, threshold, share of validation cases that lie nearer, what is unlike."""
    return pd.DataFrame([{**score.to_dict(), "reasons": "; ".join(score.reasons)} for score in scores])


def novelty_strips(parts: Sequence[tuple[NoveltyScore, npt.NDArray[np.float64]]]) -> go.Figure:
    """For each part the validation cases' distances as a histogram, the threshold dashed, this case in red.

    Parameters
    ----------
    parts : scores with a distance, each with the (n,) distances of the validation cases.
    """
    titles = [f"{score.part.capitalize()}: {round(score.distance or 0.0, 1) + 0.0:.1f}" for score, _ in parts]  # no "-0.0"
    rows = max(len(parts), 1)
    inner = STRIP * rows + GAP * (rows - 1)
    figure = make_subplots(rows=rows, cols=1, subplot_titles=titles, vertical_spacing=min(GAP / inner, 1.0))
    figure.update_annotations(x=0, xanchor="left")
    for row, (score, validation) in enumerate(parts, start=1):
        assert score.distance is not None
        start, farthest = float(validation.min()), float(validation.max())
        limit = score.threshold if np.isfinite(score.threshold) else farthest
        room = (limit - start) * np.array([NEAR, ROOM])
        end = float(np.clip(1.05 * score.distance, *(limit + room)))
        counts, edges = np.histogram(np.minimum(validation, end), BINS, (start, end))
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2, y=counts, width=np.diff(edges), marker={"color": OBSERVED, "line": {"width": 0}},
            hovertemplate="about %{x:.1f}: %{y} validation cases<extra></extra>", row=row, col=1,
        )  # fmt: skip
        at = float(np.clip(score.distance, start, end))
        top = 1.15 * float(counts.max())
        for x, colour, dash, width in ((limit, REFERENCE, "dash", 2), (at, MARKED, "solid", 4)):
            figure.add_shape(
                type="line", x0=x, x1=x, y0=0, y1=top, line={"color": colour, "width": width, "dash": dash}, row=row, col=1
            )  # fmt: skip
        if score.distance > end:
            figure.add_annotation(
                x=end, y=top / 2, text=f"{score.distance:.0f}, beyond →", showarrow=False, xanchor="right", xshift=-6,
                row=row, col=1,
            )  # fmt: skip
        figure.update_xaxes(range=[start, end], fixedrange=True, row=row, col=1)
        figure.update_yaxes(range=[0, top], visible=False, fixedrange=True, row=row, col=1)
    styled(figure, height=inner + 92)
    figure.update_layout(margin={"t": 34, "b": 58})
    figure.update_annotations(font_size=13)
    figure.update_xaxes(title="distance from the training cases", row=len(parts), col=1)
    return figure


def missing_table(fields: Sequence[MissingField]) -> pd.DataFrame:
    """One row a missing field and value, widest range first: field, value, probability, as it is, width of the range."""
    return pd.DataFrame(
        [
            {"field": f.label, "if it were": s.value, "probability": s.probability, "as it is": f.now, "width": f.width}
            for f in fields
            for s in f.supposed
        ]
    )


def missing_ranges(fields: Sequence[MissingField], endpoint: str = "LLNM") -> go.Figure:
    """The range of the probability over the values of each missing field; red: as it is, not knowing any."""
    labels = [f.label for f in fields]
    figure = go.Figure()
    for field in fields:
        figure.add_scatter(
            x=[field.low, field.high],
            y=[field.label] * 2,
            mode="lines",
            line={"color": MUTED, "width": 6},
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[s.probability for s in field.supposed], y=[field.label] * len(field.supposed), mode="markers",
            marker={"color": OBSERVED, "size": 11}, text=[s.value for s in field.supposed],
            hovertemplate="%{y}: %{text}: %{x:.1%}<extra></extra>",
        )  # fmt: skip
    if fields:
        figure.add_vline(x=fields[0].now, line={"color": MARKED, "width": 3})
    styled(figure, height=90 + 32 * len(fields))
    figure.update_layout(margin={"b": 64})
    figure.update_xaxes(
        title={"text": f"probability of {endpoint} if it were known", "standoff": 14}, tickformat=".0%", range=[-0.01, 1.01],
        fixedrange=True, automargin=False,
    )  # fmt: skip
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1], showgrid=False, fixedrange=True)
    return figure
