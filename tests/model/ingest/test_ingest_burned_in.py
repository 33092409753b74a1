"""Text burnt into pictures is found and blanked; tissue is left alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from model.ingest.burned_in import Box, blank_text, blanked_share, find_text

SAMPLES = sorted((Path(__file__).resolve().parents[3] / "data_samples" / "images").glob("*.png"))
TEXTS = ("DOE^JANE", "Patient: Maria Huber", "MRN 4711882", "1970-01-02", "St. Mary Hospital", "Wang Xiaoming 45Y")


def picture(i: int) -> np.ndarray:
    """One of the sample pictures at the size of a machine's."""
    return np.asarray(Image.open(SAMPLES[i % len(SAMPLES)]).convert("L").resize((640, 480)))


def written(i: int, *, size: int, bar: bool, quality: int | None) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a text, and (480, 640) bool of its strokes."""
    before = Image.fromarray(picture(i))
    rng, font, text = np.random.default_rng(i), ImageFont.load_default(size), TEXTS[i % len(TEXTS)]
    draw = ImageDraw.Draw(before)
    at = int(rng.integers(4, 640 - draw.textlength(text, font) - 4)), int(rng.integers(4, 440))
    if bar:
        left, top, right, bottom = draw.textbbox(at, text, font)
        draw.rectangle((left - 6, top - 5, right + 6, bottom + 5), fill=0)
    after = before.copy()
    ImageDraw.Draw(after).text(at, text, fill=255, font=font)
    strokes = np.abs(np.asarray(after).astype(int) - np.asarray(before)) > 60
    if quality is not None:
        stream = io.BytesIO()
        after.save(stream, "JPEG", quality=quality)
        after = Image.open(stream)
    return np.asarray(after), strokes


@pytest.mark.parametrize(("bar", "least"), [(True, 48), (False, 44)])
@pytest.mark.parametrize("quality", [None, 80])
def test_nearly_all_text_is_blanked(bar: bool, least: int, quality: int | None) -> None:
    """Of 48 texts of 10 to 32 points, beside the picture (on black) and over tissue."""
    clean = 0
    for i in range(48):
        pixels, strokes = written(i, size=(10, 12, 14, 18, 24, 32)[i % 6], bar=bar, quality=quality)
        blanked, boxes = blank_text(pixels)
        clean += bool((blanked[strokes] == 0).mean() > 0.97)
        assert blanked_share(boxes, pixels.shape) < 0.4
    assert clean >= least


def test_pictures_without_text_are_left_alone() -> None:
    for path in SAMPLES:
        pixels = np.asarray(Image.open(path).convert("L"))
        same, boxes = blank_text(pixels)
        assert boxes == ()
        assert same is pixels


def test_dark_text_on_a_bright_bar_is_found() -> None:
    image = Image.fromarray(picture(3))
    draw = ImageDraw.Draw(image)
    draw.rectangle((100, 20, 420, 60), fill=235)
    draw.text((110, 28), "Maria Huber 4711882", fill=0, font=ImageFont.load_default(20))
    boxes = find_text(np.asarray(image))
    assert any(b.left <= 112 and b.right >= 290 and b.top <= 32 and b.bottom >= 46 for b in boxes)


def test_share_counts_what_overlaps_once() -> None:
    assert blanked_share((Box(0, 10, 0, 10), Box(0, 10, 5, 15)), (20, 20)) == pytest.approx(150 / 400)
    assert blanked_share((), (20, 20)) == 0
