"""What measuring asks of masks over and over; by OpenCV, which takes a small part of the time that NumPy and SciPy take."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from model.schema import Mask


class Bounds(NamedTuple):
    """Rows and columns that a mask lies in, half open; all zero where it is empty."""

    row0: int
    row1: int
    column0: int
    column1: int

    @property
    def box(self) -> tuple[slice, slice]:
        """As an index of the picture."""
        return np.s_[self.row0 : self.row1, self.column0 : self.column1]

    def wider(self, steps: int, shape: tuple[int, ...]) -> Bounds:
        """Reaching farther by so many pixels on every side, as far as the picture goes."""
        return Bounds(
            max(self.row0 - steps, 0), min(self.row1 + steps, shape[0]),
            max(self.column0 - steps, 0), min(self.column1 + steps, shape[1]),
        )  # fmt: skip


def bounds(mask: Mask) -> Bounds:
    """The smallest rows and columns that hold a mask."""
    column, row, width, height = cv2.boundingRect(_bytes(mask))
    return Bounds(row, row + height, column, column + width)


def counts(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Marked pixels of every row, and of every column."""
    rows, columns = (cv2.reduce(_bytes(mask), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S) for axis in (1, 0))
    return np.asarray(rows, np.int32).ravel(), np.asarray(columns, np.int32).ravel()


def filled(mask: Mask) -> Mask:
    """A mask without holes; as `scipy.ndimage.binary_fill_holes`."""
    outlines, _ = cv2.findContours(_bytes(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    result = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(result, outlines, -1, 1, cv2.FILLED)
    return result.view(bool)


def distance_inside(mask: Mask) -> npt.NDArray[np.float32]:
    """Exact Euclidean distance, in pixels, of every pixel to the nearest one outside the mask; 0 outside.

    As `scipy.ndimage.distance_transform_edt` for square pixels. OpenCV's last digit hangs on where in memory the mask lies;
    squares of distances are whole numbers, so it is put right.
    """
    found = cv2.distanceTransform(_bytes(mask), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.sqrt(np.rint(found * found)))


def _bytes(mask: Mask) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(mask).view(np.uint8)
