"""A cohort of a table alone: trains, comes back, explains, and is told what it lacks; nothing of pictures is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.encode import nothing_known
from model.errors import CaseError, CheckpointError, StorageError
from model.evaluate import evaluate_scored, score_cohort
from model.explain.counterfactual import smallest_crossing
from model.explain.owen import owen_values
from model.explain.scores import feature_scores
from model.explain.shapley import group_shapley
from model.explain.summary import summarise
from model.ingest.cases import Cohort, read_cohort
from model.nets.config import NetConfig
from model.nets.llnm_net import LlnmNet
from model.predict import Predictor
from model.train import fit
from model.train.calibrate import fit_shift
from model.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.train.checks import refuse_leaks, single_aurocs
from model.train.crossvalidate import crossvalidate
from model.train.folders import HISTORY, unfinished_runs
from model.train.loop import config_for, settings_for, train
from model.train.settings import Settings
from model.train.split import outcomes
from model.uncertainty.missing import if_known

ROOT = Path(__file__).parents[3]
FEW = Settings(seed=4, epochs=3, patience=3, batch=16, folds=3, average=0.9)
SILENT = {"device": "cpu", "log": lambda _: None}


@pytest.fixture(scope="module")
def trained(table_folder: Path) -> tuple[Cohort, Checkpoint]:
    cohort = read_cohort(table_folder)
    return cohort, train(cohort, table_folder / "m", settings=FEW, **SILENT)  # type: ignore[arg-type]


def test_only_what_the_cohort_has_is_built(trained):  # type: ignore[no-untyped-def]
    cohort, made = trained
    assert made.schema.tokens == ("age_years", "tsh", "neck", "firm")
    assert [g.name for g in made.schema.groups] == ["age", "neck", "tsh", "firm"]
    assert (made.segmentation, made.tokenizer) == (None, None)
    assert not made.net.config.images
    assert not any(name.startswith(("stem", "words", "stage_head", "map_")) for name in made.net.state_dict())
    assert made.card["schema"]["endpoint"]["name"] == "malignant"
    tsh = cohort.table["tsh"]
    assert (made.schema.by_name["tsh"].mean, made.schema.by_name["tsh"].spread) == pytest.approx((tsh.mean(), tsh.std(ddof=0)))


def test_it_predicts_and_explains_under_its_own_name(trained):  # type: ignore[no-untyped-def]
    cohort, made = trained
    predictor = Predictor(made, "cpu")
    measured = predictor.measure(cohort.iter_cases())
    found = predictor.predict_measured(measured)
    label = outcomes(cohort)
    assert np.mean([p.probability for p in found]) == pytest.approx(label.mean(), abs=0.06)
    first = found[0].to_dict()
    assert first["stage_probabilities"] is None
    assert "had malignancy" in first["interval_basis"]
    assert set(found[0].conformal[0].outcomes) <= {"malignancy", "no malignancy"}
    assert not any("picture" in n or "report" in n for n in found[0].notices)
    results = [group_shapley(predictor, case) for case in measured[:40]]
    mean = np.abs([r.values for r in results]).mean(0)
    assert [g.name for g in results[0].groups][int(mean.argmax())] in ("neck", "tsh")
    assert max(abs(r.residual) for r in results) < 1e-5
    assert results[0].endpoint == "malignancy"
    parts = owen_values(predictor, measured[0], results[0], "neck")
    assert parts.values.sum() == pytest.approx(results[0].values[1], abs=1e-5)
    assert feature_scores(predictor, measured[0]).branches[-1].groups == ("neck", "tsh", "firm")
    told = summarise(found[0], results[0], measured[0], made.schema)
    assert "probability of malignancy" in told[0]
    lacking = next(m for m in measured if "firm" not in m.fields)
    assert [m.name for m in if_known(predictor, lacking)] == ["firm"]
    crossing = smallest_crossing(predictor, measured[0], 0.4)
    assert crossing is None or {c.name for c in crossing.changes} <= {"neck", "tsh", "firm"}


def test_shapley_values_are_what_the_wide_path_adds(trained):  # type: ignore[no-untyped-def]
    """Where no epoch was worth it the network is additive, so the true contributions are known."""
    cohort, made = trained
    state = {name: torch.zeros_like(v) if name.startswith("head.3.weight") else v for name, v in made.net.state_dict().items()}
    net = LlnmNet(made.net.config, made.schema)
    net.load_state_dict(state)
    predictor = Predictor(replace(made, net=net.eval()), "cpu")
    for case in predictor.measure(cohort.case(c) for c in cohort.case_ids[:10]):
        inputs = predictor.encode([case])
        hidden = nothing_known(inputs, made.schema)
        added = [net.embed(part).clinical[0, :, -1] / made.temperature for part in (inputs, hidden)]
        true = dict(zip(net.config.fields, (added[0] - added[1]).tolist(), strict=True))
        expected = [sum(true[f] for f in g.fields) for g in made.schema.groups]
        assert group_shapley(predictor, case).values == pytest.approx(expected, abs=1e-5)


def test_a_scored_cohort_is_evaluated_by_its_endpoint(trained):  # type: ignore[no-untyped-def]
    cohort, made = trained
    scored = score_cohort(Predictor(made, "cpu"), cohort)
    assert {"malignant", "outcome", "neck", "probability"} <= set(scored)
    assert not {"llnm", "stage", "stage_1"} & set(scored)
    found = evaluate_scored(scored, cohort)
    assert (found.n, found.positives) == (120, int(outcomes(cohort).sum()))


def test_a_hidden_field_is_hidden_on_the_wide_path_too(trained):  # type: ignore[no-untyped-def]
    cohort, made = trained
    predictor = Predictor(made, "cpu")
    assert made.net.config.wide
    measured = predictor.measure(cohort.case(c) for c in cohort.case_ids[:8])
    hidden = nothing_known(predictor.encode(measured), made.schema)
    logits = predictor.run(hidden).logit
    assert torch.allclose(logits, logits[:1].expand(8), atol=1e-5)


def test_calibration_conformal_and_novelty_are_of_cases_that_did_not_train(trained):  # type: ignore[no-untyped-def]
    cohort, made = trained
    assert len(made.validation_logits) == 120
    assert made.card["validation_by"] == "cross-fitting over 3 parts"
    assert made.reference is not None
    assert len(made.reference.fields.validation) == 120
    case = replace(cohort.case("t-000"), fields={"tsh": 150.0, "age_years": 40.0})
    unlike = Predictor(made, "cpu").predict(case).novelty[-1]
    assert unlike.unlike
    assert "TSH 150 mIU/L" in unlike.words


def test_a_checkpoint_of_another_schema_is_refused_with_the_difference(trained, tmp_path: Path):  # type: ignore[no-untyped-def]
    _, made = trained
    save_checkpoint(made, tmp_path)
    assert load_checkpoint(tmp_path).identity.endswith(load_checkpoint(tmp_path).identity[-10:])
    card = json.loads((tmp_path / "card.json").read_text("utf-8"))
    changed = json.loads(json.dumps(card))
    changed["schema"]["numeric_scale"][0] = [1.0, 1.0]
    (tmp_path / "card.json").write_text(json.dumps(changed), "utf-8")
    with pytest.raises(CheckpointError, match=r"made for other numeric_scale \(\[1\.0, 1\.0\]"):
        load_checkpoint(tmp_path)
    card["schema"]["fields"][0]["kind"] = "date"
    (tmp_path / "card.json").write_text(json.dumps(card), "utf-8")
    with pytest.raises(CheckpointError, match="schema cannot be read"):
        load_checkpoint(tmp_path)


def test_a_case_with_values_the_model_does_not_know_is_refused(trained):  # type: ignore[no-untyped-def]
    cohort, made = trained
    other = {**cohort.schema.by_name}
    other["neck"] = replace(other["neck"], values=("none", "left", "right", "both"))
    schema = replace(cohort.schema, fields=tuple(other.values()))
    case = replace(cohort.case("t-000"), schema=schema, fields={"neck": "both"})
    with pytest.raises(CaseError, match=r"'both' where the model knows one of none, left, right"):
        Predictor(made, "cpu").predict(case)


def test_a_leak_is_questioned_and_allowed_by_name(make_table):  # type: ignore[no-untyped-def]
    cohort = read_cohort(make_table())
    label = outcomes(cohort)
    assert 0.6 < single_aurocs(cohort, label, cohort.schema)["neck"] < 0.95
    refuse_leaks(cohort, label, cohort.schema, ())
    told = replace(cohort, table=cohort.table.assign(tsh=np.where(label, 9.0, 2.0)))
    with pytest.raises(CaseError, match=r"tsh \(AUROC 1\.000\).*--allow tsh"):
        refuse_leaks(told, label, told.schema, ())
    refuse_leaks(told, label, told.schema, ["tsh"])
    absent = replace(cohort, table=cohort.table.assign(tsh=np.where(label, np.nan, 2.0)))
    with pytest.raises(CaseError, match="tsh"):
        refuse_leaks(absent, label, absent.schema, ())
    with pytest.raises(CaseError, match="no such field"):
        refuse_leaks(cohort, label, cohort.schema, ["tsj"])


def test_a_full_disk_leaves_no_checkpoint(make_table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    import errno

    write = os.replace

    def full(source: str, target: str) -> None:
        if str(target).endswith("card.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="the disk is full"):
        train(make_table(), tmp_path / "m", settings=FEW, **SILENT)  # type: ignore[arg-type]
    assert not (tmp_path / "m" / "card.json").exists()
    assert not list((tmp_path / "m").rglob("*.partial"))
    with pytest.raises(CheckpointError, match=r"no card\.json"):
        load_checkpoint(tmp_path / "m")
    monkeypatch.setattr(os, "replace", write)
    assert train(tmp_path / "table", tmp_path / "m", settings=FEW, **SILENT).card["training_cases"] == 90  # type: ignore[arg-type]
    with pytest.raises(CaseError, match="a checkpoint is there already"):
        train(tmp_path / "table", tmp_path / "m", settings=FEW, **SILENT)  # type: ignore[arg-type]


def test_balanced_training_keeps_probabilities_right(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    folder = make_table(240)
    cohort = read_cohort(folder)
    settings = replace(FEW, folds=0, balance=True, epochs=6)
    made = train(cohort, tmp_path / "m", settings=settings, config=replace(config_for(cohort), wide=False), **SILENT)  # type: ignore[arg-type]
    calibrated = 1 / (1 + np.exp(-made.validation_logits))
    assert calibrated.mean() == pytest.approx(made.validation_labels.mean(), abs=0.03)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, generator=generator)
    labels = (torch.rand(20_000, generator=generator) < torch.sigmoid(logits)).float()
    assert fit_shift(logits + 1.5, labels) == pytest.approx(-1.5, abs=0.1)


def test_a_centre_left_out_is_judged_for_the_card(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    cohort = read_cohort(make_table())
    made = train(cohort, tmp_path / "m", settings=FEW, leave_out="C", **SILENT)  # type: ignore[arg-type]
    held = int((cohort.table["centre"] == "C").sum())
    assert (made.card["left_out"], made.card["external"]["n"]) == ("C", held)
    assert made.card["training_cases"] == 90 - held


def test_a_warm_start_copies_what_fits_and_names_the_rest(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    told: list[str] = []
    settings = replace(FEW, folds=0, epochs=1)
    made = train(make_table(), tmp_path / "m", settings=settings, warm=ROOT / "model/checkpoints/llnm-compact", device="cpu",
                 log=told.append)  # fmt: skip
    shipped = load_checkpoint()
    assert made.card["warm_start"] == shipped.identity
    assert made.net.config.width == shipped.net.config.width
    text = "\n".join(told)
    assert "copied: number_slope (1 of 2 rows)" in text  # age, but not TSH
    assert "not copied: category_rows.weight (0 of 7 rows)" in text
    assert "not copied: head.0.weight (another endpoint)" in text


def test_settings_and_network_suit_the_cohort(make_table, cohort):  # type: ignore[no-untyped-def]
    table = read_cohort(make_table())
    assert settings_for(table).folds == 5
    assert settings_for(replace(table, table=table.table.assign(split="train"))).folds == 0
    assert config_for(table).wide
    whole = config_for(cohort)
    assert (whole.images, whole.stages, whole.text_tokens) == (True, True, 64)
    with pytest.raises(CaseError, match="something to read"):
        config_for(replace(table, table=table.table.assign(age_years=np.nan, neck=None, tsh=np.nan, firm=None)))
    with pytest.raises(ValueError, match="fusion_layers"):
        NetConfig(images=False)


def test_cross_validation_is_beside_simple_models_and_goes_on_where_it_stopped(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    cohort = read_cohort(make_table(150))
    settings = replace(FEW, epochs=1)
    found = crossvalidate(cohort, tmp_path / "cv", by="centre", settings=settings, **SILENT)  # type: ignore[arg-type]
    assert [f["name"] for f in found.folds] == ["A", "B", "C"]
    assert sum(f["cases"] for f in found.folds) == found.cases == 150
    net, linear = found.models["llnm_net"], found.models["logistic_regression"]
    assert net["auroc"] > 0.65
    assert abs(net["auroc"] - linear["auroc"]) < 0.03
    assert net["low"] < net["auroc"] < net["high"]
    again = crossvalidate(cohort, tmp_path / "cv", by="centre", settings=settings, **SILENT)  # type: ignore[arg-type]
    assert again == found
    assert "by centre" in found.to_text()
    with pytest.raises(CaseError, match="another cross-validation"):
        crossvalidate(cohort, tmp_path / "cv", seed=3, settings=settings, **SILENT)  # type: ignore[arg-type]


# ---- as its own process: killed, and as two ----

COMMAND = ["--seed", "4", "--batch", "16", "--device", "cpu", "--folds", "0", "--accumulate", "2"]
SLOW = """
import time
from model.cli import app
from model.train import fit

save, fit.SAVE_EVERY = fit._State.save, 0

def slowly(*arguments):
    save(*arguments)
    time.sleep(0.5)

fit._State.save = slowly
app()
"""
"""The command line, saving after every epoch, however short, and resting then, so that it can be killed in between."""


def llnm(*arguments: str, start: Sequence[str] = ("-m", "model.cli")) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *start, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as the processes that are started: sums of floats depend on how they are shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_and_started_again_the_weights_are_the_same(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    folder, runs = make_table(), tmp_path / "runs"
    process = llnm("train", str(folder), "--out", str(runs / "a"), "--epochs", "30", *COMMAND, start=("-c", SLOW))
    written, begin = runs / "a" / "work" / HISTORY, time.monotonic()  # after the state
    while not written.exists() and process.poll() is None and time.monotonic() - begin < 60:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert unfinished_runs(runs) == {"a": runs / "a" / "work"}
    done = len(json.loads((runs / "a" / "work" / HISTORY).read_text("utf-8"))["history"])
    assert 1 <= done < 30, "killed too late: nothing was left to go on with"
    with pytest.raises(CheckpointError, match=r"no card\.json"):
        load_checkpoint(runs / "a")
    settings = Settings(seed=4, epochs=30, batch=16, accumulate=2, folds=0)
    cohort = read_cohort(folder)
    resumed = train(cohort, runs / "a", settings=settings, **SILENT)  # type: ignore[arg-type]
    straight = train(cohort, runs / "b", settings=settings, **SILENT)  # type: ignore[arg-type]
    for name, value in straight.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name
    assert unfinished_runs(runs) == {}


def test_two_processes_give_the_weights_of_one(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    folder = make_table()
    two = llnm("train", str(folder), "--out", str(tmp_path / "two"), "--epochs", "3", *COMMAND, "--devices", "2")
    told, _ = two.communicate(timeout=120)
    assert two.returncode == 0, told
    one = train(
        read_cohort(folder), tmp_path / "one", settings=Settings(seed=4, epochs=3, batch=16, accumulate=2, folds=0), **SILENT
    )  # type: ignore[arg-type]
    card = json.loads((tmp_path / "two" / "card.json").read_text("utf-8"))
    assert card["processes"] == 2
    other = load_file(tmp_path / "two" / "llnm_net.safetensors")
    for name, value in one.net.state_dict().items():
        assert torch.allclose(value.float(), other[name].float(), atol=1e-5), name
    assert card["history"][-1]["loss"] == pytest.approx(one.card["history"][-1]["loss"], abs=1e-5)


def test_the_command_line_tells_what_is_wrong_in_one_line(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    from typer.testing import CliRunner

    from model.cli import app

    one_class, folder = make_table(30, "one", malignant="no"), make_table(30, "both")
    out = str(tmp_path / "m")
    for arguments, told in (
        (["train", str(one_class), "--out", out], "all 30 cases are without malignancy"),
        (["train", str(folder), "--out", out, "--precision", "8"], "'8'. Give 32-true or bf16-mixed"),
        (["train", str(folder), "--out", out, "--leave-out", "Z"], "no case of centre 'Z'"),
        (["train", str(folder), "--out", out, "--allow", "nothing"], "no such field"),
        (["train", str(folder), "--out", out, "--warm-start", str(tmp_path)], "no card.json there"),
        (["crossvalidate", str(folder), "--work", out, "--by", "ward"], "'ward'. Give patient or centre"),
        (["crossvalidate", str(folder), "--work", out, "--folds", "25"], "for 25 folds"),
    ):
        found = CliRunner().invoke(app, arguments)
        assert found.exit_code == 1, found.output
        assert told in " ".join(found.output.split()), found.output
    assert not (tmp_path / "m" / "card.json").exists()


def test_half_precision_trains(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    made = train(make_table(), tmp_path / "m", settings=replace(FEW, precision="bf16-mixed", epochs=1), **SILENT)  # type: ignore[arg-type]
    assert np.isfinite(made.validation_logits).all()


def test_a_curve_in_one_line():
    assert fit.sparkline([3.0, 2.0, 1.0]) == "█▅▁"
    assert fit.sparkline([1.0]) == "▁"
