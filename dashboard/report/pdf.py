"""The report of a case as one A4 page of PDF, with text that can be searched and copied; bars are drawn as vectors.

The type is DejaVu Sans, which ships with matplotlib under a free licence: Latin, Greek, Cyrillic, Hebrew, Arabic,
arrows and signs of mathematics. What it lacks is shown as □, and the page says how often. The same content gives the
same bytes.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import matplotlib
from plotly.colors import sample_colorscale
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from dashboard.figures.style import MARKED, RISK, TOTAL, percent
from dashboard.report.content import CaseContent, Step

PLAIN, BOLD = "DejaVuSans", "DejaVuSans-Bold"
WIDTH, HEIGHT = A4
MARGIN, GAP = 34.0, 16.0
INNER = WIDTH - 2 * MARGIN
COLUMN = (INNER - GAP) / 2
LEADING = 1.27
"""Distance of lines over the size of the type."""
INK, QUIET, RULE = "#16232b", "#55636b", "#c9d2d7"
ROW = 10.2
"""Height of a row of the waterfall and of the fields, in points."""
REPORT_LINES = 3
"""Lines of the report that there is always room for; pictures give way to them."""
NOTE_LINES = 5
"""Lines of what is said about the waterfall, at most."""
PICTURE_HEIGHT = 190.0
ABSENT = "□"
_LONGEST_LINE = 400
"""Characters; more than any line of the page holds."""


@dataclass(frozen=True)
class Style:
    """Size, colour and weight of a block of text."""

    size: float = 8.3
    colour: str = INK
    font: str = PLAIN

    @property
    def leading(self) -> float:
        """Distance of its lines in points."""
        return LEADING * self.size


BODY, SMALL, TABLE = Style(), Style(6.8, QUIET), Style(7.0)


def as_pdf(content: CaseContent) -> bytes:
    """The page as a file."""
    _fonts()
    buffer = io.BytesIO()
    pdf = Canvas(buffer, pagesize=A4, invariant=1)
    pdf.setTitle(f"LLNM Explorer: {shown(content.case_id)}")
    pdf.setSubject(f"{content.title}: {content.probability}")
    pdf.setCreator("LLNM Explorer")
    y = _head(pdf, content)
    y = _answer(pdf, content, y)
    y = _text(pdf, fitted(content.conformal, SMALL, INNER, 2), MARGIN, y - 1.5, SMALL)
    y = _heading(pdf, "In three sentences", y)
    for sentence in content.summary:
        y = _text(pdf, fitted(sentence, BODY, INNER, 4), MARGIN, y, BODY) - 1.5
    warning = replace(BODY, colour="#7a4b00")
    for notice in content.notices:
        y = _text(pdf, fitted(f"! {notice}", warning, INNER, 2), MARGIN, y, warning)

    # What stands below the pictures is measured first; they get what is left of the page.
    card = [(name, fitted(value, SMALL, INNER - 62, 3)) for name, value in content.card]
    card_height = _HEADING + sum(len(lines) for _, lines in card) * SMALL.leading + 2 * SMALL.leading
    waterfall_height = NOTE_LINES * SMALL.leading + ROW * len(content.steps)
    tables_height = _HEADING + max(waterfall_height, ROW * len(content.fields)) + 6
    report_least = _HEADING + REPORT_LINES * BODY.leading
    captions = [fitted(p.caption, SMALL, COLUMN, 2) for p in content.pictures]
    spare = y - MARGIN - card_height - tables_height - report_least - 2 * SMALL.leading - 16
    y = _pictures(pdf, content, captions, y - 6, min(PICTURE_HEIGHT, max(spare, 60.0)))
    y = _tables(pdf, content, y)
    y = _report(pdf, content.report, y, y - MARGIN - card_height)
    y = _heading(pdf, "Model", y)
    for name, lines in card:
        _text(pdf, [name], MARGIN, y, replace(SMALL, font=BOLD))
        y = _text(pdf, lines, MARGIN + 62, y, SMALL)
    _text(pdf, [content.closing], MARGIN, y - 2, replace(SMALL, font=BOLD))
    pdf.showPage()
    pdf.save()
    return buffer.getvalue()


_HEADING = 18.0
"""Height of a heading with the room above it."""


def fitted(text: str, style: Style, width: float, lines: int) -> list[str]:
    """Text broken into at most so many lines; what does not fit is told as a number of characters on the last one.

    Words wider than a line are broken. Line ends of the text are spaces here.
    """
    whole = " ".join(shown(text).split())
    result: list[str] = []
    start = at = 0
    while at < len(whole) and len(result) < lines:
        start, end = at, at + _fitting(whole[at : at + _LONGEST_LINE], style, width)
        if end < len(whole) and whole[end] != " ":
            space = whole.rfind(" ", start, end)
            end = space if space > start else end
        result.append(whole[start:end])
        at = end + whole.startswith(" ", end)
    if at < len(whole):
        # As much of the last line as leaves room for the statement, whose number is no longer than that of all.
        room = width - _width(f" … ({len(whole):,} further characters)", style)
        end = start + _fitting(result[-1], style, room)
        result[-1] = f"{whole[start:end].rstrip()} … ({len(whole) - end:,} further characters)"
    return result


def clipped(text: str, style: Style, width: float) -> str:
    """One line of a text, ended by … where it goes on."""
    line = " ".join(shown(text).split())
    return line if _width(line, style) <= width else line[: _fitting(line, style, width - _width("…", style))] + "…"


def shown(text: str) -> str:
    """The text in characters that the type has: others become □, signs without a shape are dropped."""
    glyphs = _fonts()
    plain = (" " if c.isspace() else c for c in text)
    return "".join(c if ord(c) in glyphs else ABSENT for c in plain if unicodedata.category(c) != "Cf")


@cache
def _fonts() -> frozenset[int]:
    """Register the type once in a process; the characters that it has."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    return frozenset(pdfmetrics.getFont(PLAIN).face.charToGlyph)


def _width(text: str, style: Style) -> float:
    return float(pdfmetrics.stringWidth(text, style.font, style.size))


def _fitting(text: str, style: Style, width: float) -> int:
    """How many characters of a text fit a width; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _width(text[:middle], style) <= width else (low, middle - 1)
    return low


def _text(pdf: Canvas, lines: Sequence[str], x: float, y: float, style: Style) -> float:
    """Lines from their upper edge down; the y below them."""
    pdf.setFont(style.font, style.size)
    pdf.setFillColor(HexColor(style.colour))
    for line in lines:
        pdf.drawString(x, y - style.size, line)
        y -= style.leading
    return y


def _heading(pdf: Canvas, text: str, y: float, x: float = MARGIN, width: float = INNER) -> float:
    pdf.setStrokeColor(HexColor(RULE))
    pdf.setLineWidth(0.5)
    pdf.line(x, y - 4, x + width, y - 4)
    _text(pdf, [text], x, y - 6, Style(8.2, INK, BOLD))
    return y - _HEADING


def _head(pdf: Canvas, content: CaseContent) -> float:
    """The mark across the page, title, and whose report of when this is."""
    top = HEIGHT - 20
    pdf.setFillColor(HexColor("#7a4b00"))
    pdf.rect(MARGIN, top - 15, INNER, 15, stroke=0, fill=1)
    pdf.setFillColor(HexColor("#ffffff"))
    pdf.setFont(BOLD, 8)
    pdf.drawCentredString(WIDTH / 2, top - 10.5, content.mark)
    title = Style(13.5, INK, BOLD)
    y = _text(pdf, [content.title], MARGIN, top - 21, title)
    pdf.setFont(PLAIN, BODY.size)
    pdf.setFillColor(HexColor(INK))
    pdf.drawRightString(MARGIN + INNER, y - BODY.size, f"{content.origin.capitalize()}; {content.made}")
    return _text(pdf, [clipped(f"Case {content.case_id}", BODY, 0.55 * INNER)], MARGIN, y, BODY) - 4


def _answer(pdf: Canvas, content: CaseContent, y: float) -> float:
    """Probability with its strip and what it rests on; stages, distance and TI-RADS beside it."""
    large = Style(27, INK, BOLD)
    _text(pdf, [content.probability], MARGIN, y, large)
    strip = y - 34
    _strip(pdf, content, MARGIN, strip, COLUMN)
    left = _text(pdf, fitted(content.basis, SMALL, COLUMN, 4), MARGIN, strip - 22, SMALL)
    right, x = y - 2, MARGIN + COLUMN + GAP
    for name, value in content.facts:
        right = _text(pdf, [clipped(name, SMALL, COLUMN)], x, right, SMALL)
        right = _text(pdf, fitted(value, BODY, COLUMN, 2), x, right, replace(BODY, font=BOLD)) - 4
    return min(left, right)


def _strip(pdf: Canvas, content: CaseContent, x: float, y: float, width: float) -> None:
    """From 0 to 100 % in the colours of risk: the interval as a box, the probability as a line."""
    parts, height = 100, 8.0
    for i, colour in enumerate(sample_colorscale(RISK, [i / (parts - 1) for i in range(parts)])):
        pdf.setFillColor(Color(*(float(v) / 255 for v in colour[4:-1].split(","))))
        pdf.rect(x + width * i / parts, y - height, width / parts + 0.3 * (i < parts - 1), height, stroke=0, fill=1)
    interval = content.interval
    pdf.setStrokeColor(HexColor("#ffffff"))
    pdf.setFillColor(Color(1, 1, 1, 0.35))
    pdf.setLineWidth(1.2)
    pdf.rect(x + width * interval.low, y - height, width * (interval.high - interval.low), height, stroke=1, fill=1)
    pdf.setStrokeColor(HexColor(MARKED))
    pdf.setLineWidth(2.2)
    pdf.line(x + width * content.risk, y - height - 2.5, x + width * content.risk, y + 2.5)
    pdf.setFillColor(HexColor(QUIET))
    pdf.setFont(PLAIN, 6)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        draw = pdf.drawString if share == 0 else pdf.drawRightString if share == 1 else pdf.drawCentredString
        draw(x + width * share, y - height - 8.5, percent(share))


def _pictures(pdf: Canvas, content: CaseContent, captions: list[list[str]], y: float, height: float) -> float:
    """The views side by side, each as large as its half of the page and the height allow."""
    below = y
    for i, (picture, caption) in enumerate(zip(content.pictures, captions, strict=True)):
        x = MARGIN + i * (COLUMN + GAP)
        scale = min(COLUMN / picture.image.width, height / picture.image.height)
        wide, high = scale * picture.image.width, scale * picture.image.height
        jpeg = io.BytesIO()
        # A quarter of the size of a PNG, and as sharp on paper.
        picture.image.save(jpeg, "JPEG", quality=95, subsampling=0)
        pdf.drawImage(ImageReader(jpeg), x, y - high, wide, high)
        below = min(below, _text(pdf, caption, x, y - high - 2, SMALL))
    return below


def _tables(pdf: Canvas, content: CaseContent, y: float) -> float:
    """The waterfall on the left, the fields on the right."""
    x = MARGIN + COLUMN + GAP
    note = fitted(content.steps_note, SMALL, COLUMN, NOTE_LINES)
    left = _heading(pdf, "Contribution of each feature group (SHAP)", y, MARGIN, COLUMN)
    right = _heading(pdf, "Fields the model read", y, x, COLUMN)
    left = _text(pdf, note, MARGIN, left, SMALL) - 2
    zero = _bar_place(content.zero)
    pdf.setStrokeColor(HexColor(TOTAL))
    pdf.setLineWidth(0.4)
    pdf.line(zero, left, zero, left - ROW * len(content.steps))
    for step in content.steps:
        left = _step(pdf, step, left)
    quiet = replace(TABLE, colour=QUIET)
    for field in content.fields:
        _text(pdf, [clipped(field.label, TABLE, 0.56 * COLUMN)], x, right, quiet)
        _text(pdf, [clipped(field.value, TABLE, 0.28 * COLUMN)], x + 0.57 * COLUMN, right, TABLE)
        _text(pdf, [field.origin], x + 0.86 * COLUMN, right, quiet)
        right -= ROW
    return min(left, right) - 2


def _bar_place(share: float) -> float:
    """Where a share of the waterfall's axis lies on the page."""
    return MARGIN + COLUMN * (0.73 + 0.27 * share)


def _step(pdf: Canvas, step: Step, y: float) -> float:
    style = replace(TABLE, font=BOLD if step.colour == TOTAL else PLAIN)
    _text(pdf, [clipped(step.label, style, 0.46 * COLUMN)], MARGIN, y, style)
    for place, told in ((0.575, step.logit), (0.715, step.points)):
        pdf.drawRightString(MARGIN + place * COLUMN, y - style.size, told)
    if step.end != step.start:
        start, end = _bar_place(step.start), _bar_place(step.end)
        pdf.setFillColor(HexColor(step.colour))
        pdf.rect(min(start, end), y - ROW + 1.6, max(abs(end - start), 0.4), ROW - 2.6, stroke=0, fill=1)
    return y - ROW


def _report(pdf: Canvas, report: str, y: float, room: float) -> float:
    """As much of the report as there is room for, and how much is left out."""
    y = _heading(pdf, "Report", y)
    lines = max(int((room - _HEADING - SMALL.leading) / BODY.leading), 1)
    y = _text(pdf, fitted(report or "none", BODY, INNER, lines), MARGIN, y, BODY)
    text = shown(report)
    said = []
    if count := text.count(ABSENT) - report.count(ABSENT):
        said.append(f"{count:,} characters that this type lacks are shown as {ABSENT}.")
    if any(unicodedata.bidirectional(c) in ("R", "AL") for c in text):
        said.append("Right-to-left words are set from left to right.")
    if said:
        said.append("The HTML report shows all as written.")
        y = _text(pdf, fitted(" ".join(said), SMALL, INNER, 1), MARGIN, y, SMALL)
    return y
