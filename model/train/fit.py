"""Epochs of gradient steps on a measured cohort: seeded, resumable, in one process or several."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from model.ingest.files import atomic_write_bytes, atomic_write_text
from model.nets.config import NetConfig
from model.nets.llnm_net import LlnmNet, NetworkOutput
from model.schema import Schema
from model.train.checkpoint import plain_tensors
from model.train.data import Dataset, augment, dataset_logits
from model.train.folders import HISTORY
from model.train.runner import Runner
from model.train.settings import Settings

STAGE_WEIGHT = 0.3
"""Weight of the stage loss beside the loss of the endpoint."""
SAVE_EVERY = 1.0
"""Seconds after which the state is saved again, at the end of an epoch: the epochs of a small network take less."""

Log = Callable[[str], None]
Step = Callable[[str, int, int], None]
"""Progress: what is being done, steps done, steps in all."""
History = list[dict[str, float]]


@dataclass(frozen=True)
class Task:
    """What is fitted.

    Parameters
    ----------
    training : cases that train.
    validation : cases that choose the epoch; None where its number is given.
    config, schema : of the network.
    start : gives a network its first weights.
    epochs : at most.
    trace : keep the validation logits of every epoch, the start first.
    name : what progress is told under.
    """

    training: Dataset
    validation: Dataset | None
    config: NetConfig
    schema: Schema
    start: Callable[[LlnmNet], None]
    epochs: int
    trace: bool = False
    name: str = "epoch"


@dataclass(frozen=True)
class Fitted:
    """A fitted network.

    Parameters
    ----------
    net : running mean of the weights, of the epoch with the best validation AUROC; of the last without validation cases.
    history : loss, validation loss and AUROC of each epoch.
    trace : (epochs + 1, n) validation logits, those of the start first; (0, n) where not kept.
    """

    net: LlnmNet
    history: History
    trace: Tensor


def fit(task: Task, settings: Settings, runner: Runner, work: Path, log: Log, step: Step) -> Fitted:
    """Train until the epochs are over or `settings.patience` of them brought no better validation AUROC.

    The same call goes on after an interruption, to the same weights.

    Parameters
    ----------
    work : folder for the state and the live history.
    """
    device = runner.device
    torch.manual_seed(settings.seed)
    net = LlnmNet(task.config, task.schema)
    task.start(net)
    net = net.to(device)
    mean, best = (LlnmNet(task.config, task.schema).to(device) for _ in range(2))
    for copy in (mean, best):
        copy.load_state_dict(net.state_dict())
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    state = _State(work, net, mean, best, optimiser, task)
    history, trace = state.resume()
    if task.trace and task.validation is not None and not len(trace):
        trace = dataset_logits(mean, task.validation, device)[None]
    per_epoch = math.ceil(len(task.training) / settings.batch)
    total = per_epoch * settings.epochs
    for epoch in range(len(history), task.epochs):
        if _enough(history, settings.patience, task.validation):
            break
        generator = torch.Generator().manual_seed(settings.seed * 1000 + epoch)
        order = torch.randperm(len(task.training), generator=generator)
        net.train()
        losses = []
        for k in range(per_epoch):
            at = epoch * per_epoch + k
            warm = min(1.0, (at + 1) / per_epoch)
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(at / total, 1))))
            index = order[k * settings.batch : (k + 1) * settings.batch]
            losses.append(_gradients(net, task, index, generator, settings, runner, at))
            runner.add_gradients(parameters)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            with torch.no_grad():
                decay = min(settings.average, 1 - 1 / (at + 2))
                for averaged, current in zip(mean.parameters(), net.parameters(), strict=True):
                    averaged.lerp_(current, 1 - decay)
            if runner.first:
                step(f"{task.name} {epoch + 1}", k + 1, per_epoch)
        for averaged_buffer, buffer in zip(mean.buffers(), net.buffers(), strict=True):
            averaged_buffer.copy_(buffer)
        row = {"loss": float(runner.mean([torch.tensor(float(np.mean(losses)) * runner.world, device=device)])[0])}
        if task.validation is not None:
            logits = dataset_logits(mean, task.validation, device)
            row |= _judged(logits, task.validation.outcome)
            if row["auroc"] > max((h["auroc"] for h in history), default=0.0):
                best.load_state_dict(mean.state_dict())
            if task.trace:
                trace = torch.cat([trace, logits[None]])
        history.append(row)
        if runner.first:
            log(_told(task.name, history))
        last = epoch + 1 == task.epochs or _enough(history, settings.patience, task.validation)
        runner.once(partial(state.keep, history, trace, last=last))
    kept = mean if task.validation is None else best
    return Fitted(kept.eval().requires_grad_(True), history, trace)


def _enough(history: History, patience: int, validation: Dataset | None) -> bool:
    """Whether the last epochs brought no better AUROC."""
    if validation is None:
        return False
    best = max(range(len(history)), key=lambda e: history[e]["auroc"], default=0)
    return len(history) - 1 - best >= patience


def _gradients(
    net: LlnmNet, task: Task, index: Tensor, generator: torch.Generator, settings: Settings, runner: Runner, at: int
) -> float:
    """Gradients of this process's parts of a batch, added up; returns their share of the batch's mean loss.

    The whole batch is drawn and augmented in every process alike. Dropout is seeded by step and part, and a part's batch
    statistics are its own; the running ones move by the mean over the parts.
    """
    inputs = augment(task.training.batch(index), generator, task.schema)
    parts = torch.tensor_split(torch.arange(len(index)), settings.accumulate)
    buffers = [b for b in net.buffers() if b.is_floating_point()]
    before, moved = [b.clone() for b in buffers], [torch.zeros_like(b) for b in buffers]
    weight = _positive_weight(task.training.outcome) if settings.balance else None
    net.zero_grad(set_to_none=True)
    whole, mine = 0.0, [i for i in range(len(parts)) if i % runner.world == runner.rank]
    for i in mine:
        for buffer, start in zip(buffers, before, strict=True):
            buffer.copy_(start)
        torch.manual_seed((settings.seed * 1_000_003 + at) * 64 + i)
        if len(parts[i]):
            rows = index[parts[i]]
            with runner.autocast():
                output = net(inputs.rows(parts[i]).to(runner.device))
            outcome, stage = task.training.outcome[rows], task.training.stage[rows]
            loss = _loss(output, outcome.to(runner.device), stage.to(runner.device), len(index), weight)
            torch.autograd.backward(loss)
            whole += float(loss.detach())
        for total, buffer in zip(moved, buffers, strict=True):
            total += buffer / len(mine)
    for buffer, value in zip(buffers, runner.mean(moved), strict=True):
        buffer.copy_(value)
    return whole


def _positive_weight(outcome: Tensor) -> Tensor:
    positives = float(outcome.sum())
    return torch.tensor((len(outcome) - positives) / max(positives, 1.0))


def _loss(output: NetworkOutput, outcome: Tensor, stage: Tensor, whole: int, weight: Tensor | None) -> Tensor:
    """A part's share of the mean loss over the `whole` batch."""
    weight = None if weight is None else weight.to(outcome.device)
    loss = F.binary_cross_entropy_with_logits(output.logit.float(), outcome, pos_weight=weight, reduction="sum")
    known = stage >= 0
    if output.stage_logits is not None and known.any():
        # Over the whole batch, so that few positives do not weigh more.
        loss = loss + STAGE_WEIGHT * F.cross_entropy(output.stage_logits[known].float(), stage[known], reduction="sum")
    return loss / whole


def _judged(logits: Tensor, outcome: Tensor) -> dict[str, float]:
    known = 0 < float(outcome.sum()) < len(outcome)
    return {
        "validation_loss": float(F.binary_cross_entropy_with_logits(logits, outcome)),
        "auroc": float(roc_auc_score(outcome.numpy(), logits.numpy())) if known else 0.5,
    }


def _told(name: str, history: History) -> str:
    """The last epoch in figures and, as far as the line goes, the validation loss of all so far."""
    now = history[-1]
    line = f"{name} {len(history):3d}  loss {now['loss']:.4f}"
    if "auroc" in now:
        curve = sparkline([h["validation_loss"] for h in history])
        line += f"  validation {now['validation_loss']:.4f}  AUROC {now['auroc']:.4f}  {curve}"
    return line


def sparkline(values: list[float], width: int = 40) -> str:
    """A curve of the last `width` values in block letters, the smallest lowest."""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (v - low) / ((high - low) or 1.0))] for v in shown)


class _State:
    """What an interrupted training goes on from, in safetensors, and the history beside it as JSON, for whoever watches."""

    def __init__(
        self, work: Path, net: LlnmNet, mean: LlnmNet, best: LlnmNet, optimiser: torch.optim.Optimizer, task: Task
    ) -> None:
        self.work, self.optimiser, self.task = work, optimiser, task
        self.modules = {"net": net, "mean": mean, "best": best}
        self.saved = time.monotonic()

    def keep(self, history: History, trace: Tensor, *, last: bool) -> None:
        """Save at the end of an epoch: always after the last, else when it is time again."""
        if last or time.monotonic() - self.saved >= SAVE_EVERY:
            self.save(history, trace)
            self.saved = time.monotonic()

    def save(self, history: History, trace: Tensor) -> None:
        tensors = {
            f"{prefix}.{key}": value
            for prefix, module in self.modules.items()
            for key, value in plain_tensors(module.state_dict()).items()
        }
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{key}": value for key, value in plain_tensors(state).items()}
        if self.task.trace:
            tensors["trace"] = trace.contiguous()
        atomic_write_bytes(
            self.work / "state.safetensors", save_tensors(tensors, metadata={"history": json.dumps(history)})
        )
        told = {"name": self.task.name, "epochs": self.task.epochs, "history": history}
        atomic_write_text(self.work / HISTORY, json.dumps(told))

    def resume(self) -> tuple[History, Tensor]:
        from safetensors import safe_open

        file, nothing = self.work / "state.safetensors", torch.zeros(0, len(self.task.validation or ()))
        if not file.exists():
            return [], nothing
        with safe_open(file, framework="pt") as opened:
            history: History = json.loads(opened.metadata()["history"])
        tensors = load_file(file)
        trace = tensors.pop("trace", nothing)
        for prefix, module in self.modules.items():
            start = f"{prefix}."
            module.load_state_dict({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, number, name = key.split(".", 2)
                state.setdefault(int(number), {})[name] = value
        if state:
            self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        return history, trace
