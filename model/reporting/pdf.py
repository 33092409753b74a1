"""A document as A4 pages of PDF, with text that can be searched and copied. The same document gives the same bytes."""

from __future__ import annotations

import io
from functools import partial
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepTogether, ListFlowable, Paragraph, SimpleDocTemplate, Spacer
from reportlab.platypus import Table as Grid

from model.reporting.document import Block, Bullets, Document, Picture, Section, Table, groups
from model.reporting.text import BAND, BOLD, INK, PLAIN, QUIET, RULE, fonts, printable, shown

WIDTH, HEIGHT = A4
MARGIN = 42.0
INNER = WIDTH - 2 * MARGIN
TEXT = INNER - 12
"""Width of what is set: reportlab keeps 6 points free at either side of a frame."""
TOP, FOOT = 52.0, 44.0
_CELL_CHARACTERS = 1500
"""More than that in one cell may be higher than a page, where a table cannot break."""


def as_pdf(document: Document) -> bytes:
    """The pages as a file."""
    fonts()
    buffer = io.BytesIO()
    template = SimpleDocTemplate(
        buffer, pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=TOP, bottomMargin=FOOT, invariant=1,
        title=shown(document.title), creator="LLNM Explorer", subject=shown(document.subtitle), author="", allowSplitting=1,
    )  # fmt: skip
    parts: list[Flowable] = [Paragraph(_text(document.title), _TITLE), Paragraph(_text(document.subtitle), _SMALL)]
    for section in document.sections:
        parts += _section(section)
    frame = partial(_frame, document.mark)
    template.build(parts, onFirstPage=frame, onLaterPages=frame)
    return buffer.getvalue()


def _style(size: float, colour: str = INK, font: str = PLAIN, **more: float) -> ParagraphStyle:
    return ParagraphStyle(
        f"{font}{size}{colour}", fontName=font, fontSize=size, leading=1.32 * size, textColor=HexColor(colour), splitLongWords=1,
        **more,
    )  # fmt: skip


_TITLE = _style(15, font=BOLD, spaceAfter=2)
_HEADING = _style(10.5, font=BOLD, spaceBefore=10, spaceAfter=3)
_BODY = _style(8.6, spaceAfter=3)
_NOTICE = _style(8.6, BAND, BOLD, spaceAfter=3)
_SMALL = _style(7.2, QUIET, spaceAfter=4)
_CELL, _HEAD = _style(7.2), _style(7.2, font=BOLD)


def _frame(mark: str, pdf: Canvas, template: SimpleDocTemplate) -> None:
    """What stands on every page: the mark above, the number below."""
    pdf.saveState()
    pdf.setFillColor(HexColor(BAND))
    pdf.rect(MARGIN, HEIGHT - 36, INNER, 15, stroke=0, fill=1)
    pdf.setFillColor(HexColor("#ffffff"))
    pdf.setFont(BOLD, 7.6)
    pdf.drawCentredString(WIDTH / 2, HEIGHT - 31.3, shown(printable(mark)))
    pdf.setFillColor(HexColor(QUIET))
    pdf.setFont(PLAIN, 7)
    pdf.drawRightString(WIDTH - MARGIN, 26, f"page {template.page}")
    pdf.restoreState()


def _section(section: Section) -> list[Flowable]:
    heading = Paragraph(_heading(section), _HEADING)
    parts = [part for group in groups(section.blocks) for part in _group(group)]
    # A heading never stands alone at the foot of a page.
    short = parts[:1] if parts and not isinstance(parts[0], Grid) else []
    return [KeepTogether([heading, *short]), *parts[len(short) :]] if short else [heading, *parts]


def _heading(section: Section) -> str:
    items = f' <font name="{PLAIN}" size="7.2" color="{QUIET}">TRIPOD+AI {", ".join(section.items)}</font>'
    return _text(section.title) + (items if section.items else "")


def _group(blocks: tuple[Block, ...]) -> list[Flowable]:
    pictures = [block for block in blocks if isinstance(block, Picture)]
    if pictures:
        cells = [[_image(p), Paragraph(_text(p.caption), _SMALL)] for p in pictures]
        widths = [TEXT * p.share for p in pictures]
        row = Grid([cells], colWidths=widths, hAlign="LEFT")
        row.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])
        return [row]
    return _block(blocks[0])


def _image(picture: Picture) -> Image:
    image = Image(io.BytesIO(picture.png))
    width = TEXT * picture.share - 10
    image.drawHeight, image.drawWidth = width * image.imageHeight / image.imageWidth, width
    image.hAlign = "LEFT"
    return image


def _block(block: Block) -> list[Flowable]:
    if isinstance(block, Table):
        return [_table(block), Paragraph(_text(block.caption), _SMALL) if block.caption else Spacer(1, 6)]
    if isinstance(block, Bullets):
        items = [Paragraph(_text(item), _BODY) for item in block.items]
        return [
            ListFlowable(items, bulletType="bullet", bulletFontName=PLAIN, bulletFontSize=8.6, leftIndent=12, start="•")
        ]
    assert not isinstance(block, Picture)
    return [Paragraph(_text(block.words), _NOTICE if block.notice else _BODY)]


def _table(table: Table) -> Grid:
    widths = table.widths or (1 / len(table.header),) * len(table.header)
    head = [[Paragraph(_text(h), _HEAD) for h in table.header]] if any(table.header) else []
    rows = [[Paragraph(_text(_cut(cell)), _CELL) for cell in row] for row in table.rows]
    grid = Grid([*head, *rows], colWidths=[TEXT * w for w in widths], repeatRows=len(head), hAlign="LEFT")
    grid.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor(RULE)),
            ("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 6),
            ("TOPPADDING", (0, 0), (-1, -1), 1.6), ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2),
        ]
    )  # fmt: skip
    return grid


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= _CELL_CHARACTERS
        else f"{text[:_CELL_CHARACTERS]} … ({len(text) - _CELL_CHARACTERS:,} more)"
    )


def _text(words: str) -> str:
    """Text that reportlab sets as it stands: its markup escaped."""
    return escape(shown(printable(words)))
