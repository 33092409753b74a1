"""Text burnt into a picture: found by its form and blanked, so that no name stays in the pixels.

A letter is a thin, sharp-edged stroke of nearly one brightness; letters stand in a row at one height. Speckle has no sharp
edges, calcifications are solid and stand anywhere. Both bright letters and dark ones on a bright bar are looked for.
Morphology only: no model, no download, a few milliseconds a picture. It errs on the side of blanking.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GreyBytes = npt.NDArray[np.uint8]

MAX_TEXT_SHARE = 0.25
"""Above this share of the picture blanked, nobody can say what is left: the file is refused."""

_THICKEST_STROKE = 9  # pixels
_HIGHEST = 60  # height of a letter, pixels


@dataclass(frozen=True)
class Box:
    """Rows top ≤ y < bottom, columns left ≤ x < right, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True)
class _Ink:
    """What letters of one kind must have: grey levels from their surroundings, height in pixels, number in a line, and the mean
    over a letter's rim of the steepest step between neighbouring pixels."""

    contrast: int
    lowest: int
    least: int
    sharpness: float = 45.0


# Dark cracks between speckles are common, dark letters rare: more is asked of them. Beside the picture, on black, there is
# nothing but what the machine wrote: less is asked.
_BRIGHT, _DARK, _ON_BLACK = _Ink(40, 4, 4), _Ink(60, 7, 5), _Ink(40, 4, 2)
# Tissue has no colour, and JPEG keeps colours at half the resolution: blurred letters count, too.
_IN_COLOUR = (_Ink(40, 4, 4), _Ink(60, 4, 3, 20.0), _Ink(90, 4, 3, 20.0))
_BLACK = 24  # grey level


@dataclass(frozen=True)
class _Letter:
    """One connected bright (or dark) piece: its box, how many letters it is where they touch, and if it stands on black."""

    box: Box
    count: int
    on_black: bool


def find_text(pixels: GreyBytes, *, colour: bool = False) -> tuple[Box, ...]:
    """Boxes around lines of text, with a margin.

    Parameters
    ----------
    pixels : (height, width) uint8.
    colour : whether they are `model.ingest.images.DecodedImage.colour` and no grey.
    """
    import cv2

    found: list[Box] = []
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (_THICKEST_STROKE, _THICKEST_STROKE))
    step = _steepest(pixels)
    kinds = [(cv2.MORPH_TOPHAT, _BRIGHT), (cv2.MORPH_BLACKHAT, _DARK)]
    if colour:
        kinds = [(cv2.MORPH_TOPHAT, ink) for ink in _IN_COLOUR]
    for operation, ink in kinds:
        strokes = cv2.morphologyEx(pixels, operation, kernel) > ink.contrast
        letters = _letters(strokes, step, pixels, ink)
        found += [_widened(line, pixels.shape) for line in _lines(letters, ink)]
    return tuple(found)


def blank_text(pixels: GreyBytes, colour: GreyBytes | None = None) -> tuple[GreyBytes, tuple[Box, ...]]:
    """A copy of the picture with every line of text black, and where it was.

    Parameters
    ----------
    pixels : (height, width) uint8; not changed.
    colour : (height, width) uint8, `model.ingest.images.DecodedImage.colour`: text in colour stands out there, while in grey it
        may be as bright as the tissue that it is written over.
    """
    boxes = () if colour is None else find_text(colour, colour=True)
    if boxes:
        pixels = pixels.copy()
        for box in boxes:
            pixels[box.top : box.bottom, box.left : box.right] = 0
    for _ in range(3):  # a blanked line can have hidden another by joining it
        more = find_text(pixels)
        more = tuple(box for box in more if pixels[box.top : box.bottom, box.left : box.right].any())
        if not more:
            break
        if not boxes:
            pixels = pixels.copy()
        for box in more:
            pixels[box.top : box.bottom, box.left : box.right] = 0
        boxes += more
    return pixels, boxes


def blanked_share(boxes: tuple[Box, ...], shape: tuple[int, ...]) -> float:
    """Share of a picture of (height, width) that the boxes cover together."""
    if not boxes:
        return 0.0
    covered = np.zeros(shape[:2], dtype=np.bool_)
    for box in boxes:
        covered[box.top : box.bottom, box.left : box.right] = True
    return float(covered.mean())


def _steepest(pixels: GreyBytes) -> npt.NDArray[np.int16]:
    """(height, width) steepest step to the pixel on the right or below, also taken at the pixel it leads to."""
    values = pixels.astype(np.int16)
    step = np.zeros_like(values)
    across, down = np.abs(np.diff(values, axis=1)), np.abs(np.diff(values, axis=0))
    np.maximum(step[:, :-1], across, out=step[:, :-1])
    np.maximum(step[:, 1:], across, out=step[:, 1:])
    np.maximum(step[:-1], down, out=step[:-1])
    np.maximum(step[1:], down, out=step[1:])
    return step


def _letters(
    strokes: npt.NDArray[np.bool_], step: npt.NDArray[np.int16], pixels: GreyBytes, ink: _Ink
) -> list[_Letter]:
    """Connected pieces that could be letters: of a letter's size, thin, and sharp at their rim."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(strokes.view(np.uint8), connectivity=8)
    if count < 2:
        return []
    rows, columns = np.nonzero(strokes)
    piece = labels[rows, columns]
    # The rim's steps: of each piece's pixels the steeper half, so that flat insides of thick strokes do not count.
    steps = step[rows, columns].astype(np.float64)
    mean = np.bincount(piece, steps, count) / np.maximum(np.bincount(piece, minlength=count), 1)
    steep = np.where(steps >= mean[piece], steps, 0)
    sharp = np.bincount(piece, steep, count) / np.maximum(np.bincount(piece, steps >= mean[piece], count), 1)
    heights, widths = stats[:, cv2.CC_STAT_HEIGHT], stats[:, cv2.CC_STAT_WIDTH]
    filled = stats[:, cv2.CC_STAT_AREA] / (heights * widths)
    thin = (filled <= 0.95) | (widths * 2 <= heights)  # I, l and 1 fill their narrow box
    could_be = (heights >= ink.lowest) & (heights <= _HIGHEST) & (sharp >= ink.sharpness) & thin
    could_be[0] = False  # the ground
    letters = []
    for i in np.flatnonzero(could_be):
        left, top, width, height = (int(v) for v in stats[i, :4])
        box, count = Box(top, top + height, left, left + width), 1
        if width > 1.4 * height:
            count = round(width / (0.8 * height))
            if _strokes_across(labels[top : top + height, left : left + width] == i) < 0.75 * count:
                continue  # a ridge, a ruler, a capsule: long, with nothing of letters in it
        around = (
            pixels[max(0, top - 3), left : left + width],
            pixels[min(top + height + 2, len(pixels) - 1), left : left + width],
        )
        letters.append(_Letter(box, count, all(np.sort(edge)[len(edge) // 2] < _BLACK for edge in around)))
    return letters


def _strokes_across(piece: npt.NDArray[np.bool_]) -> float:
    """Mean number of strokes that a row of the piece crosses."""
    return float(((np.diff(piece.astype(np.int8), axis=1) == 1).sum(axis=1) + piece[:, 0]).mean())


def _lines(letters: list[_Letter], ink: _Ink) -> list[Box]:
    """Rows of letters of one height and near each other, as boxes."""
    letters = sorted(letters, key=lambda letter: letter.box.left)
    group = list(range(len(letters)))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for i, one in enumerate(letters):
        for j in range(i + 1, len(letters)):
            other = letters[j].box
            if other.left - one.box.right > 1.2 * _HIGHEST:
                break
            if _beside(one.box, other):
                group[root(j)] = root(i)
    members: dict[int, list[_Letter]] = {}
    for i, letter in enumerate(letters):
        members.setdefault(root(i), []).append(letter)
    return [
        Box(min(m.box.top for m in line), max(m.box.bottom for m in line),
            min(m.box.left for m in line), max(m.box.right for m in line))
        for line in members.values()
        if _is_text(line, _ON_BLACK if ink is _BRIGHT and all(m.on_black for m in line) else ink)
    ]  # fmt: skip


def _is_text(line: list[_Letter], ink: _Ink) -> bool:
    tallest = max(m.box.bottom - m.box.top for m in line)
    return sum(m.count for m in line) >= ink.least and tallest > ink.lowest + 1


def _beside(one: Box, other: Box) -> bool:
    """Whether two letters can stand in one word or next to each other in one line."""
    low, high = sorted((one.bottom - one.top, other.bottom - other.top))
    overlap = min(one.bottom, other.bottom) - max(one.top, other.top)
    gap = max(one.left, other.left) - min(one.right, other.right)
    return high <= 2 * low and overlap >= 0.6 * low and gap <= 1.2 * high


def _widened(box: Box, shape: tuple[int, ...]) -> Box:
    """A margin for serifs, accents, descenders and the blur of JPEG; to the sides for a letter that was missed."""
    height = box.bottom - box.top
    up, side = max(3, height // 2), max(4, height)
    return Box(
        max(0, box.top - up), min(shape[0], box.bottom + up), max(0, box.left - side), min(shape[1], box.right + side)
    )
