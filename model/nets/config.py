"""Sizes and switches of LLNM-Net: the published network, a compact one, and every ablation between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from model.errors import CheckpointError
from model.schema import DEFAULT, FIELD, MAPS, PAPER_FIELDS, MapName, Schema

Cross = Literal["both", "text_to_image", "image_to_text", "none"]
Stem = Literal["patch", "conv"]

ALL_FIELDS: tuple[str, ...] = DEFAULT.tokens
"""Every built-in field that a network can be given, in token order."""

_LATER: Mapping[str, bool] = {"images": True, "wide": False, "stages": True}
"""Switches that older cards lack, with what they then are."""


@dataclass(frozen=True)
class NetConfig:
    """What fixes the shape and behaviour of an `LlnmNet`.

    Parameters
    ----------
    width : size of every token (768 in the paper).
    heads : attention heads; must divide `width`.
    mlp_width : hidden units of each layer's MLP.
    fusion_layers : bidirectional attention layers (BMA) over the two streams.
    self_layers : self-attention layers over the concatenated streams.
    text_tokens : word tokens of a report, M; 0 for a network that reads none.
    map_size : side S of each image map, in pixels.
    patch : side of the square a visual token stands for, in pixels; must divide `map_size`, and be a power of two
        from 4 where `stem` is "conv".
    vocab_size : rows of the learned word embedding; not used with `text_feature_width`.
    text_feature_width : None learns word embeddings; a number (768 for BERT) projects `NetworkInputs.word_features`.
    attention_dropout, dropout : shares dropped in training, of attention weights and of activations (0 ≤ share < 1).
    alpha : weight α of the cross-modal term of a fusion layer.
    fields : clinical fields that become tokens, in the schema's order, numbers before categories; built-in ones alone
        are put into that order.
    cross : directions of the fusion layers' cross-modal terms; "text_to_image" lets only the image stream read the
        clinical one. For ablations.
    stem : "patch" cuts a map into tokens by one convolution as published; "conv" looks at every pixel and then
        halves the map with convolutions, so that texture finer than a token can be told apart *(ours)*.
    images : whether there is an image stream; without one, nothing is built for it and `fusion_layers` must be 0.
    wide : whether each field also adds to the logit by itself, beside what the tokens say together ("wide and deep",
        Cheng et al. 2016): for cohorts of hundreds of cases, where a linear model is hard to beat.
    stages : whether there is a head for the risk stages.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it and its value.
    """

    width: int = 96
    heads: int = 4
    mlp_width: int = 192
    fusion_layers: int = 4
    self_layers: int = 2
    text_tokens: int = 64
    map_size: int = 64
    patch: int = 16
    vocab_size: int = 1000
    text_feature_width: int | None = None
    attention_dropout: float = 0.1
    dropout: float = 0.1
    alpha: float = 1.0
    fields: tuple[str, ...] = ALL_FIELDS
    cross: Cross = "both"
    stem: Stem = "conv"
    images: bool = True
    wide: bool = False
    stages: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "heads", "mlp_width", "map_size", "patch", "vocab_size"):
            self._require(name, isinstance(getattr(self, name), int) and getattr(self, name) >= 1, "a whole number ≥ 1")
        for name in ("fusion_layers", "self_layers", "text_tokens"):
            self._require(name, isinstance(getattr(self, name), int) and getattr(self, name) >= 0, "a whole number ≥ 0")
        for name in ("attention_dropout", "dropout"):
            self._require(name, 0 <= getattr(self, name) < 1, "a share from 0 to below 1")
        width = self.text_feature_width
        self._require("text_feature_width", width is None or (isinstance(width, int) and width >= 1), "None or ≥ 1")
        self._require("alpha", 0 <= self.alpha < float("inf"), "a finite number ≥ 0")
        self._require("heads", self.width % self.heads == 0, f"a divisor of width {self.width}")
        self._require("patch", self.map_size % self.patch == 0, f"a divisor of map_size {self.map_size}")
        self._require("cross", self.cross in get_args(Cross), f"one of {', '.join(get_args(Cross))}")
        self._require("stem", self.stem in get_args(Stem), f"one of {', '.join(get_args(Stem))}")
        if self.stem == "conv":
            self._require(
                "patch", self.patch >= 4 and self.patch.bit_count() == 1, "a power of two ≥ 4 with stem 'conv'"
            )
        for name in _LATER:
            self._require(name, isinstance(getattr(self, name), bool), "true or false")
        self._require("fusion_layers", self.images or self.fusion_layers == 0, "0 without images")
        unread = sorted(name for name in set(self.fields) & set(FIELD) if not FIELD[name].is_token)
        if unread:
            raise ValueError(f"fields: {', '.join(unread)} not among the model's fields ({', '.join(ALL_FIELDS)})")
        if not self.fields and not self.text_tokens:
            raise ValueError("fields: must not be empty where text_tokens is 0, got ()")
        if set(self.fields) <= set(ALL_FIELDS):
            object.__setattr__(self, "fields", tuple(name for name in ALL_FIELDS if name in self.fields))

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ValueError(f"{name}: must be {wanted}, got {getattr(self, name)!r}")

    @property
    def grid(self) -> int:
        """Tokens along one side of a map."""
        return self.map_size // self.patch

    @property
    def image_tokens(self) -> list[tuple[MapName, int, int]]:
        """What each image token of a view stands for: map, row and column of its patch."""
        return [(name, row, col) for name in (MAPS if self.images else ()) for row in range(self.grid) for col in range(self.grid)]

    @property
    def clinical_tokens(self) -> list[str]:
        """What each clinical token stands for: "word 0" … "word M−1", then the fields by name."""
        return [f"word {m}" for m in range(self.text_tokens)] + list(self.fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a model card."""
        return {**asdict(self), "fields": list(self.fields)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetConfig:
        """The configuration that `to_dict` wrote.

        Raises
        ------
        CheckpointError
            If an entry is missing, unknown or out of range.
        """
        fix = "Restore the checkpoint, or train it again with this version."
        expected = {f.name for f in fields(cls)}
        data = {**_LATER, **data}
        different = sorted(expected ^ set(data))
        if different:
            raise CheckpointError(f"{', '.join(different)} missing or unknown", where="network configuration", fix=fix)
        try:
            return cls(**{**data, "fields": tuple(data["fields"])})
        except (TypeError, ValueError) as error:
            raise CheckpointError(str(error), where="network configuration", fix=fix) from None

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> NetConfig:
        """The configuration that `to_json` wrote; raises `CheckpointError` as `from_dict` does."""
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise CheckpointError("no JSON object", where="network configuration", fix="Restore the checkpoint.")
        return cls.from_dict(data)


def paper_config() -> NetConfig:
    """The published network (Methods, "TMDL transformer"): reads BERT features and the paper's own clinical fields."""
    return NetConfig(
        width=768,
        heads=12,
        mlp_width=3072,
        fusion_layers=4,
        self_layers=12,
        text_tokens=50,
        map_size=224,
        patch=16,
        text_feature_width=768,
        attention_dropout=0.2,
        dropout=0.3,
        fields=PAPER_FIELDS,
        stem="patch",
    )


def columns(config: NetConfig, schema: Schema) -> tuple[list[int], list[int]]:
    """Places of the network's fields among the schema's numbers and among its categories.

    Raises
    ------
    ValueError
        If a field is no token of the schema, or they are not in its order.
    """
    if config.fields != tuple(name for name in schema.tokens if name in config.fields):
        raise ValueError(f"fields: must be tokens of the schema in its order ({', '.join(schema.tokens)}), got {config.fields}")
    return (
        [i for i, f in enumerate(schema.numbers) if f.name in config.fields],
        [i for i, f in enumerate(schema.categories) if f.name in config.fields],
    )


def compact_config() -> NetConfig:
    """A network that trains on two CPU cores in minutes: 16 tokens a map, 48 a view, every clinical field."""
    return NetConfig()
