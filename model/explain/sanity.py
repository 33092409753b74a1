"""Is an explanation to be trusted? One case, every method, measured by the checks of the literature.

Parameter randomisation (Adebayo et al. 2018), deletion and insertion (Petsiuk et al. 2018), completeness, stability
(`sensitivity_max`, Yeh et al. 2019, by Captum) and, where a simulation knows it, the place and the size of the true cause.
The rules by which a method passes are in `trust`. A new method is one row of `METHODS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from captum.metrics import sensitivity_max
from scipy.special import expit
from scipy.stats import spearmanr
from torch import Tensor

from model.encode import MeasuredCase
from model.explain.attention import CrossAttention, cross_attention
from model.explain.attention_gradient import attention_gradient
from model.explain.evidence import PictureEvidence, Subject, on_picture
from model.explain.gradcam import grad_cam_plus_plus
from model.explain.gradients import integrated_gradients
from model.explain.occlusion import sliding_occlusion, superpixel_occlusion
from model.explain.shapley import coalition_logits, given_groups, group_shapley
from model.explain.truth import true_contributions
from model.predict import Predictor
from model.schema import GROUPS, MAPS, VIEWS, Mask, View

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BLOCKS = 8
"""Blocks along a side of a map: deletion takes blocks away, since single pixels blanked at random look like speckle."""
POINTS = 11
"""Points of a deletion or insertion curve, from nothing to all."""
RANDOM_ORDERS = 5
NOISE, DRAWS = 0.02, 3
"""Largest noise on a pixel, of a scale from 0 to 1, and how many noisy pictures are tried."""
STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("heads", ("head", "stage_head", "norm")),
    ("joint attention", ("joint",)),
    ("fusion", ("fusion",)),
    ("tokens", ()),
    ("stem", ("stem",)),
)
"""Order in which weights are shuffled, from the output to the pixels; "tokens" is all that no other stage names."""
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Explained:
    """What a method says of a case.

    Parameters
    ----------
    values : (V, 3, S, S) of the pixels of the measured views, or (G,) of the feature groups.
    change, residual : difference of logits that the values should sum to, and what they miss it by; NaN where the method
        promises no such sum.
    """

    values: FloatArray
    change: float = math.nan
    residual: float = math.nan


@dataclass(frozen=True)
class Method:
    """A way of explaining.

    Parameters
    ----------
    key, label : name in files and addresses, and on pages.
    kind : what it gives values to.
    explain : pure; must leave the predictor as it is.
    directed : whether a higher value means a higher risk; attention only says how strongly.
    """

    key: str
    label: str
    kind: Literal["pixels", "groups"]
    explain: Callable[[Predictor, MeasuredCase], Explained]
    directed: bool = True


def _evidence(method: Callable[[Predictor, MeasuredCase], PictureEvidence]) -> Callable[..., Explained]:
    def explain(predictor: Predictor, measured: MeasuredCase) -> Explained:
        found = method(predictor, measured)
        change = found.logit - found.baseline_logit if math.isfinite(found.residual) else math.nan
        return Explained(found.relevance.astype(np.float64), change, found.residual)

    return explain


def _through_all_layers(method: Callable[[Predictor, MeasuredCase], CrossAttention]) -> Callable[..., Explained]:
    def explain(predictor: Predictor, measured: MeasuredCase) -> Explained:
        side = predictor.net.config.patch
        regions = method(predictor, measured).rollout.astype(np.float64)
        return Explained(regions.repeat(side, -2).repeat(side, -1) / side**2)

    return explain


def _shapley(predictor: Predictor, measured: MeasuredCase) -> Explained:
    found = group_shapley(predictor, measured)
    return Explained(found.values, found.logit - found.base_logit, found.residual)


METHODS: tuple[Method, ...] = (
    Method("gradients", "Integrated gradients", "pixels", _evidence(integrated_gradients)),
    Method("cam", "Grad-CAM++", "pixels", _evidence(grad_cam_plus_plus)),
    Method("occlusion", "Occlusion, sliding", "pixels", _evidence(sliding_occlusion)),
    Method("superpixels", "Occlusion, superpixels", "pixels", _evidence(superpixel_occlusion)),
    Method("rollout", "Attention rollout", "pixels", _through_all_layers(cross_attention), directed=False),
    Method("weighted", "Attention × gradient", "pixels", _through_all_layers(attention_gradient)),
    Method("shapley", "Shapley values of groups", "groups", _shapley),
)


def cascade(predictor: Predictor, seed: int) -> Iterator[Predictor]:
    """Predictors with ever more of their weights shuffled, stage by stage; each is a private copy.

    Shuffling within each tensor keeps its mean and spread, so that no explanation fades merely because signals do.
    """
    named = {name for _, names in STAGES for name in names}
    generator = torch.Generator().manual_seed(seed)
    net = deepcopy(predictor.net)
    for _, names in STAGES:
        for name, weights in net.named_parameters():
            part = name.split(".")[0]
            if part in names or (not names and part not in named):
                order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
                with torch.no_grad():
                    weights.copy_(weights.flatten()[order].view_as(weights))
        yield Predictor(replace(predictor.checkpoint, net=deepcopy(net)), str(predictor.device))


def similarity(before: FloatArray, after: FloatArray) -> float:
    """Spearman's ρ of two explanations, −1…1; 1 where both are constant, 0 where one is, which then resembles nothing."""
    flat = [np.ptp(v) == 0 for v in (before, after)]
    return float(all(flat)) if any(flat) else float(spearmanr(before, after).statistic)


@dataclass(frozen=True)
class Game:
    """What of a case can be taken away, and what the model says of the rest.

    Parameters
    ----------
    players : P, blocks of the maps that show anything, or groups that the case has.
    worth : (R, P) of what is kept → (R,) calibrated probability.
    gather : values of an explanation → (P,).
    """

    players: int
    worth: Callable[[BoolArray], FloatArray]
    gather: Callable[[FloatArray], FloatArray]


def pixel_game(subject: Subject) -> Game:
    """Blocks of the maps; one taken away shows the baseline. What shows it anyway is no player."""
    views, maps, size = subject.maps.shape[:3]
    side = size // BLOCKS

    def blocks(values: FloatArray) -> FloatArray:
        return np.asarray(values.reshape(views, maps, BLOCKS, side, BLOCKS, side).sum((3, 5)).ravel())

    active = np.flatnonzero(blocks(shown(subject).astype(np.float64)))

    @torch.no_grad()
    def worth(keep: BoolArray) -> FloatArray:
        every = np.zeros((len(keep), views * maps * BLOCKS**2), bool)
        every[:, active] = keep
        fine = every.reshape(-1, views, maps, BLOCKS, BLOCKS).repeat(side, -2).repeat(side, -1)
        kept = torch.from_numpy(fine).to(subject.maps.device)
        parts = [
            subject.logits(torch.where(part, subject.maps, subject.baseline)) for part in torch.split(kept, _ROWS_AT_ONCE)
        ]
        return np.asarray(expit(torch.cat(parts).double().cpu().numpy()))

    return Game(len(active), worth, lambda values: blocks(values)[active])


def group_game(predictor: Predictor, measured: MeasuredCase) -> Game:
    """Feature groups; one taken away becomes the learned "missing" token."""
    inputs = predictor.encode([measured])
    given = np.flatnonzero(given_groups(inputs, predictor.net.config))

    @torch.no_grad()
    def worth(keep: BoolArray) -> FloatArray:
        every = np.zeros((len(keep), len(GROUPS)), bool)
        every[:, given] = keep
        logits = coalition_logits(predictor, inputs, torch.from_numpy(every).to(predictor.device))
        return np.asarray(expit(predictor.calibrated(logits).double().cpu().numpy()))

    return Game(len(given), worth, lambda values: values[given])


def curves(game: Game, orders: Sequence[npt.NDArray[np.int64]]) -> FloatArray:
    """Probability as players are deleted, and inserted into nothing, in given orders: (orders, 2, POINTS)."""
    counts = np.round(np.linspace(0, 1, POINTS) * game.players)
    rank = np.stack([np.argsort(order) for order in orders])[:, None, :]
    gone = rank < counts[None, :, None]  # (orders, POINTS, P)
    keep = np.stack([~gone, gone], 1)
    return game.worth(keep.reshape(-1, game.players)).reshape(len(orders), 2, POINTS)


def area(curve: FloatArray) -> FloatArray:
    """Area under curves over the share taken away or put in, 0…1, by the trapezoid rule: (..., POINTS) → (...)."""
    return np.asarray((curve[..., 1:] + curve[..., :-1]).mean(-1) / 2)


def gap(found: Explained) -> float:
    """What the values miss of the difference that they should sum to, as a share of it (of 0.01 logit at least)."""
    return abs(found.residual) / max(abs(found.change), 0.01)


def stability(method: Method, predictor: Predictor, measured: MeasuredCase, values: FloatArray, seed: int) -> float:
    """Largest change of an explanation under small noise on the pictures, as a share of its own norm (Captum).

    Parameters
    ----------
    values : what the method says without noise.
    """
    generator = torch.Generator().manual_seed(seed)
    maps = Subject.of(predictor, measured).maps

    def noisy(pixels: Tensor, radius: float) -> Tensor:
        noise = (2 * torch.rand(pixels.shape, generator=generator).to(pixels) - 1) * radius
        return torch.where(pixels > 0, (pixels + noise).clamp(1e-3, 1), pixels)  # the black around a nodule stays black

    def explain(batch: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        # Captum gives a tuple at first, then a tensor. It must get a tuple back: it would take a tensor for a tuple of
        # its rows, and divide by single pixels instead of by the norm.
        cases = batch[0] if isinstance(batch, tuple) else batch
        rows = [
            values if torch.equal(case, maps) else method.explain(predictor, with_maps(measured, case)).values
            for case in cases
        ]
        return (torch.from_numpy(np.stack(rows)).flatten(1),)

    moved = sensitivity_max(
        explain, maps[None], noisy, perturb_radius=NOISE, n_perturb_samples=DRAWS, max_examples_per_batch=1
    )
    return float(moved[0])


def with_maps(measured: MeasuredCase, maps: Tensor) -> MeasuredCase:
    """The case with other maps, (V, 3, S, S) of its measured views in the order of `schema.VIEWS`."""
    views = [v for v in VIEWS if v in measured.features]
    features = {
        view: replace(measured.features[view], maps=part.cpu().numpy()) for view, part in zip(views, maps, strict=True)
    }
    return replace(measured, features=features)


def shown(subject: Subject) -> BoolArray:
    """(V, 3, S, S): pixels that differ from the baseline. Elsewhere there is nothing to explain."""
    return np.asarray((subject.maps != subject.baseline).cpu().numpy())


def inside(values: FloatArray, measured: MeasuredCase, subject: Subject, true: Mapping[View, Mask]) -> float:
    """Share of the absolute relevance within the true nodule, less the share by area alone.

    By area alone: what each map got, spread evenly over all its pixels inside the picture, whatever the method. This rule
    was changed after 8 pilot cases. At first it was the area that differs from the baseline; but Grad-CAM++, attention and
    squares of occlusion also reach pixels beyond that, and were compared with an area that they are not confined to.
    Methods that compare with the baseline can give nothing to what equals it, which is in their favour here.

    NaN without any relevance. Values (V, 3, S, S); true nodules by view, on the picture's own pixels.
    """
    even, found = np.zeros(2), np.zeros(2)  # inside, all
    for v, view in enumerate(subject.views):
        spread = np.broadcast_to(np.abs(values[v]).mean((-2, -1), keepdims=True), values[v].shape)
        for total, part in ((found, values[v]), (even, spread)):
            laid = on_picture(part.astype(np.float32), measured.features[view], true[view].shape)
            total += laid[true[view]].sum(), laid.sum()
    return float(found[0] / found[1] - even[0] / even[1]) if found[1] > 0 else math.nan


def examine(
    predictor: Predictor, measured: MeasuredCase, true: Mapping[View, Mask], row: pd.Series, reference: pd.DataFrame, *,
    costly: bool, seed: int, methods: Sequence[Method] = METHODS,
) -> dict[str, Any]:  # fmt: skip
    """Every check of every method on one simulated case, as plain data for JSON.

    Parameters
    ----------
    measured : on outlines as a user gets them.
    true : true nodules by view.
    row, reference : its truth, and the truths of its cohort (`truth.true_contributions`).
    costly : also do what takes many explanations: cascade and stability.
    seed : of random orders, shuffles and noise.

    Raises
    ------
    ValueError
        If no view was measured.
    """
    subject = Subject.of(predictor, measured)
    games = {"pixels": pixel_game(subject), "groups": group_game(predictor, measured)}
    where = {"pixels": shown(subject), "groups": np.array(given_groups(subject.inputs, predictor.net.config))}
    found = {method.key: method.explain(predictor, measured) for method in methods}
    result: dict[str, Any] = {"case_id": subject.case_id, "random": {}, "methods": {m.key: {} for m in methods}}
    rng = np.random.default_rng(seed)
    for kind, game in games.items():
        these = [m for m in methods if m.kind == kind]
        orders = [np.argsort(-game.gather(found[m.key].values), kind="stable") for m in these]
        orders += [rng.permutation(game.players) for _ in range(RANDOM_ORDERS)]
        drawn = curves(game, orders).round(5)
        result["random"][kind] = drawn[len(these) :].tolist()
        for method, curve in zip(these, drawn, strict=False):
            result["methods"][method.key]["curves"] = curve.tolist()
    true_values = true_contributions(row, reference)
    for method in methods:
        said, explained = result["methods"][method.key], found[method.key]
        if math.isfinite(explained.residual):
            said["gap"] = gap(explained)
        if method.kind == "pixels":
            said["inside"] = inside(explained.values, measured, subject, true)
            said["of_maps"] = explained.values.sum((0, 2, 3)).tolist()
        else:
            said["rank"] = similarity(explained.values, true_values)
        if costly:
            said["stability"] = stability(method, predictor, measured, explained.values, seed)
            said["cascade"] = []
    # The causes that are seen in the pictures, in the order of the maps, so that sums can be ranked over cases.
    result["true_of_maps"] = [float(true_values[[g.name for g in GROUPS].index(name)]) for name in MAPS]
    if costly:
        for other in cascade(predictor, seed):
            for method in methods:
                kept = where[method.kind]
                after = method.explain(other, measured).values
                before = found[method.key].values
                result["methods"][method.key]["cascade"].append(similarity(before[kept], after[kept]))
    return result
