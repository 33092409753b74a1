"""Layers that oneDNN runs quickly on a CPU, in single precision or bfloat16: weights laid out once, batch norm folded into the
convolution before it, activations and sums joined on. For evaluation only: no gradients, no hooks inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.GELU: "gelu"}


def packed(module: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A network with quicker layers in the place of its own, which it is taken apart for.

    Parameters
    ----------
    dtype : that convolutions and linear layers multiply in, and give.
    """
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*(packed(layer, dtype) for layer in _joined(list(module), dtype)))
    for name, child in list(module.named_children()):
        setattr(module, name, packed(child, dtype))
    return _layer(module, dtype)


def _joined(layers: list[nn.Module], dtype: torch.dtype) -> list[nn.Module]:
    """Layers in a row: batch norm goes into the convolution before it, an activation into the layer before it."""
    folded: list[nn.Module] = []
    for layer in layers:
        # What grows with every channel can as well go before the largest is taken.
        pooled = bool(folded) and isinstance(folded[-1], nn.MaxPool2d)
        at = len(folded) - 1 - (pooled and isinstance(layer, nn.BatchNorm2d) and bool((layer.weight > 0).all()))
        before = folded[at] if at >= 0 else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            folded[at] = fuse_conv_bn_eval(before, layer)
        elif not isinstance(layer, nn.Dropout):
            folded.append(layer)
    result: list[nn.Module] = []
    for layer in folded:
        last = result[-1] if result else None
        if type(layer) in _ACTIVATIONS and isinstance(last, Conv | Linear) and last.activation == "none":
            last.activation = _ACTIVATIONS[type(layer)]
        else:
            result.append(_layer(layer, dtype))
    return result


def _layer(layer: nn.Module, dtype: torch.dtype) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return Conv(layer, dtype)
    if isinstance(layer, nn.MaxPool2d) and layer.kernel_size == layer.stride == 2:
        return Halved()
    return Linear(layer, dtype) if isinstance(layer, nn.Linear) else layer


class Conv(nn.Module):
    """A convolution whose weights oneDNN lays out as it likes them for the pictures' size.

    They must be laid out anew for every size: those laid out for another made small pictures (4 × 4) forty times as slow.

    Parameters
    ----------
    layer : what it does.
    dtype : that it multiplies in; what comes in is brought to it.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.shape = [list(map(int, getattr(layer, n))) for n in ("padding", "stride", "dilation")]
        weight, self.groups, self.activation = layer.weight.detach(), layer.groups, "none"
        if 1 < self.groups == layer.in_channels:  # quicker as one group with zeros in between
            group = torch.arange(len(weight)) // (len(weight) // self.groups)
            weight = weight * torch.eye(self.groups)[group, :, None, None]
            self.groups = 1
        self.weight = weight.to(dtype)
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self._laid: dict[torch.Size, Tensor] = {}

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """(B, C, h, w) → (B, C', h', w').

        Parameters
        ----------
        onto : of the result's shape and the layer's dtype; the result is added to it in its place, before the activation.
        """
        x = x.to(self.weight.dtype)
        laid = self._laid.get(x.shape[1:])
        if laid is None:
            laid = self._laid[x.shape[1:]] = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self.shape, self.groups, list(x.shape)
            )
        how: list[Any] = [laid, self.bias, *self.shape, self.groups]
        result: Tensor
        if onto is None:
            result = torch.ops.mkldnn._convolution_pointwise(x, *how, *_told(self.activation))
        else:
            unary = None if self.activation == "none" else self.activation
            result = torch.ops.mkldnn._convolution_pointwise_.binary(onto, x, *how, "add", None, unary, [], None)
        return result


class Linear(nn.Module):
    """A linear layer likewise."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.activation, self.dtype = "none", dtype
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(dtype), None)
        self.bias = layer.bias.detach().to(dtype)

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """(…, W) → (…, W'), added to `onto` (which stays as it is) where given."""
        x = x.to(self.dtype)
        result: Tensor
        if onto is None:
            result = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *_told(self.activation))
        else:
            result = torch.ops.mkldnn._linear_pointwise.binary(x, onto, self.weight, self.bias, "add")
        return result


class Halved(nn.Module):
    """`halved` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """As `halved`."""
        return halved(x)


def halved(x: Tensor) -> Tensor:
    """(B, C, h, w), of even sides → (B, C, h / 2, w / 2): the largest of each 2 × 2, three times as quick as `max_pool2d`."""
    x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    return torch.maximum(x[..., ::2], x[..., 1::2])


def doubled(x: Tensor) -> Tensor:
    """(B, C, h, w), channels last → (B, C, 2 h, 2 w): every pixel four times, quicker than `interpolate`."""
    b, c, h, w = x.shape
    result = x.new_empty(b, h, 2, w, 2, c)
    for right in range(2):
        result[:, :, 0, :, right] = x.permute(0, 2, 3, 1)
    result[:, :, 1] = result[:, :, 0]
    return result.view(b, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


class InParts(nn.Module):
    """A network over so many pictures at a time that what lies between its layers stays in a CPU's caches."""

    def __init__(self, net: nn.Module, pictures: int) -> None:
        super().__init__()
        self.net, self.pictures = net, pictures

    def forward(self, x: Tensor) -> Tensor:
        """As the network."""
        return torch.cat([self.net(part) for part in torch.split(x, self.pictures)])


def _told(activation: str) -> tuple[str, list[Any], str]:
    """An activation as oneDNN's fused layers are told it."""
    return activation, [], "none" if activation == "gelu" else ""
