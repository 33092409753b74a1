"""Conformal sets: the stated coverage is reached in either class, sets grow with the level, centres are counted honestly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from model.cohort.coverage import FEWEST_EACH, achieved, by_centre
from model.uncertainty.conformal import LEVELS, conformal_quantile, thresholds


def draws(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.3
    return rng.normal(np.where(labels, 1.0, -1.0), 1.2), labels


@pytest.mark.parametrize("level", LEVELS)
def test_coverage_of_exchangeable_draws_is_reached_in_every_class(level: float) -> None:
    covered, total = np.zeros(2), np.zeros(2)
    for seed in range(40):
        logits, labels = draws(1200, seed)
        found = achieved(thresholds(logits[:400], labels[:400], level), logits[400:], labels[400:])
        covered += [found.no_llnm.numerator, found.llnm.numerator]
        total += [found.no_llnm.denominator, found.llnm.denominator]
    # The calibration draws add their own spread: 40 of about 120 or 280 cases each.
    for share, n, calibration in zip(covered / total, total, (280 * 40, 120 * 40), strict=True):
        assert share >= level - 3 * math.sqrt(level * (1 - level) * (1 / n + 1 / calibration))
        assert share <= level + 0.03


def test_the_quantile_is_the_rank_that_vovk_gives() -> None:
    assert conformal_quantile(np.arange(1, 10), 0.9) == 9
    assert conformal_quantile(np.arange(1, 9), 0.9) == math.inf  # eight cases cannot rule anything out
    assert conformal_quantile([], 0.5) == math.inf


@given(
    st.lists(st.tuples(st.floats(-8, 8), st.booleans()), max_size=60), st.floats(-9, 9),
    st.lists(st.floats(0.05, 0.99), min_size=2, max_size=2),
)  # fmt: skip
def test_sets_are_nested_in_the_level(cases: list[tuple[float, bool]], logit: float, levels: list[float]) -> None:
    small, large = (
        set(thresholds([c[0] for c in cases], [c[1] for c in cases], level).of(logit).outcomes) for level in sorted(levels)
    )
    assert small <= large


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        thresholds([0.0], [True], 1.0)


def test_a_shifted_centre_loses_coverage_and_its_own_thresholds_bring_it_back() -> None:
    logits, labels = draws(2000, 1)
    limits = thresholds(logits, labels, 0.9)
    there, outcomes = draws(1500, 2)
    few, few_outcomes = draws(60, 3)
    rows = by_centre(
        limits, np.concatenate([there + 1.0, few]), np.concatenate([outcomes, few_outcomes]), ["S"] * 1500 + ["T"] * 60
    )
    shifted, small = rows
    assert shifted.shipped.no_llnm.high < 0.9
    assert shifted.own is not None
    assert stats.binomtest(shifted.own.no_llnm.numerator, shifted.own.no_llnm.denominator, 0.9).pvalue > 0.001
    assert small.own is None
    assert str(FEWEST_EACH) in small.why_not
