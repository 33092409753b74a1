"""Occlusion (Zeiler and Fergus 2014) by a sliding square and by superpixels, through Captum."""

from __future__ import annotations

import math

import numpy as np
import torch
from captum.attr import FeatureAblation, Occlusion
from skimage.segmentation import slic

from model.encode import MeasuredCase
from model.explain.evidence import PictureEvidence, Subject
from model.predict import Predictor
from model.schema import MAPS

SIDE_SHARE, STRIDE_SHARE = 4, 8
"""The square is a quarter of a map wide and moves by an eighth."""
SUPERPIXELS = 20
"""Superpixels of a map."""
_AT_ONCE = 32
_BESIDE = 3  # cases run beside those with something blanked: Captum's own start, and the two ends


@torch.inference_mode()
def sliding_occlusion(predictor: Predictor, measured: MeasuredCase) -> PictureEvidence:
    """How much the logit falls when a square of one map is blanked, each pixel the mean over the squares on it.

    Raises
    ------
    ValueError
        If no view was measured.
    """
    subject = Subject.of(predictor, measured)
    size = subject.maps.shape[-1]
    side, stride = size // SIDE_SHARE, size // STRIDE_SHARE
    relevance = Occlusion(subject.logits).attribute(
        subject.maps[None],
        sliding_window_shapes=(1, 1, side, side),
        strides=(1, 1, stride, stride),
        baselines=subject.baseline[None],
        perturbations_per_eval=_AT_ONCE,
    )
    squares = len(subject.views) * len(MAPS) * (math.ceil((size - side) / stride) + 1) ** 2
    name = "Sliding occlusion (Zeiler and Fergus 2014)"
    return subject.against_baseline(name, relevance[0], subject.ends(), model_rows=squares + _BESIDE)


@torch.inference_mode()
def superpixel_occlusion(predictor: Predictor, measured: MeasuredCase) -> PictureEvidence:
    """How much the logit falls when a superpixel (SLIC, Achanta et al. 2012) of one map is blanked, spread over its pixels.

    Raises
    ------
    ValueError
        If no view was measured.
    """
    subject = Subject.of(predictor, measured)
    parts = np.zeros(tuple(subject.maps.shape), np.int64)
    count = 0
    for v in range(parts.shape[0]):
        for m in range(parts.shape[1]):
            picture = subject.maps[v, m].cpu().numpy()
            labels = slic(picture, n_segments=SUPERPIXELS, compactness=0.1, channel_axis=None, start_label=0)
            parts[v, m] = labels + count
            count += int(labels.max()) + 1
    mask = torch.from_numpy(parts).to(subject.maps.device)
    fall = FeatureAblation(subject.logits).attribute(
        subject.maps[None], baselines=subject.baseline[None], feature_mask=mask[None], perturbations_per_eval=_AT_ONCE
    )
    pixels = torch.bincount(mask.flatten(), minlength=count)[mask]
    name = "Superpixel occlusion (SLIC, Achanta et al. 2012)"
    return subject.against_baseline(name, fall[0] / pixels, subject.ends(), model_rows=count + _BESIDE)
