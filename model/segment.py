"""From a picture to nodule and gland masks: network output made into two clean shapes and how sure they are.

The network sees every picture squeezed to 128 × 128; its probabilities are brought back to the picture's own pixels
before they are cut, so that an outline is finer than the network's grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from model.features.masks import bounds, filled
from model.nets.segmentation import SegmentationNet, channel_means
from model.schema import GrayImage, Mask, ViewImage

INPUT_SIZE = 128
UNSURE_BELOW = 0.75
"""A mask whose confidence is lower is shown as unsure, with the offer to outline by hand."""

_NEAR = 6  # pixels, along rows and columns
_STEP = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_SMALLEST_NODULE = 12  # pixels; less is no nodule but speckle


@dataclass(frozen=True)
class Segmentation:
    """Masks of one picture and where they come from.

    Parameters
    ----------
    nodule, gland : (height, width) bool; either may be empty where nothing was found.
    nodule_confidence, gland_confidence : overlap (intersection over union) of the mask cut at 0.3 with that cut at 0.7;
        1 for a mask given by a person.
    features : (F,) what the network's encoder sees in the whole picture (`channel_means`), whoever drew the masks; None
        where no network saw it.
    """

    nodule: Mask
    gland: Mask
    nodule_confidence: float
    gland_confidence: float
    features: npt.NDArray[np.float32] | None = None

    @property
    def found(self) -> bool:
        """Whether there is a nodule and a gland, with its capsule in the picture, to measure."""
        return bool(self.nodule.any() and self.gland.any() and not self.gland.all())

    @property
    def unsure(self) -> bool:
        """Whether a person should check the outlines."""
        return not self.found or min(self.nodule_confidence, self.gland_confidence) < UNSURE_BELOW


def network_input(pixels: GrayImage) -> GrayImage:
    """Squeeze to (128, 128) and bring to zero mean and unit spread, so that gain matters little."""
    small = Image.fromarray(pixels).resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    values = np.asarray(small, dtype=np.float32)
    return np.asarray((values - values.mean()) / (values.std() + 1e-3), dtype=np.float32)


def clean(probability: npt.NDArray[np.float32], shape: tuple[int, int]) -> Segmentation:
    """Masks from network probabilities.

    Parameters
    ----------
    probability : (2, 128, 128), nodule then gland.
    shape : (height, width) of the picture.
    """
    full = [_brought_up(p, shape) for p in probability]
    gland, gland_confidence = _main_piece(full[1], keep=0.08)
    gland = filled(gland)
    nodule, nodule_confidence = _main_piece(full[0], keep=1.0)
    if np.count_nonzero(nodule) < _SMALLEST_NODULE:
        nodule, nodule_confidence = np.zeros_like(nodule), 0.0
    return Segmentation(nodule, np.asarray(gland | nodule), nodule_confidence, gland_confidence)


def _brought_up(probability: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Bilinear to (height, width); Pillow averages where that is smaller, OpenCV is nine times as quick where it is not."""
    height, width = shape
    if min(shape) >= INPUT_SIZE:
        return np.asarray(cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(Image.fromarray(probability).resize((width, height), Image.Resampling.BILINEAR))


def _main_piece(probability: npt.NDArray[np.float32], keep: float) -> tuple[Mask, float]:
    """The piece with the most probability (others from `keep` times its size stay), and its confidence."""
    whole = probability > 0.5
    box = bounds(whole).wider(_NEAR, whole.shape).box  # nothing else is looked at
    mask, inside = np.ascontiguousarray(whole[box]), probability[box]
    if not mask.any():
        return whole, 0.0
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    if count > 2:  # what is none of the pieces is one of them
        weight = np.bincount(labels.ravel(), inside.ravel())
        weight[0] = 0
        mask &= (weight >= keep * weight.max())[labels]
        whole[box] = mask
    # What lies within six steps of it.
    near = cv2.dilate(mask.view(np.uint8), _STEP, iterations=_NEAR).view(bool)
    loose, tight = (int(np.count_nonzero((inside > cut) & near)) for cut in (0.3, 0.7))
    return whole, tight / max(loose, 1)


@torch.inference_mode()
def segment(
    net: SegmentationNet, images: Sequence[ViewImage], *, device: torch.device, batch: int = 16
) -> list[Segmentation]:
    """Masks of each picture; a mask that a person gave is kept as it is.

    Parameters
    ----------
    net : in evaluation mode, on `device`.
    images : any sizes.
    batch : pictures that go through the network together; 16 stay in a CPU's caches, 64 take twice as long each.
    """
    result: list[Segmentation] = []
    for k in range(0, len(images), batch):
        block = images[k : k + batch]
        x = torch.from_numpy(np.stack([network_input(v.pixels) for v in block]))[:, None].to(device)
        levels = net.encode(x)
        features = channel_means(levels).float().cpu().numpy()
        probability = torch.sigmoid(net.decode(levels)).float().cpu().numpy()
        for view, p, seen in zip(block, probability, features, strict=True):
            found = replace(clean(p, (view.pixels.shape[0], view.pixels.shape[1])), features=seen)
            if view.gland_mask is not None:
                found = replace(found, gland=view.gland_mask, gland_confidence=1.0)
            if view.nodule_mask is not None:
                found = replace(found, nodule=view.nodule_mask, nodule_confidence=1.0)
            result.append(found)
    return result
