"""What if: the same case with other fields, another report, or its nodule elsewhere, and what the model then says.

Nothing here is causal: it tells how the model would read another case, not what would happen to this patient.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.signal import fftconvolve
from skimage.measure import find_contours

from model.encode import MeasuredCase, measured_fields
from model.features.extract import relocate
from model.features.masks import bounds, filled
from model.predict import Predictor
from model.schema import Schema, Value, View, category_values

FloatArray = npt.NDArray[np.float64]

IMMUTABLE = ("age_years", "sex", "histology", "braf_v600e", "side", "third")
"""What no second look changes: the patient, the tumour's kind, its lobe."""
MEASURED = ("capsule_distance_mm",)
"""Fields that are changed by moving the nodule."""
STEPS = 13
"""Places along the line at which a distance curve is read."""
_DETOUR = 0.02
"""How far from where it was dragged a nodule may come to lie, for each unit less that it leaves its path: many places are
reached from two sides of the gland, and the nearer side tells them better."""
_CONTACT = 2.0
"""In pixels: nearer than that to the capsule, the nearest pixel of it tells its direction too coarsely."""


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


@dataclass(frozen=True, eq=False)
class CapsulePath:
    """The places of a nodule at which it is as far from the capsule as it is now, in their order along the capsule.

    Parameters
    ----------
    along : (k,) way from where the nodule is, increasing through 0; above 0 is clockwise on the picture.
    offset : (k, 2) shift there, (down, right) in pixels.
    away : (k, 2) the way straight away from the capsule there, (down, right) in pixels for one unit.
    room : (k,) how far it can go that way until it comes nearer to the capsule elsewhere, in the unit.
    spacing : (row, column) size of a pixel in the unit.
    unit : of `along`: "mm", or "pixels" where the view has no pixel spacing.
    """

    along: FloatArray
    offset: FloatArray
    away: FloatArray
    room: FloatArray
    spacing: tuple[float, float]
    unit: str

    def at(self, along: float, towards: float = 0.0) -> FloatArray:
        """(down, right) in pixels after a way along the capsule and then one straight towards it (below 0: away).

        The path's end where it goes beyond.
        """
        place = np.array([np.interp(along, self.along, self.offset[:, i]) for i in range(2)])
        # Not interpolated: between two places that are nearest to opposite sides there is no way between their ways.
        return np.asarray(place - towards * self.away[np.abs(self.along - along).argmin()])

    def nearest(self, shift: npt.ArrayLike, most_away: float, most_towards: float) -> tuple[float, float]:
        """The ways along and towards the capsule that bring the nodule as near as can be to where it was dragged.

        It goes away from the capsule only as far as there is room: what lies beyond is told from the other side.

        Parameters
        ----------
        shift : (down, right) in pixels from where the nodule is.
        most_away, most_towards : how far it may leave its path, both at least 0, in the unit.

        Returns
        -------
        (along, towards), for `at` and `placed`.
        """
        gap = (np.asarray(shift, float) - self.offset) * self.spacing
        away = self.away * self.spacing
        towards = np.clip(-(gap * away).sum(1), -np.minimum(most_away, self.room), most_towards)
        missed = np.hypot(*(gap + towards[:, None] * away).T)
        best = int((missed + _DETOUR * np.abs(towards)).argmin())
        return float(self.along[best]), float(towards[best])


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
        if not case.schema.by_name[name].is_token:
            raise KeyError(f"{name} is not read by the model")
        for store in (values, typed):
            store.pop(name, None)
            if value is not None:
                store[name] = value
    case = replace(case, fields=typed, report_text=case.report_text if report is None else report)
    return replace(measured, case=case, fields=values)


def words_of(report: str) -> list[str]:
    """The words of a report, in order, with the punctuation that stands against them."""
    return re.findall(r"\S+", report)


def without_words(report: str, places: Collection[int]) -> str:
    """The report without the words at some places of `words_of`; what stands between the others stays."""
    spans = [match.span() for match in re.finditer(r"\S+\s*", report)]
    gone = [spans[i] for i in sorted(set(places)) if 0 <= i < len(spans)]
    for start, end in reversed(gone):
        report = report[:start] + report[end:]
    return report.rstrip() if gone else report


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


def capsule_path(measured: MeasuredCase, view: View) -> CapsulePath:
    """Where the nodule can be moved along the capsule at the distance that it has now.

    The shifts that bring the nodule N onto something outside the gland G are the sum set of Gᶜ and −N (Minkowski), and
    the capsule distance after a shift is the shift's distance to that set. So the path is a level line of its signed
    distance transform, through the shift 0. It ends where the nodule would leave the picture. A nodule that crosses the
    capsule keeps its depth across it.

    Raises
    ------
    KeyError
        If the view was not measured.
    """
    found, spacing = measured.segmentations[view], _spacing(measured, view)
    around = bounds(found.nodule)
    nodule = found.nodule[around.box]
    outside = ~filled(found.gland)
    hit = fftconvolve(outside.astype(np.float32), nodule[::-1, ::-1].astype(np.float32)) > 0.5
    origin = np.array([around.row1, around.column1]) - 1  # of the shifts in `hit`
    unit = "pixels" if measured.case.images[view].pixel_spacing_mm is None else "mm"
    off, _ = away_from_capsule(measured, view)
    straight = off / (float(np.hypot(*(off * spacing))) or 1.0)
    stay = CapsulePath(np.zeros(1), np.zeros((1, 2)), straight[None], np.array([np.inf]), spacing, unit)
    if hit.all():
        return stay
    free, to_hit = ndimage.distance_transform_edt(~hit, sampling=spacing, return_indices=True)
    deep, to_free = ndimage.distance_transform_edt(hit, sampling=spacing, return_indices=True)
    clearance = free - deep
    inside_picture = np.zeros_like(hit)
    inside_picture[nodule.shape[0] - 1 : outside.shape[0], nodule.shape[1] - 1 : outside.shape[1]] = True
    # A little above the value there, since a level line through a grid point is ambiguous.
    level = clearance[tuple(origin)] + 1e-6 * min(spacing)
    lines = [line - origin for line in find_contours(clearance, level, mask=inside_picture)]  # type: ignore[no-untyped-call]
    line = min(lines, key=lambda points: float(np.hypot(*points.T).min()), default=None)
    if line is None or np.hypot(*line.T).min() > 1:
        return stay
    here = int(np.hypot(*line.T).argmin())
    if np.array_equal(line[0], line[-1]):  # all around: as far one way as the other
        line = np.roll(line[:-1], len(line) // 2 - here, axis=0)
        here = len(line) // 2
    line[here] = 0
    way = np.concatenate([[0], np.cumsum(np.hypot(*(np.diff(line, axis=0) * spacing).T))])
    if abs(level) > _CONTACT * max(spacing):
        at = np.rint(line + origin).astype(int)
        away = (at - to_hit[:, *at.T].T if level > 0 else to_free[:, *at.T].T - at) * spacing
    else:
        slope = np.gradient(ndimage.gaussian_filter(clearance, _CONTACT), *spacing)
        away = np.stack([ndimage.map_coordinates(part, (line + origin).T, order=1) for part in slope], 1)
    away = away / np.maximum(np.hypot(*away.T), 1e-9)[:, None] / spacing
    # The clearance grows by at most 1 for 1, so no ray is longer than what it can still grow.
    reach = np.arange(0, clearance.max() - level + min(spacing), min(spacing))
    rays = (line + origin)[:, None] + reach[:, None] * away[:, None]
    heights = ndimage.map_coordinates(clearance, rays.transpose(2, 0, 1), order=1, mode="nearest")
    grows = np.logical_and.accumulate(np.diff(heights, axis=1) > 0, axis=1)
    return CapsulePath(way - way[here], line, away, min(spacing) * grows.sum(1), spacing, unit)


def placed(
    measured: MeasuredCase, view: View, path: CapsulePath, *, along: float = 0.0, towards: float = 0.0
) -> MeasuredCase:
    """The case with its nodule moved along the capsule and then towards it.

    Parameters
    ----------
    path : from `capsule_path`, of the same case and view.
    along, towards : in the path's unit; below 0 counter-clockwise, and away.
    """
    return moved(measured, view, *path.at(along, towards)) if along or towards else measured


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
    singles = _single_changes(measured, predictor.schema)
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


def _spacing(measured: MeasuredCase, view: View) -> tuple[float, float]:
    """Size of a pixel in mm; (1, 1) where it is not known, so that lengths are in pixels."""
    return measured.case.images[view].pixel_spacing_mm or (1.0, 1.0)


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


def _single_changes(measured: MeasuredCase, schema: Schema) -> list[tuple[Change, float]]:
    """Every plausible change of one field of the case, with its cost."""
    result: list[tuple[Change, float]] = []
    for spec in schema.fields:
        if not spec.is_token or spec.name in IMMUTABLE or spec.name not in measured.fields:
            continue
        before = measured.fields[spec.name]
        if spec.kind == "number":
            if spec.role == "measured" and (spec.name not in MEASURED or not _placed(measured)):
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
