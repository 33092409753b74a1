"""Unlike the training cases: known distances, what is flagged, and that a checkpoint keeps it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.errors import CaseError
from model.predict import Predictor
from model.train.checkpoint import load_checkpoint, save_checkpoint
from model.train.data import build_dataset
from model.train.reference import add_reference, reference_of
from model.uncertainty.missing import if_known
from model.uncertainty.novelty import LEVEL, FieldTable, fit_reference


def field_rows(n: int, seed: int) -> FieldTable:
    rng = np.random.default_rng(seed)
    size = np.exp(rng.normal(2, 0.4, n))
    numbers = np.column_stack([
        rng.normal(45, 10, n), size, rng.gamma(2, 1, n), rng.random(n), size * 0.8, size * 0.9, rng.normal(-0.1, 0.05, n),
    ])  # fmt: skip
    numbers[:, 4:6] *= np.exp(rng.normal(0, 0.05, (n, 2)))
    categories = np.ones((n, 12), np.int64)
    categories[:, 0] = 1 + (rng.random(n) < 0.3)
    return FieldTable(numbers, categories)


@pytest.fixture(scope="module")
def reference():  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(20, 20))
    training, validation = rng.normal(size=(1500, 20)) @ mix, rng.normal(size=(800, 20)) @ mix
    return fit_reference({"transverse": training}, {"transverse": validation}, field_rows(1500, 1), field_rows(800, 2))


def test_pictures_drawn_alike_are_flagged_at_the_stated_rate(reference) -> None:  # type: ignore[no-untyped-def]
    known = reference.pictures["transverse"]
    assert (known.validation > known.threshold).mean() <= 1 - LEVEL
    assert known.distances(known.mean[None])[0] == 0
    far = known.score("transverse", known.mean + 1000)
    assert far.unlike
    assert far.farther_than == 1
    assert "100 % of the validation cases" in far.words


def test_fields_are_judged_on_what_is_there(reference) -> None:  # type: ignore[no-untyped-def]
    numbers, categories = (part[0].copy() for part in field_rows(1, 9))
    assert not reference.fields.score(numbers, categories).unlike
    numbers[0] = 109.0
    told = reference.fields.score(numbers, categories)
    assert told.unlike
    assert "Age 109 years" in told.words
    odd = numbers.copy()
    odd[[0, 1, 4]] = 45.0, 3.0, 20.0  # a nodule of 3 mm that is 20 mm high
    assert reference.fields.score(odd, categories).far
    assert reference.fields.score(np.full(7, np.nan), categories).distance is None
    categories[1] = 2
    assert "no training case has it" in reference.fields.score(np.full(7, np.nan), categories).words


def test_too_few_cases_are_told() -> None:
    with pytest.raises(CaseError, match="3 training cases"):
        fit_reference({}, {}, field_rows(3, 0), field_rows(3, 0))


def test_a_checkpoint_keeps_its_reference_and_predicts_with_it(untrained, cohort, tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = build_dataset(cohort, untrained.segmentation, untrained.tokenizer, untrained.net.config, device=torch.device("cpu"))
    index = torch.arange(len(data))
    made = replace(untrained, reference=reference_of(data.rows(index[:16]), data.rows(index[16:])))
    save_checkpoint(made, tmp_path)
    case = cohort.case(cohort.case_ids[0])
    before, after = (Predictor(c, "cpu").predict(case) for c in (made, load_checkpoint(tmp_path)))
    assert before.novelty == after.novelty
    assert [s.part for s in after.novelty] == ["transverse picture", "longitudinal picture", "fields"]
    assert set(after.to_dict()) >= {"conformal_sets", "novelty"}
    assert Predictor(untrained, "cpu").predict(case).novelty == ()


def test_another_cohort_is_refused(untrained, cohort_folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    save_checkpoint(replace(untrained, card={**untrained.card, "settings": {"seed": 1}}), tmp_path)
    with pytest.raises(CaseError, match="not the cohort that trained it"):
        add_reference(cohort_folder, tmp_path, device="cpu")


def test_missing_fields_are_ranked_by_what_they_could_do(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    from model.explain.counterfactual import changed

    case = changed(measured[0], {"sex": None, "age_years": None}, "")
    found = if_known(predictor, case)
    assert {"sex", "age_years", "report_text"} <= {m.name for m in found}
    assert [m.width for m in found] == sorted((m.width for m in found), reverse=True)
    sex = next(m for m in found if m.name == "sex")
    for supposed in sex.supposed:
        told = predictor.predict_measured([changed(case, {"sex": supposed.value})])[0].probability
        assert supposed.probability == pytest.approx(told, abs=1e-5)
