"""An ultrasound picture with what was found on it: outlines, the capsule-distance line, a heat map, a scale."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import sample_colorscale
from skimage import measure

from dashboard.figures.style import CAPSULE, GLAND, HEAT, NODULE, styled
from model.features.cpdt import CapsuleDistance
from model.schema import GrayImage, Mask, MapName

GRID_STEP = 10
"""Pixels between the invisible points that a lasso or a click can catch."""


def picture(
    pixels: GrayImage,
    *,
    spacing_mm: tuple[float, float] | None = None,
    nodule: Mask | None = None,
    gland: Mask | None = None,
    capsule: CapsuleDistance | None = None,
    heat: npt.NDArray[np.float32] | None = None,
    opacity: float = 0.55,
    height: int = 380,
) -> go.Figure:
    """A view in its own pixels with overlays.

    Parameters
    ----------
    pixels : (height, width) in 0…1.
    nodule, gland : masks whose outlines are drawn.
    capsule : the shortest line from nodule to capsule, labelled in mm, or in % of gland depth without spacing.
    heat : (height, width) non-negative, NaN where nothing is drawn; scaled to its own maximum.
    opacity : of the hottest spot.
    """
    rows, columns = pixels.shape
    figure = go.Figure()
    figure.add_layout_image(
        source=data_uri(pixels), xref="x", yref="y", x=-0.5, y=-0.5, sizex=columns, sizey=rows,
        sizing="stretch", layer="below",
    )  # fmt: skip
    if heat is not None and np.nanmax(heat) > 0:
        figure.add_layout_image(
            source=_heat_uri(heat, opacity), xref="x", yref="y", x=-0.5, y=-0.5, sizex=columns, sizey=rows,
            sizing="stretch", layer="below",
        )  # fmt: skip
    for mask, colour, name in ((gland, GLAND, "Gland"), (nodule, NODULE, "Nodule")):
        for line in [] if mask is None else outlines(mask):
            figure.add_scatter(
                x=line[:, 1], y=line[:, 0], mode="lines", line={"color": colour, "width": 1.6}, name=name, hoverinfo="name"
            )
    if capsule is not None:
        _capsule_line(figure, capsule, pixels.shape)
    if spacing_mm is not None:
        _scale_bar(figure, spacing_mm, pixels.shape)
    styled(figure, height=height)
    ratio = 1.0 if spacing_mm is None else spacing_mm[0] / spacing_mm[1]
    figure.update_xaxes(visible=False, range=[-0.5, columns - 0.5], constrain="domain", fixedrange=True)
    figure.update_yaxes(
        visible=False, range=[rows - 0.5, -0.5], scaleanchor="x", scaleratio=ratio, constrain="domain", fixedrange=True
    )
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0})
    return figure


def with_grid(figure: go.Figure, shape: tuple[int, int]) -> go.Figure:
    """Add the invisible points that make a lasso on the picture possible (streamlit#8760: pictures give no selection)."""
    rows, columns = np.mgrid[0 : shape[0] : GRID_STEP, 0 : shape[1] : GRID_STEP]
    figure.add_scatter(
        x=columns.ravel(), y=rows.ravel(), mode="markers", marker={"size": 6, "opacity": 0}, hoverinfo="skip",
        name="grid", selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
    )  # fmt: skip
    figure.update_layout(dragmode="lasso", newselection={"line": {"color": NODULE, "width": 2}})
    return figure


def with_regions(
    figure: go.Figure, box: tuple[int, int, int, int], grid: int, map_name: MapName, chosen: tuple[int, int] | None
) -> go.Figure:
    """Add a clickable marker for each region of a map; `customdata` holds (map, row, column)."""
    r0, r1, c0, c1 = box
    step_r, step_c = (r1 - r0) / grid, (c1 - c0) / grid
    cells = [(row, column) for row in range(grid) for column in range(grid)]
    figure.add_scatter(
        x=[c0 + (c + 0.5) * step_c for _, c in cells], y=[r0 + (r + 0.5) * step_r for r, _ in cells],
        mode="markers", name="Regions", customdata=[[map_name, r, c] for r, c in cells],
        marker={"size": 9, "symbol": "circle-open", "color": "#ffffff", "line": {"width": 1.2}},
        opacity=0.75, hovertemplate="%{customdata[0]}: row %{customdata[1]}, column %{customdata[2]}<extra></extra>",
    )  # fmt: skip
    if chosen is not None:
        r, c = chosen
        figure.add_shape(
            type="rect", x0=c0 + c * step_c, x1=c0 + (c + 1) * step_c, y0=r0 + r * step_r, y1=r0 + (r + 1) * step_r,
            line={"color": "#ffffff", "width": 2},
        )  # fmt: skip
    figure.update_layout(clickmode="event+select")
    return figure


def polygon_mask(x: list[float], y: list[float], shape: tuple[int, int]) -> Mask:
    """Mask of the pixels within a polygon drawn on the picture (lasso coordinates); parts beyond it are cut off."""
    from skimage.draw import polygon2mask

    if len(x) < 3 or len(x) != len(y):
        return np.zeros(shape, bool)
    return np.asarray(polygon2mask(shape, np.stack([np.asarray(y, float), np.asarray(x, float)], 1)), dtype=bool)


def outlines(mask: Mask) -> list[npt.NDArray[np.float64]]:
    """Closed outlines (k, 2) of a mask as (row, column), thinned to about one point in a pixel and a half."""
    padded = np.pad(mask, 1).astype(np.float32)
    lines = measure.find_contours(padded, 0.5)
    return [measure.approximate_polygon(line - 1, 0.3) for line in lines if len(line) > 8]


def distance_label(capsule: CapsuleDistance) -> str:
    """The capsule distance in words, with its unit."""
    if capsule.distance is None:
        return f"{100 * capsule.fraction:.0f} % of gland depth"
    return f"{capsule.distance:.1f} mm"


def data_uri(pixels: GrayImage) -> str:
    """A grey picture as PNG in a data address."""
    grey = (255 * np.clip(pixels, 0, 1) + 0.5).astype(np.uint8)
    return _uri(Image.fromarray(grey))


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _heat_uri(heat: npt.NDArray[np.float32], opacity: float) -> str:
    """Heat as a picture whose transparency follows the heat."""
    level = np.nan_to_num(heat / np.nanmax(heat), nan=0.0)
    colours = np.array([[int(v) for v in c[4:-1].split(",")] for c in sample_colorscale(HEAT, np.linspace(0, 1, 256))])
    index = (level * 255).astype(int)
    alpha = (255 * opacity * np.sqrt(level))[..., None]
    alpha[np.isnan(heat)] = 0
    return _uri(Image.fromarray(np.concatenate([colours[index], alpha], -1).astype(np.uint8), "RGBA"))


def _capsule_line(figure: go.Figure, capsule: CapsuleDistance, shape: tuple[int, ...]) -> None:
    (r0, c0), (r1, c1) = capsule.nodule_point, capsule.capsule_point
    figure.add_scatter(
        x=[c0, c1], y=[r0, r1], mode="lines+markers", line={"color": CAPSULE, "width": 3},
        marker={"size": 6, "color": CAPSULE}, name="Capsule distance", hovertemplate=distance_label(capsule) + "<extra></extra>",
    )  # fmt: skip
    right = c1 < shape[1] * 0.7
    figure.add_annotation(
        x=c1, y=r1, text=distance_label(capsule), showarrow=False, xanchor="left" if right else "right",
        xshift=8 if right else -8, font={"color": "#ffffff", "size": 14}, bgcolor="rgba(160,20,20,0.85)", borderpad=3,
    )  # fmt: skip


def _scale_bar(figure: go.Figure, spacing_mm: tuple[float, float], shape: tuple[int, ...]) -> None:
    length = 10 / spacing_mm[1]
    x0, y = shape[1] - length - 10, shape[0] - 12
    figure.add_shape(type="line", x0=x0, x1=x0 + length, y0=y, y1=y, line={"color": "#ffffff", "width": 3})
    figure.add_annotation(
        x=x0 + length / 2, y=y, text="10 mm", showarrow=False, yanchor="bottom", font={"color": "#ffffff", "size": 12}
    )
