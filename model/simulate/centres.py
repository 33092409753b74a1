"""The seven synthetic hospitals: who comes to them, what their machines look like, how they write.

Two train, five are held out. They differ in referral mix (so in prevalence), in machine appearance and in wording; the
risk given a patient is the same everywhere, so that a model can in principle stay calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Appearance of a scanner.

    Parameters
    ----------
    rows, columns : size of the picture in pixels.
    depth_mm : depth shown; the pixel spacing is depth_mm / rows in both directions.
    frequency_mhz : centre frequency; sets the axial and lateral size of a speckle and the attenuation.
    dynamic_range_db : range kept by log compression.
    gain : added after compression, in grey levels (0…1).
    gamma : exponent of the grey map.
    noise_db : electronic noise, relative to the gland.
    tgc_error_db_per_cm : what time gain compensation leaves over (negative: deep tissue too dark).
    lateral_spread : lateral over axial speckle size.
    """

    rows: int
    columns: int
    depth_mm: float
    frequency_mhz: float
    dynamic_range_db: float
    gain: float
    gamma: float
    noise_db: float
    tgc_error_db_per_cm: float
    lateral_spread: float


@dataclass(frozen=True)
class Centre:
    """A hospital: share of its part of the cohort, referral mix, machine and style of report.

    `size_factor` multiplies nodule size, `depth_shift_mm` adds to the capsule distance aimed at, `referral_shift` adds
    to the latent aggressiveness of findings (standard deviations).
    """

    name: str
    training: bool
    share: float
    size_factor: float
    depth_shift_mm: float
    referral_shift: float
    style: int
    machine: Machine


CENTRES: tuple[Centre, ...] = (
    Centre("A", True, 0.60, 1.00, 0.00, 0.00, 0, Machine(240, 320, 36, 12.0, 58, 0.02, 1.00, -34, 0.0, 1.6)),
    Centre("B", True, 0.40, 1.00, 0.10, -0.05, 1, Machine(256, 300, 40, 10.0, 62, -0.02, 0.90, -32, -1.5, 1.9)),
    Centre("C", False, 0.25, 1.15, -0.20, 0.10, 2, Machine(240, 304, 38, 11.0, 55, 0.05, 1.05, -33, -1.0, 1.7)),
    Centre("D", False, 0.20, 1.10, 0.00, 0.00, 0, Machine(256, 320, 34, 14.0, 65, -0.04, 0.95, -30, 1.0, 1.5)),
    Centre("E", False, 0.20, 1.20, -0.30, 0.15, 3, Machine(224, 304, 42, 9.0, 60, 0.00, 0.85, -35, -2.0, 2.1)),
    Centre("F", False, 0.20, 1.00, 0.20, -0.10, 1, Machine(248, 312, 36, 13.0, 52, 0.03, 1.10, -36, 0.5, 1.6)),
    Centre("G", False, 0.15, 1.25, 0.10, 0.00, 2, Machine(240, 288, 40, 10.0, 68, -0.03, 0.90, -31, -0.5, 1.8)),
)

TRAINING_SHARE = 0.75
"""Share of the training centres in a cohort over all seven (published: 29,615 of 39,451)."""


def chosen(part: str) -> tuple[tuple[Centre, ...], tuple[float, ...]]:
    """Centres and their shares, which sum to one, for `part` in {"training", "external", "all"}."""
    picked = tuple(c for c in CENTRES if part == "all" or c.training == (part == "training"))
    weights = [
        c.share * ((TRAINING_SHARE if c.training else 1 - TRAINING_SHARE) if part == "all" else 1) for c in picked
    ]
    return picked, tuple(w / sum(weights) for w in weights)
