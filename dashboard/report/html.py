"""The report of a case as one page of HTML that needs nothing else: for a teaching file, for the tumour board.

Everything a person wrote is escaped. Pictures are part of the page; there is no script in it.
"""

from __future__ import annotations

from html import escape

from dashboard.figures.case_image import png_uri
from dashboard.figures.style import TOTAL
from dashboard.report.content import CaseContent, Step

_STYLE = """
body {font: 14px/1.45 system-ui, sans-serif; color: #16232b; max-width: 820px; margin: 24px auto; padding: 0 16px;}
h1 {font-size: 22px; margin: 0; overflow-wrap: anywhere;} h2 {font-size: 16px; margin: 18px 0 6px;} p {margin: 6px 0;}
.mark {background: #7a4b00; color: #fff; font-weight: 600; text-align: center; padding: 4px; margin-bottom: 14px;}
.risk {font-size: 30px; font-weight: 700;} figure {display: inline-block; width: 48%; margin: 0 1% 0 0; vertical-align: top;}
img {width: 100%;} figcaption, .small {color: #55636b; font-size: 12px;} .report {white-space: pre-line; overflow-wrap: anywhere;}
table {border-collapse: collapse; width: 100%;} td, th {text-align: left; padding: 2px 6px; border-bottom: 1px solid #e3e8eb;}
th {font-weight: 600; width: 18em;} .card th {width: 7em; vertical-align: top;} .card td {overflow-wrap: anywhere;}
td.number {text-align: right; white-space: nowrap; width: 5em;} td.bar {width: 42%;}
svg {display: block; width: 100%; height: 13px;}
@media (max-width: 560px) {figure {width: 100%;} th {width: auto;} td.bar {width: 26%;}}
@media print {body {margin: 0;} h2 {break-after: avoid;} figure, tr {break-inside: avoid;}}
"""


def as_html(content: CaseContent) -> str:
    """The whole page as text."""
    notices = "".join(f"<li>{escape(n)}</li>" for n in content.notices)
    pictures = "".join(
        f'<figure><img alt="{escape(p.caption)}" src="{png_uri(p.image)}"><figcaption>{escape(p.caption)}</figcaption></figure>'
        for p in content.pictures
    )
    fields = "".join(
        f'<tr><td>{escape(f.label)}</td><td class="number">{escape(f.value)}</td><td>{f.origin}</td></tr>'
        for f in content.fields
    )
    case_id = escape(content.case_id)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>LLNM Explorer: {case_id}</title><style>{_STYLE}</style></head><body>
<div class="mark">{escape(content.mark)}</div>
<h1>{escape(content.title)}: <bdi>{case_id}</bdi></h1>
<div class="small">{content.origin.capitalize()}; {escape(content.made)}</div>
<div class="risk">{content.probability}</div>
<div>{escape(content.basis)}</div>
<div>{escape(content.conformal)}</div>
<table>{_lines(content.facts)}</table>
{f"<ul>{notices}</ul>" if notices else ""}
<h2>In three sentences</h2>{"".join(f"<p>{escape(s)}</p>" for s in content.summary)}
<h2>Pictures</h2>{pictures}
<h2>Contribution of each feature group</h2>
<p class="small">{escape(content.steps_note)}</p>
<table>{"".join(_step(step, content.zero) for step in content.steps)}</table>
<h2>Fields the model read</h2><table>{fields}</table>
<h2>Report</h2><p class="report" dir="auto">{escape(content.report) or "none"}</p>
<h2>Model</h2><table class="card small">{_lines(content.card)}</table>
<p class="small">{escape(content.closing)}</p></body></html>
"""


def _lines(pairs: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in pairs)


def _step(step: Step, zero: float) -> str:
    """A row of the waterfall: label, contribution, and its bar with a line at logit 0."""
    left, width = 100 * min(step.start, step.end), 100 * abs(step.end - step.start)
    bar = (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="{left:.2f}" y="0" width="{width:.2f}" height="10" fill="{step.colour}"/>'
        f'<rect x="{100 * zero:.2f}" y="-2" width="0.3" height="14" fill="{TOTAL}"/></svg>'
    )
    return (
        f'<tr><td>{escape(step.label)}</td><td class="number">{step.logit}</td><td class="number">{step.points}</td>'
        f'<td class="bar">{bar}</td></tr>'
    )
