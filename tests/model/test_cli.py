"""`llnm` as it is typed: what it prints, and how it takes nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from model.cli import app
from model.importing import COHORTS

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data_samples"
SOURCE = ROOT.parent / "shared" / "reference" / "source_data"


def llnm(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


def test_simulate_prints_the_optimum_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = llnm("simulate", "--cases", 6, "--seed", 5, "--out", tmp_path / "c")
    assert first.exit_code == 0, first.output
    assert "Bayes-optimal AUROC" in first.output
    picture = next((tmp_path / "c" / "images").rglob("*.png"))
    before = picture.read_bytes()
    picture.unlink()
    (tmp_path / "c" / "cases.csv").unlink()  # written last: without it a cohort is unfinished
    assert llnm("simulate", "--cases", 6, "--seed", 5, "--out", tmp_path / "c").exit_code == 0
    assert picture.read_bytes() == before


def test_the_dashboard_is_open_to_this_machine_alone_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.web import cli

    started: list[list[str]] = []
    monkeypatch.setenv(COHORTS, "")  # put back afterwards: the command sets it
    monkeypatch.setattr(cli, "main", started.append)
    assert llnm("serve").exit_code == llnm("serve", "--address", "0.0.0.0").exit_code == 0
    assert "--server.address=localhost" in started[0]
    assert "--server.address=0.0.0.0" in started[1]


def test_evaluate_prints_one_object_with_the_promised_keys(cohort_folder: Path) -> None:
    result = llnm("evaluate", "--cohort", cohort_folder, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    wanted = {"n", "auroc", "auroc_ci", "accuracy", "sensitivity", "specificity", "ece", "brier", "bayes_auroc",
              "nodule_miou", "gland_miou"}  # fmt: skip
    assert wanted <= set(figures)
    assert figures["n"] == 24
    assert figures["auroc_ci"][0] <= figures["auroc"] <= figures["auroc_ci"][1]


def test_evaluate_of_predictions_gives_the_keys_that_the_table_allows(tmp_path: Path) -> None:
    scored = pd.read_parquet(SAMPLES / "cohort.parquet")
    figures = json.loads(llnm("evaluate", "--predictions", SAMPLES / "cohort.parquet", "--json").stdout)
    assert {"n", "positives", "auroc", "auroc_ci", "ece", "brier", "stage_auroc", "stage_auroc_ci"} <= set(figures)
    assert figures["nodule_miou"] == pytest.approx(scored["nodule_iou"].mean(), abs=1e-6)
    bare = scored[["probability", "llnm"]].set_axis(["prediction", "label"], axis=1)
    bare.to_csv(tmp_path / "bare.csv", index=False)
    same = json.loads(llnm("evaluate", "--predictions", tmp_path / "bare.csv", "--json").stdout)
    assert same == {k: v for k, v in figures.items() if not k.startswith(("stage", "nodule", "gland"))}
    bare.assign(nodule_iou=0.5).replace({"nodule_iou": {0.5: 1.5}}).to_csv(tmp_path / "bad.csv", index=False)
    pd.read_csv(tmp_path / "bare.csv").set_axis(["risk", "N1b"], axis=1).to_csv(tmp_path / "named.csv", index=False)
    told = ("--prediction", "risk", "--label", "N1b")
    named = llnm("evaluate", "--predictions", tmp_path / "named.csv", *told, "--json")
    assert json.loads(named.stdout) == same
    absent = llnm("evaluate", "--predictions", tmp_path / "named.csv", "--prediction", "risk", "--label", "N1c")
    assert "no column 'N1c'" in absent.stderr
    assert "Name the table with --predictions" in llnm("evaluate", "--cohort", tmp_path, "--label", "N1b").stderr
    (tmp_path / "faulty.csv").write_text("prediction,label\n0.2,0\n1.7,1\n,1\n0.9,1\n0.4,2\n")
    faulty = llnm("evaluate", "--predictions", tmp_path / "faulty.csv")
    for fault in ("outside 0 to 1 in 1 row (2)", "missing in 1 row (3)", "neither 0 nor 1 in 1 row (5)", "the 2 good rows"):
        assert fault in faulty.stderr
    assert faulty.stdout == ""
    good = llnm("evaluate", "--predictions", tmp_path / "faulty.csv", "--good-rows-only", "--json")
    assert json.loads(good.stdout)["n"] == 2
    assert "3 rows at fault were left out" in good.stderr
    refused = llnm("evaluate", "--predictions", tmp_path / "bad.csv")
    assert refused.exit_code == 1
    assert "nodule_iou: not a number from 0 to 1 in 2,000 rows (1, 2, 3" in refused.output


@pytest.mark.skipif(not SOURCE.exists(), reason="the authors' source data are not beside this checkout")
def test_evaluate_prints_the_published_validation_figures() -> None:
    figures = json.loads(llnm("evaluate", "--predictions", SOURCE / "validation_predictions.csv", "--json").stdout)
    wanted = {"auroc": 0.948, "accuracy": 0.890, "sensitivity": 0.841, "specificity": 0.946}
    assert {name: round(figures[name], 3) for name in wanted} == wanted


def test_evaluate_without_json_is_a_table(cohort_folder: Path) -> None:
    result = llnm("evaluate", "--cohort", cohort_folder)
    assert result.exit_code == 0
    assert "AUROC" in result.stdout
    assert not result.stdout.lstrip().startswith("{")


def test_predict_a_cohort_gives_a_line_a_case_and_a_table(cohort_folder: Path, tmp_path: Path) -> None:
    result = llnm("predict", cohort_folder)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 24
    assert all(0 < line["probability"] < 1 and line["interval_95"][0] <= line["interval_95"][1] for line in lines)
    assert llnm("predict", cohort_folder, "--out", tmp_path / "scored.parquet").exit_code == 0
    table = pd.read_parquet(tmp_path / "scored.parquet")
    assert table["probability"].tolist() == pytest.approx([line["probability"] for line in lines], abs=1e-4)


def test_predict_one_json_case_by_its_pictures(cohort_folder: Path, tmp_path: Path) -> None:
    picture = next((cohort_folder / "images").rglob("*.png"))
    (tmp_path / "t.png").write_bytes(picture.read_bytes())
    case = {"case_id": "one", "images": {"transverse": "t.png"}, "fields": {"age_years": 31, "sex": "male"}}
    (tmp_path / "case.json").write_text(json.dumps(case))
    result = llnm("predict", tmp_path / "case.json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["fields"]["age_years"] == 31
    assert any("Pixel spacing unknown" in n for n in said["notices"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("evaluate",), "--cohort"),
        (("evaluate", "--cohort", "/nowhere"), "/nowhere"),
        (("predict", "/nowhere.json"), "nowhere.json"),
        (("simulate", "--cases", 5, "--out", "/tmp/x", "--external", "--training"), "--training"),
        (("predict", SAMPLES, "--checkpoint", "/nowhere"), "/nowhere"),
        (("serve", "--checkpoints", "/nowhere"), "/nowhere"),
        (("serve", "--scored", "/nowhere.csv"), "/nowhere.csv"),
    ],
)
def test_faults_end_in_one_message_without_a_traceback(words: tuple[object, ...], told: str) -> None:
    result = llnm(*words)
    assert result.exit_code == 1
    assert told in result.output
    assert "Traceback" not in result.output
