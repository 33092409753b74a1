"""Patients and the findings a perfect reader would make, drawn as one table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.simulate.centres import Centre


def draw_patients(
    count: int, centres: tuple[Centre, ...], shares: tuple[float, ...], rng: np.random.Generator
) -> pd.DataFrame:
    """True characteristics of `count` patients, one row each; capsule distance follows from the anatomy later.

    Marginals follow the published baseline table: age median 43 (IQR 35–52), 72 % female, size median 6.3 mm, PTC 91 %,
    FTC 7 %, MTC 2 %. A latent aggressiveness ties the suspicious findings together, as Kwak's categories imply.
    """
    which = rng.choice(len(centres), size=count, p=shares)
    size_factor = np.array([c.size_factor for c in centres])[which]
    depth_shift = np.array([c.depth_shift_mm for c in centres])[which]
    referral = np.array([c.referral_shift for c in centres])[which]
    latent = rng.standard_normal(count) + referral

    def finding(threshold: float, loading: float = 0.62) -> npt.NDArray[np.bool_]:
        noise = rng.standard_normal(count)
        return np.asarray(loading * latent + np.sqrt(1 - loading**2) * noise > threshold)

    age = np.clip(np.round(42.3 + 12.3 * rng.standard_normal(count) + 1.2 * rng.gamma(1.0, 1.0, count)), 18, 88)
    size = np.clip(6.0 * size_factor * np.exp(0.64 * rng.standard_normal(count)), 2.2, 30.0)
    side = rng.choice(["right", "left", "isthmus"], size=count, p=[0.49, 0.45, 0.06])
    third = rng.choice(["upper", "middle", "lower"], size=count, p=[0.27, 0.45, 0.28])
    irregular, ill_defined = finding(0.62), rng.random(count) < 0.30
    micro, macro = finding(0.68), rng.random(count) < 0.08
    marked, hypo = finding(1.25), finding(-0.95)
    solid, mixed = rng.random(count) < 0.97, rng.random(count) < 0.8
    target = rng.gamma(2.2, 1.8, count) - 0.10 + depth_shift
    return pd.DataFrame(
        {
            "centre": np.array([c.name for c in centres])[which],
            "age_years": age,
            "sex": np.where(rng.random(count) < 0.72, "female", "male"),
            "size_mm": size,
            "side": side,
            "third": np.where(side == "isthmus", "middle", third),
            "composition": np.where(solid, "solid", np.where(mixed, "mixed", "cystic")),
            "calcification": np.where(micro, "micro", np.where(macro, "macro", "none")),
            "margin": np.where(irregular, "irregular", np.where(ill_defined, "ill-defined", "smooth")),
            "echogenicity": np.where(
                marked, "marked hypoechoic",
                np.where(hypo, "hypoechoic", np.where(rng.random(count) < 0.85, "isoechoic", "hyperechoic")),
            ),
            "taller_than_wide": finding(0.80),
            "multifocal": rng.random(count) < 0.28,
            "histology": rng.choice(["PTC", "FTC", "MTC"], size=count, p=[0.91, 0.07, 0.02]),
            "braf": rng.random(count),
            "extension": rng.random(count),
            "suspicious_node": rng.random(count) < 0.20 + 0.04 * (latent > 1),
            "marked_vascularity": rng.random(count) < 0.30,
            "thyroiditis": rng.random(count) < 0.22,
            "biopsy_proven": rng.random(count) < 0.08,
            "target_distance_mm": np.maximum(target, 0.0),
        }
    ).assign(
        # BRAF V600E is a mutation of papillary cancer; extension is suspected where the nodule reaches the capsule.
        braf_v600e=lambda d: (d["braf"] < 0.62) & (d["histology"] == "PTC"),
        extrathyroidal_extension_suspected=lambda d: d["extension"] < np.where(d["target_distance_mm"] < 0.4, 0.45, 0.03),
    ).drop(columns=["braf", "extension"])  # fmt: skip
