"""Reduced precision where the device gains from it and the use allows it: bfloat16 in, single precision out."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch


@lru_cache(maxsize=4)
def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has units that multiply in bfloat16; without them it is slower than single precision."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def reduced_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Context in which matrices are multiplied in bfloat16; of the calling thread alone."""
    return torch.autocast(device.type, dtype=torch.bfloat16)
