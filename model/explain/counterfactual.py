"""What if: the same case with other fields, another report, or its nodule elsewhere, and what the model then says.

Nothing here is causal: it tells how the model would read another case, not what would happen to this patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.encode import MeasuredCase, measured_fields
from model.features.extract import relocate
from model.predict import Predictor
from model.schema import FIELD, FIELDS, Value, View, category_values

FloatArray = npt.NDArray[np.float64]

IMMUTABLE = ("age_years", "sex", "histology", "braf_v600e", "side", "third")
"""What no second look changes: the patient, the tumour's kind, its lobe."""
MEASURED = ("capsule_distance_mm",)
"""Fields that are changed by moving the nodule."""
STEPS = 13
"""Places along the line at which a distance curve is read."""


@dataclass(frozen=True)
class DistanceCurve:
    """Individual conditional expectation of capsule distance: the nodule slid along its own line to the capsule.

    Parameters
    ----------
    distance : (k,) shortest capsule distance over the views, in mm, or as a share of gland depth where `unit` is "".
    probability : (k,) calibrated probability there.
    here : index of the case as it is.
    unit : "mm" or "".
    """

    distance: FloatArray
    probability: FloatArray
    here: int
    unit: str


@dataclass(frozen=True)
class Change:
    """One field another way: name, value as it is and value as it would be."""

    name: str
    before: Value
    after: Value


@dataclass(frozen=True)
class Crossing:
    """The smallest change found that takes the probability across the threshold.

    Parameters
    ----------
    changes : one or two fields.
    cost : spreads moved by numbers, plus one for every category changed.
    probability : after the changes.
    """

    changes: tuple[Change, ...]
    cost: float
    probability: float


def changed(
    measured: MeasuredCase, fields: Mapping[str, Value | None] | None = None, report: str | None = None
) -> MeasuredCase:
    """The case with other fields (None takes one away) or another report; pictures and masks as they are.

    Raises
    ------
    KeyError
        If a name is no field that the model reads.
    """
    case, values = measured.case, dict(measured.fields)
    typed = dict(case.fields)
    for name, value in (fields or {}).items():
        if not FIELD[name].is_token:
            raise KeyError(f"{name} is not read by the model")
        for store in (values, typed):
            store.pop(name, None)
            if value is not None:
                store[name] = value
    case = replace(case, fields=typed, report_text=case.report_text if report is None else report)
    return replace(measured, case=case, fields=values)


def moved(measured: MeasuredCase, view: View, down_px: float, right_px: float) -> MeasuredCase:
    """The case with its nodule moved in one view: location map and capsule distance follow, its looks stay.

    A typed capsule distance is dropped, since the one measured at the new place goes before it.
    """
    found = measured.segmentations[view]
    nodule = ndimage.shift(found.nodule.astype(np.float32), (down_px, right_px), order=1) > 0.5
    if not nodule.any():
        return measured
    features = dict(measured.features)
    spacing = measured.case.images[view].pixel_spacing_mm
    features[view] = relocate(features[view], found.gland, nodule, spacing)
    distance = ("capsule_distance_mm", "capsule_distance_fraction")
    typed = {k: v for k, v in measured.case.fields.items() if k not in distance}
    return replace(
        measured,
        case=replace(measured.case, fields=typed),
        segmentations={**measured.segmentations, view: replace(found, nodule=nodule)},
        features=features,
        fields={**measured_fields(features), **typed},
    )


def away_from_capsule(measured: MeasuredCase, view: View) -> tuple[FloatArray, bool]:
    """(down, right) in pixels from the capsule to the nodule on their shortest line, and whether the nodule touches it.

    Where it touches there is no such line: it is then the one from the place of contact to the nodule's middle.
    """
    capsule = measured.features[view].capsule
    line = np.subtract(capsule.nodule_point, capsule.capsule_point)
    touches = float(np.hypot(*line)) < 1
    if touches:
        line = np.subtract(ndimage.center_of_mass(measured.segmentations[view].nodule), capsule.nodule_point)
    return line, touches


def moved_away(measured: MeasuredCase, view: View, mm: float) -> MeasuredCase:
    """The case with its nodule moved from the capsule (below 0: towards it) by a distance.

    Raises
    ------
    ValueError
        If the view has no pixel spacing.
    """
    spacing = measured.case.images[view].pixel_spacing_mm
    if spacing is None:
        raise ValueError(f"the {view} view has no pixel spacing")
    line, _ = away_from_capsule(measured, view)
    return moved(measured, view, *(line * mm / (float(np.hypot(*(line * spacing))) or 1.0)))


def distance_curve(predictor: Predictor, measured: MeasuredCase, view: View) -> DistanceCurve:
    """Slide the nodule of one view along its line to the capsule, out to it and as far again inwards, and predict.

    The distance told is the case's: the shortest over the views, so it stops growing where the other view's is shorter.
    A distance that somebody typed is left out: the outlines are asked.

    Raises
    ------
    KeyError
        If the view was not measured.
    """
    line, touches = away_from_capsule(measured, view)
    if touches:
        shares = np.linspace(0, 1.5, STEPS)
    else:
        # Inwards at least 30 pixels, so that a nodule near the capsule is moved well away.
        inwards = max(1.0, 30 / float(np.hypot(*line)))
        half = STEPS // 2
        shares = np.concatenate([np.linspace(-1, 0, half, endpoint=False), [0], np.linspace(0, inwards, half + 1)[1:]])
    cases = [measured if s == 0 else moved(measured, view, *(s * line)) for s in shares]
    unit = "mm" if all(c.features[view].capsule.distance is not None for c in cases) else ""
    name = "capsule_distance_mm" if unit else "capsule_distance_fraction"
    distance = np.array([float(c.fields[name]) for c in cases])
    probability = np.array([p.probability for p in predictor.predict_measured(cases)])
    order = np.argsort(distance, kind="stable")
    here = int(np.flatnonzero(order == int(np.flatnonzero(shares == 0)[0]))[0])
    return DistanceCurve(distance[order], probability[order], here, unit)


def smallest_crossing(predictor: Predictor, measured: MeasuredCase, threshold: float) -> Crossing | None:
    """The cheapest change of one field, or else of two, that takes the probability across `threshold`.

    Only fields that a second look could read differently are tried (not age, sex, histology, BRAF or place), and only
    those that the case has. Numbers move by half or whole spreads within their range; capsule distance is one of them.

    Parameters
    ----------
    threshold : probability to cross, 0 < threshold < 1.

    Returns
    -------
    None where no such change is enough.
    """
    now = predictor.predict_measured([measured])[0].probability
    above = now >= threshold
    singles = _single_changes(measured)
    pairs = [(a, b) for a, b in combinations(singles, 2) if a[0].name != b[0].name]
    for tried in ([(s,) for s in singles], pairs):
        cases = [reduce(_applied, [change for change, _ in combination], measured) for combination in tried]
        if not cases:
            continue
        probabilities = [p.probability for p in predictor.predict_measured(cases)]
        crossing = [
            Crossing(tuple(change for change, _ in combination), sum(cost for _, cost in combination), probability)
            for combination, probability in zip(tried, probabilities, strict=True)
            if (probability >= threshold) != above
        ]
        if crossing:
            return min(crossing, key=lambda c: (c.cost, abs(c.probability - threshold)))
    return None


def nearest_view(measured: MeasuredCase) -> View | None:
    """The view with the shortest capsule distance; None where none was measured."""
    views = measured.features
    return min(views, key=lambda v: views[v].capsule.fraction, default=None)


def _placed(measured: MeasuredCase) -> bool:
    """Whether the nodule can be moved by a distance in mm."""
    view = nearest_view(measured)
    return view is not None and measured.features[view].capsule.distance is not None


def _applied(measured: MeasuredCase, change: Change) -> MeasuredCase:
    """The case after a change; another capsule distance moves the nodule, so that map and number agree."""
    if change.name not in MEASURED:
        return changed(measured, {change.name: change.after})
    view = nearest_view(measured)
    assert view is not None  # `_single_changes` offers the distance only where there is one
    return moved_away(measured, view, float(change.after) - float(measured.features[view].capsule.distance or 0.0))


def _single_changes(measured: MeasuredCase) -> list[tuple[Change, float]]:
    """Every plausible change of one field of the case, with its cost."""
    result: list[tuple[Change, float]] = []
    for spec in FIELDS:
        if not spec.is_token or spec.name in IMMUTABLE or spec.name not in measured.fields:
            continue
        before = measured.fields[spec.name]
        if spec.kind == "number":
            if spec.name not in ("size_mm", "capsule_distance_mm") or (spec.name in MEASURED and not _placed(measured)):
                continue  # the other measurements follow from the outlines
            for spreads in (-1.0, -0.5, 0.5, 1.0):
                after = float(np.clip(float(before) + spreads * spec.spread, spec.low, spec.high))
                if after != before:
                    result.append((Change(spec.name, before, after), abs(after - float(before)) / spec.spread))
        else:
            for word in category_values(spec):
                after_value: Value = word == "yes" if spec.kind == "flag" else word
                if after_value != before:
                    result.append((Change(spec.name, before, after_value), 1.0))
    return result
