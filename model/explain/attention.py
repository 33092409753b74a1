"""Where the model looks: its cross-attention between picture regions and report words, and rollout over all layers.

Attention says what was read together, not what caused the prediction; pages must say so. Weights come back as return
values of the network, in both directions and for every layer and head (Shen et al. 2025, Fig. S3; rollout: Abnar and
Zuidema 2020). `attention_gradient` weights them by their effect on the logit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from model.encode import MeasuredCase
from model.nets.llnm_net import Attention
from model.predict import Predictor
from model.schema import DEFAULT, MAPS, VIEWS, MapName, Schema, View

FloatArray = npt.NDArray[np.float32]
Heads = Literal["mean", "max"] | int
Layers = Literal["mean"] | int


@dataclass(frozen=True)
class Word:
    """A word of the report as the model read it.

    Parameters
    ----------
    text : as written.
    start, end : character offsets in the report.
    tokens : indices of its pieces among the report tokens.
    """

    text: str
    start: int
    end: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class CrossAttention:
    """Attention between image regions and clinical tokens of one case, plain or weighted by its gradient.

    Parameters
    ----------
    case_id : the case.
    method : name of the method, with its source.
    views : views that were read.
    words : words of the report that were read, in order.
    fields : names of the other clinical tokens, in order.
    layers : names of the layers in order: those that fuse the streams, then those over both streams joined.
    grid : regions a side; each map has grid × grid regions.
    clinical_to_image : (L, V, H, words + fields, 3, grid, grid), not negative: where each word or field looks. A row of
        plain attention sums to one over the regions of the three maps in a fusion layer; in a joint layer the rest of
        the one goes to other words and fields.
    image_to_clinical : (L, V, H, 3, grid, grid, words + fields): what each region reads; likewise.
    rollout : (V, 3, grid, grid) share of each region in what the head reads, followed through all layers.
    rollout_clinical : (V, words + fields) likewise; regions, words and fields sum to one, or to zero where nothing counts.
    schema : of the model.
        (Without a report, its "no report" token has the rest.)
    """

    case_id: str
    method: str
    views: tuple[View, ...]
    words: tuple[Word, ...]
    fields: tuple[str, ...]
    layers: tuple[str, ...]
    grid: int
    clinical_to_image: FloatArray
    image_to_clinical: FloatArray
    rollout: FloatArray
    rollout_clinical: FloatArray
    schema: Schema = DEFAULT

    @property
    def tokens(self) -> tuple[str, ...]:
        """Names of the clinical tokens: words as written, then field labels."""
        return (*(w.text for w in self.words), *(self.schema.by_name[f].label for f in self.fields))

    def regions_of(self, token: int, view: View, *, layer: Layers = "mean", head: Heads = "mean") -> FloatArray:
        """Where a word or field looks: (3, grid, grid)."""
        regions: FloatArray = _over_heads(self._layer(self.clinical_to_image, view, layer), head)[token]
        return regions

    def words_of(
        self, map_name: MapName, row: int, column: int, view: View, *, layer: Layers = "mean", head: Heads = "mean"
    ) -> FloatArray:
        """What a region reads: (words + fields,)."""
        weights = _over_heads(self._layer(self.image_to_clinical, view, layer), head)
        return np.asarray(weights[MAPS.index(map_name), row, column])

    def _layer(self, weights: FloatArray, view: View, layer: Layers) -> FloatArray:
        of_view = weights[:, self.views.index(view)]
        if layer == "mean":
            return np.asarray(of_view.mean(0))
        return np.asarray(of_view[layer])


def _over_heads(weights: FloatArray, head: Heads) -> FloatArray:
    """Join heads (the first axis)."""
    if head == "mean":
        return np.asarray(weights.mean(0))
    return np.asarray(weights.max(0) if head == "max" else weights[head])


def cross_attention(predictor: Predictor, measured: MeasuredCase) -> CrossAttention:
    """Every cross-attention weight of one case, and its rollout."""
    output = predictor.run(predictor.encode([measured]), return_attention=True)
    assert output.attention is not None
    shares = rollout(output.attention, alpha=predictor.net.config.alpha)
    return by_word(predictor, measured, output.attention, shares, method="Attention; rollout (Abnar and Zuidema 2020)")


@torch.no_grad()
def rollout(attention: Attention, *, alpha: float) -> torch.Tensor:
    """Share of each token in what the head reads, (B·V, T_I + T_C), after Abnar and Zuidema (2020).

    Of each layer the mean over the heads is taken, the identity added for the residual path, rows are brought to a sum
    of one, and the layers multiplied; the mean over the tokens at the end is the last row.

    Parameters
    ----------
    attention : of all layers.
    alpha : weight of the cross-modal directions of the fusion layers.
    """
    share = attention.pooling[:, None]
    for square in reversed(layer_matrices(attention, alpha=alpha)):
        mixed = square + torch.eye(square.shape[-1], device=square.device)
        share = share @ (mixed / mixed.sum(-1, keepdim=True))
    return share[:, 0]


def layer_matrices(attention: Attention, *, alpha: float) -> list[torch.Tensor]:
    """Each layer as one matrix over both streams, the mean over its heads: (B·V, T_I + T_C, T_I + T_C).

    In a fusion layer both terms of a stream enter one residual sum, the cross-modal one with weight `alpha`, so that its
    four directions are the quadrants of one matrix.
    """
    fused, n = [], attention.image_tokens
    for reads in attention.fusion:
        square = torch.cat(reads, -1).mean(1)
        share = square.new_full(square.shape[-2:], alpha)
        share[:n, :n] = share[n:, n:] = 1.0
        fused.append(square * share)
    return [*fused, *(weights.mean(1) for weights in attention.joint)]


@torch.no_grad()
def by_word(
    predictor: Predictor, measured: MeasuredCase, attention: Attention, shares: torch.Tensor, *, method: str
) -> CrossAttention:
    """Attention of one case (B = 1) by region, word and field.

    A word's pieces: what is read from it adds up; where it looks is the mean of where its pieces look.

    Parameters
    ----------
    attention : plain or weighted.
    shares : (V, T_I + T_C) of each token over all layers; brought to a sum of one.
    method : as in `CrossAttention`.
    """
    words = read_words(predictor, measured)
    groups = [list(w.tokens) for w in words]
    config = predictor.net.config
    grid, text, count = config.grid, config.text_tokens, attention.image_tokens
    views = tuple(v for v in VIEWS if v in measured.features) or VIEWS[:1]
    at = [VIEWS.index(v) for v in views]
    cut = attention.layers
    reads = _as_array(torch.stack([layer.image_clinical[at] for layer in cut]))  # (L, V, H, T_I, T_C)
    looks = _as_array(torch.stack([layer.clinical_image[at] for layer in cut]))  # (L, V, H, T_C, T_I)
    reads = np.concatenate([_gather(reads, groups, np.sum, -1), reads[..., text:]], -1)
    looks = np.concatenate([_gather(looks, groups, np.mean, -2), looks[..., text:, :]], -2)
    shares = shares[at]
    total = shares.sum(-1, keepdim=True)
    rolled = _as_array(torch.where(total > 0, shares / total, torch.zeros_like(shares)))
    images, clinical = rolled[:, :count], rolled[:, count:]
    return CrossAttention(
        case_id=measured.case.case_id,
        method=method,
        views=views,
        words=words,
        fields=config.fields,
        layers=tuple(
            f"{name} {i + 1}" for name, layers in (("fusion", attention.fusion), ("joint", attention.joint))
            for i in range(len(layers))
        ),
        grid=grid,
        clinical_to_image=looks.reshape(*looks.shape[:-1], len(MAPS), grid, grid),
        image_to_clinical=reads.reshape(*reads.shape[:3], len(MAPS), grid, grid, reads.shape[-1]),
        rollout=images.reshape(len(views), len(MAPS), grid, grid),
        rollout_clinical=np.concatenate([_gather(clinical, groups, np.sum, -1), clinical[:, text:]], -1),
        schema=predictor.schema,
    )  # fmt: skip


def paint(
    weights: FloatArray, box: tuple[float, float, float, float], shape: tuple[int, int], *, smooth: bool = True,
    signed: bool = False,
) -> FloatArray:  # fmt: skip
    """Lay weights of a map's regions, or of its pixels, (grid, grid) over the original picture.

    Parameters
    ----------
    box : (row0, row1, column0, column1) of the map on the picture; may reach beyond it.
    shape : (height, width) of the picture.
    smooth : bicubic between regions, or blocks.
    signed : weights may lie below zero; else what smoothing takes below zero is cut.

    Returns
    -------
    (height, width) float32, NaN outside the box.
    """
    rows = (np.arange(shape[0]) + 0.5 - box[0]) / (box[1] - box[0])
    columns = (np.arange(shape[1]) + 0.5 - box[2]) / (box[3] - box[2])
    inside = ((rows >= 0) & (rows < 1))[:, None] & ((columns >= 0) & (columns < 1))[None]
    fine = max(256, 16 * weights.shape[0])
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    big = np.asarray(Image.fromarray(np.asarray(weights, np.float32)).resize((fine, fine), method))
    r = np.clip((rows * fine).astype(int), 0, fine - 1)
    c = np.clip((columns * fine).astype(int), 0, fine - 1)
    painted = big[r[:, None], c[None]]
    return np.where(inside, painted if signed else np.maximum(painted, 0), np.nan).astype(np.float32)


def read_words(predictor: Predictor, measured: MeasuredCase) -> tuple[Word, ...]:
    """Words of the report that the model reads, in order; unknown ones and those after the cut are not."""
    report, tokenizer = measured.case.report_text, predictor.checkpoint.tokenizer
    if tokenizer is None:
        return ()
    encoded = tokenizer.encode(report)
    pieces: dict[int, list[int]] = {}
    for position, word in enumerate(encoded.word_index):
        if encoded.present[position]:
            pieces.setdefault(word, []).append(position)
    words = []
    for positions in pieces.values():
        start, end = encoded.word_spans[positions[0]][0], encoded.word_spans[positions[-1]][1]
        words.append(Word(report[start:end], start, end, tuple(positions)))
    return tuple(words)


def _gather(weights: FloatArray, groups: list[list[int]], join, axis: int) -> FloatArray:  # type: ignore[no-untyped-def]
    """Join the token positions of each word along an axis."""
    if not groups:
        shape = list(weights.shape)
        shape[axis] = 0
        return np.zeros(shape, np.float32)
    joined = [join(np.take(weights, positions, axis=axis), axis=axis) for positions in groups]
    return np.asarray(np.stack(joined, axis=axis), dtype=np.float32)


def _as_array(values: torch.Tensor) -> FloatArray:
    return np.asarray(values.float().cpu().numpy(), dtype=np.float32)
