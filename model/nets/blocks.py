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


def attend(
    query: Tensor, key: Tensor, value: Tensor, present: Tensor | None, *, dropout: float, return_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention, softmax(Q Kᵀ / √d) V, over the keys that are present.

    Parameters
    ----------
    query : (B, H, T_query, d).
    key, value : (B, H, T_key, d).
    present : (B, T_key) bool, False leaves a key out; None where all are present. Without any key the result is zero.
    dropout : share of the weights dropped.
    return_weights : also give the weights, before dropout, by an explicit softmax.

    Returns
    -------
    (B, H, T_query, d) and, when asked for, weights (B, H, T_query, T_key).
    """
    keep = None if present is None else present[:, None, None, :]
    if return_weights:
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if keep is not None:
            scores = scores.masked_fill(~keep, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        if keep is not None:
            weights = weights.masked_fill(~keep, 0.0)
        return F.dropout(weights, dropout, training=dropout > 0) @ value, weights
    if keep is None:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout), None
    some = keep.any(-1, keepdim=True)  # kernels differ in what they give for a row without keys, some NaN
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keep | ~some, dropout_p=dropout)
    return mixed.masked_fill(~some, 0.0), None


def split_heads(projected: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 3·W) → query, key and value, each (B, heads, T, W / heads)."""
    b, t, _ = projected.shape
    query, key, value = projected.view(b, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
    return query, key, value


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
        self, image: Tensor, clinical: Tensor, clinical_present: Tensor | None = None, *, return_weights: bool = False
    ) -> tuple[Tensor, Tensor, Directions | None]:
        """Mix the streams.

        Parameters
        ----------
        image : (B, T_I, W).
        clinical : (B, T_C, W).
        clinical_present : (B, T_C) bool; False leaves a token out as a key. None: all present.

        Returns
        -------
        (B, T_I, W), (B, T_C, W), and weights (B, H, T_query, T_key) when asked for; zero in a direction that is off.
        """
        dropout = self.attention_dropout if self.training else 0.0
        q_i, k_i, v_i = split_heads(self.image_qkv(image), self.heads)
        q_c, k_c, v_c = split_heads(self.clinical_qkv(clinical), self.heads)

        def term(q: Tensor, k: Tensor, v: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor | None]:
            return attend(q, k, v, present, dropout=dropout, return_weights=return_weights)

        t_i, w_ii = term(q_i, k_i, v_i, None)
        t_c, w_cc = term(q_c, k_c, v_c, clinical_present)
        w_ic = w_ci = None
        if self.image_reads:
            read, w_ic = term(q_i, k_c, v_c, clinical_present)
            t_i = t_i + self.alpha * read
        if self.clinical_reads:
            read, w_ci = term(q_c, k_i, v_i, None)
            t_c = t_c + self.alpha * read
        mixed = self.drop(self.image_out(join_heads(t_i))), self.drop(self.clinical_out(join_heads(t_c)))
        if w_ii is None or w_cc is None:
            return *mixed, None
        b, h, n_i, n_c = *w_ii.shape[:3], w_cc.shape[-1]
        w_ic = w_ii.new_zeros(b, h, n_i, n_c) if w_ic is None else w_ic
        w_ci = w_ii.new_zeros(b, h, n_c, n_i) if w_ci is None else w_ci
        return *mixed, Directions(w_ii, w_ic, w_ci, w_cc)


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
        self, image: Tensor, clinical: Tensor, clinical_present: Tensor | None = None, *, return_weights: bool = False
    ) -> tuple[Tensor, Tensor, Directions | None]:
        """Shapes as in `BidirectionalAttention.forward`."""
        t_i, t_c, weights = self.attention(
            self.image_norm(image), self.clinical_norm(clinical), clinical_present, return_weights=return_weights
        )
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

    def forward(
        self, x: Tensor, present: Tensor | None = None, *, return_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(B, T, W), with `present` (B, T) bool → (B, T, W) and, when asked for, weights (B, H, T, T)."""
        q, k, v = split_heads(self.qkv(self.norm(x)), self.heads)
        dropout = self.attention_dropout if self.training else 0.0
        mixed, weights = attend(q, k, v, present, dropout=dropout, return_weights=return_weights)
        x = x + self.drop(self.out(join_heads(mixed)))
        return x + self.mlp(self.mlp_norm(x)), weights
