"""The same networks, quicker on a CPU, for scoring.

In single precision, results differ from those of the plain networks by rounding alone (about 1e-5 of a logit), which can move a
pixel of an outline where the network is at exactly one half. bfloat16 is quicker yet, and is for who asks for it: see `fast`.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from model.predict import Predictor
from model.scale.attention import QuickFusion, QuickSelfAttention, Single
from model.scale.layers import packed
from model.scale.outlines import Outlines

Precision = Literal["fp32", "bf16"]


def fast(predictor: Predictor, precision: Precision = "fp32") -> Predictor:
    """A predictor of the same checkpoint for scoring many cases; the same one where its device is no CPU, or oneDNN is not there.

    It has no gradients and no layers that can be hooked: explain with the plain one.

    Parameters
    ----------
    precision : "bf16" multiplies in bfloat16, which keeps three digits of every number.
    """
    if predictor.device.type != "cpu" or not torch._C._has_mkldnn:
        return predictor
    checkpoint = predictor.checkpoint
    net, segmentation = copy.deepcopy(checkpoint.net), copy.deepcopy(checkpoint.segmentation)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if precision == "bf16":
        if net.config.images:
            net.stem = packed(net.stem, dtype)
        net.fusion = nn.ModuleList(map(QuickFusion, net.fusion))
        net.joint = nn.ModuleList([*map(QuickSelfAttention, net.joint), Single()])
    packed(net)
    if segmentation is not None:
        segmentation = Outlines(segmentation, dtype)
    return Predictor(replace(checkpoint, net=net, segmentation=segmentation), device="cpu")
