"""The Compare page without a browser: two cases, one case under two checkpoints, and what cannot be compared."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.case.picker import DEFAULT
from dashboard.case.similar import difference_table
from dashboard.figures.case_compare import pair_dumbbells, pair_table
from model.explain.shapley import group_shapley
from model.schema import DEFAULT as SCHEMA
from model.train.checkpoint import load_checkpoint, save_checkpoint
from model.train.folders import MORE

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "dashboard" / "screens" / "compare.py"
OTHER = "syn-40-00028"


def opened(**address: str) -> AppTest:
    app = AppTest.from_file(str(PAGE), default_timeout=120)
    for name, value in address.items():
        app.query_params[name] = value
    return app.run()


def words(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.warning, app.error, app.text)
    return "\n".join(str(e.value) for kind in kinds for e in kind)


def risks(app: AppTest) -> list[float]:
    return [float(m.value.removeprefix("# ").removesuffix(" %")) for m in app.markdown if m.value.startswith("# ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped checkpoint with twice its temperature, and that one damaged."""
    where = tmp_path_factory.mktemp("checkpoints")
    shipped = load_checkpoint()
    save_checkpoint(replace(shipped, temperature=2 * shipped.temperature), where / "soft")
    shutil.copytree(where / "soft", where / "damaged")
    (where / "damaged" / "llnm_net.safetensors").write_bytes(b"nothing")
    return where


def test_two_cases_stand_side_by_side_with_their_own_numbers() -> None:
    from model import Predictor, read_cohort

    app = opened(a=DEFAULT, b=OTHER)
    assert not app.exception
    samples, shipped = read_cohort(ROOT / "data_samples"), Predictor.load()
    true = [100 * shipped.predict(samples.case(c)).probability for c in (DEFAULT, OTHER)]
    assert risks(app) == pytest.approx(true, abs=0.051)
    said = words(app)
    assert f"{true[1] - true[0]:+.1f} percentage points" in said
    assert "of the 200 validation cases" in said
    assert "Capsule distance" in said
    assert "Knowing nothing, A is at" in said
    assert {"A", "B", "field"} == set(app.table[0].value.columns)
    assert "outlines on the transverse view are unsure" in said  # the notice of B


def test_the_other_choice_changes_the_address_and_that_side_alone() -> None:
    app = opened(a=DEFAULT, b=OTHER)
    before = risks(app)
    app.selectbox(key="compare-B").set_value(DEFAULT).run()
    assert not app.exception
    assert app.query_params["b"] in (DEFAULT, [DEFAULT])
    assert risks(app) == [before[0], before[0]]
    assert "Both sides are the same" in words(app)
    assert "No field that the model reads differs notably" in words(app)


def test_one_case_under_two_checkpoints_is_read_by_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MORE, str(folder))
    app = opened(by="checkpoints", a=DEFAULT, first="llnm-compact", second="soft")
    assert not app.exception
    first, second = (np.log(r / (100 - r)) for r in risks(app))
    assert second == pytest.approx(first / 2, abs=0.01)  # the same network at twice the temperature
    assert len({line for line in words(app).split() if line.startswith("llnm-compact@")}) == 2


def test_a_damaged_checkpoint_is_told_with_its_reason_beside_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MORE, str(folder))
    app = opened(by="checkpoints", a=DEFAULT, second="damaged")
    assert not app.exception
    said = words(app)
    assert "llnm_net.safetensors does not match its card" in said
    assert len(risks(app)) == 1
    assert "percentage points" not in said


def test_a_folder_that_is_not_there_is_told_and_one_checkpoint_is_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MORE, "/nowhere/<b>")
    app = opened(by="checkpoints")
    assert not app.exception
    said = words(app)
    assert "/nowhere/<b>: no such folder" in said
    assert "Only one checkpoint was found" in said


@pytest.mark.parametrize("address", [{"a": "?", "b": "<b>"}, {"by": "dragons"}])
def test_nonsense_in_the_address_is_passed_over(address: dict[str, str]) -> None:
    app = opened(**address)
    assert not app.exception
    assert len(risks(app)) == 2


@pytest.mark.parametrize("scale", ["logit", "probability"])
def test_differences_sum_to_that_of_the_predictions(predictor, measured, scale: str) -> None:  # type: ignore[no-untyped-def]
    few = [replace(m, fields={k: v for k, v in m.fields.items() if k in ("sex", "age_years")}) for m in measured[:2]]
    few[1] = replace(few[1], fields={"sex": few[1].fields.get("sex", "male")})
    a, b = (group_shapley(predictor, m) for m in few)
    table = pair_table(a, b, scale=scale)
    ends = np.array([a.logit, b.logit])
    if scale == "probability":
        ends = 1 / (1 + np.exp(-ends))
    assert table["difference"].sum() == pytest.approx(ends[1] - ends[0], abs=1e-4)
    assert list(table["difference"].abs()) == sorted(table["difference"].abs(), reverse=True)
    figure = pair_dumbbells(table, scale=scale)
    b_marks = next(t for t in figure.data if t.name == "B")
    at = list(b_marks.y).index("Age")
    assert b_marks.marker.symbol[at] == "diamond-open"
    assert b_marks.x[at] == 0


def test_difference_table_tells_what_one_case_lacks(measured) -> None:  # type: ignore[no-untyped-def]
    here, there = (replace(measured[0], fields=f) for f in ({"age_years": 31.0}, {"age_years": 59.0, "sex": "male"}))
    table = difference_table(here, there, ("A", "B"), SCHEMA)
    assert table.to_numpy().tolist() == [["Age", "31 years", "59 years"], ["Sex", "not given", "male"]]
