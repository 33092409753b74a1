"""Unlike the training cases: known distances, what is flagged, and that a checkpoint keeps it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from model.cli import app
from model.errors import CaseError
from model.predict import Predictor
from model.train.checkpoint import load_checkpoint, save_checkpoint
from model.train.data import build_dataset, dataset_logits
from model.train.reference import add_reference, reference_of
from model.train.split import split_cases
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


def calibrate(*words: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *(str(w) for w in words), "--device", "cpu"])


def test_calibrate_adds_the_reference_to_the_checkpoint_of_that_cohort(untrained, cohort, cohort_folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    cpu = torch.device("cpu")
    data = build_dataset(cohort, untrained.segmentation, untrained.tokenizer, untrained.net.config, device=cpu)
    validation = data.rows(torch.from_numpy(split_cases(cohort, seed=5)[1]))
    logits = dataset_logits(untrained.net, validation, cpu).numpy() / untrained.temperature
    labels = validation.outcome.numpy() > 0.5
    card = {**untrained.card, "settings": {"seed": 5}}
    save_checkpoint(replace(untrained, validation_logits=logits, validation_labels=labels, card=card), tmp_path)
    weights = (tmp_path / "llnm_net.safetensors").read_bytes()

    result = calibrate(cohort_folder, "--checkpoint", tmp_path)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["training_cases"], said["validation_cases"], said["level"]) == (19, 5, LEVEL)
    assert said["validation_called_unlike"]["cases"] == 5
    made = load_checkpoint(tmp_path)
    assert made.reference is not None
    assert said["model"] == made.identity
    assert (tmp_path / "llnm_net.safetensors").read_bytes() == weights
    # Five validation cases are too few to place a threshold at 99 %: distances are told, none is called far.
    scores = Predictor(made, "cpu").predict(cohort.case(cohort.case_ids[0])).novelty
    assert len(scores) == 3
    assert not any(s.far for s in scores)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (None, "does not tell the seed"),
        ({"settings": "none"}, "does not tell the seed"),
        ({"settings": {"seed": 1}}, "not the cohort that trained it"),
    ],
)
def test_calibrate_refuses_in_one_message(untrained, cohort_folder, tmp_path, settings, told) -> None:  # type: ignore[no-untyped-def]
    save_checkpoint(replace(untrained, card={**untrained.card, **(settings or {})}), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    result = calibrate(cohort_folder, "--checkpoint", tmp_path)
    assert result.exit_code == 1
    assert told in result.output
    assert "Traceback" not in result.output
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_calibrate_refuses_a_cohort_with_the_right_number_of_other_cases(untrained, cohort_folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    card = {**untrained.card, "settings": {"seed": 5}}
    other = replace(untrained, validation_logits=np.full(5, 9.0, np.float32), validation_labels=np.ones(5, bool), card=card)
    save_checkpoint(other, tmp_path)
    result = calibrate(cohort_folder, "--checkpoint", tmp_path)
    assert result.exit_code == 1
    assert "outcomes or logits of the validation cases differ" in result.output
    assert load_checkpoint(tmp_path).reference is None


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
