"""Cross-attention maps: rows are distributions, words are where the report has them, maps lie where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.explain.attention import cross_attention, paint, rollout
from model.nets.blocks import Reads
from model.nets.llnm_net import Attention
from model.schema import MAPS


def test_rows_are_distributions(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    maps = cross_attention(predictor, measured[0])
    assert maps.layers == ("fusion 1", "fusion 2", "joint 1")
    looks, reads = maps.clinical_to_image.sum((-3, -2, -1)), maps.image_to_clinical.sum(-1)
    for sums in (looks, reads):
        assert sums[:2] == pytest.approx(np.ones_like(sums[:2]), abs=1e-4)
        assert ((sums[2] > 0) & (sums[2] < 1)).all()  # the rest is read within its own stream
    total = maps.rollout.sum((1, 2, 3)) + maps.rollout_clinical.sum(1)
    assert total == pytest.approx(np.ones_like(total), abs=1e-4)


def test_rollout_is_the_published_recipe() -> None:
    """Mean over the heads, add the identity, normalise, multiply: written out for two layers of two streams."""
    rng, image, clinical, heads, alpha = np.random.default_rng(0), 3, 2, 2, 0.5

    def weights(queries: int, keys: int) -> np.ndarray:
        w = rng.random((1, heads, queries, keys))
        return w / w.sum(-1, keepdims=True)

    ii, ic = weights(image, image), weights(image, clinical)
    ci, cc = weights(clinical, image), weights(clinical, clinical)
    joint = weights(image + clinical, image + clinical)
    pooling = np.array([[0.25, 0.25, 0.25, 0.25, 0.0]])  # the last word is absent

    def step(mean: np.ndarray) -> np.ndarray:
        mixed = mean + np.eye(len(mean))
        return mixed / mixed.sum(1, keepdims=True)

    first = step(np.block([[ii, alpha * ic], [alpha * ci, cc]])[0].mean(0))
    expected = pooling @ step(joint[0].mean(0)) @ first
    fused = Reads(*(torch.from_numpy(np.concatenate(w, 2)) for w in ((ii, ci), (ic, cc))))
    attention = Attention((fused,), (torch.from_numpy(joint),), torch.from_numpy(pooling), image)
    got = rollout(attention, alpha=alpha).numpy()
    assert got == pytest.approx(expected)
    assert got.sum() == pytest.approx(1)


def test_words_are_those_of_the_report(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    for case in measured[:4]:
        report = case.case.report_text
        maps = cross_attention(predictor, case)
        assert maps.words
        assert all(report[w.start : w.end] == w.text for w in maps.words)
        starts = [w.start for w in maps.words]
        assert starts == sorted(starts)
        assert len(maps.tokens) == maps.clinical_to_image.shape[3] == maps.image_to_clinical.shape[-1]


def test_both_directions_read_the_same_cell(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    maps = cross_attention(predictor, measured[1])
    view = maps.views[0]
    assert maps.regions_of(2, view, layer=1, head=0) == pytest.approx(maps.clinical_to_image[1, 0, 0, 2])
    assert maps.words_of("margin", 1, 2, view, layer=0, head=3) == pytest.approx(
        maps.image_to_clinical[0, 0, 3, MAPS.index("margin"), 1, 2]
    )
    assert maps.regions_of(2, view, head="max").sum() >= maps.regions_of(2, view, head="mean").sum()


def test_without_a_report_the_fields_remain(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    silent = replace(measured[0], case=replace(measured[0].case, report_text=""))
    maps = cross_attention(predictor, silent)
    assert maps.words == ()
    assert len(maps.tokens) == len(maps.fields)
    assert 0 < maps.rollout.sum() + maps.rollout_clinical.sum() < len(maps.views)  # the “no report” token has the rest


def test_paint_lays_a_hot_region_where_its_box_is() -> None:
    weights = np.zeros((4, 4), np.float32)
    weights[0, 3] = 1.0
    painted = paint(weights, (20.0, 60.0, 10.0, 50.0), (100, 80), smooth=False)
    assert np.isnan(painted[:20]).all()
    assert np.isnan(painted[:, 50:]).all()
    assert (painted[20:30, 40:50] == 1).all()
    assert np.nansum(painted) == 100
    beyond = paint(weights, (-10.0, 30.0, 60.0, 100.0), (100, 80))
    assert beyond.shape == (100, 80)
