"""What drives a model over a cohort: planted effects are found, and nothing is found where nothing was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from model.cohort.drivers import (
    clusters,
    dependence,
    error_levels,
    interaction_strength,
    levels,
    log_loss,
    shares,
    swarms,
    worst,
)
from model.cohort.explained import METADATA, explanations
from model.cohort.faults import RowsError
from model.cohort.store import CohortStore
from model.errors import StatisticsError

GROUPS = ("location", "margin", "sex")


def planted(n: int, seed: int = 0) -> np.ndarray:
    """Contributions with standard deviations 3, 1 and 0: shares 3/4, 1/4 and 0."""
    return np.random.default_rng(seed).normal(0, [3.0, 1.0, 0.0], (n, 3))


@pytest.mark.parametrize("n", [400, 6000])
def test_shares_of_a_planted_model(n: int) -> None:
    found = shares(planted(n, 1), GROUPS)
    assert [s.group for s in found] == ["location", "margin", "sex"]
    assert found[0].share.low < 0.75 < found[0].share.high
    assert found[1].share.low < 0.25 < found[1].share.high
    assert found[2].share.value == 0
    assert sum(s.share.value for s in found) == pytest.approx(1)
    assert found[0].mean == pytest.approx(3 * np.sqrt(2 / np.pi), rel=0.1)


def test_share_intervals_cover_the_truth_as_often_as_they_say() -> None:
    inside = [
        s.low < 0.75 < s.high for s in (shares(planted(150, seed), GROUPS, seed=seed)[0].share for seed in range(120))
    ]
    assert 0.88 <= np.mean(inside) <= 0.99


def test_intervals_of_both_kinds_agree() -> None:
    values = planted(5000)
    one, two = shares(values, GROUPS)[0].share, shares(np.vstack([values, values[:1]]), GROUPS)[0].share
    assert one.high - one.low == pytest.approx(two.high - two.low, rel=0.1)


def test_nothing_attributed_is_told() -> None:
    with pytest.raises(StatisticsError, match="nothing is attributed"):
        shares(np.zeros((10, 3)), GROUPS)
    with pytest.raises(StatisticsError, match="nothing is attributed"):
        shares(np.zeros((0, 3)), GROUPS)


def test_beeswarm_counts_every_case_and_draws_a_few() -> None:
    values = planted(3000)
    for swarm, column in zip(swarms(values, most=200), values.T, strict=True):
        assert swarm.counts.sum() == 3000
        assert len(swarm.rows) == 200
        np.testing.assert_array_equal(swarm.values, column[swarm.rows])
        assert np.abs(swarm.offset).max() <= 1
    first, second = swarms(values, most=200)[:2]
    np.testing.assert_array_equal(first.rows, second.rows)
    tails = np.abs(first.values) > 6
    assert np.abs(first.offset[tails]).max() < 0.6 < np.abs(first.offset[~tails]).max()
    assert all(s.counts.sum() == 1 for s in swarms(values[:1]))


def test_dependence_of_a_planted_interaction() -> None:
    rng = np.random.default_rng(1)
    x, sex = rng.uniform(0, 10, 2000), np.array(["female", "male"])[rng.integers(0, 2, 2000)]
    noise = pd.Series(rng.normal(size=2000), name="noise")
    values = np.where(sex == "male", -0.5, 0.5) * x + rng.normal(0, 0.1, 2000)
    field, colour = pd.Series(x, name="capsule_distance_mm"), pd.Series(sex, name="sex")
    found = dependence(values, field, colour, most=300)
    assert len(found.rows) == 300
    assert found.order == ("female", "male")
    assert sum(b.cases for b in found.bins) == 2000
    for name, slope in (("female", 0.5), ("male", -0.5)):
        bins = [b for b in found.bins if b.colour == name]
        assert len(bins) == 10
        assert all(abs(b.median - slope * b.x) < 0.15 and b.low < b.median < b.high for b in bins)
    assert interaction_strength(values, field, colour) > 0.95
    assert interaction_strength(values, field, noise) < 0.05


def test_dependence_over_a_category_keeps_its_order_and_counts_gaps() -> None:
    margin = pd.Series(["smooth", "ill-defined", "irregular", None] * 30, name="margin")
    values = margin.map({"smooth": -1.0, "ill-defined": 0.0, "irregular": 2.0}).fillna(9.0).to_numpy()
    found = dependence(values, margin)
    assert [(b.name, b.median, b.cases) for b in sorted(found.bins, key=lambda b: b.x)] == [
        ("smooth", -1.0, 30), ("ill-defined", 0.0, 30), ("irregular", 2.0, 30),
    ]  # fmt: skip
    assert found.without == 30
    with pytest.raises(StatisticsError, match="fewer than 10"):
        dependence(values[:8], margin[:8])


def test_levels_are_thirds_yes_and_no_or_words() -> None:
    assert list(levels(pd.Series(range(9), name="age_years")).value_counts()) == [3, 3, 3]
    flag = levels(pd.Series([True, None, False], dtype=object, name="multifocal"))
    assert list(flag.astype(object).where(flag.notna(), None)) == ["yes", None, "no"]
    assert list(levels(pd.Series([2.0, 2.0, np.nan], name="x")).cat.categories) == ["2"]


def test_planted_sub_phenotypes_are_found_and_described() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[4.0, 0, 0], [0, 3.0, 0], [-3.0, -3.0, 0]])
    which = np.repeat([0, 1, 2], [300, 200, 100])
    values = centres[which] + rng.normal(0, 0.3, (600, 3))
    logit = values.sum(1)
    probability = 1 / (1 + np.exp(-logit))
    label = (which < 2).astype(np.int64)
    found = clusters(values, probability, label, GROUPS)
    assert len(found.clusters) == 3
    assert found.clear
    assert [c.cases for c in found.clusters] == [300, 200, 100]
    assert max(found.silhouette, key=lambda k: found.silhouette[k]) == 3
    for c in range(3):
        assert len(set(found.labels[which == c])) == 1
    assert (found.clusters[0].observed.numerator, found.clusters[2].observed.numerator) == (300, 0)
    group, away = found.clusters[0].drivers[0]
    assert group == "location"
    assert away == pytest.approx(values[which == 0, 0].mean() - values[:, 0].mean(), abs=1e-9)
    assert len(clusters(values, probability, label, GROUPS, count=2).clusters) == 2


def test_a_continuum_is_not_called_clear_and_few_cases_are_refused() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 11))
    label = np.zeros(2000, np.int64)
    assert not clusters(values, np.full(2000, 0.5), label, [str(i) for i in range(11)]).clear
    with pytest.raises(StatisticsError, match="too few different cases"):
        clusters(values[:20], np.full(20, 0.5), label[:20], GROUPS)
    with pytest.raises(StatisticsError, match="too few different cases"):
        clusters(np.ones((100, 3)), np.full(100, 0.5), label[:100], GROUPS)


def test_worst_cases_by_hand() -> None:
    probability, label = np.array([0.1, 0.9, 0.99, 0.5, 1.0]), np.array([1, 1, 0, 0, 0])
    assert list(worst(probability, label, 3)) == [4, 2, 0]
    np.testing.assert_allclose(log_loss(probability, label)[:4], -np.log([0.1, 0.9, 0.01, 0.5]))
    assert np.isfinite(log_loss(probability, label)).all()


def test_where_mistakes_gather_is_found_and_multiplicity_kept() -> None:
    rng = np.random.default_rng(0)
    centre = pd.Series(np.array(list("ABCDE"))[rng.integers(0, 5, 3000)], name="centre")
    nothing = {f"n{i}": pd.Series(rng.normal(size=3000), name=f"n{i}") for i in range(10)}
    wrong = rng.random(3000) < np.where(centre == "C", 0.3, 0.1)
    found = error_levels(wrong, {"centre": centre, **nothing})
    assert (found[0].field, found[0].level) == ("centre", "C")
    assert found[0].here.numerator == int(wrong[centre == "C"].sum())
    assert found[0].rest.denominator == int((centre != "C").sum())
    assert found[0].difference.low < 0.2 < found[0].difference.high
    assert found[0].adjusted < 0.001
    assert all(e.adjusted > 0.05 for e in found if e.field != "centre")
    assert all(e.adjusted >= e.p for e in found)
    assert error_levels(wrong[:30], {"centre": centre[:30]}) == ()


def test_a_store_keeps_contributions_and_what_the_table_says_of_itself(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({
        "case_id": ["a", "b"], "probability": [0.2, 0.7], "llnm": [0, 1], "shap_margin": [0.5, -2.0], "shap_base": [0.1, 0.1],
        "margin": ["smooth", None],
    })  # fmt: skip
    told = {"model": "m@1", "explanation": {"method": "Shapley", "baseline": "missing",
            "groups": {"margin": {"label": "Margin", "fields": ["margin", "gone"]}}}}  # fmt: skip
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(told)}), tmp_path / "t.parquet")
    store = CohortStore.open(tmp_path / "t.parquet", cache=tmp_path)
    assert list(store.rows(columns=("shap_margin",))["shap_margin"]) == [0.5, -2.0]
    found = explanations(store.columns, store.described)
    assert found is not None
    assert (found.labels, found.columns, found.fields) == (("Margin",), ("shap_margin",), {"shap_margin": ("margin",)})
    assert (found.model, found.method) == ("m@1", "Shapley")
    assert explanations(("case_id",), store.described) is None
    # What a stranger's file says of itself may be anything.
    for odd in (
        {},
        {"explanation": 3},
        {"model": [1], "explanation": {"groups": [1]}},
        {"explanation": {"groups": {"margin": "x"}}},
    ):
        odd_one = explanations(store.columns, odd)
        assert odd_one is not None
        assert odd_one.labels == ("margin",)


def test_a_contribution_that_is_no_number_is_told_by_its_row(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "t.csv").write_text("probability,llnm,shap_margin\n0.2,0,0.1\n0.3,1,much\n")
    with pytest.raises(RowsError, match=r"shap_margin: not a number in 1 row \(2\)"):
        CohortStore.open(tmp_path / "t.csv", cache=tmp_path)
