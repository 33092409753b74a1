"""Scores as published: the Sankey into the prediction, the scores as bars, the report with its words marked."""

from __future__ import annotations

import re
from html import escape

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.figures.case_attention import LINE_CHARACTERS, LINE_HEIGHT, TOP, cut
from dashboard.figures.style import LOWERS, MARKED, MUTED, OBSERVED, RAISES, styled, words
from model.explain.scores import FeatureScores
from model.explain.shapley import ShapleyResult
from model.explain.words import WordContributions
from model.features.tirads import Finding
from model.schema import FIELD

_BLANK = re.compile(r"\s+")
_NODE, _INK = "#5b6770", "#16232b"
_GROUNDED = 0.12
"""Words that add less than this share of the strongest one's stay without ground."""
_HALO = ", ".join(f"{x}px {y}px 1px #fff" for x in (-3, -1, 1, 3) for y in (-2, 0, 2))
"""Shadows that leave no link thinner than the letters in sight behind them, in either theme."""
_HAIR = 0.004
"""Thinnest link, as a share of all: plotly leaves out what has no width, and with it the label."""


def score_table(scores: FeatureScores, shapley: ShapleyResult) -> pd.DataFrame:
    """One row a feature in the published order, branches of several features first: branch, feature, score, logit.

    `score` is a probability, `logit` the Shapley value (of a branch: the sum of its features); both are None where the
    case has nothing of the feature.
    """
    label = {g.name: g.label for g in shapley.groups}
    value = dict(zip(label, shapley.values.tolist(), strict=True))
    rows: list[tuple[str, str, float | None, float | None]] = []
    for branch, together in zip(scores.branches, scores.branch_scores, strict=True):
        parts = [(branch.label, label[n], scores.of(n), None if scores.of(n) is None else value[n]) for n in branch.groups]
        if len(parts) > 1:
            total = None if together is None else sum(value[n] for n in branch.groups)
            rows.append((branch.label, f"{branch.label}, together", together, total))
        rows += parts
    return pd.DataFrame(rows, columns=["branch", "feature", "score", "logit"]).astype({"score": float, "logit": float})


def sankey(scores: FeatureScores, shapley: ShapleyResult) -> go.Figure:
    """Features → branches of the published hierarchy → probability; a link is as wide as the Shapley value's size.

    What raises and what lowers leave a branch as two links, so that widths add up along the way.
    """
    nodes: list[str] = []
    sources, targets, widths, colours, told = [], [], [], [], []
    label = {g.name: g.label for g in shapley.groups}
    value = dict(zip(label, shapley.values.tolist(), strict=True))
    least = _HAIR * float(np.abs(shapley.values).sum())

    def node(name: str, score: float) -> int:
        nodes.append(f"{name} <b>{score:.2f}</b>")
        return len(nodes) - 1

    def link(source: int, target: int, width: float, sign: float) -> None:
        sources.append(source)
        targets.append(target)
        widths.append(width)
        colours.append(_lightened(RAISES if sign >= 0 else LOWERS, 1.0))
        told.append(f"{width if sign >= 0 else -width:+.2f} logit")

    end = node(scores.endpoint, scores.probability)
    for branch, together in zip(scores.branches, scores.branch_scores, strict=True):
        if together is None:
            continue
        here = node(branch.label, together)
        flows = {1.0: 0.0, -1.0: 0.0}
        for name in branch.groups:
            score = scores.of(name)
            if score is None:
                continue
            sign, width = float(np.sign(value[name])) or 1.0, max(abs(value[name]), least, 1e-6)
            flows[sign] += width
            if len(branch.groups) > 1:
                link(node(label[name], score), here, width, sign)
        for sign, width in flows.items():
            if width:
                link(here, end, width, sign)
    figure = go.Figure(
        go.Sankey(
            node={
                "label": nodes, "color": [MARKED, *[_NODE] * (len(nodes) - 1)], "pad": 22, "thickness": 10, "align": "right",
                "line": {"width": 0}, "hoverinfo": "none",
            },
            link={
                "source": sources, "target": targets, "value": widths, "color": colours, "customdata": told,
                "hovertemplate": "%{source.label} → %{target.label}: %{customdata}<extra></extra>",
            },
            textfont={"size": 13, "color": _INK, "shadow": _HALO},
        )
    )  # fmt: skip
    styled(figure, height=80 + 36 * len(nodes))
    return figure


def score_bars(table: pd.DataFrame, scores: FeatureScores) -> go.Figure:
    """Each score as a bar from what the model says knowing nothing (dotted); red: the prediction, knowing all."""
    known = table[table["score"].notna()]
    names = [f"<b>{f}</b>" if f == f"{b}, together" else f for b, f in zip(known["branch"], known["feature"], strict=True)]
    figure = go.Figure(
        go.Bar(
            x=known["score"] - scores.base, base=scores.base, y=names, orientation="h",
            marker={"color": [RAISES if s > scores.base else LOWERS for s in known["score"]]},
            customdata=known["score"], hovertemplate="%{y}: %{customdata:.3f}<extra></extra>",
        )
    )  # fmt: skip
    for name, score in zip(names, known["score"], strict=True):
        above = score > scores.base
        figure.add_annotation(
            x=score, y=name, text=f"{score:.2f}", showarrow=False, xanchor="left" if above else "right", xshift=3 if above else -3,
        )  # fmt: skip
    figure.add_vline(x=scores.base, line={"color": "#8a8f94", "width": 2, "dash": "dot"})
    figure.add_vline(x=scores.probability, line={"color": MARKED, "width": 2})
    styled(figure, height=70 + 27 * len(known))
    figure.update_xaxes(title="score", range=[0, 1.0], fixedrange=True, tickformat=".1f")
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)
    return figure


def finding_table(findings: tuple[Finding, ...]) -> pd.DataFrame:
    """The five findings that Kwak counts, one row each: what counts, what was given, its point."""
    points = {True: "1", False: "0", None: "unknown"}
    return pd.DataFrame(
        {
            "finding": [f.label for f in findings],
            "given": ["not given" if f.value is None else words(FIELD[f.name], f.value) for f in findings],
            "points": [points[f.suspicious] for f in findings],
        }
    )


def word_table(found: WordContributions, attention: npt.NDArray[np.float32]) -> pd.DataFrame:
    """One row a word in reading order: word, start, end (characters of the report), logit, attention.

    Parameters
    ----------
    attention : (words,) share of each word in what the head reads.
    """
    return pd.DataFrame(
        {
            "word": [w.text for w in found.words],
            "start": [w.start for w in found.words],
            "end": [w.end for w in found.words],
            "logit": found.contributions,
            "attention": attention.astype(float),
        }
    )


def word_bars(table: pd.DataFrame) -> go.Figure:
    """The words that move the logit most, beside their share of attention; the number is the word's place."""
    top = table.reindex(table["logit"].abs().sort_values(ascending=False, kind="stable").index[:TOP])
    names = [f"{escape(cut(w))}  ·{i + 1}" for i, w in top["word"].items()]
    figure = make_subplots(1, 2, shared_yaxes=True, column_widths=[0.62, 0.38], horizontal_spacing=0.06)
    figure.add_bar(
        x=top["logit"], y=names, orientation="h", marker={"color": [RAISES if v > 0 else LOWERS for v in top["logit"]]},
        hovertemplate="%{y}: %{x:+.3f} logit<extra></extra>", row=1, col=1,
    )  # fmt: skip
    figure.add_bar(
        x=top["attention"], y=names, orientation="h", marker={"color": OBSERVED},
        hovertemplate="%{y}: %{x:.2%} of attention<extra></extra>", row=1, col=2,
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": MUTED, "width": 1}, row=1, col=1)
    styled(figure, height=64 + 24 * len(top))
    figure.update_xaxes(title="logit", nticks=4, fixedrange=True, row=1, col=1)
    figure.update_xaxes(title="attention", tickformat=".1%", nticks=3, rangemode="tozero", fixedrange=True, row=1, col=2)
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True, type="category", row=1, col=1)
    figure.update_yaxes(showgrid=False, fixedrange=True, showticklabels=False, row=1, col=2)
    return figure


def marked_report(found: WordContributions) -> go.Figure:
    """The report up to the last word read, on orange ground what raises the logit, on blue what lowers it.

    What the model did not read stands there without ground.
    """
    places, lines = _lay_out(_runs(found))
    strongest = float(np.abs(found.contributions).max(initial=0.0)) or 1.0
    figure = go.Figure()
    for grounded in (False, True):
        shown = []
        for text, word, line, start, end in places:
            value = 0.0 if word is None else float(found.contributions[word])
            share = abs(value) / strongest
            if (share >= _GROUNDED) != grounded:
                continue
            shown.append(((start + end) / 2, line, escape(text), "not read" if word is None else f"{value:+.3f} logit"))
            if grounded:
                figure.add_shape(
                    type="rect", x0=start - 0.2, x1=end + 0.2, y0=line - 0.42, y1=line + 0.42, line={"width": 0}, layer="below",
                    fillcolor=_lightened(RAISES if value > 0 else LOWERS, share),
                )  # fmt: skip
        x, y, texts, said = zip(*shown, strict=True) if shown else ((), (), (), ())
        font = {"family": "monospace", "size": 13, **({"color": _INK} if grounded else {})}  # else the theme's
        figure.add_scatter(
            x=x, y=y, mode="text", text=texts, customdata=said, textfont=font, cliponaxis=False,
            hovertemplate="%{text}: %{customdata}<extra></extra>",
        )  # fmt: skip
    styled(figure, height=LINE_HEIGHT * lines + 8)
    figure.update_xaxes(visible=False, range=[-0.5, LINE_CHARACTERS + 0.5], fixedrange=True)
    figure.update_yaxes(visible=False, range=[lines - 0.5, -0.5], fixedrange=True)
    figure.update_layout(margin={"l": 0, "r": 0, "t": 4, "b": 4})
    return figure


Piece = tuple[str, int | None]
"""Text as shown, and the number of its word among those read."""


def _runs(found: WordContributions) -> list[list[Piece]]:
    """The report cut at its blanks: each run holds words that were read and, between them, what was not."""
    runs: list[list[Piece]] = [[]]

    def unread(text: str) -> None:
        for i, part in enumerate(_BLANK.split(text)):
            if i and runs[-1]:
                runs.append([])
            if part:
                runs[-1].append((cut(part), None))

    at = 0
    for i, word in enumerate(found.words):
        unread(found.report[at : word.start])
        runs[-1].append((cut(word.text), i))
        at = word.end
    return [run for run in runs if run]


def _lay_out(runs: list[list[Piece]]) -> tuple[list[tuple[str, int | None, int, int, int]], int]:
    """(text, word, line, first, last character) of each piece, broken into lines at blanks, and the number of lines."""
    places, line, at = [], 0, 0
    for run in runs:
        if at and at + sum(len(text) for text, _ in run) > LINE_CHARACTERS:
            line, at = line + 1, 0
        for text, word in run:
            if at and at + len(text) > LINE_CHARACTERS:  # a run longer than a line
                line, at = line + 1, 0
            places.append((text, word, line, at, at + len(text)))
            at += len(text)
        at += 1
    return places, line + 1


def _lightened(colour: str, share: float) -> str:
    """A colour mixed into white, opaque, so that dark text is read on it in either theme; share 0…1."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "rgb({},{},{})".format(*(round(255 - 0.65 * share * (255 - c)) for c in channels))
