"""Shapley values: axioms, agreement with shap, a planted cause, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.encode import drop_groups
from model.explain.coalitions import coalition_design, estimated_values, exact_shapley
from model.explain.shapley import COALITIONS, backgrounds, coalition_logits, group_shapley
from model.schema import GROUPS

games = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.floats(-50, 50), min_size=1 << n, max_size=1 << n).map(np.array)
)


@given(games)
def test_efficiency(game: np.ndarray) -> None:
    assert exact_shapley(game).sum() == pytest.approx(game[-1] - game[0], abs=1e-8)


@given(games, st.integers(0, 5))
def test_a_dummy_gets_what_it_adds_alone(game: np.ndarray, player: int) -> None:
    n = len(game).bit_length() - 1
    player %= n
    index = np.arange(len(game))
    dummy = game[index & ~(1 << player)] + 3.0 * (index >> player & 1)
    assert exact_shapley(dummy)[player] == pytest.approx(3.0, abs=1e-8)


@given(games)
def test_symmetric_players_get_the_same(game: np.ndarray) -> None:
    n = len(game).bit_length() - 1
    if n < 2:
        return
    index = np.arange(len(game))
    swapped = (index & ~3) | (index & 1) << 1 | (index >> 1 & 1)
    values = exact_shapley((game + game[swapped]) / 2)
    assert values[0] == pytest.approx(values[1], abs=1e-8)


@given(games, games)
def test_additivity(a: np.ndarray, b: np.ndarray) -> None:
    if len(a) == len(b):
        assert exact_shapley(a + b) == pytest.approx(exact_shapley(a) + exact_shapley(b), abs=1e-8)


def test_agrees_with_shap_on_the_same_game() -> None:
    import shap

    rng = np.random.default_rng(3)
    game = rng.normal(size=64)

    def model(rows: np.ndarray) -> np.ndarray:
        return game[(rows.astype(int) << np.arange(6)).sum(1)]

    reference = shap.ExactExplainer(model, shap.maskers.Independent(np.zeros((1, 6))))(np.ones((1, 6)))
    assert exact_shapley(game) == pytest.approx(reference.values[0], abs=1e-9)


def test_a_game_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="5 coalitions"):
        exact_shapley(np.zeros(5))


def test_contributions_sum_to_the_prediction(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    for case in measured[:3]:
        result = group_shapley(predictor, case)
        prediction = predictor.predict_measured([case])[0]
        assert result.logit == pytest.approx(prediction.logit, abs=1e-4)
        assert result.base_logit + result.values.sum() == pytest.approx(result.logit, abs=1e-4)
        assert abs(result.residual) < 1e-4
        base = 1 / (1 + np.exp(-result.base_logit))
        assert base + result.probability_values.sum() == pytest.approx(prediction.probability, abs=1e-5)
        assert result.to_shap().values == pytest.approx(result.values)


def test_a_case_without_a_report_or_with_nothing_but_a_picture_is_explained(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    bare = replace(measured[0], case=replace(measured[0].case, report_text=""))
    only_pictures = replace(bare, fields={}, case=replace(bare.case, fields={}))
    for case in (bare, only_pictures):
        result = group_shapley(predictor, case)
        assert not result.present[[g.name for g in GROUPS].index("report")]
        assert result.logit == pytest.approx(predictor.predict_measured([case])[0].logit, abs=1e-4)
        assert abs(result.residual) < 1e-4


def test_coalitions_equal_the_network_on_the_hidden_case(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    inputs = predictor.encode([measured[0]])
    keep = torch.rand(40, len(GROUPS), generator=torch.Generator().manual_seed(1)) < 0.5
    fast = coalition_logits(predictor, inputs, keep)
    slow = torch.cat([predictor.run(drop_groups(inputs, row[None])).logit for row in keep])
    assert torch.allclose(fast, slow, atol=1e-4)


def test_a_group_that_the_case_lacks_gets_nothing(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    case = measured[0]
    without = replace(case, fields={k: v for k, v in case.fields.items() if k not in ("sex", "age_years")})
    result = group_shapley(predictor, without, exact=True)
    names = [g.name for g in GROUPS]
    for name in ("sex", "age"):
        assert not result.present[names.index(name)]
        assert result.values[names.index(name)] == 0
    assert result.model_rows == 2 ** sum(result.present)


def test_a_planted_cause_is_found(untrained, measured) -> None:  # type: ignore[no-untyped-def]
    """A network whose logit reads nothing but the word tokens' presence must credit the report alone."""
    import copy

    from model.predict import Predictor

    planted = copy.deepcopy(untrained)
    net = planted.net
    with torch.no_grad():
        for parameter in (net.map_missing, net.number_slope, net.number_field, net.number_missing):
            parameter.zero_()
        net.stem[-1].weight.zero_()
        net.stem[-1].bias.zero_()
        net.category_rows.weight.zero_()
    result = group_shapley(Predictor(planted, "cpu"), measured[0])
    report = [g.name for g in GROUPS].index("report")
    others = np.delete(result.values, report)
    assert np.abs(others).max() < 1e-4
    assert abs(result.values[report]) > 10 * np.abs(others).max()


def test_ten_sessions_at_once_get_their_own_results(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    few = [replace(m, fields={k: v for k, v in m.fields.items() if k in ("sex", "age_years")}) for m in measured]
    alone = [group_shapley(predictor, m).values for m in few]
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(lambda m: group_shapley(predictor, m).values, few))
    for a, b in zip(alone, together, strict=True):
        assert a == pytest.approx(b, abs=1e-6)


def test_the_rule_is_near_the_exact_values_where_interactions_are_weak() -> None:
    """Main effects, pairs and triples in the proportions of the networks' games, eleven players."""
    signs, masks = 2.0 * (np.arange(2048)[:, None] >> np.arange(11) & 1) - 1, coalition_design(11, 144)
    assert len(masks) == 144
    errors = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        game = signs @ rng.normal(size=11)
        for scale, order in ((0.1, 2), (0.02, 3)):
            for _ in range(60):
                game = game + scale * rng.normal() * signs[:, rng.choice(11, order, replace=False)].prod(1)
        found, true = estimated_values(11, masks, game[masks], game[-1] - game[0]), exact_shapley(game)
        assert found.sum() == pytest.approx(game[-1] - game[0], abs=1e-8)
        # Errors of a rounded network's size hardly move them.
        noisy = game[masks] + np.sqrt(1e-5 * game.var()) * rng.normal(size=144)
        blurred = estimated_values(11, masks, noisy, game[-1] - game[0], noise=1e-5)
        errors.append([np.linalg.norm(values - true) / np.linalg.norm(true) for values in (found, blurred)])
    plain, rounded = np.mean(errors, 0)
    assert plain < 0.012
    assert rounded < 0.014


def test_a_game_that_saturates_a_little_is_read_from_few_coalitions() -> None:
    """tanh of a sum; without the cube of the main effects the mean error is two to three times as large."""
    signs, masks = 1.0 - 2.0 * (np.arange(2048)[:, None] >> np.arange(11) & 1), coalition_design(11, 48)
    errors = []
    for seed in range(4):
        main = np.random.default_rng(seed).normal(size=11)
        game = np.tanh(0.5 * signs @ main / np.linalg.norm(main))
        found, true = estimated_values(11, masks, game[masks], game[-1] - game[0]), exact_shapley(game)
        errors.append(np.linalg.norm(found - true) / np.linalg.norm(true))
    assert np.mean(errors) < 0.02


@given(st.integers(1, 7))
def test_few_players_are_asked_for_every_coalition(players: int) -> None:
    masks = coalition_design(players, 144)
    assert masks.tolist() == list(range(1 << players))
    game = np.random.default_rng(players).normal(size=1 << players)
    assert estimated_values(players, masks, game, game[-1] - game[0]) == pytest.approx(exact_shapley(game), abs=1e-12)


@given(st.integers(8, 20), st.integers(0, 1000), st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_a_game_without_interactions_is_read_to_a_thousandth_however_many_players(players: int, seed: int, scale: float) -> None:
    """So the axioms hold there to that: a dummy gets nothing, alike players the same, and all together the whole."""
    rng = np.random.default_rng(seed)
    effects = scale * rng.normal(size=players)
    effects[0], effects[1] = 0.0, effects[2]
    masks = coalition_design(players, 96)
    assert masks[0] == 0
    assert masks[-1] == (1 << players) - 1
    worths = 3.0 + (masks[:, None] >> np.arange(players) & 1) @ effects
    assert estimated_values(players, masks, worths, effects.sum()) == pytest.approx(effects, abs=2e-3 * scale)


def test_the_quick_values_are_near_the_exact_ones(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    for case in measured[:2]:
        quick, exact = group_shapley(predictor, case), group_shapley(predictor, case, exact=True)
        assert quick.model_rows in (COALITIONS, COALITIONS + 2)  # two more where it ran in bfloat16
        assert exact.model_rows == 2048
        assert abs(quick.residual) < 1e-4
        assert np.linalg.norm(quick.values - exact.values) < 0.05 * np.linalg.norm(exact.values)


def test_against_a_background_the_values_sum_from_its_mean_prediction(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    here, pool = measured[0], measured
    found = backgrounds(here, pool)
    assert all(c.case.case_id != here.case.case_id for b in found.values() for c in b.cases)
    result = group_shapley(predictor, here, found["all"])
    mean = np.mean([p.logit for p in predictor.predict_measured(found["all"].cases)])
    assert result.base_logit == pytest.approx(mean, abs=1e-4)
    assert result.values.sum() == pytest.approx(result.logit - mean, abs=1e-4)
    assert result.to_shap(probability=True).base_values == result.base_probability


def test_a_case_against_itself_has_nothing_to_explain(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    from model.explain.shapley import Background

    result = group_shapley(predictor, measured[0], Background("itself", (measured[0],) * 3))
    assert result.values == pytest.approx(np.zeros(len(GROUPS)), abs=1e-4)
