"""Doctors against the model: published figures, known answers, faulty tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from model.cohort.discrimination import roc_curve
from model.cohort.readers import ReaderCases, below_curve, compare, group_means, read_readers
from model.cohort.scores import ScoredCases, read_table
from model.errors import StatisticsError

SOURCE = Path(__file__).parents[4] / "shared" / "reference" / "source_data"
authors = pytest.mark.skipif(not SOURCE.exists(), reason="the authors' source data are not beside this checkout")


def per_case(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = np.arange(n) % 2
    return pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(n)], "label": label,
            "model": np.clip(0.25 + 0.5 * label + rng.normal(0, 0.15, n), 0, 1),
            **{f"Dr {k}": (rng.random(n) < 0.3 + 0.4 * label).astype(float) for k in range(5)},
        }
    )  # fmt: skip


@authors
def test_published_reader_figures() -> None:
    cases = read_readers(read_table(SOURCE / "reader_test_200.csv"))
    assert isinstance(cases, ReaderCases)
    assert cases.model is not None
    found = compare(cases.doctors, cases.model)
    assert (found.model.accuracy.value, found.model.sensitivity.value, found.model.specificity.value) == (0.875, 0.87, 0.88)
    assert found.auroc_difference.low > 0
    assert found.mcnemar_p < 0.001
    points = read_readers(read_table(SOURCE / "radiologists_operating_points.csv"))
    assert isinstance(points, tuple)
    means = group_means(points).set_index("group")
    assert means["readers"].to_dict() == {"all readers": 108, "senior": 42, "junior": 66}
    assert means.loc["all readers", "balanced_accuracy"] == pytest.approx(0.643, abs=0.0005)
    assert means.loc["senior", ["sensitivity", "specificity"]].tolist() == pytest.approx([0.685, 0.665], abs=0.001)
    assert means.loc["junior", ["sensitivity", "specificity"]].tolist() == pytest.approx([0.618, 0.628], abs=0.001)
    assert below_curve(points, roc_curve(ScoredCases(cases.model, cases.doctors.label))) == 108


def test_comparison_agrees_with_statsmodels() -> None:
    cases = read_readers(per_case())
    found = compare(cases.doctors, cases.model)
    right = [(p >= 0.5) == (cases.doctors.label == 1) for p in (cases.model, cases.doctors.probability)]
    table = pd.crosstab(right[0], right[1]).reindex(index=[False, True], columns=[False, True], fill_value=0)
    assert found.mcnemar_p == pytest.approx(mcnemar(table.to_numpy(), exact=True).pvalue, abs=1e-9)
    gap = found.model.accuracy.value - found.doctors.accuracy.value
    assert found.accuracy_difference.value == pytest.approx(gap)
    itself = compare(cases.doctors, cases.doctors.probability)
    assert (itself.mcnemar_p, itself.auroc_p) == (1, 1)


def test_single_readers_become_points_and_a_mean() -> None:
    table = per_case()
    table.loc[table["label"] == 1, "Dr 4"] = np.nan  # read cases without LLNM only: no point of the ROC plane
    cases = read_readers(table)
    assert [p.reader for p in cases.points] == ["dr 0", "dr 1", "dr 2", "dr 3"]
    rows = table["label"] == 1
    assert cases.points[0].sensitivity == pytest.approx(table.loc[rows, "Dr 0"].mean())
    assert cases.doctors.probability[1] == pytest.approx(table.loc[1, ["Dr 0", "Dr 1", "Dr 2", "Dr 3"]].mean())
    means = group_means(cases.points)
    values = [p.sensitivity for p in cases.points]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert means.loc[0, ["sensitivity_low", "sensitivity_high"]].tolist() == pytest.approx([low, high])


def test_table_without_model_or_mean_is_read_for_what_it_has() -> None:
    cases = read_readers(pd.DataFrame({"llnm": [1, 0], "doctor_mean": [0.8, 0.1]}))
    assert cases.model is None
    assert cases.points == ()
    assert cases.case_ids == ("1", "2")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"label": [1, 0], "a": [1, 7]}, r"a: outside 0 to 1 in 1 row \(2\)"),
        ({"label": [1, 3], "a": [1, 0]}, r"label: neither 0 nor 1 in 1 row \(2\)"),
        ({"label": [1, 0], "a": ["yes", 0]}, r"a: not a number in 1 row \(1\)"),
        ({"label": [1, 0], "a": [None, 0]}, r"no doctor's score in 1 rows \(1\)"),
        ({"label": [1, 0], "model": [0.5, None], "a": [1, 0]}, r"missing in 1 row \(2\)"),
        ({"label": [1, 0]}, "no reader's column"),
        ({"a": [1, 0]}, "no column label"),
        ({"sensitivity": [0.5]}, "neither specificity nor"),
        ({"sensitivity": [0.5, None], "specificity": [0.5, 0.5]}, "empty in row 2"),
        ({"sensitivity": [0.5, 55], "specificity": [0.5, 0.5]}, r"outside 0 to 1 in 1 row \(2\)"),
        ({"label": [1, 0], "case": ["x", "x"], "a": [1, 0]}, "seen in an earlier row"),
        ({"label": [], "a": []}, "no row"),
    ],
)
def test_faulty_tables_are_named_by_row(table: dict[str, list[object]], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        read_readers(pd.DataFrame(table))


def test_one_outcome_only_is_told() -> None:
    cases = read_readers(pd.DataFrame({"label": [1, 1], "a": [1, 0], "model": [0.2, 0.3]}))
    with pytest.raises(StatisticsError, match="without the outcome"):
        compare(cases.doctors, cases.model)
