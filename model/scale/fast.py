"""The same networks, quicker on a CPU: batch norm folded into convolutions, weights laid out once, activations joined on.

Single precision throughout. Results differ from those of the plain networks by rounding alone (about 1e-5 of a logit), which
can move a pixel of an outline where the network is at exactly one half. bfloat16 would be quicker yet: it moves the logit of a
case by up to 0.03, which changes digits that are shown, and is not used.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.predict import Predictor

_ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.GELU: "gelu"}


def fast(predictor: Predictor) -> Predictor:
    """A predictor of the same checkpoint for scoring many cases; the same one where its device is no CPU, or oneDNN is not there.

    It has no gradients and no layers that can be hooked: explain with the plain one.
    """
    if predictor.device.type != "cpu" or not torch._C._has_mkldnn:
        return predictor
    checkpoint = predictor.checkpoint
    net, segmentation = copy.deepcopy(checkpoint.net), copy.deepcopy(checkpoint.segmentation)
    packed(net)
    if segmentation is not None:
        packed(segmentation)
    return Predictor(replace(checkpoint, net=net, segmentation=segmentation), device="cpu")


def packed(module: nn.Module) -> nn.Module:
    """A network with quicker layers in the place of its own, which it is taken apart for; only for evaluation."""
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*map(packed, _joined(list(module))))
    for name, child in list(module.named_children()):
        setattr(module, name, packed(child))
    return _layer(module)


def _joined(layers: list[nn.Module]) -> list[nn.Module]:
    """Layers in a row: batch norm goes into the convolution before it, an activation into the layer before it."""
    result: list[nn.Module] = []
    for layer in layers:
        last = result[-1] if result else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(last, nn.Conv2d):
            result[-1] = fuse_conv_bn_eval(last, layer)
        elif not isinstance(layer, nn.Dropout):
            result.append(layer)
    packed_layers: list[nn.Module] = []
    for layer in result:
        last = packed_layers[-1] if packed_layers else None
        if type(layer) in _ACTIVATIONS and isinstance(last, _Conv | _Linear) and last.activation == "none":
            last.activation = _ACTIVATIONS[type(layer)]
        else:
            packed_layers.append(_layer(layer))
    return packed_layers


def _layer(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return _Conv(layer)
    return _Linear(layer) if isinstance(layer, nn.Linear) else layer


class _Conv(nn.Module):
    """A convolution whose weights oneDNN has laid out as it likes them."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.shape = [list(map(int, getattr(layer, n))) for n in ("padding", "stride", "dilation")]
        self.groups, self.activation = layer.groups, "none"
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            layer.weight.detach(), *self.shape, layer.groups, None
        )
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x,
            self.weight,
            self.bias,
            *self.shape,
            self.groups,
            self.activation,
            [],
            "none" if self.activation == "gelu" else "",
        )
        return result


class _Linear(nn.Module):
    """A linear layer likewise."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.activation = "none"
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
        self.bias = layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, self.activation, [], "none" if self.activation == "gelu" else ""
        )
        return result
