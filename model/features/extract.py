"""What the network reads of one view: location, internal morphology and margin maps, shape and echogenicity.

Shen et al. 2025, Fig. 1a and Methods. Choices of ours, where the paper is silent, are marked (ours).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from model.errors import CaseError
from model.features.cpdt import CapsuleDistance, location_and_distance
from model.features.masks import Bounds, bounds, distance_inside
from model.schema import GrayImage, MapName, Mask, ViewImage

FloatImage = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""(row0, row1, column0, column1) on the picture, half open; a square one may reach beyond the picture."""

_CROP_MARGIN = 0.15  # of the nodule's side, on each side of its crop (ours)
_EDGE = 0.12  # width of the margin's band, as a share of the nodule's diameter (ours)
_RING, _RING_LEAST = 0.2, 3.0  # width of the ring just outside the nodule, as a share of its diameter, and in pixels (ours)


@dataclass(frozen=True)
class ViewFeatures:
    """Maps and measurements of one view.

    Parameters
    ----------
    maps : (3, S, S) float32 in 0…1, `schema.MAPS` order: x_l, x_t, x_m.
    capsule : capsule distance.
    height_px, width_px : extent of the nodule along rows and columns (x_s).
    height_mm, width_mm : the same in mm, None when the spacing is unknown.
    echo_difference : mean grey inside minus mean in a ring just outside (x_e), −1…1.
    location_box, crop_box : what the location map, and the other two, show of the picture.
    """

    maps: FloatImage
    capsule: CapsuleDistance
    height_px: float
    width_px: float
    height_mm: float | None
    width_mm: float | None
    echo_difference: float
    location_box: Box
    crop_box: Box

    def box(self, map_name: MapName) -> Box:
        """What a map shows of the picture."""
        return self.location_box if map_name == "location" else self.crop_box


def extract_view(view: ViewImage, *, map_size: int = 64) -> ViewFeatures:
    """Maps and measurements of a view with both masks.

    Parameters
    ----------
    view : picture, masks and spacing.
    map_size : S, side of the maps.

    Raises
    ------
    CaseError
        If a mask is missing or empty.
    """
    if view.nodule_mask is None or view.gland_mask is None:
        raise CaseError("not outlined", where="nodule or gland", fix="Segment the picture, or outline both by hand.")
    nodule, spacing = view.nodule_mask, view.pixel_spacing_mm
    gland = view.gland_mask
    location, capsule = location_and_distance(gland, nodule, spacing)
    at = bounds(nodule)
    height, width = float(at.row1 - at.row0), float(at.column1 - at.column0)

    # Location (ours): a square around the gland, so that place in the gland and φ of a small nodule are both kept.
    location_box = _square(bounds(gland), 0.05)
    crop_box = _square(at, _CROP_MARGIN)
    picture, inside = _cut(view.pixels, crop_box), _cut(nodule, crop_box)
    diameter = 2 * float(np.sqrt(np.count_nonzero(inside) / np.pi))
    ring_width = max(_RING_LEAST, _RING * diameter)
    pad = int(np.ceil(ring_width)) + 1
    r0, r1, c0, c1 = crop_box
    around = (r0 - pad, r1 + pad, c0 - pad, c1 + pad)
    away = distance_inside(~_cut(nodule, around))
    ring = _cut(view.pixels, around)[(away > 0) & (away <= ring_width) & _cut(np.ones_like(nodule), around)]
    echo = float(picture[inside].mean() - (ring.mean() if len(ring) else 0.0))
    scaled = _even_gain(view.pixels, picture, gland & ~nodule)
    band = max(1, round(_EDGE * diameter))
    seed = zlib.crc32(np.packbits(inside).tobytes())
    maps = [
        _location_map(location, at, location_box, map_size),
        _shrink(np.where(inside, scaled, 0), map_size),
        _shrink(_margin(scaled, inside, away[pad:-pad, pad:-pad] <= band, band, seed), map_size),
    ]
    return ViewFeatures(
        maps=np.stack(maps),
        capsule=capsule,
        height_px=height,
        width_px=width,
        height_mm=None if spacing is None else height * spacing[0],
        width_mm=None if spacing is None else width * spacing[1],
        echo_difference=echo,
        location_box=location_box,
        crop_box=crop_box,
    )


def relocate(features: ViewFeatures, gland: Mask, nodule: Mask, spacing: tuple[float, float] | None) -> ViewFeatures:
    """Features of the same nodule at another place of the same gland: what it looks like stays, where it lies changes.

    Parameters
    ----------
    features : before the move.
    gland, nodule : (height, width) bool; the nodule after the move.
    spacing : (row, column) in mm, None when unknown.

    Raises
    ------
    CaseError
        If either mask is empty.
    """
    location, capsule = location_and_distance(gland, nodule, spacing)
    maps = features.maps.copy()
    at = bounds(nodule)
    maps[0] = _location_map(location, at, features.location_box, maps.shape[-1])
    return replace(features, maps=maps, capsule=capsule, crop_box=_square(at, _CROP_MARGIN))


def mosaic(pixels: FloatImage, core: Mask, *, tile: int, seed: int) -> FloatImage:
    """Random-mosaic shuffle (x_m): tiles wholly in `core` change places; what is left in it is shuffled by pixel.

    The multiset of values is kept; where anything was is lost. Pixels off `core` are untouched.

    Parameters
    ----------
    pixels : (height, width); a copy is returned.
    core : (height, width) bool, the inside of the nodule.
    tile : side of a tile in pixels.
    seed : equal seeds give equal shuffles.
    """
    result = pixels.copy()
    rng = np.random.default_rng(seed)
    high, wide = (core.shape[0] // tile) * tile, (core.shape[1] // tile) * tile
    tiles = core[:high, :wide].reshape(high // tile, tile, wide // tile, tile).all((1, 3))
    blocks = result[:high, :wide].reshape(high // tile, tile, wide // tile, tile).transpose(0, 2, 1, 3).copy()
    blocks[tiles] = rng.permutation(blocks[tiles])
    result[:high, :wide] = blocks.transpose(0, 2, 1, 3).reshape(high, wide)
    covered = np.zeros_like(core)
    covered[:high, :wide] = tiles.repeat(tile, 0).repeat(tile, 1)
    rest = core & ~covered
    result[rest] = rng.permutation(result[rest])
    return result


def _margin(scaled: FloatImage, inside: Mask, near: Mask, band: int, seed: int) -> FloatImage:
    """The nodule's edge: a band on either side kept, the inside shuffled, all beyond `near` (the nodule and the band) black."""
    shuffled = mosaic(scaled, np.asarray(distance_inside(inside) > band), tile=max(2, band), seed=seed)
    return np.where(near, shuffled, 0).astype(np.float32)


def _even_gain(pixels: GrayImage, crop: FloatImage, reference: Mask) -> FloatImage:
    """Grey levels on the gland's own scale (ours), so that a machine's gain and contrast matter little.

    The gland beside the nodule has median 0.5, and the spread of its middle 90 % spans half of the range.
    """
    values = pixels[reference]
    values = values if len(values) > 50 else pixels.ravel()
    low, middle, high = _percentiles(values, (0.05, 0.5, 0.95))
    return np.asarray(np.clip(0.5 + 0.5 * (crop - middle) / max(float(high - low), 0.02), 0, 1), dtype=np.float32)


def _percentiles(values: FloatImage, shares: tuple[float, ...]) -> list[float]:
    """As `np.quantile`, three times as quick: single precision is sorted by vector instructions, not yet parted by them."""
    ordered = np.sort(values)
    places = np.array(shares) * (len(values) - 1)
    below, above = ordered[np.floor(places).astype(int)], ordered[np.ceil(places).astype(int)]
    return [float(value) for value in below + (places - np.floor(places)) * (above - below)]


def _square(at: Bounds, margin: float) -> Box:
    """Square box around the bounds of a mask, widened by `margin` of its side on each side."""
    side = int(np.ceil(max(at.row1 - at.row0, at.column1 - at.column0) * (1 + 2 * margin)))
    r0 = (at.row0 + at.row1 - side) // 2
    c0 = (at.column0 + at.column1 - side) // 2
    return r0, r0 + side, c0, c0 + side


def _cut(image: npt.NDArray[np.generic], box: Box):  # type: ignore[no-untyped-def]
    """The box out of a picture, zero where it reaches beyond."""
    r0, r1, c0, c1 = box
    result = np.zeros((r1 - r0, c1 - c0), image.dtype)
    height, width = image.shape
    a, b, c, d = max(r0, 0), min(r1, height), max(c0, 0), min(c1, width)
    result[a - r0 : b - r0, c - c0 : d - c0] = image[a:b, c:d]
    return result


def _location_map(location: FloatImage, at: Bounds, box: Box, size: int) -> FloatImage:
    """What a box shows of the location image, which is zero beyond the nodule's bounds, as (size, size)."""
    low, high = (np.clip(ends, box[::2], box[1::2]) for ends in (at[::2], at[1::2]))
    return _shrink(location[low[0] : high[0], low[1] : high[1]], size, box[1] - box[0], low - box[::2])


def _shrink(image: FloatImage, size: int, side: int | None = None, corner: Sequence[int] = (0, 0)) -> FloatImage:
    """Area average (or bilinear, upward) to (size, size).

    Parameters
    ----------
    image : a square, or the part of one that is not zero.
    side : of the square; None where `image` is the whole.
    corner : row and column of the part in the square.
    """
    weights = _shares(image.shape[0] if side is None else side, size)
    down, across = (weights[:, first : first + n] for first, n in zip(corner, image.shape, strict=True))
    # By torch, whose threads do not wake those of NumPy beside them.
    return (down @ torch.from_numpy(np.ascontiguousarray(image, np.float32)) @ across.T).numpy()


@lru_cache(maxsize=256)
def _shares(side: int, size: int) -> torch.Tensor:
    """(size, side): what each pixel of a line of `side` has in each pixel of the line resized by Pillow."""
    method = Image.Resampling.BOX if side >= size else Image.Resampling.BILINEAR
    line = Image.fromarray(np.eye(side, dtype=np.float32))
    return torch.from_numpy(np.array(line.resize((side, size), method), dtype=np.float32))
