"""Small numbers that a cube counts by: steps of distance, bins of probability, bands of age and size, places in the gland."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from model.cohort.position import PLACES
from model.cohort.scores import FloatArray
from model.cohort.selection import RANGES, STEPS

NO_STEP, NO_PLACE = 65535, len(PLACES)
STEPS_PER_MM = 10
BINS = 20
"""Bins of equal width of the predicted probability; two of them are one of the calibration curve."""


def number_codes(name: str, numbers: pa.Array) -> dict[str, pa.Array]:
    """Steps of the capsule distance (mm), bins of the probability, bands of age (years) and size (mm), by column; else none."""
    if name not in ("capsule_distance_mm", "probability", *RANGES.values()):
        return {}
    values = numbers.to_numpy(zero_copy_only=False)
    if name == "capsule_distance_mm":
        return {"_step": pa.array(distance_steps(values))}
    if name == "probability":
        return {"_bin": pa.array(np.where(np.isnan(values), 0, np.minimum(values * BINS, BINS - 1)).astype(np.uint8))}
    short_name = next(s for s, column in RANGES.items() if column == name)
    return {f"_{short_name}": pa.array(bands(values, STEPS[short_name]))}


def distance_steps(distance: FloatArray) -> npt.NDArray[np.uint16]:
    """Step k holds k/10 ≤ distance < (k + 1)/10 mm, compared as numbers are, not by rounding; `NO_STEP` where missing."""
    step = np.floor(distance * STEPS_PER_MM)
    step -= distance < step / STEPS_PER_MM
    step += distance >= (step + 1) / STEPS_PER_MM
    return np.where(np.isnan(distance), NO_STEP, step).astype(np.uint16)


def bands(values: FloatArray, width: int) -> npt.NDArray[np.uint8]:
    """2k + 1 for a value of exactly k·width, 2k + 2 for one between that and the next, 0 where missing.

    Edges have codes of their own, so that a range may include both its ends.
    """
    at = values / width
    return np.where(np.isnan(at), 0, np.floor(at) + np.ceil(at) + 1).astype(np.uint8)


def place_codes(done: Mapping[str, pa.Array], codes: Mapping[str, Mapping[str, int]], rows: int) -> npt.NDArray[np.uint8]:
    """Which of `PLACES` each case lies in; `NO_PLACE` where that is not known."""
    if "_side" not in done or "_third" not in done:
        return np.full(rows, NO_PLACE, np.uint8)
    sides, thirds = codes["side"], codes["third"]
    of = np.full((len(sides) + 1, len(thirds) + 1), NO_PLACE, np.uint8)
    for i, (side, third) in enumerate(PLACES):
        of[sides[side], slice(None) if side == "isthmus" else thirds[third]] = i
    place: npt.NDArray[np.uint8] = of[done["_side"].to_numpy(), done["_third"].to_numpy()]
    return place
