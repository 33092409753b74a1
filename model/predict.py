"""Three lines from a case to a calibrated probability.

>>> from model import Predictor, read_case
>>> predictor = Predictor.load()
>>> predictor.predict(read_case("case.json")).probability
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from statsmodels.stats.proportion import proportion_confint

from model.devices import device_for
from model.encode import MeasuredCase, encode, measure
from model.nets.llnm_net import LlnmNet, NetworkInputs, NetworkOutput
from model.nets.quick.net import has_bfloat16, has_onednn, quick_net
from model.schema import Case, Schema, Value, View
from model.segment import Segmentation, segment
from model.train.checkpoint import Checkpoint, load_checkpoint
from model.train.folders import SHIPPED
from model.uncertainty.conformal import STATED, ConformalSet, all_thresholds
from model.uncertainty.novelty import NoveltyScore

NEIGHBOURS, SHARE, FEWEST = 200, 0.1, 30
"""Validation cases with the nearest score, from which the interval of a probability is taken: so many at most, a tenth of all
where that is less, so that they are near in a small cohort too, and not fewer than the last."""

OUT_OF_DOMAIN = (
    "Outside the model's domain: it was trained on synthetic pictures only, this case is not one of them. "
    "The number demonstrates the method and says nothing about a patient."
)
"""The notice that must stand beside the number of such a case."""


@dataclass(frozen=True)
class Interval:
    """What happened to the validation cases that scored most like this one.

    Parameters
    ----------
    low, high : 95 % Wilson interval of the observed rate of the endpoint among them.
    positives, count : numerator and denominator of that rate.
    """

    low: float
    high: float
    positives: int
    count: int


@dataclass(frozen=True)
class Prediction:
    """What the model says of one case.

    Parameters
    ----------
    case_id : the case.
    probability : calibrated probability of the endpoint (0…1).
    logit : calibrated logit; probability = 1 / (1 + exp(−logit)).
    interval : see `Interval`; it speaks of cases like the validation cases only.
    stage_probabilities : probabilities of risk stages 1, 2 and 3, given that there is LLNM; None where the model has no
        stages.
    fields : the fields the model read, measured ones included.
    notices : what a reader must know beside the number.
    model : name and hash of the checkpoint.
    conformal : outcomes that cannot be ruled out, one set for each of `conformal.LEVELS`, in ascending order.
    novelty : how far each picture and the fields lie from the training cases; empty where the checkpoint cannot tell.
    endpoint : short name of what is predicted.
    """

    case_id: str
    probability: float
    logit: float
    interval: Interval
    stage_probabilities: tuple[float, float, float] | None
    fields: Mapping[str, Value]
    notices: tuple[str, ...]
    model: str
    conformal: tuple[ConformalSet, ...]
    novelty: tuple[NoveltyScore, ...]
    endpoint: str = "LLNM"

    @property
    def conformal_set(self) -> ConformalSet:
        """The set of the level that is stated beside the probability."""
        return next(s for s in self.conformal if s.level == STATED)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "case_id": self.case_id,
            "probability": round(self.probability, 6),
            "logit": round(self.logit, 6),
            "interval_95": [round(self.interval.low, 4), round(self.interval.high, 4)],
            "interval_basis": f"{self.interval.positives} of the {self.interval.count} validation cases that scored "
            f"nearest had {self.endpoint} (Wilson)",
            "stage_probabilities": None
            if self.stage_probabilities is None
            else [round(p, 6) for p in self.stage_probabilities],
            "fields": {k: round(v, 4) if isinstance(v, float) else v for k, v in self.fields.items()},
            "conformal_sets": {f"{s.level:g}": list(s.outcomes) for s in self.conformal},
            "conformal_basis": "share of cases like the validation cases whose set holds their outcome, at least, among "
            f"those with {self.endpoint} and among those without (split conformal, by label)",
            "novelty": [score.to_dict() for score in self.novelty],
            "notices": list(self.notices),
            "model": self.model,
        }


@lru_cache(maxsize=4096)
def _observed(positives: int, count: int) -> Interval:
    low, high = proportion_confint(positives, count, method="wilson")
    return Interval(float(low), float(high), positives, count)


class Predictor:
    """A checkpoint ready to use; safe to share between threads, since nothing on it changes after loading (`quick_net` is made on
    first use, and is the same whoever makes it).

    Parameters
    ----------
    checkpoint : what to predict with.
    device : "cpu", "cuda" or None for CUDA when there is one; CaseError where it is not there.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | None = None) -> None:
        self.device = device_for(device)
        self.checkpoint = checkpoint
        self.net = checkpoint.net.to(self.device).eval().requires_grad_(False)
        found = checkpoint.segmentation
        self.segmentation = None if found is None else found.to(self.device).eval().requires_grad_(False)
        order = np.argsort(checkpoint.validation_logits, kind="stable")
        self._sorted_logits = checkpoint.validation_logits[order]
        self._positives = np.concatenate([[0], np.cumsum(checkpoint.validation_labels[order])])
        self.thresholds = all_thresholds(
            checkpoint.validation_logits, checkpoint.validation_labels, checkpoint.schema.endpoint.short
        )

    @property
    def schema(self) -> Schema:
        """What the model reads and what it predicts."""
        return self.checkpoint.schema

    @cached_property
    def quick_net(self) -> LlnmNet:
        """The same network for many rows of one case, whose rounding is known to matter little: on a CPU in quicker layers, and in
        bfloat16 where it has units for that."""
        if self.device.type != "cpu" or not has_onednn():
            return self.net
        return quick_net(self.net, torch.bfloat16 if has_bfloat16() else torch.float32)

    @classmethod
    def load(cls, folder: Path | str = SHIPPED, device: str | None = None) -> Predictor:
        """Read a checkpoint folder; raises `CheckpointError` where it is missing or damaged."""
        return cls(load_checkpoint(folder), device)

    def measure(self, cases: Iterable[Case]) -> list[MeasuredCase]:
        """Segment the pictures and measure nodule and gland; a model without images leaves the pictures alone."""
        cases = list(cases)
        if self.segmentation is None:
            return [measure(case, {}, map_size=self.net.config.map_size) for case in cases]
        places: list[tuple[int, View]] = [(i, view) for i, case in enumerate(cases) for view in case.images]
        found = segment(self.segmentation, [cases[i].images[view] for i, view in places], device=self.device)
        by_case: list[dict[View, Segmentation]] = [{} for _ in cases]
        for (i, view), masks in zip(places, found, strict=True):
            by_case[i][view] = masks
        size = self.net.config.map_size
        return [measure(case, masks, map_size=size) for case, masks in zip(cases, by_case, strict=True)]

    def encode(self, measured: Iterable[MeasuredCase]) -> NetworkInputs:
        """Network inputs on this predictor's device; raises CaseError for values that the model does not know."""
        return encode(list(measured), self.checkpoint.tokenizer, self.net.config, self.schema).to(self.device)

    def calibrated(self, logit: torch.Tensor) -> torch.Tensor:
        """Calibrated logits from the network's own."""
        return logit / self.checkpoint.temperature

    @torch.inference_mode()
    def run(self, inputs: NetworkInputs, *, return_attention: bool = False) -> NetworkOutput:
        """Forward pass without gradients."""
        return self.net(inputs, return_attention=return_attention)  # type: ignore[no-any-return]

    def predict_measured(self, measured: Iterable[MeasuredCase]) -> list[Prediction]:
        """Predictions of cases already measured, in their order."""
        measured = list(measured)
        if not measured:
            return []
        output = self.run(self.encode(measured))
        logits = self.calibrated(output.logit.float()).cpu().numpy()
        stages: Iterable[Any] = [None] * len(logits)
        if output.stage_logits is not None:
            stages = torch.softmax(output.stage_logits.float(), -1).cpu().numpy()
        return [
            self._prediction(case, float(logit), stage)
            for case, logit, stage in zip(measured, logits, stages, strict=True)
        ]

    def predict(self, case: Case) -> Prediction:
        """Prediction of one case."""
        return self.predict_measured(self.measure([case]))[0]

    def predict_many(self, cases: Iterable[Case], *, batch: int = 32) -> Iterator[Prediction]:
        """Predictions of a stream of cases, in order; memory does not grow with its length."""
        iterator = iter(cases)
        while block := list(islice(iterator, batch)):
            yield from self.predict_measured(self.measure(block))

    def interval(self, logit: float) -> Interval:
        """Observed rate among the validation cases with the nearest score, with its 95 % Wilson interval."""
        n = len(self._sorted_logits)
        count = min(n, max(FEWEST, min(NEIGHBOURS, round(SHARE * n))))
        at = int(np.searchsorted(self._sorted_logits, logit))
        start = min(max(at - count // 2, 0), n - count)
        # The window slides to the side whose far end is nearer.
        while start > 0 and logit - self._sorted_logits[start - 1] < self._sorted_logits[start + count - 1] - logit:
            start -= 1
        while start + count < n and self._sorted_logits[start + count] - logit < logit - self._sorted_logits[start]:
            start += 1
        positives = int(self._positives[start + count] - self._positives[start])
        return _observed(positives, count)

    def _prediction(self, measured: MeasuredCase, logit: float, stage: np.ndarray[Any, Any] | None) -> Prediction:
        novelty = self.novelty(measured)
        return Prediction(
            case_id=measured.case.case_id,
            probability=1 / (1 + math.exp(-logit)),
            logit=logit,
            interval=self.interval(logit),
            stage_probabilities=None if stage is None else (float(stage[0]), float(stage[1]), float(stage[2])),
            fields={name: value for name, value in measured.fields.items() if name in self.schema.by_name},
            notices=self.notices(measured, novelty),
            model=self.checkpoint.identity,
            conformal=tuple(limits.of(logit) for limits in self.thresholds.values()),
            novelty=novelty,
            endpoint=self.schema.endpoint.short,
        )

    def novelty(self, measured: MeasuredCase) -> tuple[NoveltyScore, ...]:
        """How far each picture and the fields lie from the training cases; empty where the checkpoint cannot tell."""
        reference = self.checkpoint.reference
        return () if reference is None else reference.scores(measured)

    def notices(self, measured: MeasuredCase, novelty: tuple[NoveltyScore, ...]) -> tuple[str, ...]:
        """What a reader must know beside the number: domain, likeness to the training cases, outlines, missing inputs."""
        case, result = measured.case, []
        if case.provenance != "synthetic" and self.checkpoint.card.get("training_data") == "synthetic":
            result.append(OUT_OF_DOMAIN)
        result += [score.words for score in novelty if score.unlike]
        for view, found in measured.segmentations.items():
            if not found.found:
                what = "nodule" if not found.nodule.any() else "gland"
                result.append(f"No {what} found on the {view} view; it was left out. Outline it by hand.")
            elif found.unsure:
                result.append(
                    f"The outlines on the {view} view are unsure (agreement {found.nodule_confidence:.0%} nodule, "
                    f"{found.gland_confidence:.0%} gland). Check them, or outline by hand."
                )
        if self.schema.has_images:
            if not case.images:
                result.append("No picture: the model used its “missing” tokens.")
            elif all(image.pixel_spacing_mm is None for image in case.images.values()):
                result.append("Pixel spacing unknown: distances are in % of gland depth, not in mm.")
        elif case.images:
            result.append("The pictures were left out: this model reads none.")
        if (tokenizer := self.checkpoint.tokenizer) is None:
            if case.report_text.strip():
                result.append("The report was left out: this model reads none.")
        elif not case.report_text.strip():
            result.append("No report: the model used its “no report” token.")
        else:
            read = tokenizer.encode(case.report_text)
            if read.unknown_share > 0.3:
                result.append(f"{read.unknown_share:.0%} of the report's words are unknown to the model.")
            if read.truncated:
                result.append(f"The report was cut after its first {len(read.ids)} word pieces.")
        return tuple(result)
