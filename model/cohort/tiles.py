"""Work on many rows in tiles, on all cores: sums of small matrix products that stay in a core's cache.

A tile has so few rows that the linear algebra library does not share a product among threads of its own. Those wait for
each other at every product, and where other programs keep the cores busy a fit took up to a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from model.cohort.scores import FloatArray
from model.processes import cores

T = TypeVar("T")
_POOL = ThreadPoolExecutor(cores())  # its threads start with the first work; what runs in it must not wait for it
_AT_A_TIME = 1 << 18


def in_tiles(work: Callable[[slice, int], T], rows: int, width: int) -> list[T]:
    """What `work` gives for blocks of rows, in their order.

    Parameters
    ----------
    work : given the rows of a block and how many of them make a tile; the block is a whole number of tiles.
    rows : all there are.
    width : columns of the widest matrix that is made of them.
    """
    tile = max(8, min(8192 // width, 200_000 // width**2))
    block = max(_AT_A_TIME // (width * tile), 1) * tile
    whole = rows // tile * tile
    blocks = [(slice(k, min(k + block, whole)), tile) for k in range(0, whole, block)]
    if whole < rows:
        blocks.append((slice(whole, rows), rows - whole))
    return [work(*b) for b in blocks] if len(blocks) <= 2 else list(_POOL.map(work, *zip(*blocks, strict=True)))


def added(work: Callable[[slice, int], tuple[FloatArray, ...]], rows: int, width: int) -> list[FloatArray]:
    """The arrays that `work` gives for each block, added up; see `in_tiles`."""
    return [np.sum(parts, axis=0) for parts in zip(*in_tiles(work, rows, width), strict=True)]


def cross_products(x: FloatArray) -> FloatArray:
    """Sums of the products of every two columns: (n, k) → (k, k)."""

    def work(rows: slice, tile: int) -> tuple[FloatArray, ...]:
        tiles = x[rows].reshape(-1, tile, x.shape[1])
        return ((tiles.transpose(0, 2, 1) @ tiles).sum(0),)

    return added(work, *x.shape)[0]
