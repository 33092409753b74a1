"""The layers of LLNM-Net in bfloat16: attention by plain products, its softmax in powers of two.

On a CPU, kernels for attention lose more time around heads of 24 numbers than the products take. Here tokens lie along the last
axis, so that everything between two products runs along whole rows; the sum of the weights comes out of the product with the
values, which get a row of ones; and tokens that are absent have values, and ones, of zero.

All that reads tokens normalises them first, so their means never matter: they are kept at zero (`Entered`, and the layers that
add to the tokens), and layer norm is RMS norm. Scales and shifts of the norms are in the layers after them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.nets.blocks import FusionLayer, SelfAttentionLayer
from model.nets.quick.layers import Linear

_DTYPE = torch.bfloat16
_MOST = 100.0
"""Scores, in powers of two, must stay below, so that the sum of the weights stays a number."""
_LEAST = 1e-35
"""Below any sum of weights that is not of nothing."""


class Entered(nn.Module):
    """Tokens as the layers here take them, in the place of a first layer."""

    def forward(self, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Streams (B, T, W), and which tokens are present → the streams in bfloat16 with means of zero, and no weights."""
        *streams, _ = given
        return *((x - x.mean(-1, keepdim=True)).to(_DTYPE) for x in streams), None


class Single(nn.Module):
    """Back to single precision, in the place of a last layer."""

    def forward(self, x: Tensor, _present: Tensor) -> tuple[Tensor, None]:
        """(B, T, W) in single precision."""
        return x.float(), None


class QuickFusion(nn.Module):
    """`FusionLayer`, which is taken apart."""

    def __init__(self, layer: FusionLayer) -> None:
        super().__init__()
        attention = layer.attention
        self.image = _Stream(attention.image_qkv, layer.image_norm, attention.heads)
        self.clinical = _Stream(attention.clinical_qkv, layer.clinical_norm, attention.heads)
        self.image_reads, self.clinical_reads = (
            attention.alpha * reads for reads in (attention.image_reads, attention.clinical_reads)
        )
        query, key = (max(getattr(s, name) for s in (self.image, self.clinical)) for name in ("query_most", "key_most"))
        self.bounded = query * key < _MOST
        self.image_out, self.clinical_out = (
            Linear(_centred(x), _DTYPE) for x in (attention.image_out, attention.clinical_out)
        )
        self.image_mlp = _Mlp(layer.image_mlp_norm, layer.image_mlp)
        self.clinical_mlp = _Mlp(layer.clinical_mlp_norm, layer.clinical_mlp)

    def forward(self, image: Tensor, clinical: Tensor, clinical_present: Tensor) -> tuple[Tensor, Tensor, None]:
        """As `FusionLayer.forward`, from and to tokens as `Entered` gives them; it has no weights to return."""
        n, m = image.shape[1], clinical.shape[1]
        of_image, of_clinical = self.image(image), self.clinical(clinical)
        query = torch.cat([of_image[0], of_clinical[0]], 2)
        share_of_image, share_of_clinical = [(n, 1.0), (m, self.clinical_reads)], [(n, self.image_reads), (m, 1.0)]
        mixed = read(query, of_image[1], of_image[2], None, share_of_image, bounded=self.bounded)
        mixed += read(query, of_clinical[1], of_clinical[2], clinical_present, share_of_clinical, bounded=self.bounded)
        image = self.image_out(_tokens(mixed[..., :n]), onto=image)
        clinical = self.clinical_out(_tokens(mixed[..., n:]), onto=clinical)
        return self.image_mlp(image), self.clinical_mlp(clinical), None


class QuickSelfAttention(nn.Module):
    """`SelfAttentionLayer`, which is taken apart."""

    def __init__(self, layer: SelfAttentionLayer) -> None:
        super().__init__()
        self.stream = _Stream(layer.qkv, layer.norm, layer.heads)
        self.bounded = self.stream.query_most * self.stream.key_most < _MOST
        self.out, self.mlp = Linear(_centred(layer.out), _DTYPE), _Mlp(layer.mlp_norm, layer.mlp)

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, None]:
        """As `SelfAttentionLayer.forward`, from and to tokens as `Entered` gives them; it has no weights to return."""
        query, key, value = self.stream(x)
        mixed = read(query, key, value, present, [(x.shape[1], 1.0)], bounded=self.bounded)
        return self.mlp(self.out(_tokens(mixed), onto=x)), None


def read(
    query: Tensor, key: Tensor, value: Tensor, present: Tensor | None, share: list[tuple[int, float]], *, bounded: bool
) -> Tensor:
    """What every query reads of one stream: 2 ** (q · k) of the values, over its sum.

    Parameters
    ----------
    query : (B, H·d, T_query).
    key : (B, H·d, T_key).
    value : (B, H, d + 1, T_key), the last row of ones.
    present : (B, T_key) bool, False leaves a key out; None where all are present.
    share : so many queries, and what their reading is multiplied by; together all queries.
    bounded : whether no score can reach `_MOST`; else those that do are cut.

    Returns
    -------
    (B, H·d, T_query).
    """
    if present is not None and not present.all():
        value = value * present.to(value.dtype)[:, None, None]
    b, heads, rows, _ = value.shape
    query, key, value = (x.reshape(b * heads, -1, x.shape[-1]) for x in (query, key, value))
    scores = torch.bmm(key.transpose(1, 2), query)  # (B·H, T_key, T_query)
    if not bounded:
        scores.clamp_(-_MOST, _MOST)
    summed = torch.bmm(value, scores.exp2_())
    shares = torch.cat([query.new_full((count,), part) for count, part in share])
    mixed = summed[:, :-1] * (shares / summed[:, -1:].clamp_min(_LEAST))
    return mixed.view(b, heads * (rows - 1), -1)


class _Stream(nn.Module):
    """(B, T, W) → queries and keys (B, W, T), values with their row of ones (B, H, d + 1, T).

    Queries are scaled so that 2 ** (q · k) is exp(q · k / √d) of the layer's own. Keys go without their bias, which adds the
    same to every score of a query. `query_most` and `key_most` bound the lengths of a head's queries and keys, whatever the
    tokens.
    """

    def __init__(self, layer: nn.Linear, norm: nn.LayerNorm, heads: int) -> None:
        super().__init__()
        width = layer.in_features
        weight, bias = (x.view(3, heads, width // heads, -1) for x in _after(norm, layer))
        scale = torch.tensor([math.log2(math.e) * (width // heads) ** -0.5, 1, 1]).view(3, 1, 1, 1)
        weight, bias = weight * scale, bias * scale
        lengths = torch.linalg.matrix_norm(weight, 2) * math.sqrt(width)  # normalised tokens have length √W
        self.query_most = float((lengths[0] + torch.linalg.vector_norm(bias[0], dim=(1, 2))).max())
        self.key_most = float(lengths[1].max())
        self.heads, self.epsilon = heads, norm.eps
        self.query, self.key = (x.flatten(0, 1).to(_DTYPE) for x in weight[:2])
        self.query_bias = bias[0].flatten(0, 1).to(_DTYPE)
        ones = torch.zeros(heads, 1, width), torch.ones(heads, 1, 1)
        self.value, self.value_bias = (
            torch.cat([x[2], one], 1).flatten(0, 1).to(_DTYPE) for x, one in zip((weight, bias), ones, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        turned = F.rms_norm(x, x.shape[-1:], eps=self.epsilon).transpose(1, 2)
        query, key, value = (w.expand(len(x), -1, -1) for w in (self.query, self.key, self.value))
        values = torch.baddbmm(self.value_bias, value, turned).view(len(x), self.heads, -1, x.shape[1])
        return torch.baddbmm(self.query_bias, query, turned), torch.bmm(key, turned), values


class _Mlp(nn.Module):
    """x + MLP(norm x)."""

    def __init__(self, norm: nn.LayerNorm, layers: nn.Module) -> None:
        super().__init__()
        first, second = (layer for layer in layers.children() if isinstance(layer, nn.Linear))
        self.first = Linear(_layer(*_after(norm, first)), _DTYPE)
        self.first.activation = "gelu"
        self.second, self.epsilon = Linear(_centred(second), _DTYPE), norm.eps

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(self.first(F.rms_norm(x, x.shape[-1:], eps=self.epsilon)), onto=x)
        return result


def _after(norm: nn.LayerNorm, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weights (W', W) and bias (W', 1) of a linear layer with the scale and shift of the norm before it."""
    weight = layer.weight.detach()
    return weight * norm.weight.detach(), (weight @ norm.bias.detach() + layer.bias.detach())[:, None]


def _centred(layer: nn.Linear) -> nn.Linear:
    """A linear layer with the means of its results taken away."""
    weight, bias = layer.weight.detach(), layer.bias.detach()
    return _layer(weight - weight.mean(0), (bias - bias.mean())[:, None])


def _layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias[:, 0], requires_grad=False)
    return layer


def _tokens(mixed: Tensor) -> Tensor:
    """(B, W, T) → (B, T, W)."""
    return mixed.transpose(1, 2).contiguous()
