"""Attention × gradient: it finds what drives the logit, its slopes are the logit's own, and sessions do not meet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.explain.attention import cross_attention, layer_matrices, rollout
from model.explain.attention_gradient import attention_gradient, relevance, weighted_attention
from model.nets import blocks
from model.nets.blocks import Reads
from model.nets.config import NetConfig
from model.nets.llnm_net import Attention, LlnmNet, Tokens
from model.schema import MAPS

WIDTH, PLAIN = 6, NetConfig(
    width=6, heads=1, mlp_width=4, fusion_layers=1, self_layers=1, text_tokens=5, map_size=16, patch=8, vocab_size=9, fields=()
)  # fmt: skip
DRIVER, DECOY = (1.0, -1.0, 0, 0, 0, 0), (0, 0, 1.0, -1.0, 0, 0)
REST = (0, 0, 0, 0, 1.0, -1.0)


@pytest.fixture(autouse=True)
def _one_thread():  # type: ignore[no-untyped-def]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def as_predictor(net: LlnmNet, temperature: float = 1.0) -> SimpleNamespace:
    """All that the method asks of a predictor once there are tokens."""
    return SimpleNamespace(net=net, calibrated=lambda logit: logit / temperature)


def planted(driver: int, decoy: int) -> tuple[LlnmNet, Tokens]:
    """A network that reads one feature alone, which one word has, and that attends to another word, the decoy."""
    net = LlnmNet(PLAIN).eval().requires_grad_(False)
    for p in net.parameters():
        p.zero_()
    for module in net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.weight.fill_(1.0)
    fused, joint = net.fusion[0].attention, net.joint[0]
    for qkv, out in ((fused.image_qkv, fused.image_out), (fused.clinical_qkv, fused.clinical_out), (joint.qkv, joint.out)):
        qkv.bias[0] = 1.5  # every query asks …
        qkv.weight[WIDTH, 2] = 1.0  # … for what the decoy has,
        qkv.weight[2 * WIDTH, 0] = 1.0  # and all that is handed on is the driver's feature
        out.weight[0, 0] = 1.0
    net.head[0].weight.copy_(torch.eye(WIDTH))
    net.head[0].bias.fill_(5.0)  # where GELU is a straight line
    net.head[3].weight[0, 0] = 1.0
    clinical = torch.tensor(REST).repeat(1, 5, 1)
    clinical[0, driver], clinical[0, decoy] = torch.tensor(DRIVER), torch.tensor(DECOY)
    image = torch.tensor(REST).repeat(1, 1, len(PLAIN.image_tokens), 1)
    return net, Tokens(image, clinical, torch.ones(1, 5, dtype=torch.bool), torch.ones(1, 1))


@pytest.mark.parametrize(("driver", "decoy"), [(1, 3), (4, 0)])
def test_it_finds_the_word_that_drives_the_logit_where_attention_looks_elsewhere(driver: int, decoy: int) -> None:
    net, tokens = planted(driver, decoy)
    n = len(PLAIN.image_tokens)
    plain = net.fuse(tokens, return_attention=True).attention
    weighted = weighted_attention(as_predictor(net), tokens)
    for before, after in zip(plain.layers, weighted.layers, strict=True):
        assert (before.image_clinical.argmax(-1) == decoy).all()
        assert (after.image_clinical.argmax(-1) == driver).all()
    assert not weighted.layers[0].image_clinical[..., decoy].any()  # later it holds what it read of the driver
    assert rollout(plain, alpha=1.0)[0, n:].argmax() == decoy
    found = relevance(weighted)[0]
    assert found.argmax() == n + driver
    assert found[n + decoy] < 0.5 * found[n + driver]


def test_a_direction_without_weight_has_no_slope() -> None:
    for off in ({"alpha": 0.0}, {"cross": "none"}):
        net, tokens = planted(1, 3)
        mute = LlnmNet(replace(PLAIN, **off)).eval().requires_grad_(False)
        mute.load_state_dict(net.state_dict())
        weighted = weighted_attention(as_predictor(mute), tokens)
        assert not weighted.layers[0].image_clinical.any()
        assert not weighted.layers[0].clinical_image.any()
        assert weighted.layers[0].clinical_clinical.any()


def test_slopes_are_those_of_the_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against finite differences: one attention weight is moved by hand and the network run again."""
    torch.manual_seed(0)
    net = LlnmNet(PLAIN).double().eval().requires_grad_(False)
    g = torch.Generator().manual_seed(1)
    n = len(PLAIN.image_tokens)
    tokens = Tokens(
        torch.randn(1, 2, n, WIDTH, generator=g, dtype=torch.float64), torch.randn(1, 5, WIDTH, generator=g, dtype=torch.float64),
        torch.tensor([[True, True, True, True, False]]), torch.tensor([[0.5, 0.5]], dtype=torch.float64),
    )  # fmt: skip
    weighted = weighted_attention(as_predictor(net, temperature=2.0), tokens)
    plain = net.fuse(tokens, return_attention=True).attention
    attend, step = blocks.attend, 1e-5
    # Calls in the order of the network: of a fusion layer what is read of the image, then of the clinical stream.
    for call, before, after in ((0, plain.fusion[0].image, weighted.fusion[0].image),
                                (1, plain.fusion[0].clinical, weighted.fusion[0].clinical),
                                (2, plain.joint[0], weighted.joint[0])):  # fmt: skip
        for row, query, key in ((0, 0, 0), (1, 2, 1), (1, 3, 3), (0, n, 1)):
            def logit(moved: float, *, at: int = call, place: tuple[int, int, int] = (row, query, key)) -> float:
                calls = iter(range(99))

                def nudged(*args: Tensor, **options: object) -> tuple[Tensor, Tensor]:
                    mixed, weights = attend(*args, **options)
                    if next(calls) == at:
                        mixed = mixed.clone()
                        mixed[place[0], 0, place[1]] += moved * args[2][place[0], 0, place[2]]
                    return mixed, weights

                monkeypatch.setattr(blocks, "attend", nudged)
                found = float(net.fuse(tokens).logit[0]) / 2.0
                monkeypatch.setattr(blocks, "attend", attend)
                return found

            slope = (logit(step) - logit(-step)) / (2 * step)
            expected = max(float(before[row, 0, query, key]) * slope, 0.0)
            assert float(after[row, 0, query, key]) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert min(float(w.min()) for layer in weighted.layers for w in layer) == 0  # what lowers the logit is cut


def test_relevance_is_the_published_update() -> None:
    """R starts as the identity, R ← R + Ā R; the pooled row without what a token brought to its own place."""
    g = torch.Generator().manual_seed(0)
    n_i, n_c = 3, 2
    fused = Reads(*(torch.rand(1, 2, n_i + n_c, keys, generator=g) for keys in (n_i, n_c)))
    joint, pooling = torch.rand(1, 2, 5, 5, generator=g), torch.rand(1, 5, generator=g)
    attention = Attention((fused,), (joint,), pooling, n_i)
    r = torch.eye(5)
    for a in layer_matrices(attention, alpha=1.0):
        r = r + a[0] @ r
    torch.testing.assert_close(relevance(attention), pooling @ (r - torch.eye(5)))


def test_it_is_addressed_like_plain_attention_and_says_its_method(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    for case in measured[:2]:
        plain, weighted = cross_attention(predictor, case), attention_gradient(predictor, case)
        assert "Chefer" in weighted.method
        assert (weighted.tokens, weighted.layers, weighted.views) == (plain.tokens, plain.layers, plain.views)
        assert weighted.clinical_to_image.shape == plain.clinical_to_image.shape
        assert weighted.image_to_clinical.shape == plain.image_to_clinical.shape
        assert weighted.clinical_to_image.min() >= 0
        total = weighted.rollout.sum((1, 2, 3)) + weighted.rollout_clinical.sum(1)
        assert total == pytest.approx(np.ones_like(total), abs=1e-4)
        view = weighted.views[0]
        assert weighted.regions_of(2, view, layer=1, head=0).shape == (len(MAPS), weighted.grid, weighted.grid)
        assert not np.allclose(weighted.words_of("margin", 1, 1, view), plain.words_of("margin", 1, 1, view))


def test_it_is_the_same_run_after_run_and_ten_threads_do_not_cross(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    cases = [*measured, *measured[:2]]
    expected = [attention_gradient(predictor, case) for case in cases]
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda case: attention_gradient(predictor, case), cases))
    for want, got in zip(expected, found, strict=True):
        assert got.case_id == want.case_id
        for name in ("clinical_to_image", "image_to_clinical", "rollout", "rollout_clinical"):
            assert np.array_equal(getattr(got, name), getattr(want, name)), name
    assert not np.array_equal(expected[0].rollout, expected[1].rollout)
    assert all(p.grad is None and not p.requires_grad for p in predictor.net.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in predictor.net.modules())
