"""The layers of LLNM-Net: bidirectional attention between two streams, and self-attention over both.

Attention weights come back as return values. Nothing is kept on a module, so threads can share one network.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.nets.config import Cross


class Directions(NamedTuple):
    """Attention weights in the four directions, each named query_key: (..., heads, T_query, T_key)."""

    image_image: Tensor
    image_clinical: Tensor
    clinical_image: Tensor
    clinical_clinical: Tensor

    @classmethod
    def cut(cls, weights: Tensor, n: int) -> Directions:
        """Attention (..., T, T) over the joined streams, cut after the first n tokens, which are the image's."""
        return cls(weights[..., :n, :n], weights[..., :n, n:], weights[..., n:, :n], weights[..., n:, n:])


class Reads(NamedTuple):
    """Attention of every token, the image's first, over each stream: (..., heads, T_I + T_C, T_I) and (…, T_C)."""

    image: Tensor
    clinical: Tensor

    @property
    def directions(self) -> Directions:
        """The same weights, direction by direction."""
        n = self.image.shape[-1]
        return Directions(self.image[..., :n, :], self.clinical[..., :n, :], self.image[..., n:, :], self.clinical[..., n:, :])


def attend(
    query: Tensor, key: Tensor, value: Tensor, present: Tensor | None = None, *, readers: slice = slice(None),
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, softmax(Q Kᵀ / √d) V, over the keys that are present.

    Written out, and not torch's fused kernel: with few tokens and narrow heads that takes twice as long on a CPU.

    Parameters
    ----------
    query : (B, H, T_query, d), divided by √d, as `split_heads` gives it.
    key, value : (B, H, T_key, d).
    present : (B, T_key) bool, False leaves a key out; None where all are present. A case has one at least.
    readers : the queries that read; the others get zero, with weights of zero.
    dropout : share of the weights dropped.

    Returns
    -------
    (B, H, T_query, d) and the weights before dropout, (B, H, T_query, T_key), through which the first was made.
    """
    total, (first, last, _) = query.shape[2], readers.indices(query.shape[2])
    queries, keys = query[:, :, first:last].flatten(0, 1), key.flatten(0, 1).mT
    if present is None:
        scores = torch.bmm(queries, keys)
    else:
        # Its exponential is exactly zero, in every precision.
        hidden = torch.zeros_like(present, dtype=query.dtype).masked_fill(~present, torch.finfo(query.dtype).min)
        hidden = hidden.repeat_interleave(query.shape[1], 0)[:, None].expand(-1, last - first, -1)
        scores = torch.baddbmm(hidden, queries, keys)
    weights = scores.softmax(-1).view(*query.shape[:2], last - first, -1)
    if last - first < total:
        weights = F.pad(weights, (0, 0, first, total - last))
    return F.dropout(weights, dropout, training=dropout > 0) @ value, weights


def split_heads(projected: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 3·W) → query, key and value, each (B, heads, T, d) with d = W / heads; the query is divided by √d."""
    b, t, _ = projected.shape
    query, key, value = projected.view(b, t, 3, heads, -1).permute(2, 0, 3, 1, 4).contiguous()
    return query * query.shape[-1] ** -0.5, key, value


def join_heads(x: Tensor) -> Tensor:
    """(B, heads, T, d) → (B, T, heads·d)."""
    return x.transpose(1, 2).flatten(2)


def mlp(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """The two-layer MLP of a transformer layer: (..., width) → (..., width)."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
    )


class BidirectionalAttention(nn.Module):
    """Bidirectional multimodal attention (Methods, "BMA").

    T_I = Att(Q_I, K_I, V_I) + α · Att(Q_I, K_T, V_T)
    T_T = Att(Q_T, K_T, V_T) + α · Att(Q_T, K_I, V_I)

    then one output projection a stream. The streams share no weights; a stream's Q, K and V serve its own term and the
    cross-modal one alike.

    Parameters
    ----------
    width, heads : size of a token and number of heads.
    alpha : α.
    cross : directions of the cross-modal term.
    attention_dropout, dropout : shares dropped in training.
    """

    def __init__(
        self, width: int, heads: int, *, alpha: float, cross: Cross, attention_dropout: float, dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.alpha, self.attention_dropout = heads, alpha, attention_dropout
        self.image_reads = cross in ("both", "text_to_image")
        self.clinical_reads = cross in ("both", "image_to_text")
        self.image_qkv, self.clinical_qkv = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.image_out, self.clinical_out = nn.Linear(width, width), nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, image: Tensor, clinical: Tensor, clinical_present: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Reads]:
        """Mix the streams.

        Parameters
        ----------
        image : (B, T_I, W).
        clinical : (B, T_C, W).
        clinical_present : (B, T_C) bool; False leaves a token out as a key. None: all present.

        Returns
        -------
        (B, T_I, W), (B, T_C, W), and the weights, zero in a direction that is off.
        """
        dropout, n = self.attention_dropout if self.training else 0.0, image.shape[1]
        projected = torch.cat([self.image_qkv(image), self.clinical_qkv(clinical)], 1)
        q, k, v = split_heads(projected, self.heads)
        # Both streams read a stream at once.
        of_i, of_c = slice(None if self.clinical_reads else n), slice(0 if self.image_reads else n, None)
        of_image, w_i = attend(q, k[:, :, :n], v[:, :, :n], readers=of_i, dropout=dropout)
        of_clinical, w_c = attend(q, k[:, :, n:], v[:, :, n:], clinical_present, readers=of_c, dropout=dropout)
        t_i = of_image[:, :, :n].add(of_clinical[:, :, :n], alpha=self.alpha)
        t_c = of_clinical[:, :, n:].add(of_image[:, :, n:], alpha=self.alpha)
        mixed = self.drop(self.image_out(join_heads(t_i))), self.drop(self.clinical_out(join_heads(t_c)))
        return *mixed, Reads(w_i, w_c)


class FusionLayer(nn.Module):
    """One pre-norm BMA layer: x + BMA(norm x), then x + MLP(norm x), each stream with its own norms and MLP.

    Parameters as in `BidirectionalAttention`; `mlp_width` is the hidden width of the MLPs.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        *,
        alpha: float,
        cross: Cross,
        attention_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.image_norm, self.clinical_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = BidirectionalAttention(
            width, heads, alpha=alpha, cross=cross, attention_dropout=attention_dropout, dropout=dropout
        )
        self.image_mlp_norm, self.clinical_mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.image_mlp, self.clinical_mlp = mlp(width, mlp_width, dropout), mlp(width, mlp_width, dropout)

    def forward(
        self, image: Tensor, clinical: Tensor, clinical_present: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Reads]:
        """Shapes as in `BidirectionalAttention.forward`."""
        t_i, t_c, weights = self.attention(self.image_norm(image), self.clinical_norm(clinical), clinical_present)
        image, clinical = image + t_i, clinical + t_c
        image = image + self.image_mlp(self.image_mlp_norm(image))
        clinical = clinical + self.clinical_mlp(self.clinical_mlp_norm(clinical))
        return image, clinical, weights


class SelfAttentionLayer(nn.Module):
    """One pre-norm transformer layer: x + Att(norm x), then x + MLP(norm x).

    Parameters
    ----------
    width, heads, mlp_width : size of a token, number of heads, hidden width of the MLP.
    attention_dropout, dropout : shares dropped in training.
    """

    def __init__(self, width: int, heads: int, mlp_width: int, *, attention_dropout: float, dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        self.mlp = mlp(width, mlp_width, dropout)

    def forward(self, x: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, W), with `present` (B, T) bool → (B, T, W) and weights (B, H, T, T)."""
        q, k, v = split_heads(self.qkv(self.norm(x)), self.heads)
        dropout = self.attention_dropout if self.training else 0.0
        mixed, weights = attend(q, k, v, present, dropout=dropout)
        x = x + self.drop(self.out(join_heads(mixed)))
        return x + self.mlp(self.mlp_norm(x)), weights
