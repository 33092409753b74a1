"""The processor that a wish stands for: told in one line where there is none such."""

from __future__ import annotations

import torch

from model.errors import CaseError


def device_for(wish: str | None) -> torch.device:
    """The device to compute on.

    Parameters
    ----------
    wish : "cpu", "cuda" or None for CUDA when there is one.

    Raises
    ------
    CaseError
        If it is another word, or CUDA is not to be had.
    """
    if wish not in (None, "cpu", "cuda"):
        raise CaseError(f"{wish!r}", where="--device", fix="Give cpu or cuda, or leave it out for CUDA when there is one.")
    there = torch.cuda.is_available()
    if wish == "cuda" and not there:
        raise CaseError("no CUDA device is to be had here", where="--device cuda", fix="Give cpu, or leave it out.")
    return torch.device(wish or ("cuda" if there else "cpu"))
