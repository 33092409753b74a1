"""Risk curves against the truth that the simulation knows: coverage, standardisation, the distance below a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from model.cohort.adjusted import adjusted_curve, covariate_columns
from model.cohort.curves import RiskCurve, fitted_spline, level_distance, risk_curve, spline_basis
from model.errors import StatisticsError
from model.simulate import patients, risk
from model.simulate.centres import CENTRES

FloatArray = npt.NDArray[np.float64]
EXTENSION_BELOW_MM = 0.4
REPLICATIONS = 400


@dataclass(frozen=True)
class Population:
    """Patients of one synthetic centre, and their true risk over the distance.

    The capsule distance is the one that the anatomy aims at. Within a centre it is independent of all other causes but
    suspected extension, which depends on whether it is below 0.4 mm. So the true marginal risk at d is the mean risk of the
    patients on the same side of 0.4 mm, were they at d; and to draw a cohort from an endless population, distances and
    patients are drawn apart, each patient for a distance on his own side.
    """

    table: pd.DataFrame
    others: FloatArray  # logit of the true risk less the contribution of the distance
    grid: FloatArray
    marginal: FloatArray
    standardised: FloatArray

    def draw(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        distance = rng.choice(self.table["capsule_distance_mm"].to_numpy(), n)
        near = self.table["capsule_distance_mm"].to_numpy() < EXTENSION_BELOW_MM
        who = np.where(distance < EXTENSION_BELOW_MM, *(rng.choice(np.flatnonzero(side), n) for side in (near, ~near)))
        risk_ = expit(self.others[who] + contribution(distance))
        return self.table.iloc[who].assign(capsule_distance_mm=distance, llnm=(rng.random(n) < risk_).astype(int))


def contribution(distance: FloatArray) -> FloatArray:
    """What `risk.contributions` gives to the capsule distance."""
    return risk.GAIN * (9.2 / (1 + np.exp((distance - 3.0) / 1.1)) - 4.6)


@pytest.fixture(scope="module")
def population() -> Population:
    table = patients.draw_patients(40_000, (CENTRES[0],), (1.0,), np.random.default_rng(20))
    distance = table["target_distance_mm"].to_numpy()
    table["capsule_distance_mm"] = distance
    parts = risk.contributions(table)
    assert parts["capsule_distance"].to_numpy() == pytest.approx(contribution(distance))
    others = risk.INTERCEPT + parts.drop(columns="capsule_distance").sum(axis=1).to_numpy()
    grid = np.linspace(*np.quantile(distance, [0.01, 0.99]), 60)
    near = distance < EXTENSION_BELOW_MM
    at = [expit(others + contribution(d)) for d in grid]
    marginal = np.array([p[near == (d < EXTENSION_BELOW_MM)].mean() for p, d in zip(at, grid, strict=True)])
    return Population(table, others, grid, marginal, np.array([p.mean() for p in at]))


def crude(table: pd.DataFrame, grid: FloatArray) -> RiskCurve:
    return risk_curve(table["capsule_distance_mm"].to_numpy(), table["llnm"].to_numpy(), grid)


def covered(curve: RiskCurve, truth: FloatArray) -> npt.NDArray[np.bool_]:
    return (curve.low <= truth) & (truth <= curve.high)


def test_band_and_level_interval_cover_the_simulated_truth(population: Population) -> None:
    """1,500 patients a replication: the band covers the true risk, and the interval the true distance, 95 times in 100."""
    rng = np.random.default_rng(21)
    true_distance = float(np.interp(-0.5, -population.marginal, population.grid))
    hits, found = [], []
    for _ in range(REPLICATIONS):
        curve = crude(population.draw(1500, rng), population.grid)
        hits.append(covered(curve, population.marginal))
        level = level_distance(curve, 0.5)
        assert level.low is not None
        assert level.high is not None
        found.append(level.low <= true_distance <= level.high)
    assert 0.93 <= np.mean(hits) <= 0.97
    assert 0.92 <= np.mean(found) <= 0.98
    assert np.mean(hits, axis=0).min() > 0.88  # nowhere on the curve is it far off


def test_adjusted_band_covers_the_simulated_truth(population: Population) -> None:
    """The standardised curve against the risk of all patients, were they at that distance."""
    rng = np.random.default_rng(22)
    columns = ["age_years", "sex", "size_mm", "third", "margin", "calcification", "extrathyroidal_extension_suspected"]
    hits = []
    for _ in range(REPLICATIONS // 4):
        found = adjusted_curve(population.draw(1500, rng), "capsule_distance_mm", "llnm", columns, population.grid)
        hits.append(covered(found.curve, population.standardised))
    assert 0.92 <= np.mean(hits) <= 0.98


def test_a_large_cohort_s_band_is_not_narrow_around_a_wrong_curve(population: Population) -> None:
    """With a fixed number of knots the coverage falls below 0.9 at 10,000 cases."""
    rng = np.random.default_rng(23)
    hits = []
    for _ in range(30):
        hits.append(covered(crude(population.draw(10_000, rng), population.grid), population.marginal))
    assert np.mean(hits) > 0.93


def test_curve_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(0)
    x = rng.gamma(2, 1.5, 600)
    y = (rng.random(600) < expit(2 - x)).astype(float)
    grid = np.linspace(0.3, 6, 20)
    curve = risk_curve(x, y, grid)
    spline = fitted_spline(x)
    fit = sm.GLM(y, spline_basis(x, spline.knots), family=sm.families.Binomial()).fit(cov_type="HC0")
    basis = spline_basis(grid, spline.knots)
    error = np.sqrt(np.einsum("ij,jk,ik->i", basis, fit.cov_params(), basis))
    assert curve.risk == pytest.approx(expit(basis @ fit.params), abs=1e-6)
    assert curve.low == pytest.approx(expit(basis @ fit.params - 1.959963985 * error), abs=1e-6)


def made(n: int, seed: int, *, confounded: bool) -> pd.DataFrame:
    """Risk falls with distance; a second cause, near the capsule more often where `confounded`."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.2, 1.6, n)
    cause = rng.random(n) < (expit(1.5 * (2.5 - x)) if confounded else 0.4)
    y = rng.random(n) < expit(0.3 - 0.5 * x + 2.0 * cause)
    return pd.DataFrame({"capsule_distance_mm": x, "cause": cause, "llnm": y.astype(int)})


GRID = np.linspace(0.5, 6, 23)


def test_without_covariates_the_standardised_curve_is_the_crude_one() -> None:
    table = made(800, 1, confounded=True)
    adjusted = adjusted_curve(table, "capsule_distance_mm", "llnm", [], GRID).curve
    assert adjusted.risk == pytest.approx(crude(table, GRID).risk, abs=1e-9)
    assert adjusted.low == pytest.approx(crude(table, GRID).low, abs=1e-9)


def test_a_cause_independent_of_the_distance_changes_nothing_but_chance() -> None:
    table = made(20_000, 2, confounded=False)
    adjusted = adjusted_curve(table, "capsule_distance_mm", "llnm", ["cause"], GRID).curve
    assert adjusted.risk == pytest.approx(crude(table, GRID).risk, abs=0.02)


def test_planted_confounding_is_taken_out() -> None:
    table = made(20_000, 3, confounded=True)
    share = table["cause"].mean()
    truth = (1 - share) * expit(0.3 - 0.5 * GRID) + share * expit(2.3 - 0.5 * GRID)
    adjusted = adjusted_curve(table, "capsule_distance_mm", "llnm", ["cause"], GRID).curve
    assert np.abs(adjusted.risk - truth).max() < 0.05
    assert np.abs(crude(table, GRID).risk - truth).max() > 0.1


def test_delta_band_is_the_bootstrap_s() -> None:
    table = made(600, 4, confounded=True)
    found = adjusted_curve(table, "capsule_distance_mm", "llnm", ["cause"], GRID).curve
    rng = np.random.default_rng(5)
    drawn = [
        adjusted_curve(
            table.iloc[rng.integers(600, size=600)], "capsule_distance_mm", "llnm", ["cause"], GRID
        ).curve.risk
        for _ in range(100)
    ]
    error = (logit(found.high) - logit(found.low)) / (2 * 1.96)
    assert np.std(logit(drawn), axis=0)[3:18] == pytest.approx(error[3:18], rel=0.3)


def test_gaps_are_left_out_or_marked_and_counted() -> None:
    table = made(1000, 6, confounded=True).assign(age_years=lambda d: 40 + d["capsule_distance_mm"] * 2)
    table["age_years"] += np.random.default_rng(7).normal(0, 9, 1000)
    table["cause"] = table["cause"].map({True: "yes", False: "no"})
    table.loc[:99, "cause"] = None
    table.loc[50:149, "age_years"] = np.nan
    complete = covariate_columns(table, ["cause", "age_years"])
    assert complete.used.sum() == 850
    assert complete.missing == {"cause": 100, "age_years": 100}
    marked = covariate_columns(table, ["cause", "age_years"], missing="indicator", numbers="spline")
    assert marked.used.all()
    assert {"cause: not known", "age_years: not known"} <= set(marked.names)
    for how in ("complete", "indicator"):
        found = adjusted_curve(table, "capsule_distance_mm", "llnm", ["cause", "age_years"], GRID, missing=how)
        assert found.curve.cases == (850 if how == "complete" else 1000)


def test_what_cannot_be_adjusted_for_is_told() -> None:
    table = made(300, 8, confounded=True)
    table["again"] = table["cause"].map({True: "yes", False: "no"})
    table["name"] = [f"case {i}" for i in range(300)]
    table["one"] = "same"
    table["outcome"] = table["llnm"].map({1: "ill", 0: "well"})
    with pytest.raises(StatisticsError, match="say the same"):
        adjusted_curve(table, "capsule_distance_mm", "llnm", ["cause", "again"], GRID)
    with pytest.raises(StatisticsError, match="300 different values"):
        adjusted_curve(table, "capsule_distance_mm", "llnm", ["name"], GRID)
    with pytest.raises(StatisticsError, match="separated by"):
        adjusted_curve(table, "capsule_distance_mm", "llnm", ["outcome"], GRID)
    with pytest.raises(StatisticsError, match="too few"):
        adjusted_curve(table.iloc[:40], "capsule_distance_mm", "llnm", ["cause"], GRID)
    assert adjusted_curve(table, "capsule_distance_mm", "llnm", ["one"], GRID).covariates.constant == ("one",)


def test_a_column_that_is_missing_everywhere_leaves_no_case() -> None:
    table = made(300, 9, confounded=True).assign(age_years=np.nan)
    with pytest.raises(StatisticsError, match="too few: 0 cases"):
        adjusted_curve(table, "capsule_distance_mm", "llnm", ["age_years"], GRID)
    marked = adjusted_curve(table, "capsule_distance_mm", "llnm", ["age_years"], GRID, missing="indicator")
    assert marked.covariates.constant == ("age_years",)


def test_level_distance_is_open_where_the_band_does_not_pass() -> None:
    x = np.linspace(0, 5, 51)
    risk_ = 0.9 - 0.15 * x
    curve = RiskCurve(x, risk_, risk_ - 0.1, risk_ + 0.1, 100, 50)
    found = level_distance(curve, 0.6)
    assert (found.low, found.value, found.high) == pytest.approx((4 / 3, 2.0, 8 / 3))
    near_the_end = level_distance(curve, 0.2)
    assert near_the_end.value == pytest.approx(0.7 / 0.15)
    assert near_the_end.high is None
    assert level_distance(curve, 0.85).low is None
    assert level_distance(curve, 0.95).value is None
    assert level_distance(curve, 0.05).value is None
