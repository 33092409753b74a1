"""LLNM-Net on a CPU, quicker: single precision to rounding, or bfloat16."""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from torch import nn

from model.nets.blocks import FusionLayer, SelfAttentionLayer
from model.nets.llnm_net import LlnmNet
from model.nets.quick.attention import Entered, QuickFusion, QuickSelfAttention, Single
from model.nets.quick.layers import InParts, packed

_MAPS = 16
"""Sets of maps that go through the stem together."""


@lru_cache(maxsize=1)
def has_onednn() -> bool:
    """Whether quick layers are to be had here."""
    return bool(torch._C._has_mkldnn)


@lru_cache(maxsize=1)
def has_bfloat16() -> bool:
    """Whether this CPU has units that multiply in bfloat16; without them it is slower than single precision."""
    return has_onednn() and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def quick_net(net: LlnmNet, dtype: torch.dtype) -> LlnmNet:
    """A quick copy of a network in evaluation mode on a CPU with oneDNN.

    Parameters
    ----------
    dtype : single precision gives the same to rounding (about 1e-5 of a logit). bfloat16 runs everything between the tokens and
        the mean over them in it: logits differ by about 0.003.
    """
    net = copy.deepcopy(net)
    if net.config.images:
        net.stem = InParts(packed(net.stem, dtype), _MAPS)
    if dtype == torch.bfloat16:
        fusion = [QuickFusion(layer) for layer in net.fusion if isinstance(layer, FusionLayer)]
        joint = [QuickSelfAttention(layer) for layer in net.joint if isinstance(layer, SelfAttentionLayer)]
        net.fusion = nn.ModuleList([Entered(), *fusion] if fusion else [])
        net.joint = nn.ModuleList([*joint, Single()] if fusion else [Entered(), *joint, Single()])
    packed(net)
    return net
