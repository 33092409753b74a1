"""The quick networks say what the plain ones say, and leave these as they are."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from model.errors import CaseError
from model.ingest.cases import read_cohort
from model.nets.blocks import FusionLayer, SelfAttentionLayer
from model.nets.config import Cross
from model.nets.quick.attention import Entered, QuickFusion, QuickSelfAttention
from model.nets.quick.layers import packed
from model.nets.quick.net import has_bfloat16
from model.predict import Predictor
from model.scale.fast import check_precision, fast
from model.scale.job import Precision

SAMPLES = Path(__file__).parents[3] / "data_samples"


bf16 = pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")


def test_predictions_are_the_same_to_rounding(predictor: Predictor, cohort) -> None:  # type: ignore[no-untyped-def]
    cases = [cohort.case(c) for c in cohort.case_ids[:6]]
    quick = fast(predictor)
    for plain, made in zip(predictor.predict_many(cases), quick.predict_many(cases), strict=True):
        assert abs(plain.logit - made.logit) < 1e-5
        assert plain.fields == pytest.approx(made.fields, abs=1e-5)


@bf16
def test_bfloat16_of_the_shipped_model_is_near_and_always_the_same() -> None:
    predictor = Predictor.load(device="cpu")
    cohort = read_cohort(SAMPLES)
    cases = [cohort.case(c) for c in cohort.case_ids[:12]]
    plain = list(predictor.predict_many(cases))
    made, again = (list(fast(predictor, "bf16").predict_many(cases)) for _ in range(2))
    assert max(abs(p.logit - m.logit) for p, m in zip(plain, made, strict=True)) < 0.2
    assert max(abs(p.probability - m.probability) for p, m in zip(plain, made, strict=True)) < 0.02
    assert [m.logit for m in made] == [m.logit for m in again]
    # On the same outlines there is little left.
    measured = predictor.measure(cases)
    for p, m in zip(predictor.predict_measured(measured), fast(predictor, "bf16").predict_measured(measured), strict=True):
        assert abs(p.logit - m.logit) < 0.03


def centred(x: torch.Tensor) -> torch.Tensor:
    return x - x.mean(-1, keepdim=True)


@bf16
def test_every_kind_of_attention_in_bfloat16() -> None:
    """Layers with either cross-modal term alone, other than whole shares of them, and absent tokens."""
    torch.manual_seed(0)
    image, clinical = torch.randn(3, 5, 32), torch.randn(3, 7, 32)
    present = torch.rand(3, 7) > 0.4
    present[:, 0] = True
    for cross in get_args(Cross):
        layer = FusionLayer(32, 4, 48, alpha=0.5, cross=cross, attention_dropout=0.1, dropout=0.1).eval()
        expected = layer(image, clinical, present)
        quick = QuickFusion(copy.deepcopy(layer))
        for quick.bounded in (True, False):  # scores far below where they are cut
            made = quick(*Entered()(image, clinical, present)[:2], present)
            for e, m in zip(expected[:2], made[:2], strict=True):
                assert (centred(e) - m.float()).abs().max() < 0.05
    alone = SelfAttentionLayer(32, 4, 48, attention_dropout=0.1, dropout=0.1).eval()
    made_alone, _ = QuickSelfAttention(copy.deepcopy(alone))(Entered()(clinical, present)[0], present)
    assert (centred(alone(clinical, present)[0]) - made_alone.float()).abs().max() < 0.05


@bf16
def test_scores_beyond_what_bfloat16_holds_are_cut() -> None:
    torch.manual_seed(0)
    layer = SelfAttentionLayer(32, 4, 48, attention_dropout=0.1, dropout=0.1).eval()
    assert QuickSelfAttention(copy.deepcopy(layer)).bounded
    with torch.no_grad():
        layer.qkv.weight[:64] *= 100
    quick, x = QuickSelfAttention(copy.deepcopy(layer)), torch.randn(3, 7, 32)
    assert not quick.bounded
    made, _ = quick(Entered()(x, torch.ones(3, 7, dtype=torch.bool))[0], torch.ones(3, 7, dtype=torch.bool))
    assert made.isfinite().all()


def test_bfloat16_that_is_not_there_is_refused() -> None:
    with pytest.raises(CaseError, match="is for CPUs"):
        check_precision("bf16", "cuda")
    check_precision("fp32", "cuda")


def test_outlines_are_the_same_to_rounding(predictor: Predictor) -> None:
    pictures = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 128, 128)).astype(np.float32))
    with torch.inference_mode():
        plain, made = predictor.segmentation(pictures), fast(predictor).segmentation(pictures)
    assert (plain - made).abs().max() < 1e-4 * plain.abs().max().clamp(min=1)


def test_the_plain_predictor_keeps_its_layers(predictor: Predictor) -> None:
    fast(predictor)
    assert any(isinstance(m, nn.BatchNorm2d) for m in predictor.segmentation.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast(predictor).segmentation.modules())


def test_batch_norm_and_activations_are_joined_on() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4), nn.GELU(), nn.Dropout(0.5), nn.Linear(4, 1),
    )  # fmt: skip
    for layer in block:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(8)
            layer.running_var = torch.rand(8) + 0.5
    block.eval().requires_grad_(False)
    x = torch.randn(5, 3, 8, 8)
    expected = block(x)
    made = packed(block)
    assert (made(x) - expected).abs().max() < 1e-5
    assert [type(m).__name__ for m in made] == ["Conv", "Halved", "GELU", "Conv", "Flatten", "Linear", "Linear"]


def test_a_batch_norm_that_turns_signs_stays_behind_the_pooling() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    norm.weight.data = torch.linspace(-1, 1, 8)
    block = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.MaxPool2d(2), norm).eval().requires_grad_(False)
    x = torch.randn(5, 3, 8, 8)
    expected = block(x)
    made = packed(block)
    assert (made(x) - expected).abs().max() < 1e-5
    assert [type(m).__name__ for m in made] == ["Conv", "Halved", "BatchNorm2d"]


def test_groups_of_one_channel_are_joined() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, groups=3)).requires_grad_(False)
    x = torch.randn(5, 3, 8, 8)
    expected, made = block(x), packed(block)
    assert (made(x) - expected).abs().max() < 1e-5
    assert made[0].groups == 1


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=bf16)])
def test_cases_that_lack_a_picture_or_both(predictor: Predictor, cohort, precision: Precision) -> None:  # type: ignore[no-untyped-def]
    whole, other, third = (cohort.case(c) for c in cohort.case_ids[:3])
    one = replace(other, images={"longitudinal": other.images["longitudinal"]})
    none = replace(third, images={})
    quick = fast(predictor, precision)
    for cases in ([whole, one, none], [none]):
        measured = predictor.measure(cases)
        for p, m in zip(predictor.predict_measured(measured), quick.predict_measured(measured), strict=True):
            assert abs(p.logit - m.logit) < (1e-5 if precision == "fp32" else 0.03)
