"""How near an explanation comes to the truth: only where a simulation knows it.

The true contribution of a cause is measured from its mean over a reference cohort, since the Shapley values start from
"nothing known", which a model fills with what is usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from model.explain.shapley import ShapleyResult
from model.schema import GROUPS

FloatArray = npt.NDArray[np.float64]

CAUSES: Mapping[str, tuple[str, ...]] = {
    "location": ("capsule_distance",),
    "position": ("position",),
    "internal": ("calcification",),
    "margin": ("margin",),
    "echogenicity": ("echogenicity",),
    "shape": ("shape",),
    "size": ("size", "multifocal"),
    "report": ("suspicious_node", "vascularity", "thyroiditis"),
    "sex": ("sex",),
    "age": ("age",),
    "pathology": ("histology", "braf", "extension"),
}
"""Causes of `simulate.risk` that each feature group carries."""


@dataclass(frozen=True)
class Agreement:
    """An explanation beside the truth.

    Parameters
    ----------
    true : (G,) true contribution of each group to the logit, from its mean over the reference.
    explained : (G,) Shapley values.
    rank_correlation : Spearman's ρ over the groups, −1…1; NaN where either side is constant.
    """

    true: FloatArray
    explained: FloatArray
    rank_correlation: float


def true_contributions(row: pd.Series, reference: pd.DataFrame) -> FloatArray:
    """(G,) true contribution of each group of one case, from its mean over the reference cohort.

    Parameters
    ----------
    row : the case's truth, with a column `contribution_*` for every cause.
    reference : truths of a cohort.
    """
    columns = {group: [f"contribution_{cause}" for cause in causes] for group, causes in CAUSES.items()}
    return np.array([float((row[columns[g.name]] - reference[columns[g.name]].mean()).sum()) for g in GROUPS])


def agreement(shapley: ShapleyResult, row: pd.Series, reference: pd.DataFrame) -> Agreement:
    """The Shapley values of a case beside its true contributions."""
    true = true_contributions(row, reference)
    explained = np.asarray(shapley.values, dtype=np.float64)
    constant = np.ptp(true) == 0 or np.ptp(explained) == 0
    rho = float("nan") if constant else float(spearmanr(true, explained).statistic)
    return Agreement(true, explained, rho)
