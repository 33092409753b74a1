"""Scoring at scale: the same figures as one by one, resumable after kill -9, bad cases told and the rest goes on."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from model.cohort.explained import BASE, SHAP, read_description
from model.errors import CaseError, ProblemError
from model.evaluate import evaluate_cohort, score_cohort
from model.ingest.cases import read_cohort
from model.nets.quick.net import has_bfloat16
from model.predict import Predictor
from model.scale import shard as shards
from model.scale.score import Engine, score
from model.schema import GROUPS
from model.train.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(untrained, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("scale") / "model"
    save_checkpoint(untrained, folder)
    return folder


@pytest.fixture(scope="module")
def folder(cohort_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first twelve cases of the cohort."""
    copy = tmp_path_factory.mktemp("twelve") / "c"
    shutil.copytree(cohort_folder, copy)
    lines = (copy / "cases.csv").read_text("utf-8").splitlines(keepends=True)
    (copy / "cases.csv").write_text("".join(lines[:13]), "utf-8")
    return copy


@pytest.fixture(scope="module")
def table(folder: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """They with explanations, by one worker, in shards of 5."""
    out = tmp_path_factory.mktemp("scored") / "x" / "scored.parquet"
    done = score(folder, out, checkpoint=checkpoint, explain=True, workers=1, shard=5)
    assert (done.cases, done.refused, done.kept, done.shards) == (12, 0, 0, 3)
    return out


@pytest.fixture(scope="module")
def scored(table: Path) -> pd.DataFrame:
    return pd.read_parquet(table)


def same(a: pd.DataFrame, b: pd.DataFrame, atol: float = 1e-6) -> None:
    pd.testing.assert_frame_equal(a, b, check_dtype=False, check_like=True, atol=atol, rtol=0)


def test_figures_are_those_of_scoring_in_memory(folder: Path, predictor, scored: pd.DataFrame) -> None:  # type: ignore[no-untyped-def]
    expected = score_cohort(predictor, read_cohort(folder))
    kept = [c for c in expected if c in scored]
    assert set(expected) - set(kept) <= {c for c in expected if expected[c].isna().all()}
    same(scored[kept].astype(object).where(scored[kept].notna(), None),
         expected[kept].astype(object).where(expected[kept].notna(), None), 1e-5)  # fmt: skip


def test_explanations_sum_to_the_logit_and_say_what_they_are(
    table: Path, checkpoint: Path, scored: pd.DataFrame
) -> None:
    columns = [SHAP + g.name for g in GROUPS]
    np.testing.assert_allclose(scored[columns].sum(axis=1) + scored[BASE], scored["logit"], atol=1e-4)
    told = read_description(table)
    assert told["model"] == Predictor.load(checkpoint).checkpoint.identity
    assert told["outcome"] == "LLNM"
    assert told["explanation"]["unit"] == "calibrated logit"
    assert list(told["explanation"]["groups"]) == [g.name for g in GROUPS]
    assert not list(table.parent.glob(".*"))  # no part is left


def test_a_finished_run_is_not_computed_again(
    folder: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.parquet"
    score(folder, out, checkpoint=checkpoint, workers=1)
    before = out.stat().st_mtime_ns
    monkeypatch.setattr(shards, "Scorer", None)
    assert score(folder, out, checkpoint=checkpoint, workers=1).cases == 12
    assert out.stat().st_mtime_ns == before


def test_goes_on_after_kill_9_with_what_is_missing(
    folder: Path, checkpoint: Path, scored: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "scored.parquet"
    command = [
        sys.executable, "-c", "from model.cli import app; app()", "score", str(folder), "--out", str(out),
        "--checkpoint", str(checkpoint), "--explain", "shap", "--workers", "2", "--shard", "1",
    ]  # fmt: skip
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[3])
    parts = out.with_name(".scored.parquet.parts")
    until = time.monotonic() + 60
    while len(list(parts.glob("*/done/[0-9]*.parquet"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(running.pid)], capture_output=True, text=True
    ).stdout.split()
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not out.exists()
    # The workers of a killed run end by themselves.
    for pid in map(int, children):
        while alive(pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(pid)
    there = len(list(parts.glob("*/done/[0-9]*.parquet")))
    assert 2 <= there < 12
    finished = score(folder, out, checkpoint=checkpoint, explain=True, workers=1, shard=1)
    assert (finished.kept, finished.cases) == (there, 12)
    same(pd.read_parquet(out), scored, 1e-5)


def alive(pid: int) -> bool:
    try:
        return "Z" not in (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def spoilt(folder: Path, to: Path) -> Path:
    """The cohort with a damaged picture, a missing one, a bad cell, a doubled case, and a row too long."""
    shutil.copytree(folder, to)
    with (to / "cases.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    (to / rows[1][header.index("image_transverse")]).write_bytes(b"no picture")
    rows[3][header.index("image_longitudinal")] = "images/none.png"
    rows[5][header.index("age_years")] = "-3"
    rows[7][header.index("case_id")] = rows[0][header.index("case_id")]
    rows[9].append("more")
    with (to / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return to


def test_bad_cases_go_to_a_side_table_and_the_rest_goes_on(
    folder: Path, checkpoint: Path, scored: pd.DataFrame, tmp_path: Path
) -> None:
    bad = spoilt(folder, tmp_path / "bad")
    out = tmp_path / "out"
    done = score(bad, out, checkpoint=checkpoint, workers=1, shard=5)
    assert (done.cases, done.refused) == (7, 5)
    rest = pd.read_parquet(out / "scored.parquet")
    ids = [c for i, c in enumerate(scored["case_id"]) if i not in (1, 3, 5, 7, 9)]
    assert list(rest["case_id"]) == ids
    same(rest, scored[scored["case_id"].isin(ids)][list(rest)].reset_index(drop=True), 1e-5)
    assert done.side_table == out / "scored_refused.csv"
    told = pd.read_csv(done.side_table).set_index("case_id")["reason"].to_dict()
    names = list(scored["case_id"])
    assert "image" in told[names[1]]
    assert "images/none.png" in told[names[3]]
    assert "age_years" in told[names[5]]
    assert "row 7" in told[names[5]]
    assert "an earlier row has this case" in told[names[0]]
    assert "cells" in told[names[9]]


def test_a_case_that_breaks_a_batch_is_refused_alone(cohort, predictor, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    ids = cohort.case_ids[:5]
    whole = Predictor.predict_measured

    def fragile(self: Predictor, measured):  # type: ignore[no-untyped-def]
        if any(m.case.case_id == ids[2] for m in measured):
            raise ZeroDivisionError("a fault of ours")
        return whole(self, measured)

    monkeypatch.setattr(Predictor, "predict_measured", fragile)
    found = shards.score_cases(predictor, [(cohort.case(c), {}) for c in ids], batch=4)
    assert [r["case_id"] for r in found.rows] == [c for c in ids if c != ids[2]]
    assert found.refused == [(ids[2], "unexpected: ZeroDivisionError: a fault of ours")]


def test_nothing_that_can_be_scored_is_told(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    shutil.rmtree(bad / "images")
    with pytest.raises(CaseError, match="none of 12 cases could be scored"):
        score(bad, tmp_path / "out" / "t.parquet", checkpoint=checkpoint, workers=1)
    assert not list((tmp_path / "out").iterdir())  # nothing that a run after mending would go on with


def test_a_doubled_case_is_kept_once_whatever_the_shards(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    bad = spoilt(folder, tmp_path / "bad")
    tables = []
    for shard in (3, 12):  # the two rows apart, and together
        out = tmp_path / f"{shard}.parquet"
        score(bad, out, checkpoint=checkpoint, workers=1, shard=shard)
        told = pd.read_csv(out.with_name(f"{shard}_refused.csv"))
        tables.append((list(pd.read_parquet(out)["case_id"]), dict(told.to_numpy().tolist())))
    assert tables[0] == tables[1]


def test_a_report_of_a_megabyte_is_a_fault_of_its_row(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "c"
    shutil.copytree(folder, copy)
    with (copy / "cases.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    rows[2][header.index("report_text")] = "Hypoechoic. " * 90_000
    with (copy / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    done = score(copy, tmp_path / "t.parquet", checkpoint=checkpoint, workers=1)
    assert (done.cases, done.refused) == (11, 1)
    assert "1,079,999 characters" in (tmp_path / "t_refused.csv").read_text("utf-8")


def test_a_file_that_no_scoring_wrote_is_not_replaced(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "c"
    shutil.copytree(folder, copy)
    before = (copy / "cases.csv").read_bytes()
    with pytest.raises(CaseError, match="the cohort's own table"):
        score(copy, copy / "cases.csv", checkpoint=checkpoint)
    assert (copy / "cases.csv").read_bytes() == before
    for name in ("notes.csv", "notes.parquet"):
        (tmp_path / name).write_text("what I found\n")
        with pytest.raises(CaseError, match="no scored table"):
            score(copy, tmp_path / name, checkpoint=checkpoint)
        assert (tmp_path / name).read_text() == "what I found\n"
    (tmp_path / "f.parquet").mkdir()
    with pytest.raises(CaseError, match="a folder"):
        score(copy, tmp_path / "f.parquet", checkpoint=checkpoint)


def test_two_runs_do_not_write_one_table(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"

    def meanwhile(done: int, _total: int) -> None:
        if not done:
            with pytest.raises(CaseError, match="another run is writing it"):
                score(folder, out, checkpoint=checkpoint, workers=1, shard=7)

    assert score(folder, out, checkpoint=checkpoint, workers=1, progress=meanwhile).cases == 12
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_worker_that_cannot_write_says_why(folder: Path, checkpoint: Path, tmp_path: Path, engine: Engine) -> None:
    """Its words come through two processes, and nothing but the parts of the run is left."""
    if engine == "ray":
        pytest.importorskip("ray", reason="the extra “ray” is not installed")

    def in_the_way(done: int, _total: int) -> None:
        if not done:
            next(tmp_path.glob(".t.parquet.parts/*")).joinpath("done").write_text("no folder")

    with pytest.raises(ProblemError, match="done: cannot be written"):
        score(folder, tmp_path / "t.parquet", checkpoint=checkpoint, engine=engine, workers=2, shard=5, progress=in_the_way)
    assert [p.name for p in tmp_path.iterdir()] == [".t.parquet.parts"]


def test_a_device_that_is_not_there_is_told(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"abacus.*Give cpu or cuda"):
        score(folder, tmp_path / "t.parquet", checkpoint=checkpoint, device="abacus", workers=2)
    with pytest.raises(CaseError, match=r"abacus.*Give cpu or cuda"):
        Predictor.load(checkpoint, "abacus")


def test_outcomes_of_another_endpoint_are_not_taken_for_the_model_s(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / "c", tmp_path / "t.parquet"
    shutil.copytree(folder, copy)
    endpoint = {"name": "malignant", "label": "Malignancy", "short": "malignancy", "help": "Cancer in the specimen."}
    (copy / "cohort.json").write_text(json.dumps({"name": "Other", "endpoint": endpoint}), "utf-8")
    table = pd.read_csv(copy / "cases.csv", dtype=str, keep_default_na=False)
    table = table.drop(columns=["llnm", "stage", "positive_nodes", "largest_node_mm", "central_metastasis"])
    table.assign(malignant="yes").to_csv(copy / "cases.csv", index=False)
    with pytest.raises(CaseError, match="its outcome is 'malignant', the model predicts 'llnm'"):
        score(copy, out, checkpoint=checkpoint, workers=1)
    with pytest.raises(CaseError, match="its outcome is 'malignant', the model predicts 'llnm'"):
        evaluate_cohort(Predictor.load(checkpoint), read_cohort(copy))
    table.to_csv(copy / "cases.csv", index=False)  # without outcomes there is none to be taken for another
    assert score(copy, out, checkpoint=checkpoint, workers=1).cases == 12
    assert read_description(out)["outcome"] == "LLNM"


def test_a_stopped_end_is_made_good(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    """The table is there, but the side table or the tidying up is not."""
    bad = spoilt(folder, tmp_path / "bad")
    out = tmp_path / "t.parquet"
    first = score(bad, out, checkpoint=checkpoint, workers=1)
    assert first.side_table is not None
    told = first.side_table.read_text("utf-8")
    first.side_table.unlink()
    (tmp_path / ".t.parquet.parts" / "x").mkdir(parents=True)
    assert score(bad, out, checkpoint=checkpoint, workers=1).refused == 5
    assert first.side_table.read_text("utf-8") == told
    (tmp_path / ".t.parquet.parts" / "x").mkdir(parents=True)
    assert score(bad, out, checkpoint=checkpoint, workers=1).kept == 1
    assert not list(tmp_path.glob(".*"))


def test_other_settings_or_another_table_begin_anew(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "c"
    shutil.copytree(folder, copy)
    out = tmp_path / "t.parquet"
    score(copy, out, checkpoint=checkpoint, workers=1)
    lines = (copy / "cases.csv").read_text().splitlines()
    (copy / "cases.csv").write_text("\n".join(lines[:-4]) + "\n")
    assert score(copy, out, checkpoint=checkpoint, workers=1).cases == 8
    picture = read_cohort(copy).table["image_transverse"][0]
    os.utime(copy / picture, ns=(1, 1))  # a picture that was put in another's place
    before = out.stat().st_mtime_ns
    score(copy, out, checkpoint=checkpoint, workers=1)
    assert out.stat().st_mtime_ns != before
    card = json.loads((copy / "cohort.json").read_text("utf-8"))
    (copy / "cohort.json").write_text(json.dumps({**card, "name": "Renamed"}), "utf-8")
    score(copy, out, checkpoint=checkpoint, workers=1)
    assert read_description(out)["cohort"] == "Renamed"


def test_parquet_in_and_csv_out(folder: Path, checkpoint: Path, scored: pd.DataFrame, tmp_path: Path) -> None:
    copy = tmp_path / "c"
    shutil.copytree(folder, copy)
    pd.read_csv(copy / "cases.csv", keep_default_na=False, na_values=[""]).to_parquet(copy / "cases.parquet")
    (copy / "cases.csv").unlink()
    score(copy / "cases.parquet", tmp_path / "t.csv", checkpoint=checkpoint, workers=1)
    text = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, na_values=[""])
    np.testing.assert_allclose(text["logit"], scored["logit"], atol=1e-5)
    assert list(text["calcification"].fillna("")) == list(scored["calcification"].fillna(""))
    with pytest.raises(CaseError, match="ending"):
        score(folder, tmp_path / "t.xlsx", checkpoint=checkpoint)


def test_ray_gives_what_local_gives(folder: Path, checkpoint: Path, scored: pd.DataFrame, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra “ray” is not installed")
    out = tmp_path / "ray.parquet"
    done = score(folder, out, checkpoint=checkpoint, explain=True, engine="ray", workers=2, shard=5)
    assert (done.cases, done.shards) == (12, 3)
    same(pd.read_parquet(out), scored, 1e-6)
    assert pq.read_schema(out).names == list(scored)


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
def test_bfloat16_is_told_in_the_table_and_is_another_run(
    folder: Path, checkpoint: Path, scored: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "t.parquet"
    assert read_description(out) == {}
    done = score(folder, out, checkpoint=checkpoint, workers=1, precision="bf16")
    assert (done.cases, read_description(out)["precision"]) == (12, "bf16")
    made = pd.read_parquet(out)["logit"]
    assert 0 < (made - scored["logit"]).abs().max() < 0.1
    assert score(folder, out, checkpoint=checkpoint, workers=1).kept == 0
    assert read_description(out)["precision"] == "fp32"
