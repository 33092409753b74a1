"""The code beside a figure makes that figure: every snippet of the Cohort page is run, and its numbers are those shown."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import parts
from dashboard.parts import Method
from tests.dashboard.test_pages import ROOT, opened

NAMED = {
    "distance-curve", "split-curve", "lobe-map", "near-far", "risk-atlas", "roc", "precision-recall", "calibration", "decision",
    "impact", "forest", "gaps", "stages", "table-one", "odds-ratios", "ablation", "select-cases-0",
    "driver-shares", "driver-swarm", "driver-dependence", "driver-cluster-heat", "driver-errors",
}  # fmt: skip
EVERYTHING = {"quality": "1", "statistics": "1", "atlas": "1", "near": "1", "select": "1", "split": "sex", "drivers": "1"}


@dataclass
class Shown:
    """What the page drew: figures, tables and methods, by key."""

    figures: dict[str, go.Figure] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Records as the page goes, through the one function that every figure passes and the one that every table passes."""
    from dashboard.cohort import atlas, distance, drivers, position, quality, readers, selecting, statistics

    kept = Shown()
    drawn, tabled = parts.figure, statistics._table

    def record(figure: go.Figure, caption: str, *, key: str, data=None, method=None, **more):  # type: ignore[no-untyped-def]
        kept.figures[key], kept.tables[key], kept.methods[key] = figure, data, method
        return drawn(figure, caption, key=key, data=data, method=method, **more)

    def record_table(table, caption, key, method, data=None):  # type: ignore[no-untyped-def]
        kept.tables[key], kept.methods[key] = table if data is None else data, method
        tabled(table, caption, key, method, data)

    for section in (atlas, distance, drivers, position, quality, readers, selecting):
        monkeypatch.setattr(section, "figure", record)
    monkeypatch.setattr(statistics, "_table", record_table)
    return kept


def same(code: str, table: pd.DataFrame, figure: go.Figure | None) -> None:
    """Run a snippet; its table and its figure must be those shown."""
    made: dict[str, object] = {}
    exec(compile(code, "snippet", "exec"), made)
    found = made["table"]
    assert isinstance(found, pd.DataFrame)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), table.reset_index(drop=True), rtol=1e-9)
    if figure is not None:
        assert isinstance(made["figure"], go.Figure)
        assert made["figure"].to_json() == figure.to_json()


@pytest.mark.parametrize(
    "address",
    [
        {},
        {
            "sex": "female", "age": "21-60", "adjust": "age_years,sex", "curved": "1", "gaps": "1", "level": "60", "cutoff": "30",
            "thresholds": "5-60", "by": "age band", "split": "age band", "cut": "height", "case": "syn-1001-00000",
        },
        {"region": "0_0.5_3_0.5_3_1_0_1", "histology": "PTC", "adjust": "size_mm"},
    ],
    ids=["whole", "filtered and adjusted", "drawn"],
)  # fmt: skip
def test_every_snippet_makes_what_is_shown(shown: Shown, monkeypatch: pytest.MonkeyPatch, address: dict[str, str]) -> None:
    app = opened("cohort", **(EVERYTHING | address))
    assert not app.exception
    assert set(shown.tables) == NAMED
    assert None not in shown.methods.values()
    monkeypatch.chdir(ROOT)
    n = next(m.value for m in app.markdown if "of 2,000 cases" in m.value).split("**")[1].split(" of ")[0]
    for key, method in shown.methods.items():
        same(method.code, shown.tables[key], shown.figures.get(key))
        if key != "ablation":
            assert f"{n} were analysed" in method.text, key
            assert "data_samples/cohort.parquet" in method.text
        assert "research use only" in method.text
        assert "nan" not in method.text
    if "sex" in address:
        assert "sex female; age from 21 to 60 years" in shown.methods["roc"].text
        assert "At the cut-off 30 %" in shown.methods["roc"].text
        assert "Age (years), Sex" in shown.methods["distance-curve"].text


def test_a_snippet_runs_in_a_python_of_its_own(shown: Shown) -> None:
    opened("cohort", sex="male")
    code = shown.methods["lobe-map"].code + "\nprint(table.to_csv(index=False))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == shown.tables["lobe-map"].to_csv(index=False).strip()


def given(app: AppTest, key: str, **files: str) -> AppTest:
    names = [(f"{name}.csv", text.encode(), "text/csv") for name, text in files.items()]
    return app.file_uploader(key=key).upload(*(names[0] if len(names) == 1 else [names])).run()


def test_snippets_of_a_table_of_one_s_own(shown: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hostile centre in the filters, rows at fault left out, few columns."""
    rng = np.random.default_rng(0)
    n, centre = 400, "x'); import os; os.abort() #"
    risk = rng.random(n)
    table = pd.DataFrame({
        "centre": rng.choice(["A", centre], n), "prediction": risk, "label": (rng.random(n) < risk).astype(int),
        "capsule_distance_mm": 6 * (1 - risk), "split": rng.choice(["training", "test"], n),
    })  # fmt: skip
    table.loc[3, "prediction"] = 7
    (tmp_path / "mine.csv").write_text(table.to_csv(index=False))
    app = opened("cohort", cohort="own", quality="1", statistics="1", centre=centre)
    given(app, "cohort-file", mine=table.to_csv(index=False))
    next(b for b in app.button if b.label.startswith("Go on")).click().run()
    assert not app.exception
    assert {"distance-curve", "roc", "calibration", "decision", "impact", "odds-ratios", "table-one"} <= set(shown.tables)
    app.selectbox(key="table-one-by").select("split").run()
    assert not app.exception
    assert {"training", "group test", "test"} <= set(shown.tables["table-one"].columns)
    monkeypatch.chdir(tmp_path)
    for key, method in shown.methods.items():
        if key != "ablation":
            assert "good_rows_only=True" in method.code
            assert "1 rows at fault were left out" in method.text
            same(method.code, shown.tables[key], shown.figures.get(key))


def test_snippets_of_reader_tables(shown: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cases = "label,model,a,b\n" + "".join(f"{i % 2},{0.2 + 0.5 * (i % 2)},{(i // 2) % 2},{i % 2}\n" for i in range(20))
    (tmp_path / "cases.csv").write_text(cases)
    given(opened("cohort", readers="1"), "readers-file", cases=cases)
    monkeypatch.chdir(tmp_path)
    keys = [key for key in shown.methods if key.startswith("readers")]
    assert len(keys) == 2
    for key in keys:
        same(shown.methods[key].code, shown.tables[key], shown.figures[key])
    points = "reader,sensitivity,specificity\na,0.7,0.6\nb,0.8,0.5\n"
    (tmp_path / "points.csv").write_text(points)
    given(opened("cohort", readers="1"), "readers-file", points=points)
    same(shown.methods["readers-plane-readers"].code, shown.tables["readers-plane-readers"], shown.figures["readers-plane-readers"])
