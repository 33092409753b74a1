"""Where a nodule lies in its lobe, in shares of the lobe, so that glands of every size can be laid over each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from model.features.masks import counts, filled
from model.schema import Mask, Value, View

Counts = npt.NDArray[np.int32]

PLACE_COLUMNS = ("x_normalised", "y_normalised", "z_normalised")

_LOBE_ENDS_AT = 0.5
"""The lobe goes over into the isthmus where the gland is half as thick as at its thickest (ours)."""


def normalised_place(masks: Mapping[View, tuple[Mask, Mask]], side: Value | None) -> dict[str, float]:
    """Centre of the nodule in shares (0…1) of the gland around it, as far as the views show it.

    `x_normalised` : 0 at the lateral end of the lobe, 1 where it goes over into the isthmus; in the isthmus from the
        patient's right (0) to the left (1) end of the gland in the picture. From the transverse view.
    `y_normalised` : 0 at the front capsule, 1 at the back one, at the nodule's own column. From the transverse view,
        from the longitudinal one where there is no other.
    `z_normalised` : 0 at the lower end of the gland, 1 at the upper. From the longitudinal view.

    Pictures are taken to be held as is usual: the patient's right on the left of a transverse view, the head on the left
    of a longitudinal one.

    Parameters
    ----------
    masks : (gland, nodule) of each view, both (height, width) bool and neither empty.
    side : "right", "left", "isthmus"; where it is not known, the lobe's outer end is the end nearer to its thickest
        column.
    """
    result: dict[str, float] = {}
    for view, (gland, nodule) in masks.items():
        whole = filled(gland | nodule)
        row, column = map(_mean_place, counts(nodule))
        _, thickness = counts(whole)
        columns = np.flatnonzero(thickness)
        here = whole[:, min(max(round(column), columns[0]), columns[-1])]
        rows = np.flatnonzero(here)
        depth = _share(row, float(rows[0]), float(rows[-1])) if len(rows) else 0.5
        if view == "transverse":
            result["x_normalised"] = _across(column, thickness, columns, side)
            result["y_normalised"] = depth
        else:
            result.setdefault("y_normalised", depth)
            result["z_normalised"] = 1 - _share(column, float(columns[0]), float(columns[-1]))
    return result


def _across(column: float, thickness: Counts, columns: npt.NDArray[np.int64], side: Value | None) -> float:
    first, last = int(columns[0]), int(columns[-1])
    if side == "isthmus":
        return _share(column, first, last)
    thickest = int(thickness.argmax())
    outer_left = side == "right" if side in ("right", "left") else thickest - first <= last - thickest
    thin = np.flatnonzero(thickness < _LOBE_ENDS_AT * thickness[thickest])
    if outer_left:
        inner = min(thin[thin > thickest].min(initial=last + 1) - 1, last)
        return _share(column, first, float(inner))
    inner = max(thin[thin < thickest].max(initial=first - 1) + 1, first)
    return 1 - _share(column, float(inner), last)


def _mean_place(marked: Counts) -> float:
    return float(marked @ np.arange(len(marked)) / marked.sum())


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies from low (0) to high (1), kept within."""
    return float(min(max((value - low) / max(high - low, 1.0), 0.0), 1.0))
