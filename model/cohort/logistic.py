"""Logistic regression for the curves: Newton's method, with robust influence of each row, and its failures told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, special

from model.cohort.scores import FloatArray
from model.errors import StatisticsError

_STEPS = 30
_SAME = 1e-10  # of the Gram matrix of standardised columns: less is one column said twice


@dataclass(frozen=True)
class LogisticFit:
    """A fitted logistic regression.

    Parameters
    ----------
    params : (k,) on the logit scale.
    bread : (k, k) inverse of the information matrix: the covariance of `params` if the model is right.
    log_likelihood : of the rows it was fitted on.
    """

    params: FloatArray
    bread: FloatArray
    log_likelihood: float

    def influence(self, design: FloatArray, outcome: FloatArray) -> FloatArray:
        """Influence of each row on `params` (n, k): its outer products sum to the robust covariance (HC0)."""
        residual = outcome - special.expit(design @ self.params)
        return np.asarray((design * residual[:, None]) @ self.bread)


def fit_logistic(design: FloatArray, outcome: FloatArray, names: Sequence[str], *, where: str) -> LogisticFit:
    """Maximum likelihood by Newton's method.

    Parameters
    ----------
    design : (n, k), the constant among its columns.
    outcome : (n,) of 0 and 1, or shares between (then a quasi-likelihood).
    names : k names for the messages.
    where : the figure that asks, for the messages.

    Raises
    ------
    StatisticsError
        If a column follows from others (collinearity), or some columns tell the outcome without error (separation); the
        columns are named.
    """
    _refuse_collinear(design, names, where)
    scale = np.where(design.std(0) > 0, design.std(0), 1.0)
    x = design / scale
    params = np.zeros(x.shape[1])
    value = _log_likelihood(x @ params, outcome)
    step = np.zeros_like(params)
    for _ in range(_STEPS):
        p = special.expit(x @ params)
        information = (x * (p * (1 - p))[:, None]).T @ x
        try:
            step = linalg.solve(information, x.T @ (outcome - p), assume_a="pos")
        except (linalg.LinAlgError, linalg.LinAlgWarning, ValueError):
            break
        new = _log_likelihood(x @ (params + step), outcome)
        while new < value - 1e-9 * abs(value) and np.abs(step).max() > 1e-12:
            step = step / 2
            new = _log_likelihood(x @ (params + step), outcome)
        params, value = params + step, new
        if np.abs(step).max() < 1e-7:
            p = special.expit(x @ params)
            information = (x * (p * (1 - p))[:, None]).T @ x
            return LogisticFit(params / scale, linalg.inv(information) / np.outer(scale, scale), value)
    # Where a column separates the outcomes, its coefficient grows at every step and never settles.
    moving = [n for n, s in zip(names, np.abs(step), strict=True) if s > 0.1 * np.abs(step).max()]
    raise StatisticsError(
        f"no finite estimate, since {', '.join(moving[:4])} tells the outcome without error (separation)",
        where=where,
        fix="Leave it out, join its rare values, or widen the filters.",
    )


def _log_likelihood(logit: FloatArray, outcome: FloatArray) -> float:
    return float(outcome @ logit - np.logaddexp(0, logit).sum())


def _refuse_collinear(design: FloatArray, names: Sequence[str], where: str) -> None:
    norm = np.sqrt((design**2).sum(0))
    if not norm.all():
        raise StatisticsError(
            f"{names[int(norm.argmin())]} is 0 in every row", where=where, fix="Leave it out, or widen the filters."
        )
    unit = design / norm
    triangle, order = linalg.qr(unit.T @ unit, mode="r", pivoting=True)
    repeated = [names[order[i]] for i in np.flatnonzero(np.abs(np.diag(triangle)) < _SAME)]
    if repeated:
        raise StatisticsError(
            f"{', '.join(repeated[:4])} follows from the other columns (collinearity)",
            where=where,
            fix="Leave out one of the columns that say the same.",
        )
