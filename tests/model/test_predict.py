"""Prediction: intervals, notices, batches, and that nothing known only after surgery is read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.encode import encode_fields
from model.schema import DEFAULT, Case, ViewImage


def test_a_batch_equals_its_cases_one_by_one(predictor, cohort) -> None:  # type: ignore[no-untyped-def]
    cases = [cohort.case(c) for c in cohort.case_ids[:5]]
    together = list(predictor.predict_many(cases, batch=3))
    for case, joint in zip(cases, together, strict=True):
        alone = predictor.predict(case)
        assert alone.case_id == joint.case_id == case.case_id
        assert alone.probability == pytest.approx(joint.probability, abs=1e-5)
        assert sum(alone.stage_probabilities) == pytest.approx(1, abs=1e-5)


def test_probability_is_the_calibrated_logit(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    prediction = predictor.predict_measured(measured[:1])[0]
    raw = float(predictor.run(predictor.encode(measured[:1])).logit[0])
    assert prediction.logit == pytest.approx(raw / predictor.checkpoint.temperature, abs=1e-5)
    assert prediction.probability == pytest.approx(1 / (1 + np.exp(-prediction.logit)))


@pytest.mark.parametrize("logit", [-50.0, -1.0, 0.3, 50.0])
def test_interval_counts_the_nearest_validation_cases(predictor, logit: float) -> None:  # type: ignore[no-untyped-def]
    checkpoint = predictor.checkpoint
    interval = predictor.interval(logit)
    nearest = np.argsort(np.abs(checkpoint.validation_logits - logit), kind="stable")[: interval.count]
    assert interval.count == max(30, len(checkpoint.validation_logits) // 10)
    assert interval.positives == checkpoint.validation_labels[nearest].sum()
    assert 0 <= interval.low <= interval.positives / interval.count <= interval.high <= 1


def test_labels_never_reach_the_network(predictor, cohort) -> None:  # type: ignore[no-untyped-def]
    """Nothing known only after surgery is a token, and changing it changes nothing."""
    read = {f.name for f in (*DEFAULT.numbers, *DEFAULT.categories)}
    assert not read & {f.name for f in DEFAULT.labels}
    assert "tirads" not in read
    case = cohort.case(cohort.case_ids[0])
    changed = replace(case, labels={"llnm": not case.labels["llnm"], "positive_nodes": 40.0})
    a, b = (predictor.encode(predictor.measure([c])) for c in (case, changed))
    assert torch.equal(a.numeric, b.numeric)
    assert torch.equal(a.categorical, b.categorical)
    numeric, present, categories = encode_fields({"tirads": "5", **case.labels})
    assert not any(present)
    assert not any(categories)
    assert not any(numeric)


def test_a_typed_value_goes_before_a_measured_one(predictor, cohort_folder) -> None:  # type: ignore[no-untyped-def]
    from model.ingest.cases import read_cohort

    cases = read_cohort(cohort_folder, use_masks=True)
    case = cases.case(cases.case_ids[0])
    own, typed = predictor.measure([case, replace(case, fields={**case.fields, "capsule_distance_mm": 9.5})])
    assert own.fields["capsule_distance_mm"] != 9.5
    assert typed.fields["capsule_distance_mm"] == 9.5


def test_measured_distance_is_the_simulated_one(predictor, cohort_folder) -> None:  # type: ignore[no-untyped-def]
    """On true masks the pixels must give back the distance that the outlines were built with."""
    from model.ingest.cases import read_cohort
    from model.simulate.cohort import read_truth

    cases = read_cohort(cohort_folder, use_masks=True)
    truth = read_truth(cohort_folder).set_index("case_id")["capsule_distance_mm"]
    for m in predictor.measure(cases.iter_cases()):
        assert m.fields["capsule_distance_mm"] == pytest.approx(truth[m.case.case_id], abs=0.25)


def test_a_foreign_case_is_told_to_be_outside_the_domain(predictor, cohort) -> None:  # type: ignore[no-untyped-def]
    case = cohort.case(cohort.case_ids[0])
    assert not any("Outside the model's domain" in n for n in predictor.predict(case).notices)
    own = Case("mine", {"transverse": replace(case.images["transverse"], pixel_spacing_mm=None)})
    prediction = predictor.predict(own)
    assert any("Outside the model's domain" in n for n in prediction.notices)
    assert any("% of gland depth" in n for n in prediction.notices)
    assert any("No report" in n for n in prediction.notices)
    assert "capsule_distance_mm" not in prediction.fields
    assert 0 < prediction.probability < 1


def test_a_picture_of_nothing_still_gives_an_answer_with_notices(predictor) -> None:  # type: ignore[no-untyped-def]
    noise = np.random.default_rng(0).random((90, 120)).astype(np.float32)
    none = np.zeros((90, 120), bool)
    case = Case("noise", {"longitudinal": ViewImage(noise, nodule_mask=none, gland_mask=~none)})
    prediction = predictor.predict(case)
    assert any("No nodule found" in n for n in prediction.notices)


def test_ten_threads_share_one_predictor(predictor, cohort) -> None:  # type: ignore[no-untyped-def]
    cases = [cohort.case(c) for c in cohort.case_ids[:10]]
    alone = [predictor.predict(c).logit for c in cases]
    with ThreadPoolExecutor(10) as pool:
        together = [p.logit for p in pool.map(predictor.predict, cases)]
    assert together == pytest.approx(alone, abs=1e-5)
