"""A document as one page of HTML that needs nothing else: pictures are part of it, there is no script, all text is escaped."""

from __future__ import annotations

import base64
from html import escape

from model.reporting.document import Block, Bullets, Document, Picture, Section, Table, groups
from model.reporting.text import BAND, INK, QUIET, RULE, printable

_STYLE = f"""
body {{font: 14px/1.45 system-ui, sans-serif; color: {INK}; max-width: 900px; margin: 24px auto; padding: 0 16px;}}
h1 {{font-size: 22px; margin: 0; overflow-wrap: anywhere;}} h2 {{font-size: 16px; margin: 22px 0 6px;}} p {{margin: 6px 0;}}
h2 small {{font-weight: 400; color: {QUIET}; font-size: 12px;}} p, li {{overflow-wrap: anywhere;}}
.mark {{background: {BAND}; color: #fff; font-weight: 600; text-align: center; padding: 4px; margin-bottom: 14px;}}
.small, caption, figcaption {{color: {QUIET}; font-size: 12px;}} .notice {{border-left: 4px solid {BAND}; padding: 4px 10px;}}
.wide {{overflow-x: auto;}} table {{border-collapse: collapse; width: 100%; margin: 8px 0; font-size: 13px;}}
caption {{caption-side: bottom; text-align: left; padding-top: 4px;}} tbody td:first-child {{overflow-wrap: break-word;}}
td, th {{text-align: left; padding: 3px 8px 3px 0; border-bottom: 1px solid {RULE}; vertical-align: top;}} th {{font-weight: 600;}}
.row {{display: flex; flex-wrap: wrap; gap: 12px;}} figure {{margin: 8px 0; min-width: 260px; flex: 1;}} img {{width: 100%;}}
@media print {{body {{margin: 0;}} h2 {{break-after: avoid;}} figure, tr {{break-inside: avoid;}}}}
"""


def as_html(document: Document) -> str:
    """The whole page as text."""
    title = _text(document.title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{_STYLE}</style></head><body>
<div class="mark">{_text(document.mark)}</div>
<h1>{title}</h1>
<p class="small">{_text(document.subtitle)}</p>
{"".join(map(_section, document.sections))}</body></html>
"""


def _section(section: Section) -> str:
    items = f" <small>TRIPOD+AI {_text(', '.join(section.items))}</small>" if section.items else ""
    return f"<h2>{_text(section.title)}{items}</h2>\n" + "".join(map(_group, groups(section.blocks)))


def _group(blocks: tuple[Block, ...]) -> str:
    if isinstance(blocks[0], Picture):
        return f'<div class="row">{"".join(map(_block, blocks))}</div>\n'
    return _block(blocks[0])


def _block(block: Block) -> str:
    if isinstance(block, Table):
        cells = "".join(f"<th>{_text(h)}</th>" for h in block.header)
        head = f"<thead><tr>{cells}</tr></thead>" if any(block.header) else ""
        rows = "".join("<tr>" + "".join(f"<td>{_text(c)}</td>" for c in row) + "</tr>" for row in block.rows)
        caption = f"<caption>{_text(block.caption)}</caption>" if block.caption else ""
        columns = "".join(f'<col style="width:{100 * w:.0f}%">' for w in block.widths or ())
        return (
            f'<div class="wide"><table>{caption}<colgroup>{columns}</colgroup>{head}'
            f"<tbody>{rows}</tbody></table></div>\n"
        )
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in block.items) + "</ul>\n"
    if isinstance(block, Picture):
        source = base64.b64encode(block.png).decode()
        caption = _text(block.caption)
        return (
            f'<figure style="flex-basis:{90 * block.share:.0f}%"><img alt="{caption}" src="data:image/png;base64,{source}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return f"<p{' class=notice' if block.notice else ''}>{_text(block.words)}</p>\n"


def _text(words: str) -> str:
    return escape(printable(words))
