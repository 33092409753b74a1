"""Training the segmentation network on pictures with masks.

Augmentation is hard on appearance (gain, contrast, noise, blur, shadows) and mild on geometry (mirror, scale, shift,
a small turn), because machines differ more than necks do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from model.errors import CaseError
from model.ingest.cases import Cohort
from model.nets.segmentation import SegmentationNet, segmentation_loss
from model.schema import VIEWS
from model.segment import INPUT_SIZE, network_input

BATCH = 32
"""Pictures a step."""


def load_views(
    cohort: Cohort, case_ids: Sequence[str], progress: Callable[[int], None] = lambda _: None
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """Network inputs (n, 128, 128) and true masks (n, 2, 128, 128; nodule, gland) of both views of each case."""
    pictures, masks = [], []
    masked = replace(cohort, use_masks=True)
    for case_id in case_ids:
        images = masked.case(case_id).images
        for view in VIEWS:
            image = images.get(view)
            if image is None or image.nodule_mask is None or image.gland_mask is None:
                continue
            pictures.append(network_input(image.pixels).astype(np.float16))
            masks.append(np.stack([_squeeze(image.nodule_mask), _squeeze(image.gland_mask)]))
        progress(1)
    if not pictures:
        raise CaseError(
            "no case has both masks",
            where=str(cohort.root),
            fix="Give nodule and gland masks, or start from a checkpoint.",
        )
    return np.stack(pictures), np.stack(masks)


def _squeeze(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    grey = Image.fromarray(mask.astype(np.float32)).resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(np.asarray(grey) > 0.5)


def augment(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random appearance and mild geometry: (B, 1, S, S), (B, 2, S, S) → the same shapes."""
    b = len(images)

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(b, generator=generator) * (high - low) + low

    turn, scale = draw(-0.12, 0.12), draw(0.8, 1.2)
    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    theta = torch.stack(
        [
            torch.stack([cos * mirror, -sin, draw(-0.15, 0.15)], 1),
            torch.stack([sin * mirror, cos, draw(-0.15, 0.15)], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    masks = F.grid_sample(masks, grid, padding_mode="zeros", align_corners=False)
    # Appearance: contrast curve, low-frequency gain, noise, blur, a column in shadow.
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    unit = ((images - low) / (high - low + 1e-6)).clamp(1e-4, 1)
    unit = unit ** draw(0.55, 1.7)[:, None, None, None]
    ramp = torch.linspace(-1, 1, images.shape[-1])
    unit = unit * (1 + draw(-0.3, 0.3)[:, None, None, None] * ramp[None, None, :, None])  # time gain
    coarse = torch.rand(b, 1, 4, 4, generator=generator) * 0.4 + 0.8
    unit = unit * F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)
    centre, width = draw(-1, 1)[:, None], draw(0.05, 0.25)[:, None]
    shadow = 1 - draw(0, 0.8)[:, None] * (draw(0, 1) < 0.25)[:, None] * torch.exp(-(((ramp - centre) / width) ** 2))
    unit = unit * shadow[:, None, None, :]
    blurred = F.avg_pool2d(F.pad(unit, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    soft = draw(-0.7, 1.0)[:, None, None, None]  # below 0: sharper
    unit = (1 - soft) * unit + soft * blurred
    unit = unit + 0.08 * draw(0, 1)[:, None, None, None] * torch.randn(unit.shape, generator=generator)
    mean, spread = unit.mean((1, 2, 3), keepdim=True), unit.std((1, 2, 3), keepdim=True)
    return (unit - mean) / (spread + 1e-3), (masks > 0.5).float()


def train_segmentation(
    pictures: npt.NDArray[np.float16],
    masks: npt.NDArray[np.bool_],
    *,
    seed: int,
    epochs: int,
    device: torch.device,
    batch: int = BATCH,
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> SegmentationNet:
    """Train from scratch; deterministic for a seed on one kind of machine.

    Parameters
    ----------
    pictures, masks : see `load_views`.
    progress : called with 1 and the running loss after every step.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = SegmentationNet().to(device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    steps = epochs * math.ceil(len(pictures) / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps, pct_start=0.15)
    running = math.nan
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(pictures), generator=generator).numpy()
        for k in range(0, len(order), batch):
            rows = order[k : k + batch]
            x = torch.from_numpy(pictures[rows].astype(np.float32))[:, None]
            y = torch.from_numpy(masks[rows].astype(np.float32))
            x, y = augment(x, y, generator)
            x, y = x.to(device, memory_format=torch.channels_last), y.to(device)
            loss = segmentation_loss(net(x), y)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            value = float(loss.detach())
            running = value if math.isnan(running) else 0.95 * running + 0.05 * value
            progress(1, running)
    net.eval()
    return net
