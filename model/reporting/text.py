"""What people wrote, made fit for a page: signs that change the page are dropped, those that the type lacks are shown as □.

The type of every PDF is DejaVu Sans, which ships with matplotlib under a free licence: Latin, Greek, Cyrillic, Hebrew,
Arabic, arrows and signs of mathematics.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

import matplotlib
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

PLAIN, BOLD = "DejaVuSans", "DejaVuSans-Bold"
INK, QUIET, RULE, BAND = "#16232b", "#55636b", "#c9d2d7", "#7a4b00"
ABSENT = "□"
_BIDI_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text without what changes a page instead of standing on it: control characters become spaces, marks that
    turn the direction of what follows are dropped, lone surrogates (no encoding takes them) become U+FFFD."""
    swapped = {"Cc": " ", "Cs": "\ufffd"}
    plain = (c if c == "\n" else swapped.get(unicodedata.category(c), c) for c in text)
    return _BIDI_CONTROLS.sub("", "".join(plain))


def shown(text: str) -> str:
    """The text in characters that the type has: others become □, signs without a shape are dropped."""
    glyphs = fonts()
    plain = (" " if c.isspace() else c for c in text)
    return "".join(c if ord(c) in glyphs else ABSENT for c in plain if unicodedata.category(c) != "Cf")


@cache
def fonts() -> frozenset[int]:
    """Register the type once in a process; the characters that it has."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(PLAIN, normal=PLAIN, bold=BOLD, italic=PLAIN, boldItalic=BOLD)
    return frozenset(pdfmetrics.getFont(PLAIN).face.charToGlyph)
