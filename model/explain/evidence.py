"""What a method says of the pixels that the network reads: one result type, and the share of it in each part of the neck.

Relevance belongs to the three maps of each view (schema.MAPS), which are the network's pixels; `attention.paint` lays it
back on the original picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.encode import MeasuredCase
from model.explain.attention import paint
from model.features.extract import ViewFeatures
from model.nets.llnm_net import NetworkInputs
from model.predict import Predictor
from model.schema import MAPS, VIEWS, MapName, View

FloatArray = npt.NDArray[np.float32]

BASELINE_GREY = {"location": 0.0, "internal": 0.5, "margin": 0.5}
"""Level of what a map shows where it shows nothing of note: no nodule; tissue as bright as the gland (0.5, its median)."""
BASELINE_WORDS = "no location, and tissue as bright as the gland"

CAPSULE_SIDE_MM = 2.0
"""Width of the band inside the nodule's edge, nearest to the capsule, that counts as its capsule side."""


@dataclass(frozen=True)
class PictureEvidence:
    """Relevance of the pixels of a case for its calibrated logit of LLNM.

    Parameters
    ----------
    case_id : the case.
    method : name of the method, with its source.
    baseline : what the pixels were compared with.
    views : views that were read.
    relevance : (V, 3, S, S), `schema.MAPS` order; above 0 raises the logit.
    signed : False where a method cannot say what lowers the risk (Grad-CAM++).
    logit, baseline_logit : calibrated logit of the case, and with the baseline's pixels; NaN where a method has none.
    model_rows : cases that the network was run on.
    residual : logit − baseline_logit − Σ relevance; NaN where the method promises no such sum.
    """

    case_id: str
    method: str
    baseline: str
    views: tuple[View, ...]
    relevance: FloatArray
    signed: bool
    logit: float
    baseline_logit: float
    model_rows: int
    residual: float

    def of(self, view: View, map_name: MapName) -> FloatArray:
        """(S, S) of one map."""
        picked: FloatArray = self.relevance[self.views.index(view), MAPS.index(map_name)]
        return picked


@dataclass(frozen=True)
class Subject:
    """A case as the methods need it: its inputs, and the calibrated logit as a function of its maps.

    Parameters
    ----------
    case_id : the case.
    inputs : its inputs alone (B = 1) on the predictor's device.
    views : views that were read, and `at`, their places.
    maps : (V, 3, S, S) of those views; `baseline` likewise.
    """

    predictor: Predictor
    case_id: str
    inputs: NetworkInputs
    views: tuple[View, ...]
    at: list[int]
    maps: Tensor
    baseline: Tensor

    @classmethod
    def of(cls, predictor: Predictor, measured: MeasuredCase) -> Subject:
        """Raises ValueError where no view was measured, since there is then no pixel to explain."""
        inputs = predictor.encode([measured])
        at = [v for v in range(len(VIEWS)) if bool(inputs.view_present[0, v])]
        if not at:
            raise ValueError("no view was measured: nodule or gland not found")
        maps = inputs.maps[0, at].clone()
        levels = torch.tensor([BASELINE_GREY[name] for name in MAPS], device=maps.device)
        baseline = torch.where(maps > 0, levels[None, :, None, None], 0.0)  # the black around a nodule stays black
        return cls(predictor, measured.case.case_id, inputs, tuple(VIEWS[v] for v in at), at, maps, baseline)

    def logits(self, maps: Tensor) -> Tensor:
        """Calibrated logits (n,) of the case with other maps (n, V, 3, S, S); keeps gradients, leaves no hook."""
        full = self.inputs.maps.expand(len(maps), -1, -1, -1, -1).clone()
        full[:, self.at] = maps
        rows = self.inputs.rows(torch.zeros(len(maps), dtype=torch.long, device=maps.device))
        output = self.predictor.net(replace(rows, maps=full))
        return self.predictor.calibrated(output.logit)

    @torch.no_grad()
    def ends(self) -> tuple[float, float]:
        """Calibrated logit of the case, and with the baseline's pixels."""
        logit, base = (float(end) for end in self.logits(torch.stack([self.maps, self.baseline])))
        return logit, base

    def against_baseline(
        self, method: str, relevance: Tensor, ends: tuple[float, float], *, model_rows: int, residual: float = math.nan
    ) -> PictureEvidence:
        """The result of a method that compares with the baseline.

        Parameters
        ----------
        relevance : (V, 3, S, S).
        ends : from `ends`.
        model_rows : cases that the network was run on, the two ends among them.
        residual : as in `PictureEvidence`.
        """
        logit, base = ends
        return PictureEvidence(
            case_id=self.case_id,
            method=method,
            baseline=BASELINE_WORDS,
            views=self.views,
            relevance=np.asarray(relevance.detach().cpu().numpy(), dtype=np.float32),
            signed=True,
            logit=logit,
            baseline_logit=base,
            model_rows=model_rows,
            residual=residual,
        )


@dataclass(frozen=True)
class Shares:
    """Where the relevance of a view lies: shares of its absolute sum, which add up to one.

    Parameters
    ----------
    capsule_side : within the nodule, less than `CAPSULE_SIDE_MM` from its point nearest to the capsule (without spacing:
        a quarter of the nodule's diameter).
    nodule : the rest of the nodule.
    gland : the rest of the gland.
    outside : everything else.
    """

    capsule_side: float
    nodule: float
    gland: float
    outside: float


def on_picture(relevance: FloatArray, features: ViewFeatures, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Absolute relevance of a view's maps, (3, S, S), laid on the picture: (height, width).

    A small box magnifies nothing: each map keeps its own sum.
    """
    total = np.zeros(shape, np.float64)
    for name, part in zip(MAPS, np.abs(relevance), strict=True):
        laid = np.nan_to_num(paint(part, features.box(name), shape, smooth=False).astype(np.float64))
        if laid.sum() > 0:
            total += laid * (float(part.sum()) / laid.sum())
    return total


def shares(evidence: PictureEvidence, measured: MeasuredCase, view: View) -> Shares | None:
    """Shares of a view's relevance, all maps laid on the picture; None where there is no relevance at all."""
    image, found, features = measured.case.images[view], measured.segmentations[view], measured.features[view]
    shape = (image.pixels.shape[0], image.pixels.shape[1])
    total = on_picture(evidence.relevance[evidence.views.index(view)], features, shape)
    if total.sum() <= 0:
        return None
    row, column = features.capsule.nodule_point
    spacing = image.pixel_spacing_mm
    step_row, step_column = spacing or (1.0, 1.0)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    reach = CAPSULE_SIDE_MM if spacing is not None else 0.25 * max(features.height_px, features.width_px)
    near = np.hypot((rows - round(row)) * step_row, (columns - round(column)) * step_column) <= reach
    whole = float(total.sum())
    side = float(total[found.nodule & near].sum()) / whole
    nodule = float(total[found.nodule].sum()) / whole - side
    gland = float(total[found.gland & ~found.nodule].sum()) / whole
    return Shares(side, nodule, gland, 1 - side - nodule - gland)
