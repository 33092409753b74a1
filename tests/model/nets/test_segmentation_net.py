"""The segmentation network, its loss and its score."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.nets.segmentation import SegmentationNet, mean_iou, segmentation_loss


def discs(count: int, side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of a dark disc (nodule) within a bright band (gland), and their masks."""
    generator = torch.Generator().manual_seed(seed)
    row, col = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    cy, cx = (torch.randint(side // 3, 2 * side // 3, (count, 1, 1), generator=generator) for _ in range(2))
    nodule = (row - cy) ** 2 + (col - cx) ** 2 < (side / 8) ** 2
    gland = (row - cy).abs() < side / 4
    image = gland.float() - 1.5 * nodule.float() + 0.2 * torch.randn(count, side, side, generator=generator)
    return image[:, None], torch.stack([nodule, gland], 1)


def test_small_and_keeps_the_shape():
    net = SegmentationNet().eval()
    assert sum(p.numel() for p in net.parameters()) <= 600_000
    assert net(torch.randn(2, 1, 128, 128)).shape == (2, 2, 128, 128)
    assert net(torch.randn(1, 1, 64, 96)).shape == (1, 2, 64, 96)


def test_a_size_it_cannot_halve_is_refused_by_name():
    with pytest.raises(ValueError, match="image: sides must be multiples of 32, got 100 × 128"):
        SegmentationNet()(torch.randn(1, 1, 100, 128))


def test_quick_enough_on_one_thread():
    net, x = SegmentationNet().eval(), torch.randn(1, 1, 128, 128)
    seconds = []
    with torch.inference_mode():
        net(x)
        for _ in range(8):
            start = time.perf_counter()
            net(x)
            seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # 12 ms alone; the room is for busy machines


def test_a_picture_is_segmented_the_same_alone_and_in_company():
    net = SegmentationNet().eval()
    x, _ = discs(3, 64, seed=0)
    with torch.inference_mode():
        torch.testing.assert_close(net(x)[1:2], net(x[1:2]), atol=1e-4, rtol=1e-4)


def test_it_knows_where_a_pixel_is():
    """Equal pixels far from any edge get different logits; a plain convolutional network could not tell them apart."""
    torch.manual_seed(0)
    net = SegmentationNet().eval()
    with torch.inference_mode():
        logits = net(torch.zeros(1, 1, 512, 512))[0, 0]
    assert (logits[192, 192] - logits[320, 320]).abs() > 1e-4


def test_it_learns_discs():
    torch.manual_seed(0)
    net = SegmentationNet(base=8)
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    losses = []
    for step in range(140):
        x, masks = discs(8, 64, seed=step)
        loss = segmentation_loss(net(x), masks.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    x, masks = discs(16, 64, seed=999)
    with torch.inference_mode():
        score = mean_iou(net.eval()(x) > 0, masks)
    assert (score > 0.75).all(), score


def test_loss_is_least_for_the_true_masks():
    _, masks = discs(2, 32, seed=3)
    right = torch.where(masks, 12.0, -12.0)
    assert segmentation_loss(right, masks.float()) < 0.01
    assert segmentation_loss(-right, masks.float()) > 5
    nothing = torch.zeros(1, 2, 16, 16)
    assert torch.isfinite(segmentation_loss(nothing, nothing))


def test_iou_by_hand():
    predicted, true = torch.zeros(2, 1, 2, 2, dtype=torch.bool), torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    predicted[0, 0, 0] = True  # two pixels, of which one is true, of two: 1 of 3
    true[0, 0, :, 0] = True  # the second picture is empty in both: 1
    assert mean_iou(predicted, true).tolist() == pytest.approx([(1 / 3 + 1) / 2])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_iou_is_symmetric_bounded_and_one_for_equals(a: int, b: int):
    def mask(bits: int) -> torch.Tensor:
        return torch.tensor([bits >> i & 1 for i in range(16)], dtype=torch.bool).view(1, 1, 4, 4)

    score = mean_iou(mask(a), mask(b))
    assert torch.equal(score, mean_iou(mask(b), mask(a)))
    assert 0 <= score <= 1
    assert (score == 1) == (a == b)
