"""The nodule's outline on its picture, to be dragged: what is shown, and the component that shows it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from dashboard.figures.case_image import distance_label, grey_image, label_offset, outlines, scale_length_mm
from model.encode import MeasuredCase
from model.schema import GrayImage, Mask, View

HERE = Path(__file__).resolve().parent
STEP_MM, STEP_PX = 0.3, 2.0
"""Of an arrow key."""
_QUALITY = 90
_ANY_HEIGHT = 10_000
"""The picture is as wide as its column, however high that makes it."""

_component = st.components.v2.component(
    "llnm_nodule", css=(HERE / "nodule.css").read_text("utf-8"), js=(HERE / "nodule.js").read_text("utf-8")
)


def movable(scene: dict[str, Any], key: str, wished: Callable[[], None]) -> None:
    """The picture; `wished` is called before the next run when the user moved the nodule, and asks `wish` where to.

    Parameters
    ----------
    scene : from `scene`.
    """
    asked = st.session_state.get(f"{key}-wish")
    # What was wished goes back with the answer, so that even one that changes nothing on the picture is answered.
    _component(key=key, data={**scene, "wish": asked}, on_wish_change=wished)


def wish(key: str) -> tuple[float, float] | None:
    """Where the user wants the nodule, (down, right) in pixels from where it lies in the case; None where that is no place."""
    told = st.session_state[key].get("wish")
    st.session_state[f"{key}-wish"] = told
    try:
        down, right = float(told["down"]), float(told["right"])
    except (KeyError, TypeError, ValueError):
        return None
    return (down, right) if np.isfinite((down, right)).all() else None


def scene(before: MeasuredCase, after: MeasuredCase, view: View, shift: npt.ArrayLike) -> dict[str, Any]:
    """What the component draws of a view: the picture, lines as SVG paths in its pixels, labels and where they stand.

    Parameters
    ----------
    before, after : the case as it is, and with its nodule moved.
    shift : (down, right) in pixels between them.
    """
    image, found, capsule = after.case.images[view], after.segmentations[view], after.features[view].capsule
    rows, columns = image.pixels.shape
    spacing = image.pixel_spacing_mm
    (r0, c0), (r1, c1) = capsule.nodule_point, capsule.capsule_point
    ratio = 1.0 if spacing is None else spacing[0] / spacing[1]
    beside, beneath = label_offset(capsule, found.nodule, (0, rows, 0, columns), ratio, _ANY_HEIGHT)
    down, right = (float(v) for v in np.asarray(shift, float))
    drawn: dict[str, Any] = {
        "image": _jpeg_uri(image.pixels),
        "size": [rows, columns],
        "ratio": ratio,
        "gland": _path(found.gland),
        "before": _path(before.segmentations[view].nodule),
        "now": _path(found.nodule),
        "capsule": _line([(r0, c0), (r1, c1)]),
        "distance": {
            "at": [r1 + 0.5, c1 + 0.5], "text": distance_label(capsule), "anchor": [-50, -50], "offset": [beneath, beside],
        },
        "scale": "",
        "length": None,
        "shift": [down, right],
        "step": [STEP_PX, STEP_PX] if spacing is None else [STEP_MM / s for s in spacing],
        "words": {
            "nodule": f"Nodule on the {view} view: drag it, or move it with the arrow keys, with Shift further",
            "back": "Put it back",
        },
    }
    if spacing is not None:
        mm = scale_length_mm(spacing, columns)
        row, end = 0.95 * rows, 0.97 * columns
        start = end - mm / spacing[1]
        drawn["scale"] = _line([(row, start), (row, end)])
        drawn["length"] = {"at": [row, (start + end) / 2], "text": f"{mm} mm", "anchor": [-120, -50], "offset": [0, 0]}
    return drawn


def _path(mask: Mask) -> str:
    """The outlines of a mask as an SVG path."""
    return "".join(_line(line) + "Z" for line in outlines(mask))


def _line(points: npt.ArrayLike) -> str:
    """(row, column) of pixels as an SVG path, in which the middle of the first pixel is at (0.5, 0.5)."""
    return "M" + "L".join(f"{column + 0.5:.1f} {row + 0.5:.1f}" for row, column in np.asarray(points, float))


def _jpeg_uri(pixels: GrayImage) -> str:
    """Half the size of a PNG, since it goes with every answer; the lossless picture stands further up the page."""
    buffer = io.BytesIO()
    grey_image(pixels).save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
