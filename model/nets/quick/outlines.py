"""The segmentation network over many pictures: the same sums as `SegmentationNet`, with fewer bytes moved."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.nets.quick.layers import Conv, doubled, halved, packed
from model.nets.segmentation import DEPTH, SQUARE, SegmentationNet, places


class Outlines(SegmentationNet):
    """A segmentation network taken apart for speed.

    A 1 × 1 convolution of joined maps is the sum of one of each map, so nothing is joined; and that of a map brought up is
    brought up itself, so it runs at a quarter of the pixels. Where pixels lie is the same in every picture, and so is what the
    first convolution makes of it.

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
        first, *others = cast("nn.Sequential", net.encoder[0])
        net.encoder[0] = nn.Sequential(_First(*cast("nn.Sequential", first), dtype=dtype), *others)
        self.encoder = cast("nn.ModuleList", packed(net.encoder, dtype))
        self.dtype = dtype
        self.quick_head = Conv(net.head, dtype)

    def squared(self, image: Tensor) -> Tensor:
        """(B, 1, S, S) → (B, 4, S / 2, S / 2): the four pixels of every square."""
        b, _, height, width = image.shape
        rows = _paired(image.to(self.dtype)).view(b, height // SQUARE, SQUARE, width // SQUARE)
        return rows.transpose(2, 3).contiguous().view(self.dtype).permute(0, 3, 1, 2)

    def decode(self, levels: list[Tensor]) -> Tensor:
        """As `SegmentationNet.decode`, in single precision."""
        rows = [[x] for x in levels]
        for j in range(1, DEPTH + 1):
            for i in range(DEPTH + 1 - j):
                *same, below = cast("nn.ModuleList", self.squeeze[f"{i}_{j}"])
                mixed = doubled(below(rows[i + 1][j - 1]))
                for part, x in zip(same, rows[i], strict=True):
                    mixed = part(x, onto=mixed)
                rows[i].append(self.nested[f"{i}_{j}"](mixed))
        squares = self.quick_head(rows[0][-1]).permute(0, 2, 3, 1)
        b, h, w, channels = squares.shape
        pairs = _paired(squares).view(b, h, w, channels // SQUARE**2, SQUARE).permute(0, 3, 1, 4, 2).contiguous()
        return pairs.view(self.dtype).view(b, -1, h * SQUARE, w * SQUARE).float()

    def halved(self, x: Tensor) -> Tensor:
        """As `SegmentationNet.halved`."""
        return halved(x)


def _paired(x: Tensor) -> Tensor:
    """(…, n) → (…, n / 2): two numbers side by side as one, which moves many times as quickly."""
    return x.view(torch.int32 if x.dtype.itemsize == 2 else torch.int64)


class _First(nn.Module):
    """The first convolution, its batch norm and activation: what it makes of the pixels, onto what it makes of their places."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, _: nn.ReLU, *, dtype: torch.dtype) -> None:
        super().__init__()
        whole = fuse_conv_bn_eval(convolution, norm)
        pixels = nn.Conv2d(SQUARE**2, whole.out_channels, 3, padding=1, bias=False)
        pixels.weight = nn.Parameter(whole.weight[:, : SQUARE**2].detach(), requires_grad=False)
        self.pixels = Conv(pixels, dtype)
        self.pixels.activation = "relu"
        self.weight, self.bias = whole.weight[:, SQUARE**2 :].detach(), cast("Tensor", whole.bias).detach()
        self._of_places: dict[torch.Size, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        of_places = self._of_places.get(x.shape[2:])
        if of_places is None:
            place = places(x.shape[2] * SQUARE, x.shape[3] * SQUARE)[None]
            of_places = self._of_places[x.shape[2:]] = (
                F.conv2d(place, self.weight, self.bias, padding=1).to(x).contiguous(memory_format=torch.channels_last)
            )
        onto = of_places.expand(len(x), -1, -1, -1).clone(memory_format=torch.channels_last)
        result: Tensor = self.pixels(x, onto=onto)
        return result


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
