"""Scores per feature: what the model says when told one thing; words: what it loses without one."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.encode import drop_groups
from model.explain.attention import cross_attention
from model.explain.scores import BRANCHES, feature_scores
from model.explain.shapley import coalition_logits, group_shapley
from model.explain.words import word_contributions
from model.predict import Predictor
from model.schema import GROUPS

NAMES = [g.name for g in GROUPS]


def silent(case):  # type: ignore[no-untyped-def]
    return replace(case, case=replace(case.case, report_text=""))


def told_only(predictor, case, names) -> float:  # type: ignore[no-untyped-def]
    """Probability by the network itself, everything else hidden."""
    keep = torch.tensor([[n in names for n in NAMES]])
    logit = predictor.run(drop_groups(predictor.encode([case]), keep)).logit
    return float(torch.sigmoid(predictor.calibrated(logit)))


def test_every_group_has_one_branch() -> None:
    held = [n for b in BRANCHES for n in b.groups]
    assert sorted(held) == sorted(NAMES)


def test_scores_are_the_network_told_one_thing(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    case = measured[0]
    found = feature_scores(predictor, case)
    for name in ("location", "report", "age"):
        assert found.of(name) == pytest.approx(told_only(predictor, case, [name]), abs=1e-5)
    for branch, score in zip(found.branches, found.branch_scores, strict=True):
        assert score == pytest.approx(told_only(predictor, case, branch.groups), abs=1e-5)
    given = [s for s in (*found.scores, *found.branch_scores) if s is not None]
    assert all(0 <= s <= 1 for s in (*given, found.base, found.probability))


def test_ends_are_those_of_the_prediction_and_of_the_shapley_values(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    case = measured[1]
    found, shapley = feature_scores(predictor, case), group_shapley(predictor, case)
    assert found.probability == pytest.approx(predictor.predict_measured([case])[0].probability, abs=1e-5)
    assert found.base == pytest.approx(1 / (1 + np.exp(-shapley.base_logit)), abs=1e-5)
    alone = predictor.calibrated(coalition_logits(predictor, predictor.encode([case]), torch.eye(len(GROUPS), dtype=torch.bool)))
    for name, logit in zip(NAMES, alone.tolist(), strict=True):
        score = found.of(name)
        assert score is None or score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_what_the_case_lacks_has_no_score(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    case = silent(measured[0])
    found = feature_scores(predictor, replace(case, fields={"sex": "male"}))
    assert found.of("report") is None
    assert found.of("age") is None
    assert found.of("sex") is not None
    by_label = dict(zip((b.label for b in found.branches), found.branch_scores, strict=True))
    assert by_label["Report"] is None
    assert by_label["Further fields"] is None
    assert by_label["Demographics"] == pytest.approx(found.of("sex"), abs=1e-6)


def test_nothing_known_is_the_base(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    found = feature_scores(predictor, replace(silent(measured[0]), fields={}, features={}))
    assert set(found.scores) == {None}
    assert found.probability == pytest.approx(found.base, abs=1e-6)


def test_a_word_adds_what_the_network_loses_without_it(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    case = measured[0]
    found = word_contributions(predictor, case)
    assert found.words == cross_attention(predictor, case).words
    assert len(found.contributions) == len(found.words) > 3
    inputs = predictor.encode([case])
    whole = float(predictor.calibrated(predictor.run(inputs).logit))
    assert found.logit == pytest.approx(whole, abs=1e-4)
    for i in (0, len(found.words) // 2, len(found.words) - 1):
        present = inputs.word_present.clone()
        present[0, list(found.words[i].tokens)] = False
        without = float(predictor.calibrated(predictor.run(replace(inputs, word_present=present)).logit))
        assert found.contributions[i] == pytest.approx(whole - without, abs=1e-4)


def test_the_only_word_stands_against_no_report(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    word = word_contributions(predictor, measured[0]).words[0].text
    single = replace(measured[0], case=replace(measured[0].case, report_text=word))
    found = word_contributions(predictor, single)
    assert len(found.words) == 1
    bare = predictor.predict_measured([silent(single)])[0].logit
    assert found.contributions[0] == pytest.approx(found.logit - bare, abs=1e-4)


@pytest.mark.parametrize("report", ["", "   \n", "甲状腺", "<b>&\ud800"])
def test_reports_of_nothing_that_is_read(predictor, measured, report: str) -> None:  # type: ignore[no-untyped-def]
    found = word_contributions(predictor, replace(measured[0], case=replace(measured[0].case, report_text=report)))
    assert np.isfinite(found.contributions).all()
    assert all(report[w.start : w.end] == w.text for w in found.words)


def test_the_one_word_that_matters_is_found_each_time_it_stands_there(untrained, measured) -> None:  # type: ignore[no-untyped-def]
    """All word pieces but one are made the same, so that no other word can add anything of its own."""
    planted = copy.deepcopy(untrained)
    report = "solid nodule in the left lobe, solid and smooth"
    target = int(planted.tokenizer.encode("solid").ids[0])
    net = planted.net
    with torch.no_grad():
        net.word_position.zero_()
        net.words.weight.zero_()
        net.words.weight[target] = torch.linspace(-40, 40, net.config.width)
    case = replace(measured[0], case=replace(measured[0].case, report_text=report))
    found = word_contributions(Predictor(planted, "cpu"), case)
    size = np.abs(found.contributions)
    at = {i for i, w in enumerate(found.words) if w.text == "solid"}
    assert len(at) == 2
    assert set(np.argsort(-size)[:2].tolist()) == at
    others = [size[i] for i in range(len(size)) if i not in at]
    assert min(size[i] for i in at) > 2 * max(others)
