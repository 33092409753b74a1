"""Three plain sentences about a prediction, built from its numbers; nothing is generated freely."""

from __future__ import annotations

from model.encode import MeasuredCase
from model.explain.shapley import ShapleyResult
from model.predict import Prediction
from model.schema import DEFAULT, Field, Group, Schema, Value, in_sentence

REASONS = 3
"""Reasons told on each side, at most."""
WORTH_TELLING = 0.1
"""Contributions smaller than this, in logits, are no reason."""


def summarise(
    prediction: Prediction, shapley: ShapleyResult, measured: MeasuredCase, schema: Schema = DEFAULT
) -> tuple[str, str, str]:
    """What the model says, the strongest reasons for and against, and what it was not told.

    Parameters
    ----------
    prediction, shapley, measured : of the same case.
    schema : of the model.
    """
    interval = prediction.interval
    first = (
        f"The model puts the probability of {schema.endpoint.phrase} at {100 * prediction.probability:.1f} %; of the "
        f"{interval.count} validation cases that scored nearest, {interval.positives} had it "
        f"(95 % {100 * interval.low:.0f}–{100 * interval.high:.0f} %)."
    )
    order = sorted(range(len(shapley.groups)), key=lambda g: -abs(float(shapley.values[g])))
    told = [g for g in order if shapley.present[g] and abs(float(shapley.values[g])) >= WORTH_TELLING]
    raises = [_reason(shapley, g, measured, schema) for g in told if shapley.values[g] > 0][:REASONS]
    lowers = [_reason(shapley, g, measured, schema) for g in told if shapley.values[g] < 0][:REASONS]
    second = (
        f"{_side('For it', raises)}; {_side('against it', lowers)}." if raises or lowers
        else "No group of features moves the prediction noticeably."
    )  # fmt: skip
    return first, second, _missing(measured, schema)


def _side(what: str, reasons: list[str]) -> str:
    return f"{what}: {', '.join(reasons)}" if reasons else f"{what}: nothing of note"


def _reason(shapley: ShapleyResult, g: int, measured: MeasuredCase, schema: Schema) -> str:
    """Name of a group, its values, and its contribution."""
    group = shapley.groups[g]
    values = _values(group, measured, schema)
    inside = f"{values}; " if values else ""
    return f"{in_sentence(group.label)} ({inside}{float(shapley.values[g]):+.1f} logit)"


def _values(group: Group, measured: MeasuredCase, schema: Schema) -> str:
    """The group's values in words: the distance, not its share of the gland's depth where both are known."""
    known = [n for n in group.fields if n in measured.fields]
    if "capsule_distance_mm" in known:
        known = ["capsule_distance_mm"]
    return ", ".join(_value(schema.by_name[name], measured.fields[name]) for name in known)


def _value(field: Field, value: Value) -> str:
    name = field.name
    if isinstance(value, bool):
        return f"{in_sentence(field.label)}: {'yes' if value else 'no'}"
    if isinstance(value, float | int):
        if name == "capsule_distance_fraction":
            return f"{100 * value:.0f} % of gland depth"
        digits = 2 if not field.unit else 0 if field.unit == "years" else 1
        number = f"{value:.{digits}f} {field.unit}".rstrip()
        return f"{in_sentence(field.label)} {number}" if name in ("height_mm", "width_mm", "echo_difference") else number
    return str(value)


def _missing(measured: MeasuredCase, schema: Schema) -> str:
    absent = [f.label for f in schema.fields if f.role == "input" and f.name not in measured.fields]
    if schema.has_images and not measured.features:
        absent.insert(0, "outlines of nodule and gland")
    if schema.has_report and not measured.case.report_text.strip():
        absent.insert(0, "report")
    if not absent:
        return "Nothing that the model reads is missing."
    return f"Not told to the model: {', '.join(in_sentence(n) for n in absent)}."
