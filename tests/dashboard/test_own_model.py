"""A model and a cohort of one's own in the pages: a table alone shows no panel of pictures, and everything its own name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from model.ingest.cases import read_cohort
from model.predict import Predictor
from model.train.folders import CASES, HISTORY, MAIN, MORE
from model.train.loop import train
from model.train.settings import Settings

SCREENS = Path(__file__).parents[2] / "dashboard" / "screens"
CARD = {
    "name": "Neck",
    "endpoint": {"name": "malignant", "label": "Malignancy", "short": "malignancy"},
    "fields": [
        {"name": "neck", "label": "Neck examination", "kind": "category", "values": ["none", "left", "right"]},
        {"name": "tsh", "label": "TSH", "kind": "number", "unit": "mIU/L", "low": 0, "high": 50},
        {"name": "age_years", "low": 10},
    ],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cohort of sixty rows and a checkpoint trained on it."""
    root = tmp_path_factory.mktemp("own")
    cohort, model = root / "cohort", root / "runs" / "neck"
    cohort.mkdir()
    rows = [
        f"t-{i:02d},{12 + i % 40},{'none' if i % 3 else 'left'},{1 + i % 7},{'yes' if (i % 3 == 0) != (i % 7 == 0) else 'no'}"
        for i in range(60)
    ]
    (cohort / "cases.csv").write_text("case_id,age_years,neck,tsh,malignant\n" + "\n".join(rows) + "\n", "utf-8")
    (cohort / "cohort.json").write_text(json.dumps(CARD), "utf-8")
    train(read_cohort(cohort), model, settings=Settings(epochs=1, folds=2, batch=16), device="cpu", name="neck", log=lambda _: None)
    return cohort, model


@pytest.fixture(autouse=True)
def served(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CASES, str(folders[0]))
    monkeypatch.setenv(MAIN, str(folders[1]))


def opened(screen: str, **address: str) -> AppTest:
    # The Case page is the app's first, and its links need the app's navigation.
    script = SCREENS.parent / "app.py" if screen == "case" else SCREENS / f"{screen}.py"
    app = AppTest.from_file(str(script), default_timeout=60)
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def words(app: AppTest) -> str:
    kinds = ("title", "header", "subheader", "markdown", "text", "caption", "info", "warning", "error")
    return "\n".join(str(e.value) for kind in kinds for e in getattr(app, kind))


def test_the_case_page_has_its_name_and_no_picture():
    app = opened("case", case="t-03", scores="1", sure="1", whatif="1", smallest="1", similar="1", trust="1", inside="1")
    said = words(app)
    assert "Malignancy: one case" in said
    assert "Calibrated probability of malignancy" in said
    assert "had malignancy (Wilson)" in said
    assert "neck examination (left" in said  # the summary names it
    assert [c.key for c in app.get("plotly_chart") if c.key in ("shapley", "stages", "picture-transverse")] == ["shapley"]
    for absent in ("LLNM", "Pictures", "attention", "pixel", "Capsule", "TI-RADS", "Risk stage", "report"):
        assert absent not in said.replace("reported", ""), absent
    assert "Held: age" in said
    app.toggle(key="outcome-t-03").set_value(True).run()
    assert "Outcome: malignancy. The model was not given it." in words(app)


def test_its_form_asks_for_what_it_reads():
    app = opened("case", source="own")
    assert [i.label for i in (*app.text_input, *app.selectbox)] == ["Age (years)", "TSH (mIU/L)", "Neck examination"]
    app.text_input(key="own-tsh").set_value("900")
    app.button[0].click().run()
    assert "a number from 0 to 50 mIU/L" in words(app)
    app.text_input(key="own-tsh").set_value("4,5".replace(",", "."))
    app.selectbox(key="own-neck").set_value("left")
    app.button[0].click().run()
    assert not app.exception
    assert "Calibrated probability of malignancy" in words(app)


def test_two_of_its_cases_are_compared():
    said = words(opened("compare", a="t-03", b="t-04"))
    assert "percentage points" in said
    assert "Pictures" not in said


def test_its_cases_are_scored_on_the_cohort_page(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = words(opened("cohort", quality="1", statistics="1"))
    assert "**60 of 60 cases**" in said
    assert "with malignancy (" in said
    assert "cases of cohort" in said
    assert "LLNM" not in said
    assert "could not be used" not in said
    assert "Risk against capsule distance: this table has no capsule_distance_mm" in said
    heads = [h.value for h in opened("cohort").subheader]
    assert "How good are the predictions?" in heads
    assert not {"Risk against capsule distance", "Risk by lobe position", "3-D risk atlas"} & set(heads)
    # Cases whose outcome nobody knows yet are told and left out.
    header, *rows = (folders[0] / "cases.csv").read_text("utf-8").splitlines()
    rows[:2] = [row.rpartition(",")[0] + "," for row in rows[:2]]
    (tmp_path / "cases.csv").write_text("\n".join([header, *rows]) + "\n", "utf-8")
    (tmp_path / "cohort.json").write_text(json.dumps(CARD), "utf-8")
    monkeypatch.setenv(CASES, str(tmp_path))
    said = words(opened("cohort"))
    assert "**58 of 58 cases**" in said
    assert "without 2 whose outcome is not known" in said


def test_cases_of_another_outcome_are_not_offered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(CASES)  # the samples, whose outcome is LLNM
    app = opened("cohort")
    assert "Cases scored by the model in use" not in app.get("button_group")[0].options
    assert "2,000 of 2,000 cases" in words(app)


def test_models_of_two_endpoints_are_told_apart(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(MORE, str(folders[1].parent))
    app = opened("compare", by="checkpoints", a="t-03", first="neck", second="llnm-compact")
    assert "predict different outcomes" in words(app)


def test_its_card_is_on_the_model_page():
    said = words(opened("about"))
    assert "Risk of malignancy before thyroid surgery" in said
    assert "a cohort of the user's own" in said
    assert "synthetic" not in said


def test_its_report_tells_of_no_pictures(folders: tuple[Path, Path]):
    from dashboard.report.content import case_content
    from dashboard.report.html import as_html
    from dashboard.report.pdf import as_pdf
    from model.explain.shapley import group_shapley

    predictor = Predictor.load(folders[1], "cpu")
    measured = predictor.measure([read_cohort(folders[0]).case("t-03")])[0]
    content = case_content(
        measured, predictor.predict_measured([measured])[0], group_shapley(predictor, measured), predictor.checkpoint.card,
        version="0", date="2025-01-01", schema=predictor.schema,
    )  # fmt: skip
    assert content.title == "Malignancy"
    assert (content.facts, content.pictures) == ((), ())
    assert "synthetic" not in content.mark
    assert "Neck examination" in as_html(content)
    assert as_pdf(content).startswith(b"%PDF")


def test_a_running_training_is_watched(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work = tmp_path / "now" / "work"
    work.mkdir(parents=True)
    (work / "run.json").write_text("{}", "utf-8")
    monkeypatch.setenv(MORE, str(tmp_path))
    assert "nothing trained yet" in words(opened("training"))
    history = [{"loss": 0.7, "validation_loss": 0.6, "auroc": 0.7}, {"loss": 0.6, "validation_loss": 0.5, "auroc": 0.81}]
    (work / HISTORY).write_text(json.dumps({"name": "epoch", "epochs": 9, "history": history}), "utf-8")
    app = opened("training", run="now")
    assert [m.value for m in app.metric] == ["2", "0.6000", "0.8100"]
    assert "In training: epoch 2 of at most 9" in words(app)
    (work / HISTORY).write_text("{", "utf-8")  # torn by hand: writes are whole
    assert "nothing trained yet" in words(opened("training", run="now"))
    assert "Finished" in words(opened("training", run=folders[1].name))


def test_a_faulty_cohort_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(CASES, str(tmp_path))
    assert "cases.csv" in words(opened("case"))


def test_a_finished_cross_fitting_counts_its_epochs_without_the_start(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(MORE, str(folders[1].parent))
    assert opened("training", run="neck").metric[0].value == "1"
