"""“What drives it” on the Cohort page: what it says with explanations and without, and that it stays small."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.cohort import explaining
from model.cohort.explained import METADATA
from tests.dashboard.test_pages import ROOT, opened, words

SAMPLES = ROOT / "data_samples" / "scored.parquet"
SHIPPED = ROOT / "data_samples" / "cohort.parquet"


@pytest.fixture(autouse=True, scope="module")
def links() -> Iterator[None]:
    """A page that runs alone has no other page to link to: its links are told as text (the browser test follows one)."""
    patch = pytest.MonkeyPatch()
    patch.setattr("dashboard.cohort.drivers.case_link", lambda case_id: st.text(f"Open case {case_id}"))
    yield
    patch.undo()


def specs(app: AppTest) -> dict[str, str]:
    """JSON of every figure on the page, by key."""
    found = app.get("plotly_chart")
    return {f.proto.id.rsplit("-", 1)[-1] + str(i): f.proto.spec for i, f in enumerate(found)}


def uploaded(table: pd.DataFrame, metadata: dict | None = None, **address: str) -> AppTest:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    made = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(made.replace_schema_metadata({METADATA: json.dumps(metadata or {})}), buffer)
    app = opened("cohort", cohort="own", drivers="1", **address)
    return (
        app.file_uploader(key="cohort-file").upload("mine.parquet", buffer.getvalue(), "application/octet-stream").run()
    )


@pytest.fixture(scope="module")
def shipped() -> AppTest:
    return opened("cohort", drivers="1", cutoff="60")


def test_shipped_cohort_is_explained_out_of_the_box(shipped: AppTest) -> None:
    assert not shipped.exception
    said = words(shipped)
    assert "2,000 explained cases" in said
    assert "not what causes metastasis" in said
    assert "synthetic" in said
    assert "400 cases drawn at random of 2,000" in said
    assert "Mean silhouette" in said
    assert "After Holm's correction" in said
    assert "None can be opened: their pictures are not here" in said
    table = pd.read_parquet(SHIPPED)
    wrong = int(((table["probability"] >= 0.6) != table["llnm"]).sum())
    assert f"{wrong:,} of 2,000 cases are got wrong at a cut-off of 60 %" in said


def test_what_the_page_sends_is_small(shipped: AppTest) -> None:
    sent = sum(len(spec) for spec in specs(shipped).values())
    assert 50_000 < sent < 600_000


def test_filters_and_choices_in_the_address_are_followed() -> None:
    app = opened("cohort", drivers="1", sex="male", driver="Age", over="age_years", tint="sex", clusters="4")
    assert not app.exception
    table = pd.read_parquet(SHIPPED)
    assert f"{int((table['sex'] == 'male').sum()):,} explained cases" in words(app)
    assert app.selectbox(key="driver-group").value == "Age"
    assert app.selectbox(key="driver-over-Age").value == "age_years"
    assert "in 4 clusters" in words(app)
    app.selectbox(key="driver-group").select("Sex").run()
    assert app.query_params["driver"] in ("Sex", ["Sex"])


@pytest.mark.parametrize(
    "address", [{"driver": "<b>"}, {"over": "1; DROP"}, {"tint": "x"}, {"clusters": "99"}, {"cutoff": "-3"}]
)
def test_nonsense_in_the_address_is_passed_over(address: dict[str, str]) -> None:
    app = opened("cohort", cohort="samples", drivers="1", **address)
    assert not app.exception
    assert "40 explained cases" in words(app)


def test_worst_sample_cases_open() -> None:
    app = opened("cohort", cohort="samples", drivers="1")
    table = pd.read_parquet(SAMPLES)
    loss = -np.log(np.where(table["llnm"], table["probability"], 1 - table["probability"]))
    worst = table["case_id"].iloc[int(np.argmax(loss))]
    told = [t.value for t in app.text if t.value.startswith("Open case")]
    assert len(told) == 10
    assert told[0] == f"Open case {worst}"
    assert "too few cases (n = 40)" in words(app)


def test_without_explanations_the_command_is_told_and_mistakes_are_shown() -> None:
    table = pd.read_parquet(SHIPPED)
    app = uploaded(table[[c for c in table if not c.startswith("shap_")]])
    assert not app.exception
    assert "no explanations" in words(app)
    assert any("--explain shap" in c.value for c in app.code)
    assert not [b for b in app.button if b.label.startswith("Explain")]
    assert "worst cases by log loss" in words(app)


def test_a_small_cohort_with_pictures_is_explained_here_stopped_and_gone_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = pd.read_parquet(SAMPLES)
    seen: list[str] = []

    def slow(_: object, measured, **__: object) -> dict[str, float]:  # type: ignore[no-untyped-def]
        seen.append(measured.case.case_id)
        time.sleep(0.3)
        return table.set_index("case_id").loc[seen[-1]].filter(like="shap_").to_dict()

    monkeypatch.setattr("model.scale.shard.attributed", slow)
    monkeypatch.setattr(explaining, "MOST", 10)
    app = uploaded(table[[c for c in table if not c.startswith("shap_")]].head(4), centre="")
    assert "no explanations" in words(app)
    app.button(key="explain-now").click().run()
    app.button(key="explain-stop").click().run()
    run = next(iter(app.session_state["explaining"].values()))
    run.thread.join(20)
    assert 0 < len(run.rows) < 4
    app.run()
    app.button(key="explain-now").click().run()
    run.thread.join(20)
    app.run()
    assert not app.exception
    assert sorted(seen) == sorted(set(seen))  # no case was explained twice
    assert "4 explained cases" in words(app)


def test_labels_of_a_strange_file_are_text() -> None:
    table = pd.read_parquet(SAMPLES)
    label = "<img src=x onerror=alert(1)> $x$"
    told = {"model": "<b>m</b>", "explanation": {"groups": {"margin": {"label": label, "fields": ["margin"]}}}}
    app = uploaded(table, told)
    assert not app.exception
    assert "<b>m</b>" not in words(app)
    assert "40 explained cases" in words(app)
    assert all("<img" not in spec for spec in specs(app).values())
