"""Which coalitions to ask for, and how to read Shapley values from their worths.

Up to a number of coalitions the values are exact (Shapley 1953). Beyond, a Gaussian process over coalitions whose
interactions shrink with their order is conditioned on the worths asked for, and its mean, which is known for every
coalition, gives the values (Bayesian quadrature, O'Hagan 1991). The coalitions are the ones after which that process knows
the values best, chosen once for a number of players, so that the same case gets the same values every time. A second
reading lets players that do little interact little (empirical Bayes), and lets the whole saturate: the cube of the sum of
the main effects is known to the process up to its size.

With s = −1 for a player who is in and +1 for one who is out, a game is a sum of products of the s of a set of players times
the set's coefficient. A set of odd size n gives −2/n of its coefficient to each of its players, one of even size nothing.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ENERGY = (1.0, 0.2, 2e-3, 1e-4, 6e-6, 6e-7)
"""Prior variance of a set's coefficient, by the set's size; about what the exact games of sixty cases had."""
EXACT_NOISE = 1e-9
"""Variance of the worths' own error as a share of the prior's, where they are as exact as single precision."""
CANDIDATES = 4096
"""Coalitions at most among which a design is looked for."""
FLOOR, POWER = 0.02, 0.8
"""Of the second reading: a player's energy is its main effect's, plus this share of the prior's, to this power."""


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
    values: FloatArray = (shapley_matrix(n) * game).sum(1)
    return values


@lru_cache(maxsize=64)
def coalition_design(players: int, most: int) -> IntArray:
    """(R,) masks of the coalitions to ask for, ascending: the empty one first, the full one last.

    Parameters
    ----------
    players : n.
    most : coalitions at most, ≥ 2; all 2ⁿ where these are no more.
    """
    whole = 1 << players
    if whole <= most:
        return np.arange(whole)
    rng = np.random.default_rng(0)
    others = np.arange(1, whole - 1) if whole <= CANDIDATES else np.unique(rng.integers(1, whole - 1, CANDIDATES - 2))
    pool = np.concatenate([[0, whole - 1], rng.permutation(others)])
    signs, even = _signs(pool, players), np.ones(players)
    unknown = _with_values(signs, even)  # covariance of the values with each worth, given the worths chosen so far
    spread = np.full(len(pool), _covariance(signs[:1], signs[:1], even)[0, 0])
    noise = EXACT_NOISE * spread[0]
    known = np.zeros((len(pool), 0))
    chosen: list[int] = []
    while len(chosen) < most:
        gain = (unknown**2).sum(0) / (spread + noise)
        gain[chosen] = -1
        # Of those that tell as much, to rounding, the first: so the design is the same on every machine.
        at = len(chosen) if len(chosen) < 2 else int(np.round(gain / gain.max(), 9).argmax())
        chosen.append(at)
        column = _covariance(signs, signs[at : at + 1], even)[:, 0] - known @ known[at]
        column /= math.sqrt(spread[at] + noise)
        unknown = unknown - np.outer(unknown[:, at] / math.sqrt(spread[at] + noise), column)
        spread = np.maximum(spread - column**2, 0)
        known = np.column_stack([known, column])
    return np.sort(pool[chosen])


def estimated_values(
    players: int, masks: IntArray, worths: FloatArray, whole: float, *, noise: float = EXACT_NOISE
) -> FloatArray:
    """(n,) Shapley values from the worths of some coalitions.

    Parameters
    ----------
    masks : (R,) from `coalition_design`; where these are all 2ⁿ, the values are exact.
    worths : (R,).
    whole : worth of the full coalition less that of the empty one, which the values sum to.
    noise : variance of the worths' own error, as a share of the variance of the worths.
    """
    if len(masks) == 1 << players:
        return exact_shapley(worths)
    signs = _signs(masks, players)
    effects, _, scale = _fit(signs, worths, _even_factor(players, masks.tobytes(), noise))
    weight = (effects**2 / scale + FLOOR * ENERGY[1]) ** POWER
    weight /= weight.mean()
    main = effects / (np.abs(effects).sum() or 1.0)
    found, solved, _ = _fit(signs, worths, _factor(signs, weight, noise), (signs @ main) ** 3)
    values = _with_values(signs, weight) @ solved - 2 * found[:-1] + found[-1] * _values_of_cube(main)
    # What little is left of the whole goes to each by what it has, so that a player who does nothing gets nothing.
    share = np.abs(values) if np.abs(values).sum() > 0 else np.ones(players)
    return np.asarray(values + (whole - values.sum()) * share / share.sum())


@lru_cache(maxsize=64)
def _even_factor(players: int, masks: bytes, noise: float) -> Tensor:
    """`_factor` where every player's weight is one, which is the same for every game of a design."""
    return _factor(_signs(np.frombuffer(masks, np.int64), players), np.ones(players), noise)


def _factor(signs: FloatArray, weight: FloatArray, noise: float) -> Tensor:
    """(R, R) Cholesky factor of the worths' covariance.

    By torch: the threads of NumPy's own library would then wait in the way of the network's for 50 ms.
    """
    known = _covariance(signs, signs, weight)
    known[np.diag_indices_from(known)] += noise * known[0, 0]
    factor: Tensor = torch.linalg.cholesky(torch.from_numpy(known))
    return factor


def _fit(
    signs: FloatArray, worths: FloatArray, factor: Tensor, *more: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Generalised least squares for the level, the main effects and `more` columns (R,), so that they are not shrunk.

    Returns
    -------
    (n + more,) their coefficients but for the level's, (R,) the inverse covariance times what they leave, and how many times
    the prior's variance that game's is.
    """
    fixed = np.column_stack([np.ones(len(signs)), signs, *more])
    solved = torch.cholesky_solve(torch.from_numpy(np.column_stack([fixed, worths])), factor).numpy()
    coefficients = np.linalg.lstsq(fixed.T @ solved[:, :-1], fixed.T @ solved[:, -1], rcond=None)[0]
    scale = float(worths @ solved[:, -1]) / len(worths)
    return coefficients[1:], solved[:, -1] - solved[:, :-1] @ coefficients, scale or 1.0


def _values_of_cube(main: FloatArray) -> FloatArray:
    """(n,) Shapley values of the game (s · main)³."""
    squares, others = (main**2).sum() - main**2, main.sum() - main
    return np.asarray(-2 * main**3 - 6 * main * squares - 2 * main * (others**2 - squares))


def _signs(masks: IntArray, players: int) -> FloatArray:
    """(R, n) −1 where a player is in, +1 where it is out."""
    return np.asarray(1.0 - 2.0 * (masks[:, None] >> np.arange(players) & 1))


def _energies(weight: FloatArray) -> FloatArray:
    """(orders,) prior variance by size, such that its mean over the sets of a size is that of `ENERGY`."""
    count = min(len(ENERGY), len(weight) + 1)
    means = [e / math.comb(len(weight), order) for order, e in enumerate(_symmetric(weight[None])[:count, 0])]
    return np.asarray(np.array(ENERGY[:count]) / np.array(means))


def _symmetric(x: FloatArray, leave_out: int | None = None) -> FloatArray:
    """(len(ENERGY), …) sums over the sets of each size of the product of their entries of x (…, n)."""
    sums = np.zeros((len(ENERGY), *x.shape[:-1]))
    sums[0] = 1.0
    for i in range(x.shape[-1]):
        if i != leave_out:
            sums[1:] += x[..., i] * sums[:-1]
    return sums


def _covariance(a: FloatArray, b: FloatArray, weight: FloatArray) -> FloatArray:
    """(A, B) covariance of the worths of two lists of coalitions given by their signs (A, n), (B, n)."""
    energies = _energies(weight)
    sums = _symmetric(a[:, None] * b[None] * weight)
    return np.asarray((energies[:, None, None] * sums[: len(energies)]).sum(0))


def _with_values(signs: FloatArray, weight: FloatArray) -> FloatArray:
    """(n, R) covariance of the Shapley values with the worths."""
    energies, players = _energies(weight), signs.shape[1]
    rows = []
    for player in range(players):
        others = _symmetric(signs * weight, leave_out=player)
        odd = range(1, len(energies), 2)
        rows.append(
            sum((-2 / order * energies[order] * others[order - 1] for order in odd), np.zeros(len(signs)))
            * weight[player] * signs[:, player]
        )  # fmt: skip
    return np.array(rows).reshape(players, len(signs))
