"""Unlike anything seen in training: how far a picture and the fields of a case lie from the training cases.

A model answers whatever it is shown. These distances tell when it should not be asked.

**Pictures.** What the segmentation network's encoder sees in the whole picture (the mean of every channel of every level,
`model.nets.segmentation.channel_means`) is compared with the training pictures of the same view by Mahalanobis distance
(Lee et al. 2018) under the covariance of Ledoit & Wolf (2004). It needs no nodule, so it also judges a picture in which
none is found. The network sees every picture brought to zero mean and unit spread, so gain and brightness, by which
machines differ, count for nothing; raw grey levels were tried and called most pictures of some held-out centres foreign.

**Fields.** Three looks: a number outside the range of the training cases; a value, or two values together, that no
training case has although chance alone would have made at least `EXPECTED` such cases; and the Mahalanobis distance of
the numbers (lengths as logarithms) on those present, the rest being integrated out. Distances over different numbers of
fields are made comparable by Wilson & Hilferty's (1931) normal score of a chi-square value.

**Thresholds** are conformal (Bates et al. 2023): the next picture drawn like the validation pictures is farther than the
threshold with probability at most 1 − `LEVEL`. Likewise for the fields' distance. What was achieved on the validation
cases by all looks together is counted (`false_alarms`) and stands on the model card. Far is not wrong, and near is not
right: a case may look familiar and still be unlike in what the model does not see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.encode import MeasuredCase, encode_fields
from model.errors import CaseError
from model.schema import DEFAULT, VIEWS, Schema, View, category_values
from model.uncertainty.conformal import conformal_quantile

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LEVEL = 0.99
"""Share of cases like the validation cases that are not called unlike."""
EXPECTED = 10.0
"""Cases that chance must have made before their absence counts: for a Poisson count, 0 then has probability 5e-5."""
PERCENTILES = (5.0, 50.0, 95.0)
"""Percentiles of each number that are kept, as plausible values of a missing one."""
FEWEST = 10
"""Fewest cases from which anything is fitted."""

_SLACK = 1e-3
"""Spreads by which a number may leave the range: it went through single precision."""


@dataclass(frozen=True)
class NoveltyScore:
    """How far one part of a case lies from the training cases.

    Parameters
    ----------
    part : "transverse picture", "longitudinal picture" or "fields".
    distance : Mahalanobis distance for a picture (standard deviations), normal score for the fields; None where no number
        could be judged.
    threshold : distance above which a part is unlike; infinite where the validation cases were too few to place it.
    farther_than : share of the validation cases that lie nearer, 0…1.
    reasons : for the fields, what no training case shows, one clause each.
    """

    part: str
    distance: float | None
    threshold: float
    farther_than: float
    reasons: tuple[str, ...] = ()

    @property
    def far(self) -> bool:
        """Whether the distance alone is above its threshold."""
        return self.distance is not None and self.distance > self.threshold

    @property
    def unlike(self) -> bool:
        """Whether this part is unlike the training cases."""
        return self.far or bool(self.reasons)

    @property
    def words(self) -> str:
        """One sentence: whether this part is unlike the training cases, and by how much."""
        verb = "are" if self.part == "fields" else "is"
        if not self.unlike:
            return f"The {self.part} {verb} like those of the training cases."
        told = list(self.reasons)
        if self.distance is not None and self.far:
            told.insert(
                0, f"farther from them than {math.floor(1000 * self.farther_than) / 10:g} % of the validation cases "
                f"(distance {self.distance:.1f}, threshold {self.threshold:.1f})",
            )  # fmt: skip
        return f"The {self.part} {verb} unlike those of the training cases: {'; '.join(told)}."

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "part": self.part,
            "unlike": self.unlike,
            "distance": None if self.distance is None else round(self.distance, 4),
            "threshold": round(self.threshold, 4) if math.isfinite(self.threshold) else None,
            "farther_than_share_of_validation": round(self.farther_than, 4),
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class PictureReference:
    """The training pictures of one view.

    Parameters
    ----------
    mean : (F,) of the features.
    whitening : (F, F) W with distance = |(x − mean) W|.
    validation : (n,) distances of the validation pictures, ascending.
    """

    mean: FloatArray
    whitening: FloatArray
    validation: FloatArray

    def distances(self, features: FloatArray) -> FloatArray:
        """(n,) Mahalanobis distances of (n, F) features."""
        return np.asarray(np.linalg.norm((features - self.mean) @ self.whitening, axis=-1))

    @property
    def threshold(self) -> float:
        """Distance above which a picture is unlike."""
        return conformal_quantile(self.validation, LEVEL)

    def score(self, view: View, features: FloatArray) -> NoveltyScore:
        """How far a picture lies, from its (F,) features."""
        return _scored(f"{view} picture", float(self.distances(features[None])[0]), self.validation)


@dataclass(frozen=True)
class FieldReference:
    """The fields of the training cases; numbers are in the order of `Schema.numbers`.

    Parameters
    ----------
    mean, covariance : (K,), (K, K) of the numbers as `_straight` makes them; NaN where a number was given too seldom.
    low, high : (K,) smallest and largest value of the training cases, in the fields' units.
    percentiles : (K, 3) `PERCENTILES` of the training cases, in the fields' units; NaN where none was given.
    together : (V, V) training cases that have both of two values of categories (one value on the diagonal).
    given : (V, V) training cases in which both of the two fields were given.
    validation : (n,) scores of the validation cases, ascending.
    schema : of the fields.
    """

    mean: FloatArray
    covariance: FloatArray
    low: FloatArray
    high: FloatArray
    percentiles: FloatArray
    together: IntArray
    given: IntArray
    validation: FloatArray
    schema: Schema = DEFAULT

    def distance(self, numbers: FloatArray) -> float | None:
        """Normal score of the (K,) numbers (NaN where missing); None where none can be judged."""
        x = _straight(numbers, self.schema)
        known = np.isfinite(x) & np.isfinite(self.mean)
        k = int(known.sum())
        if k == 0:
            return None
        away = (x - self.mean)[known]
        squared = float(away @ np.linalg.solve(self.covariance[np.ix_(known, known)], away))
        return float((np.cbrt(squared / k) - (1 - 2 / (9 * k))) / np.sqrt(2 / (9 * k)))

    def reasons(self, numbers: FloatArray, categories: IntArray) -> tuple[str, ...]:
        """What no training case shows: numbers out of range, values and pairs of values never seen."""
        told = []
        for field, value, low, high in zip(self.schema.numbers, numbers, self.low, self.high, strict=True):
            if value < low - _SLACK * field.spread or value > high + _SLACK * field.spread:
                unit = f" {field.unit}" if field.unit else ""
                told.append(f"{field.label} {value:.3g}{unit}: the training cases have {low:.3g} to {high:.3g}{unit}")
        here, words = _chosen(categories, self.schema), _words(self.schema)
        unseen = [i for i in here if self.together[i, i] == 0 and self.given[i, i] > 0]
        told += [f"{words[i]}: no training case has it" for i in unseen]
        for at, i in enumerate(here):
            for j in here[at + 1 :]:
                if i in unseen or j in unseen or self.together[i, j] > 0 or self.given[i, j] == 0:
                    continue
                share_i, share_j = (self.together[k, k] / self.given[k, k] for k in (i, j))
                if self.given[i, j] * share_i * share_j >= EXPECTED:
                    told.append(f"{words[i]} with {words[j]}: no training case has both")
        return tuple(told)

    def score(self, numbers: FloatArray, categories: IntArray) -> NoveltyScore:
        """How far a case's fields lie."""
        return _scored("fields", self.distance(numbers), self.validation, self.reasons(numbers, categories))


@dataclass(frozen=True)
class Reference:
    """What a checkpoint keeps of its training cases to tell others apart; a view that none of them had is absent."""

    pictures: Mapping[View, PictureReference]
    fields: FieldReference

    def scores(self, measured: MeasuredCase) -> tuple[NoveltyScore, ...]:
        """Every picture of a case that the network saw, then its fields."""
        found = [
            self.pictures[view].score(view, np.asarray(seen.features, float))
            for view, seen in measured.segmentations.items()
            if view in self.pictures and seen.features is not None
        ]
        numbers, categories = field_values(measured, self.fields.schema)
        return (*found, self.fields.score(numbers, categories))

    def validation(self, part: str) -> FloatArray:
        """(n,) distances of the validation cases for the part that a `NoveltyScore` names, ascending."""
        by_part = {f"{view} picture": known.validation for view, known in self.pictures.items()}
        return by_part.get(part, self.fields.validation)

    def to_tensors(self) -> dict[str, Tensor]:
        """Plain tensors for safetensors; numbers that are only compared are kept as float32."""
        parts: dict[str, Any] = {
            f"fields.{name}": value for name, value in vars(self.fields).items() if isinstance(value, np.ndarray)
        }
        for view, picture in self.pictures.items():
            parts |= {f"{view}.{name}": value for name, value in vars(picture).items()}
        return {
            name: torch.from_numpy(np.ascontiguousarray(v, np.int32 if v.dtype.kind == "i" else np.float32))
            for name, v in parts.items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], schema: Schema = DEFAULT) -> Reference:
        """What `to_tensors` gave of a reference with the schema. Raises KeyError or TypeError where a part is missing."""
        parts: dict[str, dict[str, Any]] = {}
        for name, value in tensors.items():
            part, _, attribute = name.partition(".")
            parts.setdefault(part, {})[attribute] = value.numpy().astype(
                float if value.is_floating_point() else np.int64
            )
        fields = FieldReference(**parts.pop("fields"), schema=schema)
        return cls({view: PictureReference(**parts[view]) for view in VIEWS if view in parts}, fields)


class FieldTable(NamedTuple):
    """Fields of n cases.

    Parameters
    ----------
    numbers : (n, K) in the fields' units, NaN where missing.
    categories : (n, C) tokens, 0 where missing.
    """

    numbers: FloatArray
    categories: IntArray


def field_values(measured: MeasuredCase, schema: Schema = DEFAULT) -> tuple[FloatArray, IntArray]:
    """(K,) numbers in the fields' units, NaN where missing, and (C,) category tokens of a case."""
    numeric, present, categories = (np.asarray([row]) for row in encode_fields(measured.fields, schema))
    table = field_table(numeric, present, categories, schema)
    return table.numbers[0], table.categories[0]


def field_table(
    numeric: npt.ArrayLike, present: npt.ArrayLike, categories: npt.ArrayLike, schema: Schema = DEFAULT
) -> FieldTable:
    """Fields as the network is given them (`NetworkInputs`) in their own units."""
    mean, spread = (np.array([getattr(f, name) for f in schema.numbers]) for name in ("mean", "spread"))
    numbers = np.where(np.asarray(present, bool), np.asarray(numeric, float) * spread + mean, np.nan)
    return FieldTable(numbers, np.asarray(categories, np.int64))


def fit_reference(
    training: Mapping[View, FloatArray],
    validation: Mapping[View, FloatArray],
    training_fields: FieldTable,
    validation_fields: FieldTable,
    schema: Schema = DEFAULT,
) -> Reference:
    """Fit on training cases, place the thresholds on validation cases.

    Parameters
    ----------
    training, validation : (n, F) features of the pictures by view, those of absent pictures left out.
    schema : of the fields.

    Raises
    ------
    CaseError
        If there are fewer than `FEWEST` training cases.
    """
    if len(training_fields.numbers) < FEWEST:
        raise CaseError(
            f"{len(training_fields.numbers)} training cases", where="reference", fix=f"Give at least {FEWEST}."
        )
    pictures = {
        view: _fit_pictures(features, validation[view])
        for view, features in training.items()
        if len(features) >= FEWEST and len(validation[view])
    }
    return Reference(pictures, _fit_fields(training_fields, validation_fields, schema))


class FalseAlarms(NamedTuple):
    """How many of `cases` were called unlike, by a picture, by their fields, by either."""

    pictures: int
    fields: int
    any: int
    cases: int


def false_alarms(reference: Reference, features: Mapping[View, FloatArray], fields: FieldTable) -> FalseAlarms:
    """Count what is called unlike among cases that are known to be like.

    Parameters
    ----------
    features : (n, F) by view, with rows of NaN where a case lacks the picture.
    """
    by_picture = np.zeros(len(fields.numbers), bool)
    for view, known in reference.pictures.items():
        by_picture |= known.distances(features[view]) > known.threshold  # NaN is not greater
    by_fields = np.array([reference.fields.score(*row).unlike for row in zip(*fields, strict=True)])
    both = by_picture | by_fields
    return FalseAlarms(int(by_picture.sum()), int(by_fields.sum()), int(both.sum()), len(both))


def _fit_pictures(training: FloatArray, validation: FloatArray) -> PictureReference:
    """Mean and whitening of the training pictures; features of no spread are kept, at the smallest spread there is."""
    mean, spread = training.mean(0), training.std(0)
    spread = np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-9))
    # Shrunk in units of each feature's own spread, or the largest features would set the scale for all.
    covariance = _shrunk((training - mean) / spread, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors / np.sqrt(np.maximum(values, 1e-6 * values.max())) / spread[:, None]
    fitted = PictureReference(mean, _stored(whitening), np.zeros(0))
    return PictureReference(_stored(mean), fitted.whitening, _stored(np.sort(fitted.distances(validation))))


def _fit_fields(training: FieldTable, validation: FieldTable, schema: Schema) -> FieldReference:
    numbers = training.numbers
    straight = _straight(numbers, schema)
    usable = np.isfinite(straight).mean(0) > 0.5
    whole = straight[:, usable][np.isfinite(straight[:, usable]).all(1)]
    k = numbers.shape[1]
    mean, covariance = np.full(k, np.nan), np.full((k, k), np.nan)
    if usable.any() and len(whole) >= FEWEST:
        mean[usable] = whole.mean(0)
        spread = np.maximum(whole.std(0), 1e-6)
        shrunk = _shrunk((whole - whole.mean(0)) / spread)
        covariance[np.ix_(usable, usable)] = shrunk * np.outer(spread, spread)
    known = np.isfinite(numbers)
    low, high = np.where(known, numbers, np.inf).min(0), np.where(known, numbers, -np.inf).max(0)
    percentiles = np.array([_percentiles(column[np.isfinite(column)]) for column in numbers.T]).reshape(-1, len(PERCENTILES))
    sizes = _sizes(schema)
    ones = np.zeros((len(numbers), sum(sizes)), np.int64)
    for row, categories in zip(ones, training.categories, strict=True):
        row[_chosen(categories, schema)] = 1
    given = np.repeat(training.categories > 0, sizes, axis=1).astype(np.int64)
    fitted = FieldReference(
        _stored(mean), _stored(covariance), _stored(low), _stored(high), _stored(percentiles),
        ones.T @ ones, given.T @ given, np.zeros(0), schema,
    )  # fmt: skip
    scores = np.sort([d for row in validation.numbers if (d := fitted.distance(row)) is not None])
    return FieldReference(**{**vars(fitted), "validation": _stored(scores)})


def _shrunk(values: FloatArray, **options: bool) -> FloatArray:
    """(F, F) covariance of (n, F) values, shrunk after Ledoit and Wolf (2004)."""
    from sklearn.covariance import LedoitWolf  # takes 0.3 s, and only training needs it

    return np.asarray(LedoitWolf(**options).fit(values).covariance_)


def _percentiles(values: FloatArray) -> FloatArray:
    return np.percentile(values, PERCENTILES) if len(values) else np.full(len(PERCENTILES), np.nan)


def _straight(numbers: FloatArray, schema: Schema) -> FloatArray:
    """Lengths as logarithms, since they are skewed; the rest as it is."""
    length = np.array([f.unit == "mm" for f in schema.numbers], dtype=bool)
    return np.where(length, np.log(np.maximum(numbers, 0.0) + 1.0), numbers)


def _sizes(schema: Schema) -> list[int]:
    return [len(category_values(f)) for f in schema.categories]


def _words(schema: Schema) -> list[str]:
    """Every value of every category, in the order of the counts."""
    return [f"{f.label} {word}" for f in schema.categories for word in category_values(f)]


def _chosen(categories: IntArray, schema: Schema) -> list[int]:
    """Places in `_words` of the values that a case has."""
    starts = np.cumsum([0, *_sizes(schema)])[:-1]
    return [int(start + token - 1) for start, token in zip(starts, categories, strict=True) if token > 0]


def _stored(values: FloatArray) -> FloatArray:
    """As it will be read back, so that a checkpoint answers the same before and after it is written."""
    return np.asarray(values, np.float32).astype(float)


def _scored(part: str, distance: float | None, validation: FloatArray, reasons: tuple[str, ...] = ()) -> NoveltyScore:
    nearer = 0.0 if distance is None else float(np.searchsorted(validation, distance) / max(len(validation), 1))
    return NoveltyScore(part, distance, conformal_quantile(validation, LEVEL), nearer, reasons)
