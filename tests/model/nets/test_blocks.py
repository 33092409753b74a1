"""The layers against the published equations, written out."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from model.nets.blocks import BidirectionalAttention, FusionLayer, SelfAttentionLayer, attend
from model.nets.config import Cross

B, T_I, T_C, WIDTH, HEADS = 3, 5, 7, 12, 3


def streams(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    present = torch.rand(B, T_C, generator=g) < 0.6
    present[:, 0] = True
    return torch.randn(B, T_I, WIDTH, generator=g), torch.randn(B, T_C, WIDTH, generator=g), present


def fusion_layer(alpha: float = 0.7, cross: Cross = "both") -> FusionLayer:
    torch.manual_seed(1)
    layer = FusionLayer(WIDTH, HEADS, 20, alpha=alpha, cross=cross, attention_dropout=0.1, dropout=0.1).eval()
    for p in layer.parameters():
        nn.init.normal_(p, std=0.4)
    return layer


def affine(linear: nn.Linear | nn.LayerNorm, x: Tensor) -> Tensor:
    if isinstance(linear, nn.Linear):
        return x @ linear.weight.T + linear.bias
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + linear.eps).sqrt() * linear.weight + linear.bias


def by_hand(q: Tensor, k: Tensor, v: Tensor, present: Tensor) -> Tensor:
    """Att(Q, K, V) of one case, head by head, over the keys that are present."""
    d = WIDTH // HEADS
    heads = []
    for h in range(HEADS):
        part = slice(h * d, (h + 1) * d)
        weights = torch.exp(q[:, part] @ k[present][:, part].T / math.sqrt(d))
        heads.append(weights / weights.sum(1, keepdim=True) @ v[present][:, part])
    return torch.cat(heads, 1)


@pytest.mark.parametrize("cross", get_args(Cross))
def test_fusion_layer_is_the_published_equation(cross: Cross):
    layer, alpha = fusion_layer(0.7, cross), 0.7
    image, clinical, present = streams()
    got_image, got_clinical, _ = layer(image, clinical, present)
    a = layer.attention
    to_image, to_clinical = cross in ("both", "text_to_image"), cross in ("both", "image_to_text")
    for b in range(B):
        x_i, x_c, all_i = image[b], clinical[b], torch.ones(T_I, dtype=torch.bool)
        q_i, k_i, v_i = affine(a.image_qkv, affine(layer.image_norm, x_i)).split(WIDTH, 1)
        q_c, k_c, v_c = affine(a.clinical_qkv, affine(layer.clinical_norm, x_c)).split(WIDTH, 1)
        t_i = by_hand(q_i, k_i, v_i, all_i) + to_image * alpha * by_hand(q_i, k_c, v_c, present[b])
        t_c = by_hand(q_c, k_c, v_c, present[b]) + to_clinical * alpha * by_hand(q_c, k_i, v_i, all_i)
        x_i, x_c = x_i + affine(a.image_out, t_i), x_c + affine(a.clinical_out, t_c)
        for x, norm, mlp, got in [
            (x_i, layer.image_mlp_norm, layer.image_mlp, got_image[b]),
            (x_c, layer.clinical_mlp_norm, layer.clinical_mlp, got_clinical[b]),
        ]:
            hidden = affine(mlp[0], affine(norm, x))
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            torch.testing.assert_close(got, x + affine(mlp[3], hidden), atol=1e-4, rtol=1e-4)


def test_self_layer_is_the_published_equation():
    torch.manual_seed(2)
    layer = SelfAttentionLayer(WIDTH, HEADS, 20, attention_dropout=0.1, dropout=0.1).eval()
    _, x, present = streams(2)
    got, _ = layer(x, present)
    for b in range(B):
        q, k, v = affine(layer.qkv, affine(layer.norm, x[b])).split(WIDTH, 1)
        y = x[b] + affine(layer.out, by_hand(q, k, v, present[b]))
        hidden = nn.functional.gelu(affine(layer.mlp[0], affine(layer.mlp_norm, y)))
        torch.testing.assert_close(got[b], y + affine(layer.mlp[3], hidden), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_that_of_the_library(masked: bool):
    g = torch.Generator().manual_seed(3)
    q, k, v = torch.randn(3, B, HEADS, T_C, 4, generator=g) * 3
    present = streams()[2] if masked else None
    mixed, weights = attend(q / 2, k, v, present)
    keep = None if present is None else present[:, None, None]
    expected = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=keep)
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, HEADS, T_C))
    if keep is not None:
        assert (weights[~keep.expand_as(weights)] == 0).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_an_absent_key_has_no_weight_and_no_slope_in_any_precision(kind: torch.dtype):
    g = torch.Generator().manual_seed(4)
    q, k, v = (torch.randn(2, 1, 3, 4, generator=g).to(kind).requires_grad_() for _ in range(3))
    present = torch.tensor([[True, True, False], [True, False, False]])
    mixed, weights = attend(q, k, v, present)
    absent = ~present[:, None, None].expand_as(weights)
    assert (weights[absent] == 0).all()
    mixed.float().square().sum().backward()
    for x in (k, v):
        assert torch.isfinite(x.grad).all()
        assert (x.grad[~present[:, None]] == 0).all()


def test_attention_dropout_acts_in_training_only():
    torch.manual_seed(0)
    layer = BidirectionalAttention(WIDTH, HEADS, alpha=1.0, cross="both", attention_dropout=0.5, dropout=0.0)
    image, clinical, present = streams()

    def run() -> Tensor:
        return layer(image, clinical, present)[0]

    assert not torch.equal(run(), run())
    layer.eval()
    assert torch.equal(run(), run())


def test_directions_that_are_off_have_no_weights():
    image, clinical, present = streams()
    for cross, off in [("text_to_image", "clinical_image"), ("image_to_text", "image_clinical")]:
        weights = fusion_layer(cross=cross)(image, clinical, present)[2].directions
        for name, tensor in weights._asdict().items():
            expected = 0.0 if name == off else 1.0
            torch.testing.assert_close(tensor.sum(-1), torch.full(tensor.shape[:-1], expected))


@pytest.mark.parametrize(("alpha", "cross"), [(0.0, "both"), (1.0, "none")])
def test_without_the_cross_term_the_streams_are_apart(alpha: float, cross: Cross):
    image, clinical, present = streams()
    image.requires_grad_()
    clinical.requires_grad_()
    out_image, out_clinical, _ = fusion_layer(alpha, cross)(image, clinical, present)
    for out, other in [(out_image, clinical), (out_clinical, image)]:
        (gradient,) = torch.autograd.grad(out.square().sum(), other, allow_unused=True, retain_graph=True)
        assert gradient is None or (gradient == 0).all()
    (gradient,) = torch.autograd.grad(fusion_layer(1.0, "both")(image, clinical, present)[0].square().sum(), clinical)
    assert gradient[present].abs().min() > 0  # with it they meet, over the words that are present
    assert (gradient[~present] == 0).all()
