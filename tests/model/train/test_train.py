"""Training: it learns, resumes to the same weights, calibrates, and refuses what cannot be trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.encode import nothing_known
from model.errors import CaseError, CheckpointError
from model.nets.config import compact_config
from model.train import fit
from model.train.calibrate import fit_temperature
from model.train.checkpoint import load_checkpoint, save_checkpoint
from model.train.data import augment
from model.train.loop import train
from model.train.settings import Settings

SMALL = replace(compact_config(), width=32, mlp_width=64, fusion_layers=1, self_layers=1)
QUICK = Settings(seed=3, epochs=2, segmentation_cases=6, segmentation_epochs=1, batch=8)


def test_train_writes_a_whole_checkpoint_and_resumes_to_the_same_weights(
    cohort_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train(cohort_folder, tmp_path / "a", settings=QUICK, config=SMALL, device="cpu", log=lambda _: None)
    assert not (tmp_path / "a" / "work").exists()
    assert straight.card["training_data"] == "synthetic"
    assert straight.card["training_cases"] + straight.card["validation_cases"] == 24
    assert len(straight.card["history"]) == 2

    # Killed after the first epoch, then called again.
    save = fit._State.save

    def stop(*args: object) -> None:
        save(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "SAVE_EVERY", 0)
    monkeypatch.setattr(fit._State, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        train(cohort_folder, tmp_path / "b", settings=QUICK, config=SMALL, device="cpu", log=lambda _: None)
    monkeypatch.setattr(fit._State, "save", save)
    resumed = train(cohort_folder, tmp_path / "b", settings=QUICK, config=SMALL, device="cpu", log=lambda _: None)
    for name, value in straight.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name


def test_an_unfinished_run_with_other_settings_is_refused(cohort_folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "run.json").write_text("{}")
    with pytest.raises(CaseError, match="other settings"):
        train(cohort_folder, tmp_path, settings=QUICK, config=SMALL, device="cpu")


def test_an_unlabelled_case_is_named(cohort_folder: Path, tmp_path: Path) -> None:
    import pandas as pd

    copy = tmp_path / "c"
    shutil.copytree(cohort_folder, copy)
    table = pd.read_csv(copy / "cases.csv", keep_default_na=False)
    table.loc[3, "llnm"] = ""
    table.to_csv(copy / "cases.csv", index=False)
    with pytest.raises(CaseError, match=str(table["case_id"][3])):
        train(copy, tmp_path / "out", settings=QUICK, config=SMALL, device="cpu", log=lambda _: None)


def test_temperature_recovers_a_planted_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, generator=generator)
    labels = (torch.rand(20_000, generator=generator) < torch.sigmoid(logits)).float()
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_temperature_stays_usable_where_no_best_one_exists(labels) -> None:  # type: ignore[no-untyped-def]
    logits = torch.tensor([-0.02, 0.0, 0.01, 0.03])
    temperature = fit_temperature(logits, torch.tensor(labels, dtype=torch.float32))
    assert 0.049 < temperature < 20.1
    assert torch.isfinite(logits / temperature).all()


def test_checkpoint_round_trip_and_refusals(untrained, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "m"
    save_checkpoint(untrained, folder)
    again = load_checkpoint(folder)
    for name, value in untrained.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name])
    assert again.temperature == untrained.temperature
    assert np.array_equal(again.validation_logits, untrained.validation_logits)
    assert not list(folder.glob("*.pt")) + list(folder.glob("*.pkl"))

    weights = folder / "llnm_net.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="does not match its card"):
        load_checkpoint(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load_checkpoint(folder)
    card = json.loads((folder / "card.json").read_text())
    card["schema"]["categories"]["sex"] = ["f", "m"]
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="categories"):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"no card\.json"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_hidden_group_has_no_influence(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    """Two cases that differ in hidden groups only are the same to the network."""
    inputs = predictor.encode(measured[:2])
    hidden = nothing_known(inputs)
    logit = predictor.run(replace(hidden, view_present=torch.ones_like(hidden.view_present))).logit
    assert logit[0] == pytest.approx(float(logit[1]), abs=1e-5)


def test_augmentation_never_invents_what_is_missing(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    inputs = predictor.encode(measured)
    generator = torch.Generator().manual_seed(5)
    for _ in range(5):
        changed = augment(inputs, generator)
        assert not (changed.word_present & ~inputs.word_present).any()
        assert not (changed.numeric_present & ~inputs.numeric_present).any()
        assert not (changed.view_present & ~inputs.view_present).any()
        assert changed.view_present.any(1).equal(inputs.view_present.any(1))
        known = changed.categorical > 0
        assert changed.categorical[known].equal(inputs.categorical[known])
