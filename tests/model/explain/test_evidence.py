"""Pixels: known answers on planted functions, axioms, and nothing left on the shared model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.explain.evidence import BASELINE_GREY, PictureEvidence, Subject, shares
from model.explain.gradcam import grad_cam_plus_plus
from model.explain.gradients import integrated_gradients
from model.explain.occlusion import sliding_occlusion, superpixel_occlusion
from model.schema import MAPS

METHODS = (integrated_gradients, sliding_occlusion, superpixel_occlusion, grad_cam_plus_plus)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The model replaced by a linear function of the middle of the internal map: its weights (3, S, S)."""
    weights = torch.zeros(3, 64, 64)
    weights[MAPS.index("internal"), 24:40, 24:40] = 0.01
    monkeypatch.setattr(Subject, "logits", lambda _, maps: (maps * weights).sum((1, 2, 3, 4)))
    return weights


def test_integrated_gradients_of_a_linear_function_are_its_terms(planted, predictor, measured) -> None:
    found = integrated_gradients(predictor, measured[0])
    subject = Subject.of(predictor, measured[0])
    assert found.relevance == pytest.approx((planted * (subject.maps - subject.baseline)).numpy(), abs=1e-5)


@pytest.mark.parametrize("method", [sliding_occlusion, superpixel_occlusion])
@pytest.mark.usefixtures("planted")
def test_occlusion_finds_the_planted_middle_and_nothing_else(predictor, measured, method) -> None:
    found = method(predictor, measured[0])
    strength = np.abs(found.relevance)
    internal = strength[:, MAPS.index("internal")]
    assert internal[:, 24:40, 24:40].sum() > 0
    others = np.delete(strength, MAPS.index("internal"), axis=1)
    assert others.max() < 1e-6
    assert internal[:, 56:, 56:].max() < 1e-6


@pytest.mark.usefixtures("planted")
def test_superpixels_of_a_linear_function_sum_to_the_whole_difference(predictor, measured) -> None:
    found = superpixel_occlusion(predictor, measured[0])
    assert float(found.relevance.sum()) == pytest.approx(found.logit - found.baseline_logit, abs=1e-4)


@pytest.mark.parametrize("case", range(4))
def test_integrated_gradients_are_complete(predictor, measured, case: int) -> None:
    found = integrated_gradients(predictor, measured[case])
    change = abs(found.logit - found.baseline_logit)
    assert abs(found.residual) <= 0.01 * max(change, 0.01) + 1e-5
    assert found.logit == pytest.approx(predictor.predict_measured([measured[case]])[0].logit, abs=1e-4)


def test_a_picture_that_equals_the_baseline_has_no_relevance(predictor, measured) -> None:
    blank = {}
    for view, features in measured[0].features.items():
        maps = np.stack([np.full((64, 64), BASELINE_GREY[name], np.float32) for name in MAPS])
        blank[view] = replace(features, maps=maps)
    case = replace(measured[0], features=blank)
    for method in (integrated_gradients, sliding_occlusion, superpixel_occlusion):
        assert np.abs(method(predictor, case).relevance).max() < 1e-5


def test_grad_cam_has_no_sign_and_one_value_a_pixel(predictor, measured) -> None:
    found = grad_cam_plus_plus(predictor, measured[0])
    assert found.relevance.shape == (len(found.views), 3, 64, 64)
    assert found.relevance.min() >= 0
    assert not found.signed


@pytest.mark.parametrize("method", METHODS)
def test_same_answer_again_from_ten_threads_and_no_hook_left(predictor, measured, method) -> None:
    alone = [method(predictor, case).relevance for case in measured[:3]]
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(lambda case: method(predictor, case).relevance, [*measured[:3]] * 4))
    for i, relevance in enumerate(together):
        np.testing.assert_allclose(relevance, alone[i % 3], atol=1e-6)
    for layer in predictor.net.modules():
        assert not layer._forward_hooks
        assert not layer._backward_hooks
    assert all(p.grad is None for p in predictor.net.parameters())


def test_without_any_view_there_is_nothing_to_explain(predictor, measured) -> None:
    with pytest.raises(ValueError, match="no view"):
        integrated_gradients(predictor, replace(measured[0], features={}))


def evidence(case, relevance: np.ndarray) -> PictureEvidence:  # type: ignore[no-untyped-def]
    return PictureEvidence("x", "planted", "none", tuple(case.features), relevance, True, 0.0, 0.0, 1, 0.0)


def test_shares_sum_to_one_and_find_the_planted_part(measured) -> None:
    case = measured[0]
    relevance = np.zeros((len(case.features), 3, 64, 64), np.float32)
    relevance[:, MAPS.index("internal"), 28:36, 28:36] = 1.0  # the middle of the crop is the middle of the nodule
    view = next(iter(case.features))
    found = shares(evidence(case, relevance), case, view)
    assert found is not None
    assert found.capsule_side + found.nodule + found.gland + found.outside == pytest.approx(1)
    assert found.capsule_side + found.nodule > 0.9


def test_shares_of_no_relevance_are_none(measured) -> None:
    case = measured[0]
    nothing = np.zeros((len(case.features), 3, 64, 64), np.float32)
    assert shares(evidence(case, nothing), case, next(iter(case.features))) is None
