"""The segmentation network over many pictures: the same sums as `SegmentationNet`, with fewer bytes moved."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.nets.quick.layers import Conv, halved, packed
from model.nets.segmentation import DEPTH, SegmentationNet, unsquared


class Outlines(SegmentationNet):
    """A segmentation network taken apart for speed.

    A 1 × 1 convolution of joined maps is the sum of one of each map, so nothing is joined; and that of a map brought up is
    brought up itself, so it runs at a quarter of the pixels.

    Parameters
    ----------
    net : is taken apart.
    dtype : that its layers multiply in.
    """

    def __init__(self, net: SegmentationNet, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.base = net.base
        self.squeeze, self.nested = nn.ModuleDict(), nn.ModuleDict()
        for name, node in net.nested.items():
            squeeze, rest = cast("nn.Sequential", node)
            parts = _parts(cast("nn.Conv2d", squeeze), int(name.split("_")[1]))
            self.squeeze[name] = nn.ModuleList(Conv(part, dtype) for part in parts)
            self.nested[name] = packed(rest, dtype)
        self.encoder = cast("nn.ModuleList", packed(net.encoder, dtype))
        self.quick_head = Conv(net.head, dtype)

    def decode(self, levels: list[Tensor]) -> Tensor:
        """As `SegmentationNet.decode`, in single precision."""
        rows = [[x] for x in levels]
        for j in range(1, DEPTH + 1):
            for i in range(DEPTH + 1 - j):
                *same, below = cast("nn.ModuleList", self.squeeze[f"{i}_{j}"])
                mixed = F.interpolate(below(rows[i + 1][j - 1]), scale_factor=2.0, mode="nearest")
                for part, x in zip(same, rows[i], strict=True):
                    mixed = part(x, onto=mixed)
                rows[i].append(self.nested[f"{i}_{j}"](mixed))
        return unsquared(self.quick_head(rows[0][-1]).float())

    def halved(self, x: Tensor) -> Tensor:
        """As `SegmentationNet.halved`."""
        return halved(x)


def _parts(squeeze: nn.Conv2d, same: int) -> list[nn.Conv2d]:
    """The 1 × 1 convolution of each of the joined maps: `same` of the level, each as wide as the result, then the one below."""
    wide, weight = squeeze.out_channels, squeeze.weight.detach()
    edges = [*range(0, same * wide + 1, wide), squeeze.in_channels]
    result = []
    for first, end in pairwise(edges):
        part = nn.Conv2d(end - first, wide, 1, bias=False)
        part.weight = nn.Parameter(weight[:, first:end], requires_grad=False)
        result.append(part)
    return result
