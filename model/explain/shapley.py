"""Exact Shapley values over the feature groups: pictures, report and table attributed together.

The game: v(S) is the calibrated logit when the model is given the groups in S only; what is left out becomes the
learned "missing" token, on which the model was trained by dropping groups at random. With at most eleven groups all
coalitions are evaluated, so the values are exact for this game, not estimated (Shapley 1953; Lundberg and Lee 2017).
Pictures and words are turned into tokens once a case; a coalition only puts tokens together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor

from model.encode import MeasuredCase, drop_groups
from model.nets.config import NetConfig
from model.nets.llnm_net import NetworkInputs, Tokens
from model.predict import Predictor
from model.schema import CATEGORY_TOKENS, GROUPS, MAPS, NUMERIC_TOKENS, Group

if TYPE_CHECKING:
    import shap

FloatArray = npt.NDArray[np.float64]

_ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class ShapleyResult:
    """Attribution of one prediction to the feature groups.

    Parameters
    ----------
    groups : the players, `schema.GROUPS` order.
    values : (G,) contribution of each to the calibrated logit of LLNM.
    probability_values : (G,) contribution of each to the calibrated probability: exact values of that game, too. They sum
        to the difference of the probabilities, and are no rescaled logits, since the curve between is not straight.
    present : whether the case has any input of the group; an absent one has value 0.
    base_logit : calibrated logit with every group missing.
    logit : calibrated logit of the case.
    method, baseline : what was computed, and against what.
    model_rows : coalitions the network was run on.
    residual : logit − base_logit − Σ values.
    """

    groups: tuple[Group, ...]
    values: FloatArray
    probability_values: FloatArray
    present: tuple[bool, ...]
    base_logit: float
    logit: float
    method: str
    baseline: str
    model_rows: int
    residual: float

    def to_shap(self) -> shap.Explanation:
        """As `shap.Explanation`, so that shap's own plots work."""
        import shap

        return shap.Explanation(
            values=self.values, base_values=self.base_logit, feature_names=[g.label for g in self.groups]
        )


def exact_shapley(game: FloatArray) -> FloatArray:
    """Shapley values of a game given whole.

    Parameters
    ----------
    game : (2ⁿ,) worth of each coalition; bit i of the index says whether player i is in it.

    Returns
    -------
    (n,) values; they sum to game[-1] − game[0].
    """
    n = len(game).bit_length() - 1
    if len(game) != 1 << n:
        raise ValueError(f"game: {len(game)} coalitions, not a power of two")
    index = np.arange(1 << n)
    size = np.array([int(i).bit_count() for i in index])
    weight = np.array([math.factorial(s) * math.factorial(n - s - 1) / math.factorial(n) for s in range(n)])
    values = np.zeros(n)
    for player in range(n):
        without = index[index >> player & 1 == 0]
        values[player] = (weight[size[without]] * (game[without | 1 << player] - game[without])).sum()
    return values


@torch.inference_mode()
def group_shapley(predictor: Predictor, measured: MeasuredCase) -> ShapleyResult:
    """Exact Shapley values of one case over `schema.GROUPS`, in calibrated logits.

    Parameters
    ----------
    predictor : shared between threads safely: nothing on it changes.
    measured : from `Predictor.measure`.
    """
    inputs = predictor.encode([measured])
    present = given_groups(inputs, predictor.net.config)
    players = [g for g, given in enumerate(present) if given]
    count = len(players)
    # Every row says which groups are kept; a group that the case lacks is hidden anyway.
    coalitions = torch.arange(1 << count)
    keep = torch.zeros(len(coalitions), len(GROUPS), dtype=torch.bool)
    for bit, group in enumerate(players):
        keep[:, group] = (coalitions >> bit & 1).bool()
    worth = predictor.calibrated(coalition_logits(predictor, inputs, keep.to(predictor.device)))
    game = worth.double().cpu().numpy()
    values, in_probability = np.zeros(len(GROUPS)), np.zeros(len(GROUPS))
    values[players] = exact_shapley(game)
    in_probability[players] = exact_shapley(expit(game))
    return ShapleyResult(
        groups=GROUPS,
        values=values,
        probability_values=in_probability,
        present=present,
        base_logit=float(game[0]),
        logit=float(game[-1]),
        method="Exact Shapley values over feature groups",
        baseline="every group missing (the model's learned “missing” tokens)",
        model_rows=len(game),
        residual=float(game[-1] - game[0] - values.sum()),
    )


def given_groups(inputs: NetworkInputs, config: NetConfig) -> tuple[bool, ...]:
    """Which groups one encoded case has any input of."""
    shown = (inputs.map_present & inputs.view_present[:, :, None]).any(1)[0]
    numbers = dict(zip((f.name for f in NUMERIC_TOKENS), inputs.numeric_present[0].tolist(), strict=True))
    categories = dict(zip((f.name for f in CATEGORY_TOKENS), (inputs.categorical[0] > 0).tolist(), strict=True))
    given = {**numbers, **categories}
    return tuple(
        any(bool(shown[MAPS.index(m)]) for m in group.maps)
        or any(given[f] for f in group.fields if f in config.fields)
        or (group.report and bool(inputs.word_present.any()))
        for group in GROUPS
    )


def coalition_logits(predictor: Predictor, inputs: NetworkInputs, keep: Tensor) -> Tensor:
    """Uncalibrated logits (R,) of one case with groups hidden.

    Parameters
    ----------
    inputs : one encoded case.
    keep : (R, G) bool, `schema.GROUPS` order; False hides the group.
    """
    net = predictor.net
    hidden = drop_groups(inputs, torch.zeros(1, len(GROUPS), dtype=torch.bool, device=keep.device))
    # One call, so that both have the same word columns.
    both = net.embed(NetworkInputs.cat([inputs, hidden]), trim=True)
    # Views that the case lacks have no weight: leave them out.
    views = both.view_weight[0] > 0
    words = both.clinical.shape[1] - len(net.config.fields)
    image_group, clinical_group = _token_groups(net.config, words, keep.device)
    report = next(g for g, group in enumerate(GROUPS) if group.report)
    logits = torch.empty(len(keep), device=keep.device)
    for told in (True, False):
        rows = torch.nonzero(keep[:, report] == told)[:, 0]
        if not len(rows):  # a case without a report has no coalition with one
            continue
        for block in torch.split(rows, _ROWS_AT_ONCE):
            with_image = keep[block][:, image_group][:, None, :, None]
            with_clinical = keep[block][:, clinical_group]
            image = torch.where(with_image, both.image[:1, views], both.image[1:, views])
            clinical = torch.where(with_clinical[..., None], both.clinical[:1], both.clinical[1:])
            shown = torch.where(with_clinical, both.clinical_present[:1], both.clinical_present[1:])
            if not told:  # all word columns are empty but the first, which holds the "no report" token
                clinical = torch.cat([clinical[:, :1], clinical[:, words:]], 1)
                shown = torch.cat([shown[:, :1], shown[:, words:]], 1)
            weight = both.view_weight[:1, views].expand(len(block), -1)
            logits[block] = net.fuse(Tokens(image, clinical, shown, weight)).logit.float()
    return logits


def _token_groups(config: NetConfig, words: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Group index of every image token (T_I,) and clinical token (T_C,)."""
    of_map = {m: g for g, group in enumerate(GROUPS) for m in group.maps}
    of_field = {f: g for g, group in enumerate(GROUPS) for f in group.fields}
    report = next(g for g, group in enumerate(GROUPS) if group.report)
    image = [of_map[name] for name, _, _ in config.image_tokens]
    clinical = [report] * words + [of_field[name] for name in config.fields]
    return torch.tensor(image, device=device), torch.tensor(clinical, device=device)
