"""LLNM-Net: two ultrasound views, a report and clinical fields → logit of lateral lymph node metastasis.

After Shen et al., Nature Communications 16, 7052 (2025), Methods, "TMDL transformer". Shapes in comments:
B cases, V views, T_I image tokens a view, M words, T_C clinical tokens (words, then fields), W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from model.nets.blocks import Directions, FusionLayer, Reads, SelfAttentionLayer
from model.nets.config import NetConfig, columns
from model.schema import DEFAULT, MAPS, Schema, category_values

SPREAD = 0.1
"""Standard deviation of learned tokens and positions at the start."""


@dataclass(frozen=True)
class NetworkInputs:
    """A batch: B cases, V views in `schema.VIEWS` order, maps of S × S pixels.

    Parameters
    ----------
    maps : (B, V, 3, S, S) float in 0…1, `schema.MAPS` order; S is 0 for a network without images.
    map_present : (B, V, 3) bool; False puts the learned "missing" token in the place of every token of that map.
    view_present : (B, V) bool; absent views are left out of the average. Without any view, the first stands in with
        all its maps missing.
    numeric : (B, N) float, (value − mean) / spread in the order of `Schema.numbers`; read only where present.
    numeric_present : (B, N) bool.
    categorical : (B, C) long in the order of `Schema.categories`; 0 missing, else 1 + index in `category_values(field)`.
    word_ids : (B, M) long, 0 is padding.
    word_present : (B, M) bool; False for padding and removed words. Without any word, a learned "no report" token
        stands in.
    word_features : (B, M, F) float, pretrained features of the words, for a network with `text_feature_width`.
    """

    maps: Tensor
    map_present: Tensor
    view_present: Tensor
    numeric: Tensor
    numeric_present: Tensor
    categorical: Tensor
    word_ids: Tensor
    word_present: Tensor
    word_features: Tensor | None = None

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.numeric)

    def _each(self, change: Callable[[Tensor], Tensor]) -> NetworkInputs:
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in held.items()}
        return NetworkInputs(**changed)

    def to(self, device: torch.device | str) -> NetworkInputs:
        """The same batch on another device."""
        return self._each(lambda t: t.to(device))

    def rows(self, index: slice | Sequence[int] | Tensor) -> NetworkInputs:
        """Some cases, by slice (a view), row numbers or (B,) bool mask."""
        return self._each(lambda t: t[index])

    def repeat(self, n: int) -> NetworkInputs:
        """Every case n times in a row: (B, …) → (B·n, …). One case is not copied, so do not write into the result."""
        return self._each(lambda t: t[:, None].expand(-1, n, *t.shape[1:]).flatten(0, 1))

    @staticmethod
    def cat(parts: Sequence[NetworkInputs]) -> NetworkInputs:
        """Batches one after another.

        Raises
        ------
        ValueError
            If there is no batch, or only some have `word_features`.
        """
        if not parts or len({part.word_features is None for part in parts}) > 1:
            raise ValueError(f"parts: {len(parts)} batches; give one or more, all with word_features or none")
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(NetworkInputs)}
        joined: dict[str, Any] = {name: None if ts[0] is None else torch.cat(ts) for name, ts in columns.items()}
        return NetworkInputs(**joined)


@dataclass(frozen=True)
class Tokens:
    """What `LlnmNet.embed` gives and `LlnmNet.fuse` takes.

    Every token depends on its own input alone (and on whether the report has any word), so that hidden parts of a case
    can be put together from the tokens of the whole case and of an empty one, without embedding again.

    Parameters
    ----------
    image : (B, V, T_I, W).
    clinical : (B, T_C, W), words first, then fields. A wide network has one more channel at the end: what the token adds
        to the logit by itself, so that hidden fields are hidden there too.
    clinical_present : (B, T_C) bool; False for padding and removed words.
    view_weight : (B, V) float, shares of the views in the average; each row sums to one.
    """

    image: Tensor
    clinical: Tensor
    clinical_present: Tensor
    view_weight: Tensor


@dataclass(frozen=True)
class Attention:
    """Attention of every layer: weights over the keys, summing to one; zero in a direction that `cross` turns off.

    These are the tensors that the network went on with, so the logit has gradients with respect to them where the
    tokens do (Attention × gradient). A row of the first axis is a view of a case: case by case, B·V in all.

    Parameters
    ----------
    fusion : of each fusion layer, over the tokens of either stream, (B·V, H, T_I + T_C, T_key).
    joint : of each self-attention layer, (B·V, H, T_I + T_C, T_I + T_C) over image tokens, then clinical tokens.
    pooling : (B·V, T_I + T_C), weight of each token in the mean that the heads read; absent words have none.
    image_tokens : T_I.

    Rows of absent words are filled like any other and mean nothing: no token reads them.
    """

    fusion: tuple[Reads, ...]
    joint: tuple[Tensor, ...]
    pooling: Tensor
    image_tokens: int

    @property
    def layers(self) -> tuple[Directions, ...]:
        """Every layer in order, cut into the four directions.

        A row of a self-attention layer sums to one over both its directions together.
        """
        joint = (Directions.cut(weights, self.image_tokens) for weights in self.joint)
        return (*(reads.directions for reads in self.fusion), *joint)


@dataclass(frozen=True)
class NetworkOutput:
    """What the network says of B cases.

    Parameters
    ----------
    logit : (B,) uncalibrated logit of the endpoint.
    stage_logits : (B, 3), stages 1, 2, 3; None for a network without stages.
    embedding : (B, W), the views averaged, before the heads.
    attention : None unless asked for.
    """

    logit: Tensor
    stage_logits: Tensor | None
    embedding: Tensor
    attention: Attention | None


class LlnmNet(nn.Module):
    """The network. Holds no state between calls: threads may share one in evaluation mode.

    Parameters
    ----------
    config : sizes and switches.
    schema : what its fields are; raises ValueError where a field is not in it.
    """

    def __init__(self, config: NetConfig, schema: Schema = DEFAULT) -> None:
        super().__init__()
        self.config = config
        width, dropout = config.width, config.dropout
        self.numeric_columns, self.category_columns = columns(config, schema)

        if config.images:
            # Image stream: each map has its own stem, run side by side as groups of one convolution.
            self.stem = _stem(config)
            self.map_missing = _learned(len(MAPS), 1, width)
            self.map_type = _learned(len(MAPS), 1, width)
            self.patch_position = _learned(len(MAPS), config.grid**2, width)
            self.image_embedding = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout))

        # Clinical stream: words, numbers (value × vector + vector of the field), categories (a row per value).
        self.words: nn.Embedding | nn.Linear
        if config.text_tokens:
            if config.text_feature_width is None:
                self.words = nn.Embedding(config.vocab_size, width)
            else:
                self.words = nn.Linear(config.text_feature_width, width)
            self.word_position = _learned(config.text_tokens, width)
            self.no_report = _learned(width)
        self.number_slope = _learned(len(self.numeric_columns), width)
        self.number_field = _learned(len(self.numeric_columns), width)
        self.number_missing = _learned(len(self.numeric_columns), width)
        sizes = [1 + len(category_values(schema.categories[i])) for i in self.category_columns]
        self.category_sizes = sizes
        self.category_rows = nn.Embedding(max(sum(sizes), 1), width)
        self.category_offset: Tensor
        self.register_buffer(
            "category_offset",
            torch.tensor([sum(sizes[:i]) for i in range(len(sizes))], dtype=torch.long),
            persistent=False,
        )
        self.clinical_embedding = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout))

        self.fusion = nn.ModuleList(
            FusionLayer(
                width,
                config.heads,
                config.mlp_width,
                alpha=config.alpha,
                cross=config.cross,
                attention_dropout=config.attention_dropout,
                dropout=dropout,
            )
            for _ in range(config.fusion_layers)
        )
        self.joint = nn.ModuleList(
            SelfAttentionLayer(
                width, config.heads, config.mlp_width, attention_dropout=config.attention_dropout, dropout=dropout
            )
            for _ in range(config.self_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1))
        if config.stages:
            self.stage_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 3))
        if config.wide:
            self.wide = WidePath(len(self.numeric_columns), max(sum(sizes), 1))
        self.apply(_initialise)
        if config.wide:
            nn.init.zeros_(self.wide.rows.weight)
        if config.text_tokens and isinstance(self.words, nn.Embedding):
            nn.init.zeros_(self.words.weight)  # a word that training never meets stays without meaning

    def forward(self, inputs: NetworkInputs, *, return_attention: bool = False) -> NetworkOutput:
        """Logits of B cases, and on request the attention of every layer in all directions.

        Raises
        ------
        ValueError
            If the inputs do not fit the configuration.
        """
        # Columns of padding that every case shares are left out, unless someone wants to see every token.
        return self.fuse(self.embed(inputs, trim=not return_attention), return_attention=return_attention)

    def embed(self, inputs: NetworkInputs, *, trim: bool = False, stem_output: Tensor | None = None) -> Tokens:
        """Tokens of both streams, before any of them has met another.

        Parameters
        ----------
        inputs : B cases.
        trim : leave out the word columns after the last word of the longest report: T_C is then smaller.
        stem_output : what the stem made of the maps, where it was run before (by Grad-CAM++, to see between its layers).
        """
        self._check(inputs)
        words, word_present = self._word_tokens(inputs, trim=trim)
        clinical = torch.cat([words, self._number_tokens(inputs), self._category_tokens(inputs)], 1)  # (B, T_C, W)
        clinical_present = torch.cat(
            [word_present, word_present.new_ones(len(inputs), clinical.shape[1] - words.shape[1])], 1
        )
        clinical = self.clinical_embedding(clinical)
        if self.config.wide:
            alone = self._wide(inputs)  # (B, fields)
            alone = torch.cat([alone.new_zeros(words.shape[:2]), alone], 1)
            clinical = torch.cat([clinical, alone[..., None]], -1)
        if not self.config.images:
            empty = clinical.new_zeros(len(inputs), 1, 0, self.config.width)  # one view, of no tokens
            return Tokens(empty, clinical, clinical_present, clinical.new_ones(len(inputs), 1))
        image = self._image_tokens(inputs, self.run_stem(inputs) if stem_output is None else stem_output)
        views = inputs.view_present.to(image.dtype)
        stand_in = torch.zeros_like(views)
        stand_in[:, 0] = 1.0
        views = torch.where(inputs.view_present.any(1, keepdim=True), views, stand_in)
        return Tokens(
            image=self.image_embedding(image),
            clinical=clinical,
            clinical_present=clinical_present,
            view_weight=views / views.sum(1, keepdim=True),
        )

    def fuse(self, tokens: Tokens, *, return_attention: bool = False) -> NetworkOutput:
        """Everything after `embed`: fusion, joint attention, pooling, averaging of the views, heads."""
        b, v = tokens.image.shape[:2]
        image = tokens.image.flatten(0, 1)  # (B·V, T_I, W)
        clinical, alone = tokens.clinical, None
        if self.config.wide:
            clinical, alone = clinical[..., :-1], clinical[..., -1].sum(1)
        clinical = clinical.repeat_interleave(v, 0)  # (B·V, T_C, W); the views share the clinical tokens
        clinical_present = tokens.clinical_present.repeat_interleave(v, 0)
        fusion, joint = [], []
        for layer in self.fusion:
            image, clinical, reads = layer(image, clinical, clinical_present)
            if return_attention:
                fusion.append(reads)
        x = torch.cat([image, clinical], 1)
        present = torch.cat([clinical_present.new_ones(image.shape[:2]), clinical_present], 1)
        for layer in self.joint:
            x, weights = layer(x, present)
            if return_attention:
                joint.append(weights)

        share = present.to(x.dtype)
        share = share / share.sum(1, keepdim=True)
        attention = None
        if return_attention:
            share.requires_grad_(x.requires_grad)  # the mean is attention too
            attention = Attention(tuple(fusion), tuple(joint), share, image.shape[1])
        pooled = (share[:, None] @ self.norm(x)).view(b, v, -1)  # mean over the tokens that are present
        embedding = (tokens.view_weight[:, None] @ pooled)[:, 0]  # (B, W)
        logit = self.head(embedding)[:, 0]
        return NetworkOutput(
            logit if alone is None else logit + alone,
            self.stage_head(embedding) if self.config.stages else None,
            embedding,
            attention,
        )

    def _check(self, inputs: NetworkInputs) -> None:
        size, c = self.config.map_size, self.config
        if c.images and inputs.maps.shape[-3:] != (len(MAPS), size, size):
            raise ValueError(f"maps: must be (B, V, {len(MAPS)}, {size}, {size}), got {tuple(inputs.maps.shape)}")
        if inputs.word_ids.shape[1] != c.text_tokens:
            raise ValueError(f"word_ids: must be (B, {c.text_tokens}), got {tuple(inputs.word_ids.shape)}")
        found = None if inputs.word_features is None else tuple(inputs.word_features.shape)
        if c.text_feature_width is not None and (found is None or found[1:] != (c.text_tokens, c.text_feature_width)):
            raise ValueError(f"word_features: must be (B, {c.text_tokens}, {c.text_feature_width}), got {found}")

    def run_stem(self, inputs: NetworkInputs) -> Tensor:
        """(B·V, 3·W, g, g): what the stem makes of the maps; in evaluation zero where a view has none of them."""
        maps, seen = inputs.maps.flatten(0, 1), (inputs.map_present.any(-1) & inputs.view_present).flatten()
        if self.training or bool(seen.all()):
            return self._stem_of(maps)
        shape = (len(maps), len(MAPS) * self.config.width, self.config.grid, self.config.grid)
        if not bool(seen.any()):
            return maps.new_zeros(shape)
        found = self._stem_of(maps[seen])
        features = found.new_zeros(shape)  # of the stem's precision
        features[seen] = found
        return features

    def _stem_of(self, maps: Tensor) -> Tensor:
        # With channels last it is four times as quick on a CPU.
        features: Tensor = self.stem(maps.contiguous(memory_format=torch.channels_last))
        return features

    def _image_tokens(self, inputs: NetworkInputs, stem_output: Tensor) -> Tensor:
        b, v = inputs.view_present.shape
        features = stem_output.permute(0, 2, 3, 1)  # (B·V, g, g, 3·W)
        features = features.reshape(b, v, -1, len(MAPS), self.config.width).transpose(2, 3)  # (B, V, 3, g², W)
        shown = (inputs.map_present & inputs.view_present[:, :, None])[..., None, None]
        tokens = torch.where(shown, features, self.map_missing) + (self.patch_position + self.map_type)
        return tokens.flatten(2, 3)

    def _word_tokens(self, inputs: NetworkInputs, *, trim: bool) -> tuple[Tensor, Tensor]:
        present = inputs.word_present
        m = present.shape[1]
        if not m:
            return self.number_field.new_zeros(len(inputs), 0, self.config.width), present
        if trim:
            m = max(1, int((present.any(0) * torch.arange(1, m + 1, device=present.device)).max()))
            present = present[:, :m]
        if isinstance(self.words, nn.Embedding):
            words = self.words(inputs.word_ids[:, :m])
        else:
            assert inputs.word_features is not None  # checked in `embed`
            words = self.words(inputs.word_features[:, :m])
        stand_in = ~present.any(1, keepdim=True) & (torch.arange(m, device=present.device) == 0)
        words = torch.where(stand_in[..., None], self.no_report, words) + self.word_position[:m]
        return words, present | stand_in

    def _number_tokens(self, inputs: NetworkInputs) -> Tensor:
        value = inputs.numeric[:, self.numeric_columns, None]
        present = inputs.numeric_present[:, self.numeric_columns, None]
        return torch.where(present, value * self.number_slope + self.number_field, self.number_missing)

    def _category_tokens(self, inputs: NetworkInputs) -> Tensor:
        rows: Tensor = self.category_rows(inputs.categorical[:, self.category_columns] + self.category_offset)
        return rows

    def _wide(self, inputs: NetworkInputs) -> Tensor:
        """(B, fields): what each field adds to the logit by itself."""
        value, present = inputs.numeric[:, self.numeric_columns], inputs.numeric_present[:, self.numeric_columns]
        numbers = torch.where(present, value * self.wide.slope, self.wide.missing)
        rows = self.wide.rows(inputs.categorical[:, self.category_columns] + self.category_offset)[..., 0]
        return torch.cat([numbers, rows], 1)


class WidePath(nn.Module):
    """Weights of the fields' own addends: a slope a number, a row a value; all begin at zero.

    Parameters
    ----------
    numbers : numeric fields.
    rows : rows of the category table.
    """

    def __init__(self, numbers: int, rows: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(numbers))
        self.missing = nn.Parameter(torch.zeros(numbers))
        self.rows = nn.Embedding(rows, 1)


def _learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * SPREAD)


def _stem(config: NetConfig) -> nn.Module:
    """(N, 3, S, S) → (N, 3·W, S / patch, S / patch), each map apart."""
    n, width = len(MAPS), config.width
    if config.stem == "patch":
        return nn.Conv2d(n, n * width, config.patch, stride=config.patch, groups=n)
    # One convolution sees every pixel before anything is halved, and the normalised batch keeps small bright spots from
    # drowning in the brightness of the whole: without them, scattered calcifications were not learned. Statistics are
    # of the batch, not of the map, so that a map's own level (the capsule distance) is kept. Kernels of even size keep
    # a token's view centred on its patch; 3 × 3 at stride 2 would shift it by half a patch.
    steps = int(math.log2(config.patch))
    channels = [8] + [min(width, 32 * 2**i) for i in range(steps - 2)] + [width]  # a map; compact: 8, 32, 64, 96
    layers: list[nn.Module] = [
        nn.Conv2d(n, n * channels[0], 3, padding=1, groups=n, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(n * channels[0]),
        nn.GELU(),
    ]
    for into, out in pairwise(channels):
        layers += [
            nn.Conv2d(n * into, n * out, 4, stride=2, padding=1, groups=n, bias=False),
            nn.BatchNorm2d(n * out),
            nn.GELU(),
        ]
    return nn.Sequential(*layers[:-1])


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=SPREAD)
