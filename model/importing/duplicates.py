"""Near-identical pictures, by a perceptual fingerprint that scaling, compression and brightness hardly change.

The fingerprint is 256 bits: the signs of the 16 × 16 lowest frequencies of the picture's cosine transform about their
median (C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

BYTES = 32
MOST_BITS = 24
"""Of 256 bits, how many may differ between two pictures that are told as near-identical."""

_SIDE, _KEPT, _BLOCK = 64, 16, 512

Fingerprints = npt.NDArray[np.uint64]


def fingerprint(pixels: npt.NDArray[np.uint8]) -> bytes:
    """32 bytes of a (height, width) uint8 picture."""
    import cv2

    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_KEPT, :_KEPT].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes()  # the first is the mean brightness


def near_pairs(
    prints: Fingerprints, most_bits: int = MOST_BITS, progress: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[int, int, int]]:
    """Pairs of pictures that look alike: positions and the number of bits that differ.

    Parameters
    ----------
    prints : (n, 4) uint64. Every pair is compared, in blocks of rows, so memory stays flat.
    most_bits : see `MOST_BITS`.
    progress : told the number of pictures done.
    """
    for start in range(0, len(prints), _BLOCK):
        block = prints[start : start + _BLOCK]
        for other in range(start, len(prints), 8 * _BLOCK):
            there = prints[other : other + 8 * _BLOCK]
            differ = np.zeros((len(block), len(there)), dtype=np.uint16)
            for word in range(prints.shape[1]):
                differ += np.bitwise_count(block[:, word, None] ^ there[None, :, word])
            for i, j in zip(*np.nonzero(differ <= most_bits), strict=True):
                one, two = start + int(i), other + int(j)
                if one < two:
                    yield one, two, int(differ[i, j])
        progress(min(len(prints), start + _BLOCK))
