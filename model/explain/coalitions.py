"""Which coalitions to ask for, and how to weigh their worths into Shapley values.

Up to a number of coalitions the values are exact (Shapley 1953). Beyond, a fixed rule is used: a Gaussian process over
coalitions whose interactions shrink with their order is conditioned on the worths asked for, and its mean, which is known
for every coalition, gives the values (Bayesian quadrature, O'Hagan 1991). The result is linear in the worths, so that the
weights depend on the number of players alone and the same case gets the same values every time.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ENERGY = (1.0, 0.2, 2e-3, 1e-4, 6e-6, 6e-7)
"""Prior variance of a Walsh coefficient of order 0, 1, 2, …; about what the exact games of eight sample cases had."""
_RIDGE = 1e-9


@lru_cache(maxsize=16)
def shapley_matrix(players: int) -> FloatArray:
    """(n, 2ⁿ) with values = matrix @ worths; bit i of a column's index says whether player i is in the coalition."""
    index = np.arange(1 << players)
    size = np.bitwise_count(index).astype(int)
    orders = [math.factorial(s) * math.factorial(players - s - 1) / math.factorial(players) for s in range(players)]
    matrix = np.zeros((players, 1 << players))
    for player in range(players):
        without = index[index >> player & 1 == 0]
        weight = np.array(orders)[size[without]]
        matrix[player, without] = -weight
        matrix[player, without | 1 << player] = weight
    return matrix


@lru_cache(maxsize=64)
def coalition_rule(players: int, most: int) -> tuple[IntArray, FloatArray]:
    """Coalitions to ask for and the weights of their worths.

    Parameters
    ----------
    players : n.
    most : coalitions at most, ≥ 2; all 2ⁿ where these are no more.

    Returns
    -------
    (R,) masks, the empty coalition first and the full one last, and (n, R) weights: values = weights @ worths.
    """
    whole = 1 << players
    if whole <= most:
        return np.arange(whole), shapley_matrix(players)
    rng = np.random.default_rng(players)
    sizes = np.arange(1, players)
    share = 1 / (sizes * (players - sizes))  # of each size in the Shapley kernel
    chosen = {0, whole - 1}
    while len(chosen) + 2 <= most:  # with every coalition its complement, so that even orders cancel
        size = int(rng.choice(sizes, p=share / share.sum()))
        mask = int((1 << rng.choice(players, size, replace=False)).sum())
        chosen |= {mask, whole - 1 - mask}
    masks = np.array(sorted(chosen))
    known = _covariance(masks, masks, players)
    known[np.diag_indices_from(known)] += _RIDGE * known[0, 0]
    between = shapley_matrix(players) @ _covariance(np.arange(whole), masks, players)
    return masks, np.asarray(np.linalg.solve(known, between.T).T, dtype=np.float64)


def values_of(weights: FloatArray, worths: FloatArray) -> FloatArray:
    """(n,) Shapley values; what the rule leaves of the whole difference (about 1e-6 of it) is spread evenly."""
    values = weights @ worths
    return np.asarray(values + (worths[-1] - worths[0] - values.sum()) / max(len(values), 1))


def _covariance(a: IntArray, b: IntArray, players: int) -> FloatArray:
    """Of the worths of coalitions: the sum over orders of their energy times a Krawtchouk polynomial of the distance."""
    distance = np.bitwise_count(a[:, None] ^ b[None])
    by_distance = [
        sum(
            energy * (-1) ** j * math.comb(d, j) * math.comb(players - d, order - j)
            for order, energy in enumerate(ENERGY)
            for j in range(order + 1)
        )
        for d in range(players + 1)
    ]
    return np.asarray(np.array(by_distance)[distance])
