"""The Cohort page speaks of the outcome that its table is of, and takes that name for text only."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.figures.risk_curve import subgroup_curves
from dashboard.figures.selecting import cases_to_select
from dashboard.parts import literal
from model.cohort.curves import RiskCurve
from model.cohort.explained import METADATA, OUTCOME_LENGTH, outcome_of
from model.cohort.store import CohortStore
from tests.dashboard.test_cohort_methods import Shown, same
from tests.dashboard.test_cohort_methods import shown as shown  # the fixture
from tests.dashboard.test_pages import ROOT, opened, words

HOSTILE = "<b>x</b> [a](http://b) $y$"
OPEN = {"quality": "1", "statistics": "1", "drivers": "1", "select": "1", "near": "1", "atlas": "1", "split": "sex"}


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    """Some shipped cases; the label column is named as a scored table of another endpoint names it."""
    table = pd.read_parquet(ROOT / "data_samples" / "cohort.parquet").head(300)
    return table.rename(columns={"llnm": "outcome"})


def scored(table: pd.DataFrame, outcome: object) -> bytes:
    """A Parquet as `llnm score` writes it."""
    buffer = io.BytesIO()
    made = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(made.replace_schema_metadata({METADATA: json.dumps({"outcome": outcome})}), buffer)
    return buffer.getvalue()


def given(name: str, content: bytes, **address: str) -> AppTest:
    app = opened("cohort", cohort="own", **address)
    return app.file_uploader(key="cohort-file").upload(name, content, "application/octet-stream").run()


def everything(app: AppTest, shown: Shown) -> str:
    """All that a reader sees: words, tables, figures, methods."""
    frames = [d.value.to_csv() for d in app.dataframe]
    drawn = [f.to_json() for f in shown.figures.values()]
    labels = [w.label for kind in (app.toggle, app.selectbox, app.slider, app.multiselect, app.expander) for w in kind]
    told = [m.text for m in shown.methods.values() if m is not None]
    return "\n".join([words(app), *frames, *drawn, *labels, *told]).replace("LLNM Explorer", "")


def test_another_outcome_renames_the_page_and_its_snippets(
    shown: Shown, cases: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = scored(cases, "malignancy")
    app = given("mine.parquet", content, **OPEN)
    assert not app.exception
    said = everything(app, shown)
    assert "LLNM" not in said
    for text in (
        "with malignancy", "risk of malignancy", "observed rate of malignancy", "logit of malignancy", "No malignancy",
        "Odds ratios of malignancy", "malignancy / cases", "had malignancy", "malignancy observed (95 %)",
        "of them with malignancy",
    ):  # fmt: skip
        assert text in said, text
    assert "ublished" not in said
    assert {"distance-curve", "split-curve", "near-far", "calibration", "impact", "table-one", "driver-swarm"} <= set(
        shown.methods
    )
    assert "ablation" not in shown.methods
    (tmp_path / "mine.parquet").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for key, method in shown.methods.items():
        same(method.code, shown.tables[key], shown.figures.get(key))


def test_a_hostile_name_is_text_everywhere(shown: Shown, cases: pd.DataFrame) -> None:
    app = given("mine.parquet", scored(cases, HOSTILE), **OPEN)
    assert not app.exception
    assert HOSTILE not in words(app)
    assert f"with {literal(HOSTILE)}" in words(app)
    for key, figure in shown.figures.items():
        assert "<b>x</b>" not in json.dumps(json.loads(figure.to_json())), key
    assert (
        shown.figures["calibration"].layout.yaxis.title.text
        == "observed rate of &lt;b&gt;x&lt;/b&gt; [a](http://b) $y$"
    )


def test_a_column_of_its_own_name_is_the_outcome(cases: pd.DataFrame) -> None:
    few = cases[["probability", "outcome", "capsule_distance_mm"]]
    app = given("mine.csv", few.to_csv(index=False).encode())
    assert not app.exception
    assert "with outcome (" in words(app)
    assert "LLNM" not in words(app)
    app = given("mine.csv", few.rename(columns={"outcome": "label"}).to_csv(index=False).encode())
    assert "with LLNM (" in words(app)
    assert "Published, on real patients" in words(app)


@pytest.mark.parametrize(
    ("told", "column", "name"),
    [
        ("malignancy", "outcome", "malignancy"), ("malignancy", "llnm", "malignancy"), (None, "LLNM ", "LLNM"),
        (None, "label", "LLNM"),
        (None, "Outcome", "Outcome"), (7, "llnm", "LLNM"), (" \n\t ", "llnm", "LLNM"), ("a\nb\x00\u202ec", "llnm", "a b c"),
    ],
)  # fmt: skip
def test_name_of_an_outcome(told: object, column: str, name: str) -> None:
    assert outcome_of({} if told is None else {"outcome": told}, column) == name


def test_a_long_name_is_cut() -> None:
    assert len(outcome_of({"outcome": "x" * 10_000}, "llnm")) == OUTCOME_LENGTH


def test_the_store_keeps_the_name(cases: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(scored(cases, "malignancy"))
    assert CohortStore.open(tmp_path / "a.parquet", cache=tmp_path).outcome == "malignancy"
    assert CohortStore.open(tmp_path / "a.parquet", cache=tmp_path).outcome == "malignancy"  # from the kept table
    assert CohortStore.open(ROOT / "data_samples" / "cohort.parquet", cache=tmp_path).outcome == "LLNM"


def test_published_lines_stand_beside_llnm_only() -> None:
    curve = RiskCurve(np.array([1.0, 2.0]), np.array([0.8, 0.6]), np.array([0.7, 0.5]), np.array([0.9, 0.7]), 100, 70)
    for outcome, lines, notes in (("LLNM", 2, 1), ("malignancy", 0, 0)):
        layout = subgroup_curves({"all": curve}, outcome=outcome).layout
        assert (len(layout.shapes), len(layout.annotations)) == (lines, notes)
    sample = pd.DataFrame({"capsule_distance_mm": [1.0, 2.0], "probability": [0.2, 0.8], "llnm": np.array([0, 1])})
    assert [t.name for t in cases_to_select(sample, outcome="<i>").data] == [
        "No &lt;i&gt; (n = 1)",
        "&lt;i&gt; (n = 1)",
    ]
