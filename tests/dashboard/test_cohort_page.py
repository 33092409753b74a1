"""The Cohort page on a store: any model's table, its faults by row, selections kept in the address."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from model.cohort import SERVED
from model.cohort.selection import Region
from tests.dashboard.test_pages import ROOT, opened, words
from tests.model.cohort.test_store import forged

SOURCE = ROOT.parent / "shared" / "reference" / "source_data"
SHIPPED = ROOT / "data_samples" / "cohort.parquet"
HOSTILE = '"; DROP TABLE x; --'
BAD = f"""case_id,probability,llnm,{HOSTILE.replace('"', "'")}
a,0.2,0,1
b,0.4,1,1
c,1.7,1,1
d,0.5,2,1
a,0.6,1,1
f,0.7,0,1
"""


def uploaded(text: str, **address: str) -> AppTest:
    app = opened("cohort", cohort="own", **address)
    return app.file_uploader(key="cohort-file").upload("mine.csv", text.encode(), "text/csv").run()


def test_faults_are_told_by_row_and_good_rows_go_on_only_when_asked() -> None:
    app = uploaded(BAD)
    assert not app.exception
    said = words(app)
    assert "mine.csv: 3 of 6 rows cannot be used" in said
    assert "probability: outside 0 to 1 in 1 row (3)" in said
    assert "llnm: neither 0 nor 1 in 1 row (4)" in said
    assert "case_id: seen in an earlier row in 1 row (5)" in said
    assert "with LLNM" not in said
    next(b for b in app.button if b.label == "Go on with the 3 good rows").click().run()
    assert not app.exception
    said = words(app)
    assert "3 of 3 cases" in said
    assert "3 rows at fault were left out" in said
    assert "DROP TABLE x" in "\n".join(t.value for t in app.text)  # as text, never as Markdown
    app.run()
    assert "3 of 3 cases" in words(app)


def test_a_table_without_one_good_row_cannot_be_gone_on_with() -> None:
    app = uploaded("probability,llnm\n1.7,1\n-3,0\n")
    assert not app.exception
    assert "could not be used" in words(app)
    assert not [b for b in app.button if b.label.startswith("Go on")]


def test_probability_and_label_are_enough_and_what_lacks_is_said() -> None:
    app = uploaded("prediction,label\n" + "".join(f"0.{i % 9 + 1},{i % 2}\n" for i in range(60)), quality="1")
    assert not app.exception
    said = words(app)
    assert "60 of 60 cases" in said
    assert "Calibration error (ECE)" in {m.label for m in app.metric}
    assert "Risk against capsule distance: this table has no capsule_distance_mm, so it cannot be shown." in said
    assert "Risk by lobe position: this table has no side and no third, so it cannot be shown." in said


def test_statistics_that_lie_are_told_where_the_figure_would_stand(tmp_path: Path) -> None:
    table = pd.read_parquet(SHIPPED)
    table.loc[41, "x_normalised"] = 5.0
    content = forged(table, 5.0, tmp_path / "t.parquet").read_bytes()
    app = opened("cohort", cohort="own", atlas="1")
    app = app.file_uploader(key="cohort-file").upload("mine.parquet", content, "application/octet-stream").run()
    assert not app.exception
    said = words(app)
    assert "2,000 of 2,000 cases" in said
    assert "x_normalised: outside 0 to 1 in 1 row (42)" in said
    assert "Mend them and write the file anew." in said
    assert "Against the doctors" in said  # what follows is shown


def test_an_outcome_under_another_name_is_chosen_among_the_columns_of_0_and_1() -> None:
    rows = "".join(f"0.{i % 9 + 1},{i % 2},{i % 3},{int(i % 5 == 0)}\n" for i in range(60))
    app = uploaded("prediction,N1b,grade,bled\n" + rows, near="1")
    assert not app.exception
    assert "mine.csv: none of the columns llnm, label, outcome" in words(app)
    choice = next(s for s in app.selectbox if s.label.startswith("Which column tells the outcome"))
    assert (choice.options, choice.value) == (["N1b", "bled"], None)
    choice.select("N1b").run()
    assert not app.exception
    assert "60 of 60 cases" in words(app)
    assert "30 with N1b" in words(app)
    assert app.query_params["outcome"] in ("N1b", ["N1b"])
    next(s for s in app.selectbox if s.label.startswith("Which column")).select("bled").run()
    assert "12 with bled" in words(app)


def test_only_one_outcome_and_three_cases_are_told() -> None:
    app = uploaded("probability,llnm,capsule_distance_mm\n0.2,1,1\n0.3,1,2\n0.4,1,3\n", quality="1", statistics="1")
    assert not app.exception
    assert "Too few cases" in words(app)


def test_a_range_between_steps_is_counted_from_the_rows_and_says_so() -> None:
    table = pd.read_parquet(SHIPPED)
    for age, finer in (("20-50", False), ("21-50", True)):
        low, high = map(int, age.split("-"))
        app = opened("cohort", age=age)
        assert f"{int(table['age_years'].between(low, high).sum()):,} of 2,000 cases" in words(app)
        assert ("counted row by row" in words(app)) == finer


def test_a_sub_cohort_comes_back_from_its_address() -> None:
    table = pd.read_parquet(SHIPPED)
    region = Region.drawn([0, 3], [0.5, 1])
    assert region is not None
    part = table[region.contains(table["capsule_distance_mm"].to_numpy(), table["probability"].to_numpy())]
    part = part[part["sex"] == "female"]
    app = opened("cohort", region="0_0.5_3_0.5_3_1_0_1", sex="female", quality="1")
    assert not app.exception
    assert f"{len(part):,} of 2,000 cases" in words(app)
    assert app.query_params["region"] in ("0_0.5_3_0.5_3_1_0_1", ["0_0.5_3_0.5_3_1_0_1"])


@pytest.mark.parametrize("raw", ["x", "1_2", "1_1_1_1_1_1", "nan_nan_1_1_0_inf", "1_2_3", "9" * 5000, "<script>"])
def test_a_region_that_is_none_is_passed_over(raw: str) -> None:
    app = opened("cohort", region=raw)
    assert not app.exception
    assert "2,000 of 2,000 cases" in words(app)


def test_sample_scores_are_those_of_the_shipped_model() -> None:
    from model import Predictor, read_cohort

    table = pd.read_parquet(ROOT / "data_samples" / "scored.parquet").set_index("case_id")
    samples = read_cohort(ROOT / "data_samples")
    assert set(table.index) == set(samples.case_ids)
    ids = samples.case_ids[::15]
    found = Predictor.load().predict_many(samples.case(c) for c in ids)
    assert [p.probability for p in found] == pytest.approx(table.loc[list(ids), "probability"].tolist(), abs=1e-4)


def test_sample_cases_are_a_cohort() -> None:
    app = opened("cohort", cohort="samples")
    assert not app.exception
    assert "40 of 40 cases" in words(app)


@pytest.mark.skipif(not SOURCE.exists(), reason="the authors' source data are not beside this checkout")
def test_page_prints_the_published_validation_figures() -> None:
    app = uploaded((SOURCE / "validation_predictions.csv").read_text(), quality="1")
    assert not app.exception
    assert next(m.value for m in app.metric if m.label == "AUROC") == "0.948"
    rates = next(d.value for d in app.dataframe if "Figure" in d.value).set_index("Figure")["Value (95 % interval)"]
    printed = {name: rates[name].split()[0] for name in ("Accuracy", "Sensitivity", "Specificity")}
    assert printed == {"Accuracy": "0.890", "Sensitivity": "0.841", "Specificity": "0.946"}


def test_the_table_of_the_server_is_offered_and_its_faults_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLNM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(SERVED, str(tmp_path / "large.csv"))
    app = opened("cohort", cohort="served")
    assert "large.csv: not there any more" in words(app)
    (tmp_path / "large.csv").write_text(BAD)
    app = opened("cohort", cohort="served")
    assert "3 of 6 rows cannot be used" in words(app)
    next(b for b in app.button if b.label.startswith("Go on")).click().run()
    assert "3 of 3 cases" in words(app)
    assert list((tmp_path / "cache" / "cohorts").glob("*.parquet"))
