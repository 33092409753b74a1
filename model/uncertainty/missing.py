"""What each missing field could do: the prediction over the values that the field could have, one field at a time.

The case is held as it is, and the other missing fields stay missing. The range tells how far the number could move if the
field were known, not how likely each value is; for a number it runs from its 5th to its 95th percentile among the
training cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.encode import MeasuredCase
from model.explain.counterfactual import changed
from model.predict import Predictor
from model.schema import FIELD, Field, Value, category_values
from model.uncertainty.novelty import PERCENTILES

REPORT = "report_text"
REPORTS = {
    "no suspicious node": "No suspicious cervical lymph nodes.",
    "suspicious lateral node": "Suspicious lymph node in the lateral neck.",
}
"""What a missing report could say of the nodes, the words that weigh most: shortest form → words put in."""
_NORMAL_95 = 1.645
"""Spreads from the mean to the 95th percentile of a normal distribution."""


@dataclass(frozen=True)
class Supposed:
    """A value that a missing field could have, in words, and the calibrated probability if it had."""

    value: str
    probability: float


@dataclass(frozen=True)
class MissingField:
    """A field that a case lacks.

    Parameters
    ----------
    name : of the field; `REPORT` for the words of the report.
    label : what people read.
    now : calibrated probability without it.
    supposed : its values, in the field's own order, with what would be predicted.
    """

    name: str
    label: str
    now: float
    supposed: tuple[Supposed, ...]

    @property
    def low(self) -> float:
        """Smallest probability over the values."""
        return min(s.probability for s in self.supposed)

    @property
    def high(self) -> float:
        """Largest probability over the values."""
        return max(s.probability for s in self.supposed)

    @property
    def width(self) -> float:
        """How far the probability could move, 0…1."""
        return self.high - self.low


def if_known(predictor: Predictor, measured: MeasuredCase) -> tuple[MissingField, ...]:
    """Every field that the model reads and the case lacks, that which could move the prediction most first."""
    names, values, cases = [], [], []
    schema = predictor.schema
    for field in schema.fields:
        if not field.is_token or field.name in measured.fields:
            continue
        for word, value in _plausible(predictor, field):
            names.append(field.name)
            values.append(word)
            cases.append(changed(measured, {field.name: value}))
    if schema.has_report and not measured.case.report_text.strip():
        for word, text in REPORTS.items():
            names.append(REPORT)
            values.append(word)
            cases.append(changed(measured, report=text))
    if not cases:
        return ()
    now, *probabilities = (p.probability for p in predictor.predict_measured([measured, *cases]))
    rows = list(zip(names, values, probabilities, strict=True))
    label = {name: field.label for name, field in {**FIELD, **schema.by_name}.items()}
    found = [
        MissingField(name, label[name], now, tuple(Supposed(value, p) for n, value, p in rows if n == name))
        for name in dict.fromkeys(names)
    ]
    return tuple(sorted(found, key=lambda m: -m.width))


def _plausible(predictor: Predictor, field: Field) -> list[tuple[str, Value]]:
    """Values that a field could have, with their words."""
    if field.kind != "number":
        return [(word, word == "yes" if field.kind == "flag" else word) for word in category_values(field)]
    points = np.array([field.mean - _NORMAL_95 * field.spread, field.mean, field.mean + _NORMAL_95 * field.spread])
    if (reference := predictor.checkpoint.reference) is not None:
        known = reference.fields.percentiles[predictor.schema.numbers.index(field)]
        points = np.where(np.isfinite(known), known, points)
    return [
        (f"{value:.2g} {field.unit}".rstrip() + f" ({percentile:g}th percentile)", float(value))
        for percentile, value in zip(PERCENTILES, np.clip(points, field.low, field.high), strict=True)
    ]
