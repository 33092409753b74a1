"""What a map of a view shows, on the original picture: for attention and for image evidence alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from dashboard.figures.case_image import picture, window_of
from model.encode import MeasuredCase
from model.explain.attention import paint
from model.schema import MapName, View

MAP_LABELS: dict[MapName, str] = {"location": "Location", "internal": "Internal morphology", "margin": "Margin"}


def map_picture(
    measured: MeasuredCase,
    view: View,
    map_name: MapName,
    *,
    height: int,
    weights: npt.NDArray[np.float32] | None = None,
    title: str = "",
    heat_range: tuple[float, float] | None = None,
    signed_opacity: float | None = None,
) -> go.Figure:
    """The part of a view that a map shows, with the nodule's outline, its scale, and weights laid over it.

    Parameters
    ----------
    height : of the figure, in screen pixels.
    weights : (grid, grid), of the map's regions or pixels; None for the picture alone.
    title, heat_range, signed_opacity : `heat_title`, `heat_range` and `signed_opacity` of `picture`.
    """
    image, box = measured.case.images[view], measured.features[view].box(map_name)
    shape = (image.pixels.shape[0], image.pixels.shape[1])
    heat = None if weights is None else paint(weights, box, shape, signed=signed_opacity is not None)
    return picture(
        image.pixels, nodule=measured.segmentations[view].nodule, spacing_mm=image.pixel_spacing_mm, heat=heat,
        heat_title=title, heat_range=heat_range, signed_opacity=signed_opacity, window=window_of(box, shape), height=height,
    )  # fmt: skip
