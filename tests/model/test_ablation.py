"""Ablation: the whole model is the model, what is hidden is hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.ablation import MODALITIES, ablate, variants
from model.cohort.discrimination import auroc
from model.errors import CaseError
from model.nets.config import compact_config
from model.schema import GROUPS
from model.train.checkpoint import load_checkpoint
from model.train.loop import train
from model.train.settings import Settings


def test_modalities_divide_the_groups() -> None:
    assert sorted(g for kept in MODALITIES.values() for g in kept) == sorted(g.name for g in GROUPS)
    assert "location" not in variants()["without location"]


def test_first_row_is_the_model_itself(predictor, cohort) -> None:  # type: ignore[no-untyped-def]
    table = ablate(predictor, cohort)
    measured = predictor.measure(cohort.case(c) for c in cohort.case_ids)
    logits = np.array([p.logit for p in predictor.predict_measured(measured)])
    label = cohort.table["llnm"].astype(bool).to_numpy().astype(int)
    assert table.loc[0, "variant"] == "all inputs"
    assert table.loc[0, "auroc"] == pytest.approx(auroc(logits, label).value, abs=1e-9)
    assert table.loc[0, "difference"] == 0
    assert len(table) == 12


def test_fusion_variants_are_trained_once_and_kept(predictor, cohort, tmp_path) -> None:  # type: ignore[no-untyped-def]
    small = replace(compact_config(), width=16, mlp_width=32, fusion_layers=1, self_layers=1)
    quick = Settings(seed=3, epochs=1, segmentation_cases=4, segmentation_epochs=1, batch=20)
    said: list[str] = []

    def table():  # type: ignore[no-untyped-def]
        return ablate(predictor, cohort, work=tmp_path, settings=quick, config=small, log=said.append)

    first = table()
    fused = first[first["part"] == "fusion"]
    assert fused["variant"].tolist() == ["bidirectional", "text to image", "image to text", "none"]
    assert fused[["auroc", "low", "high", "difference"]].notna().all(None)
    assert "the fifth held back" in fused["how"].iloc[0]
    assert said
    seconds = [load_checkpoint(tmp_path / cross).card["training_seconds"] for cross in ("both", "none")]
    assert seconds[1]["segmentation"] < 0.2 * seconds[0]["segmentation"]  # pictures are outlined and measured once for all
    said.clear()
    assert table().equals(first)
    assert said == []
    with pytest.raises(CaseError, match="other settings"):
        train(cohort.root, tmp_path / "wider", settings=quick, config=replace(small, width=32), shared=tmp_path / "measured")
