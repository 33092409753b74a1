"""The layers of LLNM-Net in bfloat16, for scoring: one product of all queries with all keys a layer, and no softmax kernel.

On a CPU, kernels for attention lose more time around heads of 24 numbers than the products take. Here the weights are powers of
two of the scores, and their sums come out of the product with the values, which get a column of ones: one column for each
stream, since each is summed by itself. Tokens that are absent have values, and ones, of zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.nets.blocks import BidirectionalAttention, Directions, FusionLayer, SelfAttentionLayer
from model.scale.layers import Linear, packed

_MOST = 120.0
"""Scores, in powers of two, are cut here: a single number could not hold a sum of weights that are larger."""
_DTYPE = torch.bfloat16


class QuickFusion(nn.Module):
    """`FusionLayer`, which is taken apart."""

    def __init__(self, layer: FusionLayer) -> None:
        super().__init__()
        attention = layer.attention
        self.heads = attention.heads
        self.shares = _shares(attention)
        self.image_qkv, self.clinical_qkv = (_qkv(x, self.heads) for x in (attention.image_qkv, attention.clinical_qkv))
        self.image_out, self.clinical_out = (Linear(x, _DTYPE) for x in (attention.image_out, attention.clinical_out))
        for name in ("image_norm", "clinical_norm", "image_mlp_norm", "clinical_mlp_norm"):
            setattr(self, name, getattr(layer, name).to(_DTYPE))
        self.image_mlp, self.clinical_mlp = (packed(x, _DTYPE) for x in (layer.image_mlp, layer.clinical_mlp))

    def forward(
        self, image: Tensor, clinical: Tensor, clinical_present: Tensor, *, return_weights: bool = False
    ) -> tuple[Tensor, Tensor, Directions | None]:
        """As `FusionLayer.forward`, in bfloat16; it has no weights to return."""
        image, clinical = image.to(_DTYPE), clinical.to(_DTYPE)
        n = image.shape[1]
        qkv = torch.cat([self.image_qkv(self.image_norm(image)), self.clinical_qkv(self.clinical_norm(clinical))], 1)
        present = torch.cat([clinical_present.new_ones(image.shape[:2]), clinical_present], 1)
        mixed = mixed_values(qkv, present, self.heads, n, self.shares)
        image = self.image_out(mixed[:, :n], onto=image)
        clinical = self.clinical_out(mixed[:, n:], onto=clinical)
        image = _mlp(self.image_mlp, self.image_mlp_norm(image), image)
        return image, _mlp(self.clinical_mlp, self.clinical_mlp_norm(clinical), clinical), None


class QuickSelfAttention(nn.Module):
    """`SelfAttentionLayer`, which is taken apart."""

    def __init__(self, layer: SelfAttentionLayer) -> None:
        super().__init__()
        self.heads = layer.heads
        self.qkv, self.out = _qkv(layer.qkv, layer.heads), Linear(layer.out, _DTYPE)
        self.norm, self.mlp_norm = layer.norm.to(_DTYPE), layer.mlp_norm.to(_DTYPE)
        self.mlp = packed(layer.mlp, _DTYPE)

    def forward(self, x: Tensor, present: Tensor, *, return_weights: bool = False) -> tuple[Tensor, None]:
        """As `SelfAttentionLayer.forward`, in bfloat16; it has no weights to return."""
        x = x.to(_DTYPE)
        x = self.out(mixed_values(self.qkv(self.norm(x)), present, self.heads), onto=x)
        return _mlp(self.mlp, self.mlp_norm(x), x), None


class Single(nn.Module):
    """Back to single precision, in the place of a layer."""

    def forward(self, x: Tensor, present: Tensor, *, return_weights: bool = False) -> tuple[Tensor, None]:
        """(B, T, W) in single precision."""
        return x.float(), None


def mixed_values(
    qkv: Tensor, present: Tensor, heads: int, cut: int = 0, shares: Tensor | None = None
) -> Tensor:
    """What every token reads.

    Parameters
    ----------
    qkv : (B, T, 3·W) queries (scaled so that weights are powers of two of the scores), keys and values.
    present : (B, T) bool; False leaves a key out.
    cut : tokens before it are one stream, those from it on another, each read by itself; 0 for one stream.
    shares : (2, 2) how much a token of a stream (row) takes of what it reads of a stream (column).

    Returns
    -------
    (B, T, W).
    """
    b, t, _ = qkv.shape
    query, key, value = qkv.view(b, t, 3, heads, -1).permute(2, 0, 3, 1, 4).reshape(3, b * heads, t, -1)
    weights = torch.bmm(query, key.transpose(1, 2)).clamp_(-_MOST, _MOST).exp2_()
    d = value.shape[-1]
    streams = [(0, t)] if not cut else [(0, cut), (cut, t)]
    there = present.to(qkv.dtype)[:, None, :, None]
    value = value.view(b, heads, t, d) * there
    beside = value.new_zeros(b, heads, t, len(streams), d + 1)
    for s, (a, z) in enumerate(streams):
        beside[:, :, a:z, s, :d] = value[:, :, a:z]
        beside[:, :, a:z, s, d] = there[:, :, a:z, 0]
    read = torch.bmm(weights, beside.view(b * heads, t, -1)).view(b * heads, t, len(streams), d + 1)
    factor = read[..., d:].clamp_min(1e-30).reciprocal()  # (B·H, T, streams, 1); a stream without any token gives zero
    if shares is not None:
        of = shares.to(qkv.dtype).repeat_interleave(torch.tensor([cut, t - cut]), 0)  # (T, 2)
        factor = factor * of[:, :, None]
    mixed = (read[..., :d] * factor).sum(2) if cut else read[:, :, 0, :d] * factor[:, :, 0]
    return mixed.view(b, heads, t, d).transpose(1, 2).reshape(b, t, heads * d)


def _shares(attention: BidirectionalAttention) -> Tensor:
    alpha = attention.alpha
    return torch.tensor([[1.0, alpha * attention.image_reads], [alpha * attention.clinical_reads, 1.0]])


def _qkv(layer: nn.Linear, heads: int) -> Linear:
    """Queries, keys and values, the queries scaled so that 2 ** (q · k) is exp(q · k / √d) of the layer's own."""
    width = layer.in_features
    scale = torch.ones(3 * width)
    scale[:width] = math.log2(math.e) * (width // heads) ** -0.5
    scaled = nn.Linear(width, 3 * width)
    scaled.weight = nn.Parameter(layer.weight.detach() * scale[:, None], requires_grad=False)
    scaled.bias = nn.Parameter(layer.bias.detach() * scale, requires_grad=False)
    return Linear(scaled, _DTYPE)


def _mlp(layers: nn.Module, normed: Tensor, onto: Tensor) -> Tensor:
    """The two layers of a packed MLP, added to what goes around them."""
    first, second = layers.children()
    result: Tensor = second(first(normed), onto=onto)
    return result
