"""Cohort statistics: the authors' own figures, reference implementations, laws, coverage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from model.cohort.calibration import brier, calibration_bins, calibration_line, expected_calibration_error
from model.cohort.curves import level_distance, risk_by_bins, risk_curve
from model.cohort.discrimination import auroc, delong_test, operating_point, roc_curve, stage_auroc, wilson
from model.cohort.evaluate import evaluate, format_table
from model.cohort.position import risk_by_position
from model.cohort.scores import ScoredCases, read_predictions
from model.errors import StatisticsError

SOURCE = Path(__file__).parents[4] / "shared" / "reference" / "source_data"
authors = pytest.mark.skipif(not SOURCE.exists(), reason="the authors' source data are not beside this checkout")


def made(n: int = 400, seed: int = 0) -> ScoredCases:
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(0, 2, n)))
    return ScoredCases(p, (rng.random(n) < p).astype(np.int64))


@authors
def test_published_validation_figures() -> None:
    result = evaluate(read_predictions(SOURCE / "validation_predictions.csv"), rounds=100)
    assert result.n == 5923
    assert round(result.auroc.value, 4) == 0.9480
    assert round(result.accuracy.value, 4) == 0.8904
    assert round(result.sensitivity.value, 4) == 0.8414
    assert round(result.specificity.value, 4) == 0.9465
    assert result.auroc.low < 0.948 < result.auroc.high


@authors
def test_published_reader_test() -> None:
    table = pd.read_csv(SOURCE / "reader_test_200.csv")
    point = operating_point(ScoredCases.from_arrays(table["model"], table["label"]))
    # The paper's text gives the last two the other way round; the authors' own file has 87 and 88 of 100.
    assert (point.accuracy.value, point.sensitivity.value, point.specificity.value) == (0.875, 0.87, 0.88)
    readers = pd.read_csv(SOURCE / "radiologists_operating_points.csv")
    accuracy = (readers["sensitivity"] + 1 - readers["false_positive_rate"]) / 2  # 100 and 100 cases
    assert len(readers) == 108
    assert round(accuracy.mean(), 3) == 0.643
    by_group = readers.assign(accuracy=accuracy).groupby("group").mean()
    assert by_group.loc["senior", "sensitivity"] == pytest.approx(0.685, abs=0.001)
    assert 1 - by_group.loc["senior", "false_positive_rate"] == pytest.approx(0.665, abs=0.001)
    assert by_group.loc["junior", "sensitivity"] == pytest.approx(0.618, abs=0.001)


def _delong_by_hand(p: np.ndarray, y: np.ndarray) -> float:
    """Variance of the AUROC from the whole table of comparisons."""
    wins = (p[y == 1][:, None] > p[y == 0]) + 0.5 * (p[y == 1][:, None] == p[y == 0])
    return float(wins.mean(1).var(ddof=1) / (y == 1).sum() + wins.mean(0).var(ddof=1) / (y == 0).sum())


def test_delong_equals_the_whole_table_of_comparisons() -> None:
    scores = made()
    p = scores.probability.round(1)  # with ties
    found = auroc(p, scores.label)
    assert found.value == pytest.approx(roc_auc_score(scores.label, p), abs=1e-12)
    centre = np.log(found.value / (1 - found.value))
    half = 1.959963984540054 * np.sqrt(_delong_by_hand(p, scores.label)) / (found.value * (1 - found.value))
    assert found.low == pytest.approx(1 / (1 + np.exp(-(centre - half))), abs=1e-9)
    assert found.high == pytest.approx(1 / (1 + np.exp(-(centre + half))), abs=1e-9)


def test_paired_delong_test() -> None:
    scores = made()
    same, p_same = delong_test(scores.probability, scores.probability**3, scores.label)
    assert same.value == 0
    assert p_same == 1
    noise = np.random.default_rng(1).random(len(scores))
    worse, p_worse = delong_test(scores.probability, noise, scores.label)
    assert worse.low > 0
    assert p_worse < 1e-6


def test_delong_interval_covers() -> None:
    """Scores of two normals with a known area."""
    rng = np.random.default_rng(2)
    true, hits = 0.8413447, 0
    for _ in range(300):
        x = np.concatenate([rng.normal(np.sqrt(2), 1, 60), rng.normal(0, 1, 80)])
        found = auroc(1 / (1 + np.exp(-x)), np.repeat([1, 0], [60, 80]))
        hits += found.low <= true <= found.high
    assert 0.92 <= hits / 300 <= 0.98


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_agrees_with_statsmodels(hits: int, n: int) -> None:
    hits = min(hits, n)
    rate = wilson(hits, n)
    low, high = proportion_confint(hits, n, method="wilson")
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-9)
    assert rate.low - 1e-12 <= rate.value <= rate.high + 1e-12


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_auroc_is_blind_to_monotone_change_and_mirrors(seed: int) -> None:
    scores = made(60, seed)
    if 0 < scores.positives < 60:
        area = auroc(scores.probability, scores.label).value
        assert auroc(scores.probability**3, scores.label).value == pytest.approx(area)
        assert auroc(1 - scores.probability, scores.label).value == pytest.approx(1 - area)


def test_brier_and_calibration_agree_with_scikit_learn_and_statsmodels() -> None:
    scores = made(2000)
    y = scores.label.astype(float)
    assert brier(scores.probability, y) == pytest.approx(brier_score_loss(y, scores.probability), abs=1e-12)
    bins = calibration_bins(scores)
    observed, predicted = calibration_curve(y, scores.probability, n_bins=10)
    assert [b.observed.value for b in bins] == pytest.approx(observed.tolist())
    assert [b.predicted for b in bins] == pytest.approx(predicted.tolist())
    weights = [b.observed.denominator / len(scores) for b in bins]
    by_bin = sum(w * abs(b.observed.value - b.predicted) for w, b in zip(weights, bins, strict=True))
    assert expected_calibration_error(scores.probability, y) == pytest.approx(by_bin)
    logit = np.log(scores.probability / (1 - scores.probability))
    reference = sm.Logit(scores.label, sm.add_constant(logit)).fit(disp=0)
    line = calibration_line(scores)
    assert line.slope.value == pytest.approx(reference.params[1], abs=1e-6)
    assert line.slope.low < 1 < line.slope.high  # made calibrated
    assert line.intercept.low < 0 < line.intercept.high


def test_roc_is_thinned_but_keeps_its_area() -> None:
    scores = made(5000)
    curve = roc_curve(scores, 200)
    assert len(curve.sensitivity) <= 201
    area = np.trapezoid(curve.sensitivity, curve.false_positive_rate)
    assert area == pytest.approx(auroc(scores.probability, scores.label).value, abs=0.002)
    assert (curve.sensitivity[0], curve.sensitivity[-1]) == (0, 1)


def test_stage_auroc() -> None:
    rng = np.random.default_rng(0)
    stage = rng.integers(1, 4, 300)
    perfect = np.eye(3)[stage - 1]
    assert stage_auroc(perfect, stage).value == 1
    chance = stage_auroc(rng.random((300, 3)), stage)
    assert chance.low < 0.5 < chance.high
    with pytest.raises(StatisticsError, match="not all three"):
        stage_auroc(perfect, np.ones(300, int))


def test_risk_curve_band_covers_the_truth() -> None:
    """A known curve, 80 replications: the 95 % band covers it at about 95 % of the grid."""
    rng = np.random.default_rng(5)
    grid = np.linspace(0.5, 5, 10)
    truth = 1 / (1 + np.exp(1.2 * (grid - 3)))
    covered = []
    for _ in range(80):
        x = rng.gamma(2, 1.3, 500)
        y = rng.random(500) < 1 / (1 + np.exp(1.2 * (x - 3)))
        curve = risk_curve(x, y, grid)
        covered.append((curve.low <= truth) & (truth <= curve.high))
    assert 0.92 <= np.mean(covered) <= 0.98


def test_level_distance_reads_the_crossing() -> None:
    rng = np.random.default_rng(6)
    x = rng.uniform(0, 6, 20_000)
    y = rng.random(20_000) < 1 / (1 + np.exp(1.5 * (x - 3)))
    curve = risk_curve(x, y, np.linspace(0, 6, 200))
    expected = 3 - np.log(0.72 / 0.28) / 1.5
    assert level_distance(curve, 0.72).value == pytest.approx(expected, abs=0.1)
    assert level_distance(curve, 0.9999).value is None


def test_too_few_is_said() -> None:
    with pytest.raises(StatisticsError, match="too few: 20 cases"):
        risk_curve(np.arange(20.0), np.arange(20) % 2, [1.0])
    with pytest.raises(StatisticsError, match="too few different values"):
        risk_curve(np.ones(100), np.arange(100) % 2, [1.0])


def test_bins_and_places_count_every_case_once() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.uniform(0, 5, 500), rng.integers(0, 2, 500)
    x[:3] = (0.0, 2.5, 5.0)
    bins = risk_by_bins(x, y, None, np.arange(0, 5.5, 0.5))
    assert sum(b.observed.denominator for b in bins) == 500
    assert sum(b.observed.numerator for b in bins) == y.sum()
    frame = pd.DataFrame(
        {
            "side": rng.choice(["left", "right", "isthmus"], 500),
            "third": rng.choice(["upper", "middle", "lower"], 500),
            "llnm": y,
        }
    )
    risks = risk_by_position(frame)
    assert sum(p.observed.denominator for p in risks) == 500
    assert len(risks) == 7


def test_evaluation_as_object_table_and_json() -> None:
    result = evaluate(made(), rounds=100)
    figures = result.to_dict()
    assert {"n", "auroc", "auroc_ci", "accuracy", "sensitivity", "specificity", "ece", "brier"} <= set(figures)
    assert "bayes_auroc" not in figures
    for name in ("auroc", "accuracy", "brier"):
        assert figures[f"{name}_ci"][0] <= figures[name] <= figures[f"{name}_ci"][1]
    assert "95 % interval" in format_table(result)
    one_class = evaluate(ScoredCases(np.array([0.2, 0.7]), np.array([1, 1])), rounds=100)
    assert one_class.auroc is None
    assert "auroc" not in one_class.to_dict()
    assert "specificity" not in one_class.to_dict()
    format_table(one_class)


@pytest.mark.parametrize(
    ("probability", "label", "message"),
    [
        ([0.1, 1.2, -3], [0, 1, 1], r"outside 0 to 1 in 2 rows \(2, 3\)"),
        ([0.1, None], [0, 1], r"missing in 1 row \(2\)"),
        ([0.1, "high"], [0, 1], r"not a number in 1 row \(2\)"),
        ([5e15, 0.2], [0, 1], "outside 0 to 1"),
        ([0.1, 0.2], [0, 2], r"neither 0 nor 1 in 1 row \(2\)"),
        ([0.1], [0, 1], "1 probabilities and 2 labels"),
        ([], [], "no case"),
    ],
)
def test_bad_predictions_are_named(probability: list[object], label: list[object], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        ScoredCases.from_arrays(probability, label)


def test_tables_are_read_and_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("label;prediction\n1;0.9\n0;0.2\n", encoding="utf-8-sig")
    assert read_predictions(file).probability.tolist() == [0.9, 0.2]
    pd.DataFrame({"probability": [0.5], "llnm": [True], "case_id": ["a"]}).to_parquet(tmp_path / "p.parquet")
    assert read_predictions(tmp_path / "p.parquet").label.tolist() == [1]
    file.write_text("a,b\n1,2\n")
    with pytest.raises(StatisticsError, match="none of the columns probability"):
        read_predictions(file)
    file.write_text("case_id,prediction,label\nx,0.1,0\nx,0.2,1\n")
    with pytest.raises(StatisticsError, match="seen in an earlier row"):
        read_predictions(file)
    (tmp_path / "no.parquet").write_bytes(b"junk")
    with pytest.raises(StatisticsError, match="cannot be read"):
        read_predictions(tmp_path / "no.parquet")
    with pytest.raises(StatisticsError, match="cannot be read"):
        read_predictions(tmp_path / "absent.csv")
