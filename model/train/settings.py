"""How to train; free of torch, so that the command line can tell the defaults before it loads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    seed : everything random follows from it.
    epochs : at most; training stops earlier after `patience` epochs without a better validation AUROC.
    batch : cases a step.
    learning_rate, weight_decay : of AdamW; the rate warms up over one epoch and falls as a cosine.
    segmentation_cases, segmentation_epochs : how much to train the segmentation network.
    vocabulary : size of the report vocabulary.
    average : decay of the running mean of weights that is evaluated and kept.
    """

    seed: int = 2025
    epochs: int = 10
    patience: int = 5
    batch: int = 64
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.01
    segmentation_cases: int = 10_000
    segmentation_epochs: int = 6
    vocabulary: int = 600
    average: float = 0.995
