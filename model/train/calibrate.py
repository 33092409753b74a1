"""From raw logits to probabilities that can be believed: temperature and, where the loss was weighted, a shift.

Fitted on cases that did not train the network.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor, nn

from model.nets.llnm_net import LlnmNet

TEMPERATURES = (0.05, 20.0)
"""Least and greatest temperature; a network that needs more than that is not calibrated by any."""


def fit_temperature(logits: Tensor, labels: Tensor, *, cautious: bool = False) -> float:
    """Temperature that makes the validation logits calibrated (Guo et al. 2017): least log loss on (n,), (n,).

    Kept within `TEMPERATURES`: few cases that the logits order perfectly, or exactly the wrong way round, have their least
    loss at 0 or at infinity, and a search without ends runs off until logit ÷ temperature is not a number.

    Parameters
    ----------
    cautious : stay at 1 where the gain in log loss may be chance: for small cohorts, whose logits besides come from
        networks that had fewer cases than the one that is kept.
    """
    z, y = logits.double().numpy(), labels.double().numpy()

    def loss(log_temperature: float) -> float:
        scaled = z / math.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - y * scaled))

    low, high = (math.log(t) for t in TEMPERATURES)
    found = math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-9}).x)
    if not cautious:
        return found
    before, after = (
        torch.nn.functional.binary_cross_entropy_with_logits(logits.double() / t, labels.double(), reduction="none")
        for t in (1.0, found)
    )
    return found if beyond_chance(before - after) else 1.0


def beyond_chance(gains: Tensor) -> bool:
    """Whether the mean of (n,) paired gains lies above 0 by more than its 95 % interval; some hundred cases rarely tell."""
    return float(gains.mean()) > 1.96 * float(gains.std()) / math.sqrt(len(gains))


def fit_shift(logits: Tensor, labels: Tensor) -> float:
    """What to add to the (n,) logits before they are divided by a temperature, so that both have the least log loss (Platt).

    A loss that weighs the rarer outcome up shifts every logit; a temperature alone cannot take that back.
    """
    z, y = logits.double().numpy(), labels.double().numpy()

    def loss(parameters: tuple[float, float]) -> float:
        shift, log_temperature = parameters
        scaled = (z + shift) / math.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - y * scaled))

    low, high = (math.log(t) for t in TEMPERATURES)
    found = minimize(loss, (0.0, 0.0), bounds=((-20.0, 20.0), (low, high)), method="L-BFGS-B")
    return float(found.x[0])


@torch.no_grad()
def shift_logit(net: LlnmNet, by: float) -> None:
    """Add a constant to every logit of a network, in the bias of its head."""
    last = net.head[-1]
    assert isinstance(last, nn.Linear)
    last.bias.add_(by)
