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
        last = folded[-1] if folded else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(last, nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(last, layer)
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
        self.groups, self.activation = layer.groups, "none"
        self.weight = layer.weight.detach().to(dtype)
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self._laid: dict[torch.Size, Tensor] = {}

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """(B, C, h, w) → (B, C', h', w').

        Parameters
        ----------
        onto : of the result's shape and the layer's dtype; the result is added to it in its place.
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
            result = torch.ops.mkldnn._convolution_pointwise_.binary(onto, x, *how, "add", None, None, [], None)
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


def _told(activation: str) -> tuple[str, list[Any], str]:
    """An activation as oneDNN's fused layers are told it."""
    return activation, [], "none" if activation == "gelu" else ""
