"""What a hospital meets when it trains on its own: wishes that cannot be met are told at once, and nothing is left half done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from model.cli import app
from model.cohort.evaluate import evaluate_table, format_table
from model.devices import device_for
from model.encode import encode
from model.errors import CaseError, StorageError
from model.evaluate import evaluate_cohort
from model.ingest.cases import read_cohort
from model.ingest.files import atomic_write_text
from model.predict import Predictor
from model.schema import DEFAULT, MAPS, Endpoint
from model.train import loop
from model.train.checkpoint import load_checkpoint
from model.train.crossvalidate import crossvalidate
from model.train.data import augment
from model.train.loop import config_for, train
from model.train.runner import Runner
from model.train.settings import Settings

FEW = Settings(seed=4, epochs=2, patience=3, batch=16, folds=2, average=0.9)
QUIET = {"device": "cpu", "log": lambda _: None}


def told(*arguments: str) -> str:
    """What the command line says of a wish that cannot be met: one message, no traceback."""
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == 1, found.output
    assert isinstance(found.exception, SystemExit), found.exception
    return " ".join(found.output.split())


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_wishes_that_cannot_be_met(make_table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder, out = str(make_table(40)), str(tmp_path / "m")
    assert "--device: 'gpu'. Give cpu or cuda" in told("train", folder, "--out", out, "--device", "gpu")
    assert "--device: 'cuda:0'" in told("evaluate", "--cohort", folder, "--device", "cuda:0")
    assert "no CUDA device is to be had here" in told("train", folder, "--out", out, "--device", "cuda")
    assert device_for(None) == torch.device("cpu")
    assert "1 fold. Give 2 or more, or 0" in told("train", folder, "--out", out, "--folds", "1", "--device", "cpu")
    assert "3 parts of a batch for 2 processes" in told(
        "train", folder, "--out", out, "--device", "cpu", "--devices", "2", "--accumulate", "3"
    )
    inside = f"{folder}/cases.csv/m"
    assert "cannot be written" in told("train", folder, "--out", inside, "--epochs", "1", "--device", "cpu")
    with pytest.raises(StorageError, match=r"cannot be written .* Name a folder that you may write to"):
        atomic_write_text("/proc/nowhere/x", "")
    assert not (tmp_path / "m").exists()


def test_a_cohort_to_be_judged_on_is_looked_at_before_training(make_table, cohort_folder: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    folder, out = str(make_table(40)), str(tmp_path / "m")
    begin = ("train", folder, "--out", out, "--device", "cpu", "--external")
    assert "the file is missing" in told(*begin, str(tmp_path / "nothing"))
    assert "its outcome is 'llnm', the model predicts 'malignant'" in told(*begin, str(cohort_folder))
    unknown = make_table(20, "unknown", malignant="")
    assert "no case with a known 'malignant'" in told(*begin, str(unknown))
    assert not Path(out).exists()
    made = train(make_table(40, "again"), tmp_path / "n", settings=FEW, **QUIET)  # type: ignore[arg-type]
    with pytest.raises(CaseError, match="the model predicts 'malignant'"):
        evaluate_cohort(Predictor(made, "cpu"), read_cohort(cohort_folder))


def test_killed_while_it_is_judged_it_goes_on(make_table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    folder, out = make_table(), tmp_path / "m"
    with monkeypatch.context() as patched:
        patched.setattr(loop, "evaluate_cohort", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(folder, out, settings=FEW, leave_out="C", **QUIET)  # type: ignore[arg-type]
    first = (out / "llnm_net.safetensors").read_bytes()
    assert "external" not in json.loads((out / "card.json").read_text("utf-8"))
    made = train(folder, out, settings=FEW, leave_out="C", **QUIET)  # type: ignore[arg-type]
    assert made.card["external"]["n"] > 0
    assert made.card["name"] == "m"  # the folder's, where no name was given
    assert (out / "llnm_net.safetensors").read_bytes() == first
    assert not (out / "work").exists()


def test_cases_mended_meanwhile_are_not_taken_for_the_old_ones(  # type: ignore[no-untyped-def]
    make_table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = make_table(40)
    settings = replace(FEW, epochs=1)
    crossvalidate(read_cohort(folder), tmp_path / "cv", count=2, settings=settings, **QUIET)  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(loop, "build_dataset", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(folder, tmp_path / "m", settings=settings, **QUIET)  # type: ignore[arg-type]
    table = pd.read_csv(folder / "cases.csv", dtype=str, keep_default_na=False)
    table.loc[3, "malignant"] = "no" if table.loc[3, "malignant"] == "yes" else "yes"
    table.to_csv(folder / "cases.csv", index=False)
    with pytest.raises(CaseError, match="other settings or cases"):
        train(folder, tmp_path / "m", settings=settings, **QUIET)  # type: ignore[arg-type]
    with pytest.raises(CaseError, match="another cross-validation"):
        crossvalidate(read_cohort(folder), tmp_path / "cv", count=2, settings=settings, **QUIET)  # type: ignore[arg-type]


def test_cross_validation_cuts_anew_and_leaves_test_cases_alone(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    parts = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    folder = make_table(60, split=parts)
    found = crossvalidate(read_cohort(folder), tmp_path / "cv", count=2, settings=replace(FEW, epochs=1), **QUIET)  # type: ignore[arg-type]
    assert found.cases == 50
    assert load_checkpoint(tmp_path / "cv" / "fold_1").card["training_cases"] == 25
    seen = set(pd.read_csv(tmp_path / "cv" / "out_of_fold.csv")["case_id"])
    assert seen == {f"t-{i:03d}" for i in range(50)}


def test_parts_of_a_batch_give_the_weights_of_the_whole(make_table, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Without dropout, which every part draws for itself."""
    cohort = read_cohort(make_table())
    config = replace(config_for(cohort), dropout=0.0, attention_dropout=0.0)
    whole, cut = (
        train(cohort, tmp_path / str(n), settings=replace(FEW, folds=0, accumulate=n), config=config, **QUIET)  # type: ignore[arg-type]
        for n in (1, 3)
    )
    for name, value in whole.net.state_dict().items():
        assert torch.allclose(value.float(), cut.net.state_dict()[name].float(), atol=1e-5), name


def test_where_the_first_process_fails_the_others_end_without_a_word(monkeypatch: pytest.MonkeyPatch):
    runner = Runner(Settings(), "cpu")

    def fails() -> None:
        raise CaseError("full", where="disk", fix="Mend it.")

    with pytest.raises(CaseError, match="full"):
        runner.once(fails)
    monkeypatch.setattr(runner, "world", 2)
    monkeypatch.setattr(runner, "rank", 1)
    monkeypatch.setattr(runner, "_sum", lambda _: torch.tensor([1.0]))  # the first says that it failed
    with pytest.raises(SystemExit):
        runner.once(fails)
    monkeypatch.setattr(runner, "_sum", lambda _: torch.tensor([0.0]))
    runner.once(fails)  # done by the first alone


def test_augmentation_exchanges_neither_lobes_nor_poles(predictor, measured):  # type: ignore[no-untyped-def]
    inputs = encode(measured, predictor.checkpoint.tokenizer, predictor.net.config)
    generator = torch.Generator().manual_seed(0)
    at, mirrored = MAPS.index("location"), 0
    for _ in range(10):
        changed = augment(inputs, generator)
        for row, (before, after) in enumerate(zip(inputs.maps, changed.maps, strict=True)):
            rolled = {(d, r): before.roll((d, r), (-2, -1)) for d in range(-2, 3) for r in range(-2, 3)}
            found = [maps for maps in rolled.values() if torch.equal(maps[:, at], after[:, at])]
            assert found, f"the location map of case {row} was mirrored"
            mirrored += not torch.equal(found[0], after)
    assert 0 < mirrored < 10 * len(inputs)


def test_what_was_published_stands_beside_lateral_nodes_alone():
    figures = evaluate_table(pd.DataFrame({"probability": [0.1, 0.9, 0.4, 0.6], "label": [0, 1, 0, 1]}), rounds=20)
    assert "published" in format_table(figures)
    other = format_table(figures, Endpoint("malignant", "Malignancy", "malignancy", ""))
    assert "LLNM" not in other
    assert "published" not in other


def test_a_short_name_within_the_label_is_not_said_twice():
    assert Endpoint("n1b", "Lateral nodes (N1b)", "N1b", "").title == "Lateral nodes (N1b)"
    assert DEFAULT.endpoint.title == "Lateral node metastasis (LLNM)"
