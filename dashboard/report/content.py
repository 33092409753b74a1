"""What the report of a case says, once: the pages of HTML and PDF differ in how they lay it out, not in a word of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dashboard.figures.case_image import distance_label, grey_image, outlines, scale_length_mm, shortest_distance
from dashboard.figures.case_prediction import basis
from dashboard.figures.case_shapley import shapley_table
from dashboard.figures.style import CAPSULE, GLAND, LOWERS, NODULE, RAISES, TOTAL, percent, words
from dashboard.parts import mark
from model.encode import MeasuredCase
from model.explain.shapley import ShapleyResult
from model.explain.summary import summarise
from model.features.tirads import kwak
from model.predict import Interval, Prediction
from model.schema import DEFAULT, Case, Schema, View

ENLARGED = 2
"""Pictures are drawn at twice their size, so that outlines are thin on paper."""
CLOSING = "Trained on synthetic cases: no figure here says anything about a patient."
CLOSING_OTHER = "For research and teaching: no figure here may guide the treatment of a patient."
_BIDI_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, eq=False)
class Picture:
    """A view with its outlines drawn on it, in true proportions where the pixel spacing is known."""

    image: Image.Image
    caption: str


@dataclass(frozen=True)
class Step:
    """One row of the waterfall.

    Parameters
    ----------
    label : group of features, or the end of the way.
    logit, points : contribution in calibrated logits and in percentage points of the probability, as text.
    start, end : of the bar, as shares of the axis (0…1).
    colour : "#rrggbb".
    """

    label: str
    logit: str
    points: str
    start: float
    end: float
    colour: str


@dataclass(frozen=True)
class FieldLine:
    """A field the model read: label, value with unit, and "given" or "measured"."""

    label: str
    value: str
    origin: str


@dataclass(frozen=True, eq=False)
class CaseContent:
    """Everything that is told of a case, as text that is ready to be set; only `risk` and `interval` are to be drawn.

    Parameters
    ----------
    mark, title, case_id, origin, made : head of the page; `origin` says whether the case is synthetic, `made` when and by
        which version.
    risk, interval : probability (0…1) and what it rests on.
    probability, basis : the same in words.
    conformal : sentence on the outcomes that are left, with the coverage that is stated.
    facts : (name, value): stages, capsule distance, TI-RADS.
    summary, notices : sentences; what is unlike the training cases is among the notices.
    pictures : one a view.
    steps, zero, steps_note : the waterfall, where 0 stands on its axis (0…1), and what was computed.
    fields : what the model read.
    report : as given, without control characters.
    card : (name, value) of the model.
    closing : the last sentence.
    """

    mark: str
    title: str
    case_id: str
    origin: str
    made: str
    risk: float
    interval: Interval
    probability: str
    basis: str
    conformal: str
    facts: tuple[tuple[str, str], ...]
    summary: tuple[str, ...]
    notices: tuple[str, ...]
    pictures: tuple[Picture, ...]
    steps: tuple[Step, ...]
    zero: float
    steps_note: str
    fields: tuple[FieldLine, ...]
    report: str
    card: tuple[tuple[str, str], ...]
    closing: str = CLOSING


def case_content(
    measured: MeasuredCase,
    prediction: Prediction,
    shapley: ShapleyResult,
    card: Mapping[str, Any],
    *,
    version: str,
    date: str,
    schema: Schema = DEFAULT,
) -> CaseContent:
    """What the report says.

    Parameters
    ----------
    measured, prediction, shapley : of the same case.
    card : of the checkpoint that predicted; what it lacks is left out.
    version : of this software.
    date : of the report, as it is to be read.
    schema : of the model.
    """
    case, endpoint = measured.case, schema.endpoint
    facts = []
    if prediction.stage_probabilities is not None:
        stages = ", ".join(f"stage {i + 1}: {percent(p)}" for i, p in enumerate(prediction.stage_probabilities))
        facts.append((f"Risk stage, if there is {endpoint.short}", stages))
    shortest = shortest_distance(measured.features.values())
    if schema.has_images:
        facts += [
            ("Capsule distance, shortest over the views", "not measured" if shortest is None else distance_label(shortest)),
            ("Kwak TI-RADS (comparator, not given to the model)", _tirads(case)),
        ]
    steps, zero = _steps(shapley)
    training_data = str(card.get("training_data", "synthetic"))
    return CaseContent(
        mark=mark(training_data),
        title=printable(endpoint.title),
        case_id=printable(case.case_id),
        origin="synthetic case" if case.provenance == "synthetic" else "own case",
        made=f"{date}, LLNM Explorer {version}",
        risk=prediction.probability,
        interval=prediction.interval,
        probability=percent(prediction.probability, 1),
        basis=(
            f"Calibrated probability of {endpoint.short} (logit {prediction.logit:+.2f}). "
            f"{basis(prediction.interval, endpoint.short)}."
        ),
        conformal=prediction.conformal_set.sentence,
        facts=tuple(facts),
        summary=tuple(printable(s) for s in summarise(prediction, shapley, measured, schema)),
        notices=prediction.notices,
        pictures=tuple(_picture(measured, view) for view in measured.segmentations),
        steps=steps,
        zero=zero,
        steps_note=(
            f"{shapley.method}, in calibrated logits and percentage points (pp). Baseline: {shapley.baseline}. Orange raises "
            "the risk, blue lowers it. They explain the model, not the disease."
        ),
        fields=_fields(measured, schema),
        report=printable(case.report_text).strip(),
        card=_card(card, prediction.model, endpoint.short),
        closing=CLOSING if training_data == "synthetic" else CLOSING_OTHER,
    )


def printable(text: str) -> str:
    """The text without what changes a page instead of standing on it: control characters become spaces, marks that
    turn the direction of what follows are dropped, lone surrogates (no encoding takes them) become U+FFFD."""
    swapped = {"Cc": " ", "Cs": "\ufffd"}
    plain = (c if c == "\n" else swapped.get(unicodedata.category(c), c) for c in text)
    return _BIDI_CONTROLS.sub("", "".join(plain))


def _tirads(case: Case) -> str:
    reported, counted = case.fields.get("tirads"), kwak(case.fields).label
    return f"{counted}, counted from the findings" if reported is None else f"{reported} as reported; {counted} counted"


def _picture(measured: MeasuredCase, view: View) -> Picture:
    """A view with its outlines, capsule-distance line and scale, and what they mean."""
    image, found, features = measured.case.images[view], measured.segmentations[view], measured.features.get(view)
    rows, columns = image.pixels.shape
    spacing = image.pixel_spacing_mm
    high, wide = ENLARGED * (1.0 if spacing is None else spacing[0] / spacing[1]), float(ENLARGED)
    size = (round(wide * columns), round(high * rows))
    drawn = grey_image(image.pixels).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(drawn)

    def place(row: float, column: float) -> tuple[float, float]:
        return wide * (column + 0.5), high * (row + 0.5)

    for mask, colour in ((found.gland, GLAND), (found.nodule, NODULE)):
        for line in outlines(mask):
            pen.line([place(r, c) for r, c in line], fill=colour, width=2)
    told = "nothing measured"
    if features is not None:
        pen.line([place(*features.capsule.nodule_point), place(*features.capsule.capsule_point)], fill=CAPSULE, width=4)
        told = f"capsule distance {distance_label(features.capsule)} (red)"
    bar = "pixel spacing unknown"
    if spacing is not None:
        length_mm = scale_length_mm(spacing, columns)
        right, below = place(0.95 * rows, 0.97 * columns)
        pen.line([(right - wide * length_mm / spacing[1], below), (right, below)], fill="#ffffff", width=4)
        bar = f"white bar {length_mm} mm"
    return Picture(drawn, f"{view.capitalize()} view: {told}; nodule yellow, gland blue; {bar}.")


def _steps(shapley: ShapleyResult) -> tuple[tuple[Step, ...], float]:
    """Rows from the base to the prediction, largest first, and where 0 stands on their axis."""
    table = shapley_table(shapley)
    reached = shapley.base_logit + np.concatenate([[0.0], np.cumsum(table["logit"].to_numpy(float))])
    low, high = min(0.0, float(reached.min())), max(0.0, float(reached.max()))

    def share(value: float) -> float:
        return (value - low) / ((high - low) or 1.0)

    def total(label: str, logit: float) -> Step:
        return Step(label, f"{logit:+.2f}", percent(1 / (1 + np.exp(-logit)), 1), share(0.0), share(logit), TOTAL)

    steps = [total("Knowing nothing", shapley.base_logit)]
    for i, row in enumerate(table.itertuples()):
        told = (f"{row.logit:+.2f}", f"{100 * row.probability:+.1f} pp") if row.given else ("not given", "")
        colour = RAISES if row.logit > 0 else LOWERS
        steps.append(Step(str(row.group), *told, share(reached[i]), share(reached[i + 1]), colour))
    return (*steps, total("Prediction", shapley.logit)), share(0.0)


def _fields(measured: MeasuredCase, schema: Schema) -> tuple[FieldLine, ...]:
    known, typed = measured.fields, measured.case.fields
    return tuple(
        FieldLine(field.label, words(field, known[field.name]), "given" if field.name in typed else "measured")
        for field in schema.fields
        if field.is_token and field.name in known
    )


def _card(card: Mapping[str, Any], identity: str, endpoint: str) -> tuple[tuple[str, str], ...]:
    """The model in a few lines: what it is, what it was trained on, how good it was on cases it had not seen."""
    lines = [("Model", f"{identity}. {card.get('purpose', '')}".rstrip(". ") + ".")]
    if "llnm_net.safetensors" in card.get("sha256", {}):
        lines.append(("Weights", f"SHA-256 {card['sha256']['llnm_net.safetensors']}"))
    if "training_cases" in card:
        lines.append(
            (
                "Trained on",
                f"{card['training_cases']:,} {card['training_data']} cases; validated on {card['validation_cases']:,} others, "
                f"where the AUROC was {card['validation']['auroc']:.3f}.",
            )
        )
    external = card.get("external")
    if external:
        low, high = external["auroc_ci"]
        lines.append(
            (
                "Tested on",
                f"{external['n']:,} {card['training_data']} cases of centres kept out of training, {external['positives']:,} "
                f"with {endpoint}: AUROC {external['auroc']:.3f} (95 % interval {low:.3f}–{high:.3f}).",
            )
        )
    if card.get("limits"):
        lines.append(("Limits", " ".join(card["limits"])))
    return tuple(lines)
