"""The quick networks say what the plain ones say, and leave these as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from model.predict import Predictor
from model.scale.fast import fast, packed


def test_predictions_are_the_same_to_rounding(predictor: Predictor, cohort) -> None:  # type: ignore[no-untyped-def]
    cases = [cohort.case(c) for c in cohort.case_ids[:6]]
    quick = fast(predictor)
    for plain, made in zip(predictor.predict_many(cases), quick.predict_many(cases), strict=True):
        assert abs(plain.logit - made.logit) < 1e-5
        assert plain.fields == made.fields


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
    # Pooling lies between the first convolution and its batch norm, which therefore stays.
    assert [type(m).__name__ for m in made] == [
        "_Conv",
        "MaxPool2d",
        "BatchNorm2d",
        "GELU",
        "_Conv",
        "Flatten",
        "_Linear",
        "_Linear",
    ]
