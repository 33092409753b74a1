"""From a cohort folder to a checkpoint: `train`. Seeded, resumable after any interruption, CPU or CUDA.

Order: segmentation network → pictures measured once → tokenizer → LLNM-Net with early stopping on the validation
AUROC → temperature on the validation cases → what tells other cases from these → checkpoint with its card. Each stage
leaves its result in `OUT/work`, so the same call goes on where it stopped; state is kept in safetensors.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from model.errors import CaseError
from model.ingest.cases import Cohort, read_cohort
from model.ingest.files import atomic_write_bytes, atomic_write_text
from model.nets.config import NetConfig, compact_config
from model.nets.llnm_net import LlnmNet, NetworkInputs, NetworkOutput
from model.nets.segmentation import SegmentationNet
from model.nets.tokenizer import ReportTokenizer
from model.predict import Predictor
from model.train.checkpoint import Checkpoint, load_checkpoint, plain_tensors, save_checkpoint
from model.train.data import Dataset, augment, build_dataset, dataset_logits, split_cases
from model.train.reference import described, reference_of
from model.train.segmentation import BATCH, load_views, train_segmentation
from model.train.settings import Settings

STAGE_WEIGHT = 0.3
"""Weight of the stage loss beside the LLNM loss."""

TEMPERATURES = (0.05, 20.0)
"""Least and greatest temperature; a network that needs more than that is not calibrated by any."""


Log = Callable[[str], None]
Step = Callable[[str, int, int], None]
"""Progress: what is being done, steps done, steps in all."""


def train(
    cohort_folder: Path | str,
    out: Path | str,
    *,
    settings: Settings = Settings(),
    config: NetConfig | None = None,
    external: Path | str | None = None,
    device: str | None = None,
    name: str = "llnm-compact",
    log: Log = print,
    step: Step = lambda _what, _done, _total: None,
) -> Checkpoint:
    """Train on a cohort folder and write a checkpoint to `out`.

    Parameters
    ----------
    cohort_folder : with labels; with masks for the segmentation network.
    external : cohort held out whole, evaluated at the end for the card.
    device : "cpu", "cuda" or None for CUDA when there is one.

    Raises
    ------
    CaseError
        If the cohort cannot be trained on, or `out` holds another run.
    """
    begin = time.monotonic()
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    out, work = Path(out), Path(out) / "work"
    cohort = read_cohort(cohort_folder)
    config = config or compact_config()
    _claim(work, {"cohort": _describe(cohort), "settings": asdict(settings), "network": config.to_dict()})
    clock = _Clock(work / "seconds.json")

    training_rows, validation_rows = split_cases(cohort, seed=settings.seed)
    ids = cohort.table["case_id"].astype(str).to_numpy()
    with clock("segmentation"):
        segmentation = _segmentation(cohort, ids[training_rows], work, settings, place, step)
    tokenizer = ReportTokenizer.train(
        [str(t) for t in cohort.table["report_text"].iloc[training_rows] if isinstance(t, str)],
        vocab_size=settings.vocabulary,
        max_tokens=config.text_tokens,
    )
    config = replace(config, vocab_size=tokenizer.vocab_size)
    with clock("measuring"):
        dataset = _dataset(cohort, segmentation, tokenizer, config, work, place, step)
    training = dataset.rows(torch.from_numpy(training_rows))
    validation = dataset.rows(torch.from_numpy(validation_rows))
    with clock("network"):
        net, history = _fit(training, validation, config, settings, place, work, log, step)

    logits = dataset_logits(net, validation, place)
    temperature = fit_temperature(logits, validation.outcome)
    calibrated = (logits / temperature).numpy()
    reference = reference_of(training, validation, cohort.schema)
    checkpoint = Checkpoint(
        net=net,
        segmentation=segmentation,
        tokenizer=tokenizer,
        temperature=temperature,
        validation_logits=calibrated,
        validation_labels=validation.outcome.numpy().astype(bool),
        reference=reference,
        card={
            "name": name,
            "purpose": "Risk of lateral lymph node metastasis before thyroid surgery. Research and teaching only; "
            "not a medical device.",
            "training_data": cohort.provenance,
            "cohort": _describe(cohort),
            "training_cases": len(training),
            "validation_cases": len(validation),
            "settings": asdict(settings),
            "commit": _commit(),
            "torch": torch.__version__,
            "device": str(place),
            "parameters": sum(p.numel() for p in net.parameters()),
            "history": history,
            "validation": {"auroc": float(roc_auc_score(validation.outcome.numpy(), calibrated))},
            "reference": described(reference, training, validation),
            "limits": [
                "Trained on synthetic cases only: figures say nothing about patients."
                if cohort.provenance == "synthetic"
                else "Valid at best for patients like those of the training cohort.",
                "Expects two B-mode views without measuring lines, one nodule a picture.",
                "Reads English reports only.",
            ],
            "training_seconds": clock.seconds(),
        },
    )
    save_checkpoint(checkpoint, out)
    if external is not None:
        from model.evaluate import evaluate_cohort

        held_out = evaluate_cohort(
            Predictor(load_checkpoint(out), device),
            read_cohort(external),
            progress=lambda n, of: step("evaluate", n, of),
        )
        card = {**checkpoint.card, "external": held_out.to_dict()}
        save_checkpoint(replace(checkpoint, card=card), out)
    shutil.rmtree(work)
    log(f"Checkpoint in {out} after {time.monotonic() - begin:.0f} s (this call).")
    return load_checkpoint(out)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Temperature that makes the validation logits calibrated (Guo et al. 2017): least log loss on (n,), (n,).

    Kept within `TEMPERATURES`: few cases that the logits order perfectly, or exactly the wrong way round, have their least
    loss at 0 or at infinity, and a search without ends runs off until logit ÷ temperature is not a number.
    """
    z, y = logits.double().numpy(), labels.double().numpy()

    def loss(log_temperature: float) -> float:
        scaled = z / math.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - y * scaled))

    low, high = (math.log(t) for t in TEMPERATURES)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-9}).x)


def _fit(
    training: Dataset, validation: Dataset, config: NetConfig, settings: Settings, device: torch.device, work: Path,
    log: Log, step: Step,
) -> tuple[LlnmNet, list[dict[str, float]]]:  # fmt: skip
    """Epochs with early stopping; the weights kept are a running mean."""
    torch.manual_seed(settings.seed)
    net = LlnmNet(config).to(device)
    mean = LlnmNet(config).to(device)
    mean.load_state_dict(net.state_dict())
    best = LlnmNet(config).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    per_epoch = math.ceil(len(training) / settings.batch)
    total = per_epoch * settings.epochs

    def rate(s: int) -> float:
        return min(1.0, (s + 1) / per_epoch) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(s / total, 1))))

    history: list[dict[str, float]] = _resume(work, net, mean, best, optimiser)
    for epoch in range(len(history), settings.epochs):
        best_epoch = max(range(len(history)), key=lambda e: history[e]["auroc"], default=0)
        if len(history) - 1 - best_epoch >= settings.patience:
            break
        torch.manual_seed(settings.seed * 1000 + epoch)  # dropout and order follow from seed and epoch alone
        generator = torch.Generator().manual_seed(settings.seed * 1000 + epoch)
        order = torch.randperm(len(training), generator=generator)
        net.train()
        losses = []
        for k in range(per_epoch):
            index = order[k * settings.batch : (k + 1) * settings.batch]
            inputs = augment(training.batch(index), generator).to(device)
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * rate(epoch * per_epoch + k)
            with _precision(device):
                output = net(inputs)
            loss = _loss(output, training.outcome[index].to(device), training.stage[index].to(device))
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            with torch.no_grad():
                decay = min(settings.average, 1 - 1 / (epoch * per_epoch + k + 2))
                for averaged, current in zip(mean.parameters(), net.parameters(), strict=True):
                    averaged.lerp_(current, 1 - decay)
            losses.append(float(loss.detach()))
            step(f"epoch {epoch + 1}", k + 1, per_epoch)
        for averaged_buffer, buffer in zip(mean.buffers(), net.buffers(), strict=True):
            averaged_buffer.copy_(buffer)
        logits = dataset_logits(mean, validation, device)
        scored = float(roc_auc_score(validation.outcome.numpy(), logits.numpy()))
        if scored > max((h["auroc"] for h in history), default=0.0):
            best.load_state_dict(mean.state_dict())
        log_loss = float(F.binary_cross_entropy_with_logits(logits, validation.outcome))
        history.append({"loss": float(np.mean(losses)), "validation_loss": log_loss, "auroc": scored})
        log(f"epoch {epoch + 1:3d}  loss {history[-1]['loss']:.4f}  validation {log_loss:.4f}  AUROC {scored:.4f}")
        _save_state(work, net, mean, best, optimiser, history)
    return best.eval(), history


def _loss(output: NetworkOutput, outcome: Tensor, stage: Tensor) -> Tensor:
    loss = F.binary_cross_entropy_with_logits(output.logit.float(), outcome)
    known = stage >= 0
    if output.stage_logits is not None and known.any():
        # Averaged over the whole batch, so that few positives do not weigh more.
        staged = F.cross_entropy(output.stage_logits[known].float(), stage[known], reduction="sum") / len(stage)
        loss = loss + STAGE_WEIGHT * staged
    return loss


def _precision(device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision where the device gains from it."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def _counter(step: Step, total: int) -> Callable[[str, int], None]:
    """What is being done and how much more of it was done → `step`, with the sum so far."""
    done = 0

    def add(what: str, n: int) -> None:
        nonlocal done
        done += n
        step(what, done, total)

    return add


def _segmentation(
    cohort: Cohort, ids: np.ndarray[Any, Any], work: Path, settings: Settings, device: torch.device, step: Step
) -> SegmentationNet:
    file = work / "segmentation.safetensors"
    if file.exists():
        net = SegmentationNet().to(device)
        net.load_state_dict(load_file(file))
        return net.eval()
    chosen = list(ids[: settings.segmentation_cases])
    loaded = _counter(step, len(chosen))
    pictures, masks = load_views(cohort, chosen, lambda n: loaded("pictures for segmentation", n))
    trained = _counter(step, settings.segmentation_epochs * math.ceil(len(pictures) / BATCH))
    net = train_segmentation(
        pictures, masks, seed=settings.seed, epochs=settings.segmentation_epochs, device=device,
        progress=lambda n, loss: trained(f"segmentation, loss {loss:.3f}", n),
    )  # fmt: skip
    atomic_write_bytes(file, save_tensors(plain_tensors(net.state_dict())))
    return net


def _dataset(
    cohort: Cohort, segmentation: SegmentationNet, tokenizer: ReportTokenizer, config: NetConfig, work: Path,
    device: torch.device, step: Step,
) -> Dataset:  # fmt: skip
    file = work / "dataset.safetensors"
    names = tuple(str(c) for c in cohort.table["case_id"])
    if not file.exists():
        count = _counter(step, len(names))
        built = build_dataset(
            cohort, segmentation, tokenizer, config, device=device, progress=lambda n: count("measuring", n)
        )
        tensors = {f.name: getattr(built.inputs, f.name) for f in fields(NetworkInputs)}
        stored = {k: v.contiguous() for k, v in tensors.items() if v is not None}
        atomic_write_bytes(
            file, save_tensors({**stored, "outcome": built.outcome, "stage": built.stage, "features": built.features})
        )
    loaded = load_file(file)
    outcome, stage, features = (loaded.pop(name) for name in ("outcome", "stage", "features"))
    return Dataset(NetworkInputs(**loaded), outcome, stage, features, names)


def _save_state(
    work: Path,
    net: LlnmNet,
    mean: LlnmNet,
    best: LlnmNet,
    optimiser: torch.optim.Optimizer,
    history: list[dict[str, float]],
) -> None:
    tensors = {
        f"{prefix}.{key}": value
        for prefix, module in (("net", net), ("mean", mean), ("best", best))
        for key, value in plain_tensors(module.state_dict()).items()
    }
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{key}": value for key, value in plain_tensors(state).items()}
    atomic_write_bytes(work / "state.safetensors", save_tensors(tensors, metadata={"history": json.dumps(history)}))


def _resume(
    work: Path, net: LlnmNet, mean: LlnmNet, best: LlnmNet, optimiser: torch.optim.Optimizer
) -> list[dict[str, float]]:
    from safetensors import safe_open

    file = work / "state.safetensors"
    if not file.exists():
        return []
    with safe_open(file, framework="pt") as opened:
        history: list[dict[str, float]] = json.loads(opened.metadata()["history"])
    tensors = load_file(file)
    for prefix, module in (("net", net), ("mean", mean), ("best", best)):
        start = f"{prefix}."
        module.load_state_dict({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, number, name = key.split(".", 2)
            state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return history


class _Clock:
    """Seconds spent in each stage, over all calls of a resumed run."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def seconds(self) -> dict[str, float]:
        return dict(json.loads(self.file.read_text("utf-8"))) if self.file.exists() else {}

    def __call__(self, stage: str) -> _Timed:
        return _Timed(self, stage)

    def add(self, stage: str, seconds: float) -> None:
        spent = self.seconds()
        atomic_write_text(self.file, json.dumps({**spent, stage: round(spent.get(stage, 0.0) + seconds, 1)}))


class _Timed:
    def __init__(self, clock: _Clock, stage: str) -> None:
        self.clock, self.stage = clock, stage

    def __enter__(self) -> None:
        self.begin = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.clock.add(self.stage, time.monotonic() - self.begin)


def _describe(cohort: Cohort) -> dict[str, Any]:
    return {
        "name": cohort.name,
        "provenance": cohort.provenance,
        "cases": len(cohort.table),
        "centres": sorted({str(c) for c in cohort.table["centre"] if isinstance(c, str)}),
    }


def _claim(work: Path, run: dict[str, Any]) -> None:
    """Take the work folder for this run, or refuse if another run's work is in it."""
    file = work / "run.json"
    text = json.dumps(run, indent=1, sort_keys=True)
    if file.exists() and file.read_text("utf-8") != text:
        raise CaseError(
            "an unfinished run with other settings is there", where=str(work), fix="Name another --out, or delete it."
        )
    atomic_write_text(file, text)


def _commit() -> str:
    """Commit the code was at, where there is a repository."""
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
