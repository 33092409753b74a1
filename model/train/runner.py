"""Where a training runs: one process or many, CPU or CUDA, full or mixed precision, all by the same code (Lightning Fabric).

Processes share the parts of a batch (`Settings.accumulate`) and add up their gradients, so that the same parts give the
same weights whoever ran them. `torchrun`, SLURM and the like are recognised by Fabric; else `devices` processes are started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.devices import device_for
from model.errors import CaseError
from model.train.settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Runner:
    """The processes of one training.

    Parameters
    ----------
    settings : precision and parts of a batch.
    device : "cpu", "cuda" or None for CUDA when there is one.
    devices, nodes : processes on each machine, and machines.

    Raises
    ------
    CaseError
        If the parts of a batch cannot be shared evenly, there are fewer devices, or no such device at all.
    """

    def __init__(self, settings: Settings, device: str | None = None, *, devices: int = 1, nodes: int = 1) -> None:
        from lightning_fabric import Fabric

        place = device_for(device).type
        if place == "cuda" and torch.cuda.device_count() < devices:
            raise CaseError(
                f"{devices} asked for, {torch.cuda.device_count()} there", where="--devices", fix="Ask for fewer, or --device cpu."
            )
        processes = max(devices * nodes, int(os.environ.get("WORLD_SIZE", "1")))
        if settings.accumulate % processes:  # before they start, so that one of them tells it
            raise CaseError(
                f"{settings.accumulate} parts of a batch for {processes} processes", where="--accumulate",
                fix=f"Give a multiple of {processes}.",
            )  # fmt: skip
        self.fabric: Fabric = Fabric(
            accelerator=place, devices=devices, num_nodes=nodes, strategy="ddp" if processes > 1 else "auto",
            precision=settings.precision or ("bf16-mixed" if place == "cuda" else "32-true"),
        )  # fmt: skip
        self.fabric.launch()
        self.world, self.rank = self.fabric.world_size, self.fabric.global_rank
        self.device: torch.device = self.fabric.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision where it was asked for."""
        return self.fabric.autocast()

    def once(self, do: Callable[[], None]) -> None:
        """Let the first process do something while the others wait.

        Where it fails, all stop: the first raises what went wrong, the others end without a word.
        """
        failure: Exception | None = None
        if self.first:
            try:
                do()
            except Exception as error:
                failure = error
        failed = self.world > 1 and float(self._sum(torch.tensor([float(failure is not None)], device=self.device))[0]) > 0
        if failure is not None:
            raise failure
        if failed:
            raise SystemExit(1)

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum of the gradients over the processes, in one message; a parameter that none used stays without."""
        if self.world == 1:
            return
        used = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        flat = torch.cat([*((p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters), used])
        summed = self._sum(flat)
        at = 0
        for parameter, known in zip(parameters, summed[-len(parameters) :], strict=True):
            if known:
                parameter.grad = summed[at : at + parameter.numel()].view_as(parameter).clone()
            at += parameter.numel()

    def mean(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Mean of each tensor over the processes."""
        if self.world == 1 or not values:
            return list(values)
        flat = self._sum(torch.cat([v.flatten().float() for v in values])) / self.world
        parts = torch.split(flat, [v.numel() for v in values])
        return [part.view_as(v).to(v.dtype) for part, v in zip(parts, values, strict=True)]

    def _sum(self, values: Tensor) -> Tensor:
        summed = self.fabric.all_reduce(values, reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed
