"""Inside a feature group: its words, picture regions and fields, as Owen values (Owen 1977).

The groups stay coalitions: before a part of one group is asked for, every other group is either wholly there or wholly
missing. The parts of a group then add up to the group's own Shapley value. Estimated over random orders of the groups and of
the parts, each with its reverse, so every value has a standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.encode import MeasuredCase, nothing_known
from model.explain.attention import read_words
from model.explain.shapley import ROWS_AT_ONCE, ShapleyResult
from model.nets.llnm_net import NetworkInputs, Tokens
from model.predict import Predictor
from model.schema import VIEWS, MapName, View

FloatArray = npt.NDArray[np.float64]
PAIRS = 4
"""Random orders, each run forwards and backwards."""


@dataclass(frozen=True)
class Part:
    """A word, a region of a map, or a field.

    Parameters
    ----------
    kind : which of the three.
    label : as people read it.
    place : view, map, row and column of a region, counted from 0; None for the others.
    """

    kind: Literal["word", "region", "field"]
    label: str
    place: tuple[View, MapName, int, int] | None = None


@dataclass(frozen=True)
class OwenResult:
    """Attribution of one group's Shapley value to its parts.

    Parameters
    ----------
    group : name of the group.
    parts : what the case gives of it, in reading order.
    values : (parts,) contribution to the calibrated logit; they sum to the group's Shapley value.
    errors : (parts,) standard errors.
    model_rows : cases that the network was run on.
    """

    group: str
    parts: tuple[Part, ...]
    values: FloatArray
    errors: FloatArray
    model_rows: int

    def map_of(self, view: View, map_name: MapName, grid: int) -> npt.NDArray[np.float32]:
        """(grid, grid) values of the regions of one map."""
        result = np.zeros((grid, grid), np.float32)
        for part, value in zip(self.parts, self.values, strict=True):
            if part.place is not None and part.place[:2] == (view, map_name):
                result[part.place[2:]] = value
        return result


@torch.inference_mode()
def owen_values(predictor: Predictor, measured: MeasuredCase, shapley: ShapleyResult, group: str, *, seed: int = 0) -> OwenResult:
    """Owen values of the parts of one group, against missing inputs.

    Parameters
    ----------
    shapley : of the same case against missing inputs; its value of the group is what the parts share.
    group : name of a group of which the case gives something.

    Raises
    ------
    ValueError
        If the case gives nothing of the group.
    """
    at = [g.name for g in shapley.groups].index(group)
    if not shapley.present[at]:
        raise ValueError(f"group: the case gives nothing of {group!r}")
    inputs, groups = predictor.encode([measured]), predictor.schema.groups
    tokens = predictor.net.embed(NetworkInputs.cat([inputs, nothing_known(inputs, predictor.schema)]))
    owners = [_parts(predictor, measured, inputs, g) for g in range(len(groups))]
    parts, masks = owners[at]
    others = [masks for g, (_, masks) in enumerate(owners) if g != at and shapley.present[g]]
    rng, rows = np.random.default_rng(seed), []
    orders: list[npt.NDArray[np.int64]] = []
    for _ in range(PAIRS):
        before = rng.random(len(others)) < rng.random()  # a uniform place among the groups
        order = rng.permutation(len(parts))
        for first, turn in ((before, order), (~before, order[::-1].copy())):
            start = torch.zeros_like(masks[0])
            for mask, there in zip(others, first, strict=True):
                if there:
                    start |= mask.any(0)
            rows.append(torch.stack([start, *(start | masks[turn[: i + 1]].any(0) for i in range(len(turn)))]))
            orders.append(turn)
    worths = predictor.calibrated(_worths(predictor, tokens, torch.cat(rows))).double().cpu().numpy()
    steps = np.diff(worths.reshape(len(orders), len(parts) + 1), axis=1)
    gains = np.zeros_like(steps)
    for line, turn in enumerate(orders):
        gains[line, turn] = steps[line]
    pairs = gains.reshape(PAIRS, 2, len(parts)).mean(1)
    values = pairs.mean(0)
    return OwenResult(
        group=group,
        parts=parts,
        values=values + (float(shapley.values[at]) - values.sum()) / len(parts),
        errors=pairs.std(0, ddof=1) / np.sqrt(PAIRS),
        model_rows=len(worths),
    )


def _parts(predictor: Predictor, measured: MeasuredCase, inputs: NetworkInputs, at: int) -> tuple[tuple[Part, ...], Tensor]:
    """The parts of a group that the case gives, and the tokens of each: (parts, V·T_I + T_C) bool."""
    config, group = predictor.net.config, predictor.schema.groups[at]
    count = len(config.image_tokens)
    length = len(VIEWS) * count + config.text_tokens + len(config.fields)
    parts: list[Part] = []
    places: list[list[int]] = []
    if group.report:
        for word in read_words(predictor, measured):
            parts.append(Part("word", word.text))
            places.append([len(VIEWS) * count + t for t in word.tokens])
    for v, view in enumerate(VIEWS):
        for t, (shows, row, column) in enumerate(config.image_tokens):
            if shows in group.maps and bool(inputs.view_present[0, v]):
                parts.append(Part("region", f"{view}, row {row + 1}, column {column + 1}", (view, shows, row, column)))
                places.append([v * count + t])
    for name in group.fields:
        if name in measured.fields and name in config.fields:
            parts.append(Part("field", predictor.schema.by_name[name].label))
            places.append([len(VIEWS) * count + config.text_tokens + config.fields.index(name)])
    masks = torch.zeros(len(parts), length, dtype=torch.bool, device=predictor.device)
    for i, tokens in enumerate(places):
        masks[i, tokens] = True
    return tuple(parts), masks


def _worths(predictor: Predictor, tokens: Tokens, keep: Tensor) -> Tensor:
    """Uncalibrated logits (R,) with the kept tokens of the case (row 0 of `tokens`) among those of the empty one (row 1).

    Parameters
    ----------
    keep : (R, V·T_I + T_C) bool.
    """
    net = predictor.net
    v, count = tokens.image.shape[1:3]
    text = net.config.text_tokens
    logits = []
    for block in torch.split(keep, ROWS_AT_ONCE):
        shown = block[:, : v * count].view(len(block), v, count)
        told = block[:, v * count :]
        clinical = torch.where(told[..., None], tokens.clinical[0], tokens.clinical[1])
        present = torch.where(told, tokens.clinical_present[0], tokens.clinical_present[1])
        # The empty case holds the "no report" token in its first place: it goes once there is a word.
        present[:, 0] = torch.where(told[:, :text].any(1), told[:, 0], tokens.clinical_present[1, 0])
        image = torch.where(shown[..., None], tokens.image[0], tokens.image[1])
        weight = tokens.view_weight[:1].expand(len(block), -1)
        logits.append(net.fuse(Tokens(image, clinical, present, weight)).logit.float())
    return torch.cat(logits)
