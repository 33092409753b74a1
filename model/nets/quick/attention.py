"""The layers of LLNM-Net in bfloat16: attention by plain products, its softmax in powers of two.

On a CPU, kernels for attention lose more time around heads of 24 numbers than the products take. Here tokens lie along the last
axis, so that everything between two products runs along whole rows; the sum of the weights comes out of the product with the
values, which get a row of ones; and tokens that are absent have values, and ones, of zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.nets.blocks import FusionLayer, SelfAttentionLayer
from model.nets.quick.layers import Linear, packed

_DTYPE = torch.bfloat16
_MOST = 100.0
"""Scores, in powers of two, are cut here, so that the sum of the weights stays a number."""
_LEAST = 1e-35
"""Below any sum of weights that is not of nothing."""


class QuickFusion(nn.Module):
    """`FusionLayer`, which is taken apart."""

    def __init__(self, layer: FusionLayer) -> None:
        super().__init__()
        attention = layer.attention
        self.image = _Stream(attention.image_qkv, attention.heads)
        self.clinical = _Stream(attention.clinical_qkv, attention.heads)
        self.image_reads, self.clinical_reads = (
            attention.alpha * reads for reads in (attention.image_reads, attention.clinical_reads)
        )
        self.image_out, self.clinical_out = (Linear(x, _DTYPE) for x in (attention.image_out, attention.clinical_out))
        self.image_norm, self.clinical_norm = layer.image_norm.to(_DTYPE), layer.clinical_norm.to(_DTYPE)
        self.image_mlp = _Mlp(layer.image_mlp_norm, layer.image_mlp)
        self.clinical_mlp = _Mlp(layer.clinical_mlp_norm, layer.clinical_mlp)

    def forward(self, image: Tensor, clinical: Tensor, clinical_present: Tensor) -> tuple[Tensor, Tensor, None]:
        """As `FusionLayer.forward`, in bfloat16; it has no weights to return."""
        image, clinical = image.to(_DTYPE), clinical.to(_DTYPE)
        n = image.shape[1]
        of_image, of_clinical = self.image(self.image_norm(image)), self.clinical(self.clinical_norm(clinical))
        query = torch.cat([of_image[0], of_clinical[0]], 2)
        from_image = read(query, of_image[1], of_image[2], None)
        from_clinical = read(query, of_clinical[1], of_clinical[2], clinical_present)
        image = self.image_out(_tokens(from_image[..., :n] + self.image_reads * from_clinical[..., :n]), onto=image)
        clinical = self.clinical_out(
            _tokens(from_clinical[..., n:] + self.clinical_reads * from_image[..., n:]), onto=clinical
        )
        return self.image_mlp(image), self.clinical_mlp(clinical), None


class QuickSelfAttention(nn.Module):
    """`SelfAttentionLayer`, which is taken apart."""

    def __init__(self, layer: SelfAttentionLayer) -> None:
        super().__init__()
        self.stream, self.norm = _Stream(layer.qkv, layer.heads), layer.norm.to(_DTYPE)
        self.out, self.mlp = Linear(layer.out, _DTYPE), _Mlp(layer.mlp_norm, layer.mlp)

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, None]:
        """As `SelfAttentionLayer.forward`, in bfloat16; it has no weights to return."""
        x = x.to(_DTYPE)
        query, key, value = self.stream(self.norm(x))
        return self.mlp(self.out(_tokens(read(query, key, value, present)), onto=x)), None


class Single(nn.Module):
    """Back to single precision, in the place of a layer."""

    def forward(self, x: Tensor, _present: Tensor) -> tuple[Tensor, None]:
        """(B, T, W) in single precision."""
        return x.float(), None


def read(query: Tensor, key: Tensor, value: Tensor, present: Tensor | None) -> Tensor:
    """What every query reads of one stream: 2 ** (q · k) of the values, over its sum.

    Parameters
    ----------
    query : (B, H·d, T_query).
    key : (B, H·d, T_key).
    value : (B, H, d + 1, T_key), the last row of ones.
    present : (B, T_key) bool, False leaves a key out; None where all are present.

    Returns
    -------
    (B, H, d, T_query).
    """
    if present is not None and not present.all():
        value = value * present.to(value.dtype)[:, None, None]
    b, heads, rows, _ = value.shape
    query, key, value = (x.reshape(b * heads, -1, x.shape[-1]) for x in (query, key, value))
    weights = torch.bmm(key.transpose(1, 2), query).clamp_(-_MOST, _MOST).exp2_()  # (B·H, T_key, T_query)
    summed = torch.bmm(value, weights)
    mixed = summed[:, :-1] * summed[:, -1:].clamp_min(_LEAST).reciprocal()
    return mixed.view(b, heads, rows - 1, -1)


class _Stream(nn.Module):
    """(B, T, W) → queries and keys (B, W, T), values with their row of ones (B, H, d + 1, T).

    Queries are scaled so that 2 ** (q · k) is exp(q · k / √d) of the layer's own.
    """

    def __init__(self, layer: nn.Linear, heads: int) -> None:
        super().__init__()
        width = layer.in_features
        weight, bias = layer.weight.detach().view(3, width, width), layer.bias.detach().view(3, width)
        scale = math.log2(math.e) * (width // heads) ** -0.5
        ones = torch.zeros(2, heads, 1, width)
        ones[1] = 1
        rows = torch.cat([weight[2].view(heads, -1, width), ones[0]], 1).flatten(0, 1)
        added = torch.cat([bias[2].view(heads, -1), ones[1, ..., 0]], 1).flatten()
        self.heads = heads
        self.weights = [w.to(_DTYPE) for w in (weight[0] * scale, weight[1], rows)]
        self.biases = [b.to(_DTYPE)[:, None] for b in (bias[0] * scale, bias[1], added)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        turned = x.transpose(1, 2)
        query, key, value = (
            torch.baddbmm(bias, weight.expand(len(x), -1, -1), turned)
            for weight, bias in zip(self.weights, self.biases, strict=True)
        )
        return query, key, value.view(len(x), self.heads, -1, x.shape[1])


class _Mlp(nn.Module):
    """x + MLP(norm x)."""

    def __init__(self, norm: nn.LayerNorm, layers: nn.Module) -> None:
        super().__init__()
        self.norm = norm.to(_DTYPE)
        self.first, self.second = packed(layers, _DTYPE).children()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(self.first(self.norm(x)), onto=x)
        return result


def _tokens(mixed: Tensor) -> Tensor:
    """(B, H, d, T) → (B, T, H·d)."""
    return mixed.flatten(1, 2).transpose(1, 2).contiguous()
