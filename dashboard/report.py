"""One case as one page of HTML that needs nothing else: for printing, for a teaching file, for the tumour board.

Everything a person wrote is escaped. Pictures are part of the page; there is no script in it.
"""

from __future__ import annotations

from html import escape

import numpy as np
from PIL import Image, ImageDraw

from dashboard.figures.case_image import distance_label, grey_image, outlines, png_uri
from dashboard.figures.case_prediction import basis
from dashboard.figures.style import CAPSULE, GLAND, LOWERS, NODULE, RAISES, percent, words
from dashboard.parts import MARK
from model.encode import MeasuredCase
from model.explain.shapley import ShapleyResult
from model.explain.summary import summarise
from model.features.tirads import kwak
from model.predict import Prediction
from model.schema import FIELDS, View

ENLARGED = 2
"""Pictures are drawn at twice their size, so that outlines are thin."""

_STYLE = f"""
body {{font: 14px/1.45 system-ui, sans-serif; color: #16232b; max-width: 820px; margin: 24px auto; padding: 0 16px;}}
h1 {{font-size: 22px; margin: 0 0 4px;}} h2 {{font-size: 16px; margin: 18px 0 6px;}}
.mark {{background: #7a4b00; color: #fff; font-weight: 600; text-align: center; padding: 4px; margin-bottom: 14px;}}
.risk {{font-size: 30px; font-weight: 700;}} figure {{display: inline-block; width: 48%; margin: 0 1% 0 0; vertical-align: top;}}
img {{width: 100%;}} figcaption, .small {{color: #55636b; font-size: 12px;}}
table {{border-collapse: collapse; width: 100%;}} td, th {{text-align: left; padding: 2px 6px; border-bottom: 1px solid #e3e8eb;}}
td.number {{text-align: right; white-space: nowrap; width: 8em;}}
.bar {{display: inline-block; height: 10px; border-radius: 2px;}} .up {{background: {RAISES};}} .down {{background: {LOWERS};}}
@media print {{body {{margin: 0;}} h2 {{break-after: avoid;}} figure, tr {{break-inside: avoid;}}}}
"""


def case_report(measured: MeasuredCase, prediction: Prediction, shapley: ShapleyResult, *, version: str) -> str:
    """The page as text.

    Parameters
    ----------
    measured, prediction, shapley : of the same case.
    version : of this software.
    """
    case = measured.case
    notices = "".join(f"<li>{escape(n)}</li>" for n in prediction.notices)
    summary = "".join(f"<p>{escape(s)}</p>" for s in summarise(prediction, shapley, measured))
    pictures = "".join(_figure(measured, view) for view in case.images)
    stages = ", ".join(f"stage {i + 1}: {percent(p)}" for i, p in enumerate(prediction.stage_probabilities))
    tirads = case.fields.get("tirads") or kwak(case.fields).label
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>LLNM Explorer: {escape(case.case_id)}</title><style>{_STYLE}</style></head><body>
<div class="mark">{escape(MARK) if case.provenance == "synthetic" else "Research and teaching only · not a medical device"}</div>
<h1>Lateral lymph node metastasis (LLNM): {escape(case.case_id)}</h1>
<div class="risk">{percent(prediction.probability, 1)}</div>
<div>Calibrated probability. {escape(basis(prediction.interval))}. If there is LLNM: {stages}.
Kwak TI-RADS (comparator): {escape(str(tirads))}.</div>
{f"<ul>{notices}</ul>" if notices else ""}
<h2>In three sentences</h2>{summary}
<h2>Pictures</h2>{pictures}
<h2>Contribution of each feature group</h2>
<p class="small">{escape(shapley.method)}, in calibrated logits; baseline: {escape(shapley.baseline)}. They explain the
model, not the disease.</p>{_contributions(shapley)}
<h2>Fields the model read</h2>{_fields(measured)}
<h2>Report</h2><p>{escape(case.report_text) or "none"}</p>
<p class="small">Model {escape(prediction.model)}; LLNM Explorer {escape(version)}. Trained on synthetic cases: no figure here says
anything about a patient.</p></body></html>
"""


def _figure(measured: MeasuredCase, view: View) -> str:
    """A view with its outlines and the capsule-distance line, and what they mean."""
    image, found, features = measured.case.images[view], measured.segmentations[view], measured.features.get(view)
    rows, columns = image.pixels.shape
    drawn = grey_image(image.pixels).convert("RGB").resize((ENLARGED * columns, ENLARGED * rows), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(drawn)
    for mask, colour in ((found.gland, GLAND), (found.nodule, NODULE)):
        for line in outlines(mask):
            pen.line([_place(r, c) for r, c in line], fill=colour, width=2)
    told = "nothing measured"
    if features is not None:
        pen.line([_place(*features.capsule.nodule_point), _place(*features.capsule.capsule_point)], fill=CAPSULE, width=4)
        told = f"capsule distance {distance_label(features.capsule)} (red)"
    caption = f"{view.capitalize()} view: {told}; nodule yellow, gland blue."
    return f'<figure><img alt="{caption}" src="{png_uri(drawn)}"><figcaption>{caption}</figcaption></figure>'


def _place(row: float, column: float) -> tuple[float, float]:
    return ENLARGED * (column + 0.5), ENLARGED * (row + 0.5)


def _contributions(shapley: ShapleyResult) -> str:
    order = np.argsort(-np.abs(shapley.values), kind="stable")
    longest = float(np.abs(shapley.values).max()) or 1.0
    rows = ""
    for g in order:
        value = float(shapley.values[g])
        shown = f"{value:+.2f}" if shapley.present[g] else "not given"
        bar = f'<span class="bar {"up" if value > 0 else "down"}" style="width: {100 * abs(value) / longest:.1f}%"></span>'
        label = escape(shapley.groups[g].label)
        rows += f'<tr><td>{label}</td><td class="number">{shown}</td><td style="width: 45%">{bar}</td></tr>'
    return f"<table>{rows}</table>"


def _fields(measured: MeasuredCase) -> str:
    rows = ""
    for field in FIELDS:
        if not field.is_token or field.name not in measured.fields:
            continue
        origin = "given" if field.name in measured.case.fields else "measured"
        rows += (
            f'<tr><td>{escape(field.label)}</td><td class="number">{escape(words(field, measured.fields[field.name]))}</td>'
            f"<td>{origin}</td></tr>"
        )
    return f"<table>{rows}</table>"
