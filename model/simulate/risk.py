"""The risk model of the synthetic cohort, written out: the truth that every explanation can be checked against.

logit P(LLNM) = INTERCEPT + GAIN · Σ contributions, one contribution a cause:

| cause | contribution | seen in |
|---|---|---|
| capsule distance d (mm) | 9.2 / (1 + exp((d − 3.0) / 1.1)) − 4.6 | the images only |
| position | middle +1.3, upper +0.25, lower −1.4; isthmus −4.0 | images, fields |
| age | −0.085 · (years − 43) | fields only |
| sex | male +1.35 | fields only |
| size | +1.1 · log₂(mm / 6.3) | images, fields, report |
| margin | irregular +1.05, ill-defined +0.3 | images, fields, report |
| calcification | micro +1.15, macro +0.15 | images, fields, report |
| shape | taller than wide +0.7 | images, fields, report |
| echogenicity | marked hypoechoic +0.3 | images, fields, report |
| histology | MTC +1.8, FTC −1.2 | fields only |
| BRAF V600E | +0.9 | fields only |
| extrathyroidal extension suspected | +1.0 | fields |
| multifocal | +0.6 | fields, report |
| suspicious lymph node remark | +1.85 | the report only |
| marked vascularity | +0.65 | the report only |
| diffuse thyroiditis | −0.55 | the report only |

The directions are the published ones (Shen et al. 2025, Fig. 4 and baseline table); the sizes are ours, set so that the
Bayes-optimal AUROC is 0.965 ± 0.01 and risk exceeds 72 % below 2.5 mm of capsule distance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]

INTERCEPT = -4.4
GAIN = 1.4

_POSITION = {"upper": 0.25, "middle": 1.3, "lower": -1.4, "isthmus": -4.0}
_MARGIN = {"smooth": 0.0, "ill-defined": 0.3, "irregular": 1.05}
_CALCIFICATION = {"none": 0.0, "macro": 0.15, "micro": 1.15}
_HISTOLOGY = {"PTC": 0.0, "FTC": -1.2, "MTC": 1.8}


def contributions(truth: pd.DataFrame) -> pd.DataFrame:
    """Contribution of each cause to the logit (GAIN included), one column a cause.

    Parameters
    ----------
    truth : true values, one row a case: capsule_distance_mm, side, third, age_years, sex, size_mm, margin,
        calcification, taller_than_wide, echogenicity, histology, braf_v600e, extrathyroidal_extension_suspected,
        multifocal, suspicious_node, marked_vascularity, thyroiditis.
    """
    place = truth["third"].where(truth["side"] != "isthmus", "isthmus")
    parts = {
        "capsule_distance": 9.2 / (1 + np.exp((truth["capsule_distance_mm"] - 3.0) / 1.1)) - 4.6,
        "position": place.map(_POSITION),
        "age": -0.085 * (truth["age_years"] - 43),
        "sex": 1.35 * (truth["sex"] == "male"),
        "size": 1.1 * np.log2(truth["size_mm"] / 6.3),
        "margin": truth["margin"].map(_MARGIN),
        "calcification": truth["calcification"].map(_CALCIFICATION),
        "shape": 0.7 * truth["taller_than_wide"],
        "echogenicity": 0.3 * (truth["echogenicity"] == "marked hypoechoic"),
        "histology": truth["histology"].map(_HISTOLOGY),
        "braf": 0.9 * truth["braf_v600e"],
        "extension": 1.0 * truth["extrathyroidal_extension_suspected"],
        "multifocal": 0.6 * truth["multifocal"],
        "suspicious_node": 1.85 * truth["suspicious_node"],
        "vascularity": 0.65 * truth["marked_vascularity"],
        "thyroiditis": -0.55 * truth["thyroiditis"],
    }
    return GAIN * pd.DataFrame(parts).astype(float)


def probability(truth: pd.DataFrame) -> FloatArray:
    """True P(LLNM) of each case (n,): what no predictor can beat."""
    logit = INTERCEPT + contributions(truth).sum(axis=1).to_numpy()
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def outcomes(truth: pd.DataFrame, probabilities: FloatArray, rng: np.random.Generator) -> pd.DataFrame:
    """Draw what surgery would find: LLNM, positive lateral nodes, the largest deposit, stage, central metastasis.

    Burden grows with the true logit, so stage can be learnt from the same causes. Published marks: positive nodes 0 in
    48 %, 1–5 in 44 %, 6–10 in 6 %, >10 in 3 %; central metastasis in 85 % of LLNM and 54 % of the others.
    """
    n = len(truth)
    logit = np.log(probabilities / (1 - probabilities))
    llnm = rng.random(n) < probabilities
    burden = 0.30 * (logit - 2.5) + 0.55 * np.log2(truth["size_mm"].to_numpy() / 6.3) + 0.35 * rng.standard_normal(n)
    count = 1 + rng.poisson(np.exp(np.clip(0.12 + 0.75 * burden, -3, 3.2)))
    nodes = np.where(llnm, np.minimum(count, 60), 0)
    largest = np.clip(np.exp(1.25 + 0.95 * burden + 0.2 * rng.standard_normal(n)), 0.3, 60.0)
    stage = np.where(largest > 30, 3, np.where((nodes <= 5) & (largest < 2), 1, 2))
    central = rng.random(n) < np.where(llnm, 0.85, 0.54)
    return pd.DataFrame(
        {
            "llnm": llnm,
            "stage": pd.array(np.where(llnm, stage, 0), dtype="Int64"),
            "positive_nodes": nodes,
            "largest_node_mm": np.where(llnm, largest.round(1), 0.0),
            "central_metastasis": central,
        }
    ).assign(stage=lambda d: d["stage"].where(d["llnm"]))
