"""Ablation: the whole model is the model, what is hidden is hidden."""

from __future__ import annotations

import numpy as np
import pytest

from model.ablation import MODALITIES, ablate, variants
from model.cohort.discrimination import auroc
from model.schema import GROUPS


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
