"""An ultrasound picture with what was found on it: outlines, the capsule-distance line, a heat map, a scale."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import sample_colorscale
from skimage import measure
from skimage.draw import polygon2mask

from dashboard.figures.style import CAPSULE, GLAND, HEAT, MARKED, NODULE, SIGNED, styled
from model.features.cpdt import CapsuleDistance
from model.features.extract import ViewFeatures
from model.schema import GrayImage, MapName, Mask

Box = tuple[int, int, int, int]
"""(row0, row1, column0, column1) on the picture; may reach beyond it."""

GRID_POINTS = 32
"""Invisible points along the longer side that a lasso can catch: enough that a small nodule holds one."""

_SMALL_SHARE = 0.3
_SCALE_LENGTHS_MM = (20, 10, 5, 2, 1)
_LABEL_FONT = 14
_SHOWN_WIDTHS = (350, 530)
"""Of a picture on the Case page, on a phone and on a desktop at most, in screen pixels."""


def picture(
    pixels: GrayImage,
    *,
    spacing_mm: tuple[float, float] | None = None,
    nodule: Mask | None = None,
    gland: Mask | None = None,
    capsule: CapsuleDistance | None = None,
    heat: npt.NDArray[np.float32] | None = None,
    heat_title: str = "",
    heat_range: tuple[float, float] | None = None,
    signed_opacity: float | None = None,
    window: Box | None = None,
    height: int = 380,
) -> go.Figure:
    """A view in its own pixels with overlays.

    Parameters
    ----------
    pixels : (height, width) in 0…1.
    spacing_mm : (row, column) mm of a pixel; gives the picture its true proportions and a scale bar.
    nodule, gland : masks whose outlines are drawn.
    capsule : the shortest line from nodule to capsule, labelled in mm, or in % of gland depth without spacing.
    heat : (height, width), NaN where nothing is drawn; coloured from its lowest to its highest value, which the colour
        bar under the picture tells.
    heat_title : what the heat counts, for its colour bar.
    heat_range : (lowest, highest) where several pictures share one scale; None for the heat's own.
    signed_opacity : None for heat without sign; else heat runs from −1 (blue) over 0 (clear) to 1 (orange), and this is how
        much of the picture the strongest covers (0…1).
    window : the part to look at; None for the whole picture.
    height : of the figure, in screen pixels.
    """
    r0, r1, c0, c1 = window or (0, pixels.shape[0], 0, pixels.shape[1])
    looked_at = np.s_[r0:r1, c0:c1]
    figure, low, high = go.Figure(), -1.0, 1.0
    if heat is None:
        source = data_uri(pixels[looked_at])
    elif signed_opacity is not None:
        source = _signed_uri(pixels[looked_at], heat[looked_at], signed_opacity)
    else:
        low, high = heat_range or (float(np.nanmin(heat)), float(np.nanmax(heat)))
        source = _heated_uri(pixels[looked_at], heat[looked_at], low, high)
    figure.add_layout_image(
        source=source, xref="x", yref="y", x=c0 - 0.5, y=r0 - 0.5, sizex=c1 - c0, sizey=r1 - r0, sizing="stretch",
        layer="below",
    )  # fmt: skip
    for mask, colour, name in ((gland, GLAND, "Gland"), (nodule, NODULE, "Nodule")):
        for line in [] if mask is None else outlines(mask):
            figure.add_scatter(
                x=line[:, 1],
                y=line[:, 0],
                mode="lines",
                line={"color": colour, "width": 1.6},
                name=name,
                hoverinfo="name",
            )
    ratio = 1.0 if spacing_mm is None else spacing_mm[0] / spacing_mm[1]
    if capsule is not None:
        _capsule_line(figure, capsule, nodule, (r0, r1, c0, c1), ratio, height)
    if spacing_mm is not None:
        _scale_bar(figure, spacing_mm, (r0, r1, c0, c1))
    styled(figure, height=height)
    figure.update_xaxes(visible=False, range=[c0 - 0.5, c1 - 0.5], constrain="domain", fixedrange=True)
    figure.update_yaxes(
        visible=False,
        range=[r1 - 0.5, r0 - 0.5],
        scaleanchor="x",
        scaleratio=ratio,
        constrain="domain",
        fixedrange=True,
    )
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0})
    if heat is not None:
        _colour_bar(figure, low, high, HEAT if signed_opacity is None else SIGNED, heat_title)
    return figure


def with_grid(figure: go.Figure, shape: tuple[int, ...]) -> go.Figure:
    """Add the invisible points that make a lasso on the picture possible (streamlit#8760: pictures give no selection)."""
    step = max(1, max(shape) // GRID_POINTS)
    rows, columns = np.mgrid[0 : shape[0] : step, 0 : shape[1] : step]
    figure.add_scatter(
        x=columns.ravel(), y=rows.ravel(), mode="markers", marker={"size": 6, "opacity": 0}, hoverinfo="skip",
        name="grid", selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
    )  # fmt: skip
    figure.update_layout(dragmode="lasso", newselection={"line": {"color": NODULE, "width": 2}})
    return figure


def with_regions(
    figure: go.Figure, box: Box, grid: int, map_name: MapName, chosen: tuple[int, int] | None
) -> go.Figure:
    """Add a clickable marker for each region of a map; `customdata` holds (map, row, column).

    A region that reaches beyond the picture has its marker in the part that is seen; one wholly beyond it has none.
    """
    c_low, c_high, (r_high, r_low) = *figure.layout.xaxis.range, figure.layout.yaxis.range
    rows = np.clip(np.linspace(box[0], box[1], grid + 1), r_low, r_high)
    columns = np.clip(np.linspace(box[2], box[3], grid + 1), c_low, c_high)
    cells = [(r, c) for r in range(grid) for c in range(grid) if rows[r] < rows[r + 1] and columns[c] < columns[c + 1]]
    figure.add_scatter(
        x=[(columns[c] + columns[c + 1]) / 2 for _, c in cells], y=[(rows[r] + rows[r + 1]) / 2 for r, _ in cells],
        mode="markers", name="Regions", customdata=[[map_name, r, c] for r, c in cells],
        # A filled disc, since an open one is only caught on its rim.
        marker={"size": 12, "color": "rgba(255,255,255,0.15)", "line": {"width": 1.2, "color": "rgba(255,255,255,0.85)"}},
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        hovertemplate="%{text}<extra></extra>", text=[f"row {r + 1}, column {c + 1}" for r, c in cells],
    )  # fmt: skip
    if chosen is not None:
        r, c = chosen
        figure.add_shape(
            type="rect", x0=columns[c], x1=columns[c + 1], y0=rows[r], y1=rows[r + 1],
            line={"color": MARKED, "width": 2.5}, fillcolor="rgba(255,255,255,0.12)",
        )  # fmt: skip
    figure.update_layout(clickmode="event+select")
    return figure


def polygon_mask(x: Sequence[float], y: Sequence[float], shape: tuple[int, int]) -> Mask:
    """Mask of the pixels within a polygon drawn on the picture (lasso coordinates); parts beyond it are cut off."""
    if len(x) < 3 or len(x) != len(y):
        return np.zeros(shape, bool)
    return np.asarray(polygon2mask(shape, np.stack([np.asarray(y, float), np.asarray(x, float)], 1)), dtype=bool)


def outlines(mask: Mask) -> list[npt.NDArray[np.float64]]:
    """Closed outlines (k, 2) of a mask as (row, column), thinned to within 0.3 pixels."""
    import cv2

    lines = measure.find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    # As skimage's approximate_polygon, which takes 7 ms for a gland.
    return [cv2.approxPolyDP((line - 1).astype(np.float32), 0.3, False)[:, 0].astype(float) for line in lines if len(line) > 8]


def window_of(box: Box, shape: tuple[int, ...]) -> Box | None:
    """The part of a picture to look at for a map: the box with as much again around it; None where it is large anyway."""
    rows, columns = box[1] - box[0], box[3] - box[2]
    if rows * columns > _SMALL_SHARE * shape[0] * shape[1]:
        return None
    return (
        max(0, box[0] - rows // 2),
        min(shape[0], box[1] + rows // 2),
        max(0, box[2] - columns // 2),
        min(shape[1], box[3] + columns // 2),
    )


def distance_label(capsule: CapsuleDistance) -> str:
    """The capsule distance in words, with its unit."""
    if capsule.distance is None:
        return f"{100 * capsule.fraction:.0f} % of gland depth"
    return f"{capsule.distance:.1f} mm"


def label_offset(
    capsule: CapsuleDistance, nodule: Mask | None, window: Box, ratio: float, height: int
) -> tuple[float, float]:
    """Where the middle of the distance's label stands from the capsule point: (right, down) in screen pixels.

    The nearest place, beyond the capsule if it can be, where the label lies on the picture, but neither on the nodule nor
    on the line, on a desktop and on a phone.

    Parameters
    ----------
    nodule : (height, width); None where it is not drawn.
    window : the part of the picture that is seen.
    ratio : height of a pixel ÷ its width.
    height : that the picture has at most, in screen pixels.
    """
    (r0, c0), (r1, c1), (low_r, high_r, low_c, high_c) = capsule.nodule_point, capsule.capsule_point, window
    half = np.array([0.3 * _LABEL_FONT * len(distance_label(capsule)) + 6, 0.65 * _LABEL_FONT + 6])  # (right, down)
    line = np.linspace((r0, c0), (r1, c1), 9)[:-1]
    apart = nodule if nodule is not None else np.zeros((high_r, high_c), bool)
    scales = [min(w / (high_c - low_c), height / ((high_r - low_r) * ratio)) for w in _SHOWN_WIDTHS]
    outwards = float(np.arctan2((r1 - r0) * ratio, c1 - c0))

    def hidden(offset: npt.NDArray[np.float64]) -> float:
        """Pixels that the label would hide, or lie beyond the picture by; 0 where it is in nobody's way."""
        total = 0.0
        for scale in scales:
            per = np.array([scale, scale * ratio])  # screen pixels of a column and of a row
            (left, top), (right, bottom) = (c1, r1) + (offset - half) / per, (c1, r1) + (offset + half) / per
            total += max(low_c - left, 0) + max(right - high_c, 0) + max(low_r - top, 0) + max(bottom - high_r, 0)
            total += apart[max(int(top), 0) : max(int(bottom) + 2, 0), max(int(left), 0) : max(int(right) + 2, 0)].sum()
            total += ((line > (top, left)) & (line < (bottom, right))).all(1).sum()
        return float(total)

    angles = outwards + np.array([0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6]) * np.pi / 8
    ways = [np.array([np.cos(a), np.sin(a)]) for a in angles]
    places = [way * (np.abs(way) @ half + gap) for gap in (4, 16, 32) for way in ways]
    free = next((place for place in places if not hidden(place)), None)
    right, down = min(places, key=hidden) if free is None else free
    return float(right), float(down)


def shortest_distance(views: Iterable[ViewFeatures]) -> CapsuleDistance | None:
    """The shortest capsule distance over the views, in mm where both tell it; None where nothing was measured."""
    return min(
        (f.capsule for f in views), key=lambda c: c.fraction if c.distance is None else c.distance, default=None
    )  # fmt: skip


def scale_length_mm(spacing_mm: tuple[float, float], columns: int) -> int:
    """The longest of a few round lengths that fits a third of the width."""
    fitting = (mm for mm in _SCALE_LENGTHS_MM if mm / spacing_mm[1] <= columns / 3)
    return next(fitting, _SCALE_LENGTHS_MM[-1])


def data_uri(pixels: GrayImage) -> str:
    """A grey picture as PNG in a data address."""
    return png_uri(grey_image(pixels))


def grey_image(pixels: GrayImage) -> Image.Image:
    """Pixels of 0…1 as an 8-bit picture."""
    return Image.fromarray(_bytes(pixels))


def _heated_uri(pixels: GrayImage, heat: npt.NDArray[np.float32], low: float, high: float) -> str:
    """Picture and heat in one PNG, so that there is one image to draw; regions with more heat cover more."""
    level = np.nan_to_num(np.clip((heat - low) / (high - low), 0, 1) if high > low else np.full_like(heat, 0.5))
    return _blended_uri(pixels, HEAT, level, np.where(np.isnan(heat), 0, 0.25 + 0.4 * level))


def _signed_uri(pixels: GrayImage, heat: npt.NDArray[np.float32], opacity: float) -> str:
    """Picture and signed heat in one PNG: the further from zero, the more it covers."""
    value = np.clip(np.nan_to_num(heat), -1, 1)
    return _blended_uri(pixels, SIGNED, (value + 1) / 2, opacity * np.sqrt(np.abs(value)))


def _blended_uri(
    pixels: GrayImage, scale: list[list[object]], level: npt.NDArray[np.floating], share: npt.NDArray[np.floating]
) -> str:
    """Colours of a scale at `level` (0…1), laid on the picture with weight `share` (0…1)."""
    laid = _colours(tuple((at, colour) for at, colour in scale))[(255 * level).astype(int)]
    return png_uri(Image.fromarray(_bytes((1 - share[..., None]) * pixels[..., None] + share[..., None] * laid)))


@lru_cache(maxsize=4)
def _colours(scale: tuple[tuple[object, object], ...]) -> npt.NDArray[np.float64]:
    """(256, 3) colours of a scale, 0…1."""
    steps = sample_colorscale([list(step) for step in scale], np.linspace(0, 1, 256).tolist())
    return np.array([[float(v) for v in c[4:-1].split(",")] for c in steps]) / 255


def _bytes(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    return np.asarray(255 * np.clip(values, 0, 1) + 0.5).astype(np.uint8)


def png_uri(image: Image.Image) -> str:
    """A picture as PNG in a data address."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _colour_bar(figure: go.Figure, low: float, high: float, scale: list[list[object]], title: str) -> None:
    """A colour bar under the picture, carried by points that are not seen."""
    figure.add_scatter(
        x=[None], y=[None], mode="markers", hoverinfo="skip", name="heat",
        marker={
            "color": [low], "cmin": low, "cmax": high if high > low else low + 1e-9, "colorscale": scale, "showscale": True,
            "colorbar": {
                "orientation": "h", "thickness": 10, "len": 0.6, "x": 0.5, "y": 0, "yanchor": "top", "ypad": 6,
                "title": {"text": title, "side": "bottom", "font": {"size": 12}}, "nticks": 4,
            },
        },
    )  # fmt: skip
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 58})


def _capsule_line(
    figure: go.Figure, capsule: CapsuleDistance, nodule: Mask | None, window: Box, ratio: float, height: int
) -> None:
    (r0, c0), (r1, c1) = capsule.nodule_point, capsule.capsule_point
    figure.add_scatter(
        x=[c0, c1], y=[r0, r1], mode="lines+markers", line={"color": CAPSULE, "width": 3},
        marker={"size": 6, "color": CAPSULE}, name="Capsule distance", hovertemplate=distance_label(capsule) + "<extra></extra>",
    )  # fmt: skip
    right, down = label_offset(capsule, nodule, window, ratio, height)
    figure.add_annotation(
        x=c1, y=r1, ax=right, ay=down, text=distance_label(capsule), font={"color": "#ffffff", "size": _LABEL_FONT}, borderpad=3,
        bgcolor="rgba(160,20,20,0.85)", arrowcolor=CAPSULE, arrowhead=0, arrowwidth=1.5,
    )  # fmt: skip


def _scale_bar(figure: go.Figure, spacing_mm: tuple[float, float], window: Box) -> None:
    r0, r1, c0, c1 = window
    length_mm = scale_length_mm(spacing_mm, c1 - c0)
    length = length_mm / spacing_mm[1]
    x1, y = c1 - 0.03 * (c1 - c0), r1 - 0.05 * (r1 - r0)
    figure.add_shape(type="line", x0=x1 - length, x1=x1, y0=y, y1=y, line={"color": "#ffffff", "width": 3})
    figure.add_annotation(
        x=x1 - length / 2,
        y=y,
        text=f"{length_mm} mm",
        showarrow=False,
        yanchor="bottom",
        font={"color": "#ffffff", "size": 12},
    )
