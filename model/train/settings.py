"""How to train; free of torch, so that the command line can tell the defaults before it loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Precision = Literal["32-true", "bf16-mixed"]

SMALL_COHORT = 1000
"""Cases below which a cohort is small: every one of them is needed to train and to calibrate."""


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    seed : everything random follows from it.
    epochs : at most; training stops earlier after `patience` epochs without a better validation AUROC.
    batch : cases a step.
    accumulate : parts that a batch is cut into, whose gradients are added before the step; with several processes, which
        share the parts, a multiple of their number. The weights depend on the parts, not on how many processes ran them.
    learning_rate, weight_decay : of AdamW; the rate warms up over one epoch and falls as a cosine.
    segmentation_cases, segmentation_epochs : how much to train the segmentation network.
    vocabulary : size of the report vocabulary.
    average : decay of the running mean of weights that is evaluated and kept.
    folds : 0 holds a fifth of the cases back for validation. From 2, the network is trained that many times, each time on
        all but one part; the parts' predictions choose the number of epochs and calibrate; then all cases train the network
        that is kept.
    balance : weigh the rarer outcome up in the loss; the probabilities are set right again afterwards.
    precision : "bf16-mixed" or "32-true"; None for the former on CUDA, the latter on a CPU.
    """

    seed: int = 2025
    epochs: int = 10
    patience: int = 5
    batch: int = 64
    accumulate: int = 1
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.01
    segmentation_cases: int = 10_000
    segmentation_epochs: int = 6
    vocabulary: int = 600
    average: float = 0.995
    folds: int = 0
    balance: bool = False
    precision: Precision | None = None


def for_small_cohort(settings: Settings) -> Settings:
    """The settings for a cohort of hundreds of cases: cross-fitting, small steps, strong decay."""
    return replace(
        settings, folds=5, epochs=24, patience=24, batch=32, learning_rate=1e-3, weight_decay=0.1, average=0.98,
    )  # fmt: skip
