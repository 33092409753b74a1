"""Scores as published: what is drawn is what was found, and what people wrote is text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dashboard.figures.case_scores import (
    finding_table,
    marked_report,
    sankey,
    score_bars,
    score_table,
    word_bars,
    word_table,
)
from model.explain.attention import Word
from model.explain.scores import feature_scores
from model.explain.shapley import group_shapley
from model.explain.words import WordContributions
from model.features.tirads import findings


@pytest.fixture(scope="module")
def found(predictor, measured):  # type: ignore[no-untyped-def]
    case = replace(measured[0], fields={k: v for k, v in measured[0].fields.items() if k != "age_years"})
    return feature_scores(predictor, case), group_shapley(predictor, case)


def test_widths_are_shapley_values_and_add_up_along_the_way(found) -> None:  # type: ignore[no-untyped-def]
    scores, shapley = found
    drawn = sankey(scores, shapley).data[0]
    links = list(zip(drawn.link.source, drawn.link.target, drawn.link.value, strict=True))
    into_end = sum(v for _, t, v in links if t == 0)
    assert into_end == pytest.approx(np.abs(shapley.values).sum(), rel=0.05)
    for node in {t for _, t, _ in links if t}:
        assert sum(v for _, t, v in links if t == node) == pytest.approx(sum(v for s, _, v in links if s == node))
    assert drawn.node.label[0] == f"LLNM <b>{scores.probability:.2f}</b>"
    assert not any(label.startswith("Age") for label in drawn.node.label)  # not given


def test_colour_tells_the_sign_on_every_link(found) -> None:  # type: ignore[no-untyped-def]
    link = sankey(*found).data[0].link
    assert len(set(link.color)) <= 2
    raising = {c for c, told in zip(link.color, link.customdata, strict=True) if told.startswith("+")}
    lowering = {c for c, told in zip(link.color, link.customdata, strict=True) if told.startswith("-")}
    assert not raising & lowering


def test_score_table_holds_scores_and_branches_sum_their_shapley_values(found) -> None:  # type: ignore[no-untyped-def]
    scores, shapley = found
    table = score_table(scores, shapley).set_index("feature")
    assert table.loc["Margin", "score"] == scores.of("margin")
    assert np.isnan(table.loc["Age", "score"])
    parts = ["Internal morphology", "Margin", "Echogenicity", "Shape"]
    assert table.loc["Morphology, together", "logit"] == pytest.approx(table.loc[parts, "logit"].sum())
    drawn = score_bars(score_table(scores, shapley), scores).data[0]
    assert np.asarray(drawn.x) + drawn.base == pytest.approx(np.asarray(drawn.customdata))
    assert "Age" not in drawn.y


def test_findings_are_told_as_given_absent_and_unknown() -> None:
    table = finding_table(findings({"composition": "solid", "taller_than_wide": False})).set_index("finding")
    assert table.loc["solid"].tolist() == ["solid", "1"]
    assert table.loc["taller than wide"].tolist() == ["no", "0"]
    assert table.loc["irregular margin"].tolist() == ["not given", "unknown"]


def contributions(report: str, picked: list[str], values: list[float]) -> WordContributions:
    words, at = [], 0
    for i, text in enumerate(picked):
        start = report.index(text, at)
        at = start + len(text)
        words.append(Word(text, start, at, (i,)))
    return WordContributions("c", report, tuple(words), np.array(values), 0.0)


def drawn_texts(figure) -> dict[str, str]:  # type: ignore[no-untyped-def]
    return {t: said for trace in figure.data for t, said in zip(trace.text or (), trace.customdata or (), strict=True)}


def test_report_is_marked_where_its_words_stand_and_what_was_not_read_is_there_too() -> None:
    found = contributions("big 甲状腺 nodule, <b>left</b>", ["big", "nodule", "left"], [0.4, -0.2, 0.001])
    figure = marked_report(found)
    texts = drawn_texts(figure)
    assert texts["big"] == "+0.400 logit"
    assert texts["nodule"] == "-0.200 logit"
    assert texts["甲状腺"] == "not read"
    assert "&lt;b&gt;" in texts
    assert not any("<" in t for t in texts)
    assert len(figure.layout.shapes) == 2  # the third moves next to nothing
    assert len({s.fillcolor for s in figure.layout.shapes}) == 2


@pytest.mark.parametrize("report", ["", "x " * 400, "y" * 300, "甲" * 50])
def test_any_report_is_laid_out_within_its_lines(report: str) -> None:
    words = ["x"] * 60 if report.startswith("x") else []
    figure = marked_report(contributions(report, words, [0.0] * len(words)))
    low, high = figure.layout.xaxis.range
    assert all(low <= x <= high for trace in figure.data for x in trace.x or ())


def test_word_table_and_bars_keep_places_and_signs() -> None:
    found = contributions("node big node", ["node", "big", "node"], [0.1, -0.9, 0.3])
    table = word_table(found, np.array([0.01, 0.02, 0.03], np.float32))
    assert [found.report[s:e] for s, e in zip(table["start"], table["end"], strict=True)] == ["node", "big", "node"]
    left, right = word_bars(table).data
    assert list(left.y) == ["big  ·2", "node  ·3", "node  ·1"]
    assert list(left.x) == pytest.approx([-0.9, 0.3, 0.1])
    assert list(right.x) == pytest.approx([0.02, 0.03, 0.01])
