"""Model quality beyond one number: reference implementations, laws, speed-ups that must change nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from dcurves import dca
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.outliers_influence import variance_inflation_factor
from statsmodels.stats.proportion import confint_proportions_2indep

from model.cohort.benefit import net_benefit
from model.cohort.bootstrap import (
    CELLS,
    auroc_of,
    average_precision_of,
    brier_of,
    calibration_error_of,
    cells,
    interval,
    roc_band,
)
from model.cohort.calibration import brier, calibration_curve, calibration_in_the_large, expected_calibration_error
from model.cohort.discrimination import (
    auroc,
    confusion,
    delong,
    newcombe,
    operating_point,
    precision_curve,
    roc_curve,
    stage_auroc,
    wilson,
)
from model.cohort.logistic import fit_logistic
from model.cohort.regression import as_table, odds_ratios
from model.cohort.scores import ScoredCases
from model.cohort.subgroups import by_group, division, gaps, heterogeneity
from model.cohort.table_one import table_one, to_latex, to_word
from model.errors import StatisticsError


def made(n: int = 800, seed: int = 0, shift: float = 0.0) -> ScoredCases:
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, n)
    return ScoredCases(1 / (1 + np.exp(-z)), (rng.random(n) < 1 / (1 + np.exp(-z - shift))).astype(np.int64))


def with_ties(n: int = 800, seed: int = 0) -> ScoredCases:
    scores = made(n, seed)
    return ScoredCases(scores.probability.round(1), scores.label)


def test_precision_recall_agrees_with_scikit_learn() -> None:
    for scores in (made(), with_ties()):
        curve = precision_curve(scores)
        assert curve.average == pytest.approx(average_precision_score(scores.label, scores.probability), abs=1e-12)
        assert curve.recall[-1] == 1
        assert curve.precision[-1] == pytest.approx(scores.positives / len(scores))


def test_operating_point_holds_every_count() -> None:
    scores = made()
    point = operating_point(scores, 0.3)
    called = scores.probability >= 0.3
    assert point.f1.value == pytest.approx(f1_score(scores.label, called), abs=1e-12)
    assert point.f1.numerator / point.f1.denominator == pytest.approx(point.f1.value)
    assert point.f1.low < point.f1.value < point.f1.high
    assert (point.called.numerator, point.called.denominator) == (called.sum(), len(scores))
    assert point.youden.value == pytest.approx(point.sensitivity.value + point.specificity.value - 1)
    ratio = point.sensitivity.value / (1 - point.specificity.value)
    assert point.positive_likelihood_ratio.value == pytest.approx(ratio)
    nobody = operating_point(ScoredCases(np.array([0.1, 0.2]), np.array([0, 1])), 0.9)
    assert np.isnan(nobody.positive_likelihood_ratio.value)
    assert np.isnan(nobody.positive_predictive_value.value)


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_newcombe_agrees_with_statsmodels(n: int, m: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    found = newcombe(wilson(a, n), wilson(b, m))
    low, high = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_net_benefit_agrees_with_dcurves() -> None:
    scores = made()
    thresholds = np.arange(0.05, 1, 0.05)
    found = net_benefit(scores, thresholds)
    table = dca(
        data=pd.DataFrame({"y": scores.label, "model": scores.probability}), outcome="y", modelnames=["model"],
        thresholds=thresholds,
    )  # fmt: skip
    reference = {name: part["net_benefit"].to_numpy() for name, part in table.groupby("model")}
    assert found.model == pytest.approx(reference["model"], abs=1e-6)
    assert found.treat_all == pytest.approx(reference["all"], abs=1e-6)
    assert (found.low < found.model).all()
    with pytest.raises(StatisticsError, match="outside 0 to 1"):
        net_benefit(scores, [0.0, 0.5])


def test_net_benefit_band_covers() -> None:
    """The true net benefit of a calibrated model is E[p − (1 − p)·odds; p ≥ t]."""
    big = made(400_000, 99)
    called = big.probability >= 0.4
    true = float(np.mean(np.where(called, big.probability - (1 - big.probability) * 0.4 / 0.6, 0)))
    hits = 0
    for seed in range(300):
        found = net_benefit(made(300, seed), [0.4])
        hits += found.low[0] <= true <= found.high[0]
    assert 0.92 <= hits / 300 <= 0.98


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 40))
def test_cells_hold_the_cases_figures_exactly_when_scores_are_few(seed: int, n: int) -> None:
    scores = with_ties(n, seed)
    y = scores.label.astype(float)
    held = cells(scores)
    counts = held.counts[None]
    assert held.counts.sum() == n
    assert brier_of(held, counts)[0] == pytest.approx(brier(scores.probability, y))
    assert calibration_error_of(held, counts)[0] == pytest.approx(expected_calibration_error(scores.probability, y))
    if 0 < scores.positives < n:
        assert auroc_of(held, counts)[0] == pytest.approx(roc_auc_score(scores.label, scores.probability))
        reference = average_precision_score(scores.label, scores.probability)
        assert average_precision_of(held, counts)[0] == pytest.approx(reference)


def test_cells_of_many_scores_are_near_and_their_bootstrap_is_that_of_cases() -> None:
    scores = made(6000)
    held = cells(scores)
    assert len(held.counts) <= CELLS + 10
    exact = auroc(scores.probability, scores.label)
    assert auroc_of(held, held.counts[None])[0] == pytest.approx(exact.value, abs=1 / CELLS)
    quick = interval(held, auroc_of, exact.value, held.draw(1000, 0))
    assert (quick.low, quick.high) == pytest.approx((exact.low, exact.high), abs=0.002)
    # The same interval from cases drawn one by one.
    rng = np.random.default_rng(1)
    y = scores.label.astype(float)
    slow = []
    for _ in range(1000):
        rows = rng.integers(0, len(y), len(y))
        slow.append(brier(scores.probability[rows], y[rows]))
    fast = interval(held, brier_of, brier(scores.probability, y), held.draw(1000, 0))
    assert (fast.low, fast.high) == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])), abs=0.0006)


def test_roc_band_holds_the_curve() -> None:
    scores = made()
    held = cells(scores)
    at = np.linspace(0.05, 0.95, 10)
    low, high = roc_band(held.draw(400, 0), at)
    curve = roc_curve(scores)
    middle = np.interp(at, curve.false_positive_rate, curve.sensitivity)
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_logistic_regression_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(900), rng.normal(40, 12, 900), rng.integers(0, 2, 900)])
    y = (rng.random(900) < 1 / (1 + np.exp(-0.05 * (x[:, 1] - 40) - x[:, 2]))).astype(float)
    reference = sm.GLM(y, x, family=sm.families.Binomial()).fit()
    found = fit_logistic(x, y)
    assert found.coefficients == pytest.approx(reference.params, abs=1e-6)
    assert found.covariance == pytest.approx(reference.cov_params(), abs=1e-6)
    assert [found.p_value(i) for i in range(3)] == pytest.approx(reference.pvalues, abs=1e-6)
    robust = sm.GLM(y, x, family=sm.families.Binomial()).fit(cov_type="HC0")
    assert fit_logistic(x, y, robust=True).covariance == pytest.approx(robust.cov_params(), abs=1e-6)
    doubled = fit_logistic(x, y, weights=np.full(900, 2.0))
    assert doubled.covariance == pytest.approx(reference.cov_params() / 2, abs=1e-6)


def test_logistic_regression_of_many_rows_starts_near_and_ends_the_same() -> None:
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(120_000), rng.normal(size=(120_000, 2))])
    y = (rng.random(120_000) < 1 / (1 + np.exp(-x @ [0.3, 1.0, -0.5]))).astype(float)
    reference = sm.Logit(y, x).fit(disp=0)
    assert fit_logistic(x, y).coefficients == pytest.approx(reference.params, abs=1e-6)


def test_separation_and_collinearity_are_told_by_name() -> None:
    x = np.column_stack([np.ones(60), np.arange(60.0)])
    with pytest.raises(StatisticsError, match=r"separated by .*age"):
        fit_logistic(x, (np.arange(60) >= 30).astype(float), names=("constant", "age"))
    level = np.column_stack([np.ones(60), (np.arange(60) < 8).astype(float)])
    with pytest.raises(StatisticsError, match="separated by level"):  # quasi: the level has events only
        fit_logistic(level, np.where(np.arange(60) < 8, 1.0, np.arange(60) % 2), names=("constant", "level"))
    with pytest.raises(StatisticsError, match="a, b say the same"):
        fit_logistic(np.column_stack([x, 2 * x[:, 1]]), np.arange(60) % 2 * 1.0, names=("constant", "a", "b"))


def test_calibration_in_the_large_and_curve() -> None:
    scores = made(20_000, 5, shift=0.7)
    shift = calibration_in_the_large(scores)
    assert shift.low < 0.7 < shift.high
    curve = calibration_curve(scores)
    expected = 1 / (1 + np.exp(-np.log(curve.x / (1 - curve.x)) - 0.7))
    assert np.abs(curve.risk - expected).max() < 0.03
    with pytest.raises(StatisticsError, match="too few: 20 cases"):
        calibration_curve(made(20))
    with pytest.raises(StatisticsError, match="one class"):
        calibration_in_the_large(ScoredCases(np.array([0.2, 0.3]), np.array([1, 1])))


def test_stage_auroc_interval_is_that_of_a_bootstrap() -> None:
    rng = np.random.default_rng(6)
    stage = rng.integers(1, 4, 300)
    probabilities = rng.dirichlet([1, 1, 1], 300) + 0.6 * np.eye(3)[stage - 1]
    found = stage_auroc(probabilities, stage)
    areas = [roc_auc_score(stage == k + 1, probabilities[:, k]) for k in range(3)]
    assert found.value == pytest.approx(np.mean(areas), abs=1e-12)
    drawn = []
    for _ in range(400):
        rows = rng.integers(0, 300, 300)
        drawn.append(stage_auroc(probabilities[rows], stage[rows]).value)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.01)
    table = confusion(np.eye(3)[[0, 1, 2, 2]], np.array([1, 2, 3, 1]))
    assert table.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def cohort(n: int = 1200, seed: int = 7) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    scores = made(n, seed)
    return pd.DataFrame(
        {
            "probability": scores.probability, "llnm": scores.label,
            "sex": rng.choice(["female", "male", None], n, p=[0.6, 0.35, 0.05]),
            "age_years": np.where(rng.random(n) < 0.1, np.nan, rng.normal(45, 12, n).clip(18, 90).round()),
            "centre": rng.choice(["A", "B", "C"], n), "size_mm": rng.gamma(2, 5, n),
            "multifocal": rng.choice([True, False, None], n), "histology": rng.choice(["PTC", "FTC"], n),
        }
    )  # fmt: skip


def test_subgroups_count_every_known_case_once_and_name_the_small() -> None:
    table = cohort()
    table.loc[:2, "centre"] = "rare"
    scores = ScoredCases.from_frame(table)
    groups = by_group(scores, division(table, "centre"))
    assert sum(g.cases for g in groups) == len(table)
    rare = next(g for g in groups if g.name == "rare")
    assert rare.auroc is None
    assert "too few (n = 3" in rare.too_few
    whole = next(g for g in groups if g.name == "A")
    rows = (table["centre"] == "A").to_numpy()
    assert whole.auroc == auroc(scores.probability[rows], scores.label[rows])
    ages = by_group(scores, division(table, "age band"))
    assert sum(g.cases for g in ages) == table["age_years"].notna().sum()
    assert ages[0].name == "<35 years"
    assert division(table, "tirads") is None


def test_heterogeneity_agrees_with_statsmodels() -> None:
    parts = [with_ties(300, 11), made(400, 12), made(200, 13, 2.0)]
    parts[1] = ScoredCases(np.random.default_rng(0).random(400), parts[1].label)  # no better than chance
    scores = ScoredCases(np.concatenate([p.probability for p in parts]), np.concatenate([p.label for p in parts]))
    found = heterogeneity(by_group(scores, pd.Series(np.repeat(["a", "b", "c"], [300, 400, 200]))))
    areas, variances = zip(*[delong(p.probability, p.label) for p in parts], strict=True)
    a = np.array(areas)
    reference = combine_effects(np.log(a / (1 - a)), np.array(variances) / (a * (1 - a)) ** 2, method_re="dl")
    assert found.q == pytest.approx(reference.q, rel=1e-6)
    assert found.i_squared == pytest.approx(reference.i2, abs=1e-6)
    assert np.log(found.pooled.value / (1 - found.pooled.value)) == pytest.approx(reference.mean_effect_re, abs=1e-6)
    same = ScoredCases(np.tile(parts[0].probability, 2), np.tile(parts[0].label, 2))
    equal = heterogeneity(by_group(same, pd.Series(np.repeat(["x", "y"], 300))))
    assert (equal.q, equal.i_squared) == pytest.approx((0, 0), abs=1e-9)
    with pytest.raises(StatisticsError, match="1 groups"):
        heterogeneity(by_group(parts[0], pd.Series(["x"] * 300)))


def test_gaps_find_a_planted_one_and_say_nothing_of_few() -> None:
    fair, unfair = made(3000, 1), made(3000, 2, shift=1.5)
    scores = ScoredCases(
        np.concatenate([fair.probability, unfair.probability, [0.5, 0.6, 0.7]]),
        np.concatenate([fair.label, unfair.label, [1, 0, 1]]),
    )
    groups = pd.Series(["fair"] * 3000 + ["unfair"] * 3000 + ["rare"] * 3)
    found = {g.group: g for g in gaps(scores, groups, reference="fair")}
    assert set(found) == {"unfair", "rare"}
    gap = found["unfair"].calibration
    assert gap is not None
    assert gap.low < 1.5 < gap.high
    assert gap.low > 1
    rare = found["rare"]
    assert rare.sensitivity is rare.specificity is rare.auroc is rare.calibration is None
    with pytest.raises(StatisticsError, match="no case"):
        gaps(scores, groups, reference="nobody")


def test_odds_ratios_agree_with_statsmodels_and_count_what_is_missing() -> None:
    table = cohort()
    found = odds_ratios(table, ["age_years", "sex", "multifocal"])
    rows = table.dropna(subset=["age_years", "sex", "multifocal"])
    x = sm.add_constant(
        np.column_stack([rows["age_years"] / 10, rows["sex"] == "male", rows["multifocal"].astype(bool)]).astype(float)
    )
    reference = sm.Logit(rows["llnm"].to_numpy(float), x).fit(disp=0)
    assert (found.cases, found.total) == (len(rows), len(table))
    assert [t.adjusted.value for t in found.terms] == pytest.approx(np.exp(reference.params[1:]), rel=1e-6)
    assert [t.adjusted.low for t in found.terms] == pytest.approx(np.exp(reference.conf_int()[1:, 0]), rel=1e-5)
    assert [t.adjusted_p for t in found.terms] == pytest.approx(reference.pvalues[1:], abs=1e-6)
    assert [t.vif for t in found.terms] == pytest.approx([variance_inflation_factor(x, i) for i in (1, 2, 3)], abs=1e-6)
    assert found.terms[0].missing == table["age_years"].isna().sum()
    male = table[table["sex"].notna()]
    alone = sm.Logit(male["llnm"].to_numpy(float), sm.add_constant((male["sex"] == "male").to_numpy(float))).fit(disp=0)
    assert found.terms[1].crude.value == pytest.approx(np.exp(alone.params[1]), rel=1e-6)
    assert found.terms[1].contrast == "male against female"
    assert "per 10 years" in as_table(found)["contrast"].tolist()


def test_odds_ratios_that_do_not_exist_are_told_and_the_rest_stands() -> None:
    table = cohort()
    table["histology"] = np.where(table["llnm"] == 1, "MTC", np.where(np.arange(len(table)) % 2, "PTC", "MTC"))
    table["twin"] = table["age_years"] * 2
    separated = odds_ratios(table, ["sex", "histology"])
    assert "separated" in separated.problem
    assert separated.terms[0].crude is not None
    assert separated.terms[1].crude is None
    assert "separated" in separated.terms[1].note
    assert "say the same" in odds_ratios(table, ["age_years", "twin"]).problem
    constant = odds_ratios(table.assign(side="left"), ["sex", "side"])
    assert constant.terms[-1].note == "one level only"
    assert constant.terms[0].adjusted is not None
    with pytest.raises(StatisticsError, match="with the outcome"):
        odds_ratios(table.assign(llnm=1), ["sex"])
    with pytest.raises(StatisticsError, match="no variable"):
        odds_ratios(table, ["absent"])
    few = odds_ratios(table.head(3).assign(llnm=[0, 1, 1]), ["sex", "age_years"])
    as_table(few)
    assert few.unsure


def test_table_one_counts_cases_and_latex_escapes() -> None:
    table = cohort()
    table.loc[0, "centre"] = table.loc[1, "centre"] = r"50% & more_$x^2$ \input{evil}"
    made_table = table_one(table, ["age_years", "sex", "centre", "absent"], by="llnm")
    counts = made_table.iloc[0]
    assert (int(counts["LLNM"]), int(counts["no LLNM"])) == (table["llnm"].sum(), (table["llnm"] == 0).sum())
    women = made_table[made_table["level"] == "female"].iloc[0]
    assert women["all"].split()[0] == str((table["sex"] == "female").sum())
    assert "Age (years)" in made_table["variable"].str.cat()
    text = to_latex(made_table, "5 % of A & B")
    assert r"\input" not in text
    assert r"50\% \& more\_\$x" in text
    assert r"5 \% of A \& B" in text
    with pytest.raises(StatisticsError, match="too few"):
        table_one(table.head(3).assign(llnm=[0, 1, 1]), ["age_years"], by="llnm")
    with pytest.raises(StatisticsError, match="1 groups"):
        table_one(table.assign(llnm=1), ["age_years"], by="llnm")


@pytest.mark.parametrize(("by", "n"), [("llnm", 600), ("centre", 600), ("llnm", 40), ("centre", 90)])
def test_table_one_is_that_of_tableone(by: str, n: int) -> None:
    from tableone import TableOne

    table = cohort(n)
    table["multifocal"] = pd.Series(np.random.default_rng(n).choice(np.array([True, False, None], dtype=object), n))
    ours = table_one(table, ["age_years", "size_mm", "sex", "centre", "multifocal"], by=by)
    table["llnm"] = table["llnm"].map({1: "LLNM", 0: "no LLNM"})
    table["multifocal"] = table["multifocal"].map({True: "yes", False: "no"})
    chosen = [v for v in ("age_years", "size_mm", "sex", "centre", "multifocal") if v != by]
    numbers = ["age_years", "size_mm"]
    theirs = TableOne(
        table[[*chosen, by]], columns=chosen, categorical=[v for v in chosen if v not in numbers], continuous=numbers, groupby=by,
        nonnormal=[v for v in numbers if abs(table[v].skew()) >= 1], pval=True, smd=True, htest_name=True, include_null=False,
    ).tableone  # fmt: skip
    theirs.columns = [str(c[-1]) for c in theirs.columns]
    theirs = theirs.reset_index(names=["variable", "level"])
    groups = sorted(table[by].dropna().unique())

    def cell(text: object) -> str:
        plain = (
            str(text).replace(", ", ",").replace("–", "-").replace("’", "'").replace("Welch's T-test", "Welch's t-test")
        )
        return plain.replace("unsure:", "warning:").replace("Kruskal-Wallis", "Kruskal-Wallis").replace("nan", "-")

    columns = {"Missing": "missing", "Overall": "all", "P-Value": "p", "Test": "test"} | {g: g for g in groups}
    for their, our in columns.items():
        assert [cell(v) for v in ours[our]] == [cell(v) for v in theirs[their]], our
    for name in (c for c in theirs.columns if c.startswith("SMD")):
        both = zip(ours[name.replace(",", ", ")], theirs[name], strict=True)
        assert all(cell(a) == cell(b) or (b == "<0.001" and a == "0.000") for a, b in both), name


def test_tables_as_word() -> None:
    from io import BytesIO

    from docx import Document

    made_table = table_one(cohort(), ["age_years", "sex"], by="llnm")
    document = Document(BytesIO(to_word(made_table, "Caption & \x00 more")))
    held = document.tables[0]
    assert [c.text for c in held.rows[0].cells] == list(made_table.columns)
    assert held.rows[2].cells[0].text == made_table.iloc[1, 0]
    assert len(held.rows) == len(made_table) + 1
    assert document.paragraphs[0].text.startswith("Caption & ")
