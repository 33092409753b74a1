"""From a cohort to a checkpoint: `train`. Seeded, resumable after any interruption, CPU or CUDA, one process or many.

Order: checks → segmentation network → pictures measured once → tokenizer → LLNM-Net with early stopping on the validation
AUROC, or cross-fitted (`Settings.folds`) → calibration on cases that did not train → what tells other cases from these →
checkpoint with its card. Each stage leaves its result in `OUT/work`, so the same call goes on where it stopped; state is
kept in safetensors. What a cohort lacks is left out: a table alone trains no segmentation network and no tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from sklearn.metrics import roc_auc_score
from torch import Tensor

from model.errors import CaseError
from model.evaluate import check_judged, evaluate_cohort
from model.ingest.card import card_of
from model.ingest.cases import Cohort, read_cohort
from model.ingest.files import atomic_write_bytes, atomic_write_text
from model.ingest.parts import TARGETS
from model.ingest.table import IMAGE_COLUMNS, mask_column
from model.nets.bert import BertReports
from model.nets.config import NetConfig, compact_config, paper_config
from model.nets.llnm_net import LlnmNet, NetworkInputs
from model.nets.segmentation import SegmentationNet
from model.nets.tokenizer import ReportTokenizer
from model.predict import Predictor
from model.schema import VIEWS, Schema
from model.train.calibrate import beyond_chance, fit_shift, fit_temperature, shift_logit
from model.train.checkpoint import Checkpoint, load_checkpoint, plain_tensors, save_checkpoint
from model.train.checks import refuse_leaks
from model.train.data import Dataset, build_dataset, dataset_logits
from model.train.fit import History, Log, Step, Task, fit
from model.train.folders import RUN, SHIPPED
from model.train.reference import cross_fitted_reference, described, reference_of
from model.train.runner import Runner
from model.train.segmentation import BATCH, load_views, train_segmentation
from model.train.settings import SMALL_COHORT, Settings, for_small_cohort
from model.train.split import IntArray, folds, outcomes, patients, split_cases, subset, without_centre
from model.train.warm import warm_config, warm_start
from model.train.wide import start_wide


def train(
    cohort: Cohort | Path | str,
    out: Path | str,
    *,
    settings: Settings | None = None,
    config: NetConfig | None = None,
    external: Path | str | None = None,
    leave_out: str | None = None,
    warm: Path | str | None = None,
    bert: Path | str | None = None,
    allow: Collection[str] = (),
    shared: Path | None = None,
    device: str | None = None,
    devices: int = 1,
    nodes: int = 1,
    name: str | None = None,
    log: Log = print,
    step: Step = lambda _what, _done, _total: None,
) -> Checkpoint:
    """Train on a cohort and write a checkpoint to `out`.

    Parameters
    ----------
    cohort : a cohort, or its folder; with outcomes. Masks train the segmentation network; without any, or with `warm`,
        another checkpoint's is used.
    settings, config : None for those that suit the cohort (`settings_for`, `config_for`).
    external : cohort held out whole, evaluated at the end for the card.
    leave_out : a centre that is held out likewise.
    warm : checkpoint folder whose weights the network starts from, where they fit.
    bert : folder of a pretrained BERT (`model.nets.bert`) whose frozen features the network reads instead of learning an
        embedding of words; one whose configuration has a `text_feature_width` needs it.
    allow : fields that may predict the outcome all but perfectly.
    shared : folder that keeps the segmentation network and the measured cases for trainings that differ in `config.cross`
        alone; None measures for this training alone.
    device : "cpu", "cuda" or None for CUDA when there is one.
    devices, nodes : processes on each machine, and machines (`model.train.runner`).
    name : on the card; None for the name of the folder.

    Raises
    ------
    CaseError
        If the cohort cannot be trained on or the external one not judged on, or `out` holds another run or a checkpoint.
    """
    begin = time.monotonic()
    out, work = Path(out), Path(out) / "work"
    whole = cohort if isinstance(cohort, Cohort) else read_cohort(cohort)
    held_out = None
    if leave_out is not None:
        whole, held_out = without_centre(whole, leave_out)
    whole = subset(whole, (whole.table["split"].astype(object) != "test").to_numpy(bool))
    source = None if warm is None else load_checkpoint(warm)
    label = outcomes(whole)
    settings = settings or settings_for(whole)
    plan = _plan(whole, label, config, source, settings, bert)
    refuse_leaks(whole, label, plan.schema, allow)
    judged = held_out if external is None else read_cohort(external)
    if judged is not None:
        check_judged(judged, plan.schema)  # now, not after hours of training
    runner = Runner(settings, device, devices=devices, nodes=nodes)
    run = {"cohort": _describe(whole), "cases": content_hash(whole), "settings": asdict(settings)}
    run |= {"network": plan.config.to_dict(), "warm": str(warm)}
    run |= {"bert": plan.tokenizer.sha256} if isinstance(plan.tokenizer, BertReports) else {}

    def claim() -> None:
        # With its work beside it a checkpoint lacks what the external cohort says of it: killed meanwhile, it is gone on with.
        if (out / "card.json").exists() and not (work / RUN).exists():
            raise CaseError("a checkpoint is there already", where=str(out), fix="Name another --out, or delete it.")
        _claim(work, run)
        if shared is not None:
            _claim(shared, {**run, "network": {k: v for k, v in plan.config.to_dict().items() if k != "cross"}})

    runner.once(claim)
    measured = shared or work
    clock = _Clock(work / "seconds.json", writes=runner.first)

    tokenizer = plan.tokenizer
    config = plan.config
    with clock("segmentation"):
        segmentation = _segmentation(whole, plan, source, measured, settings, runner, log, step)
    with clock("measuring"):
        dataset = _dataset(whole, plan, segmentation, measured, runner, step)
    with clock("network"):
        start = _start(plan, source, log if runner.first else lambda _: None)
        found = _network(dataset, plan, settings, runner, work, start, log, step)
    if settings.balance:
        by = fit_shift(found.logits, found.validation.outcome)
        shift_logit(found.net, by)
        found = replace(found, logits=found.logits + by)
    temperature = fit_temperature(found.logits, found.validation.outcome, cautious=bool(plan.parts))
    calibrated = (found.logits / temperature).numpy()
    reference = (
        cross_fitted_reference(dataset, plan.parts, plan.schema) if plan.parts
        else reference_of(found.training, found.validation, plan.schema)
    )  # fmt: skip
    checkpoint = Checkpoint(
        net=found.net,
        segmentation=segmentation,
        tokenizer=tokenizer,
        temperature=temperature,
        validation_logits=calibrated,
        validation_labels=found.validation.outcome.numpy().astype(bool),
        reference=reference,
        schema=plan.schema,
        card={
            "name": name or out.resolve().name,
            "purpose": f"Risk of {plan.schema.endpoint.phrase} before thyroid surgery. Research and teaching only; "
            "not a medical device.",
            "training_data": whole.provenance,
            "cohort": run["cohort"],
            "training_cases": len(found.training),
            "validation_cases": len(found.validation),
            "validation_by": f"cross-fitting over {len(plan.parts)} parts" if plan.parts else "cases held back",
            "left_out": leave_out,
            "allowed": sorted(allow),
            "warm_start": None if source is None else source.identity,
            "settings": asdict(settings),
            "commit": _commit(),
            "torch": torch.__version__,
            "device": str(runner.device),
            "processes": runner.world,
            "parameters": sum(p.numel() for p in found.net.parameters()),
            "history": found.history,
            "validation": {"auroc": float(roc_auc_score(found.validation.outcome.numpy(), calibrated))},
            "reference": described(reference, found.training, found.validation),
            "limits": _limits(whole, plan.schema),
            "training_seconds": clock.seconds(),
        },
    )

    def finish() -> None:
        save_checkpoint(checkpoint, out)
        if judged is not None:
            told = evaluate_cohort(
                Predictor(load_checkpoint(out), device), judged, progress=lambda n, of: step("evaluate", n, of)
            )
            save_checkpoint(replace(checkpoint, card={**checkpoint.card, "external": told.to_dict()}), out)
        shutil.rmtree(work)
        log(f"Checkpoint in {out} after {time.monotonic() - begin:.0f} s (this call).")

    runner.once(finish)
    return load_checkpoint(out)


def settings_for(cohort: Cohort, settings: Settings = Settings()) -> Settings:
    """Settings that suit a cohort: cross-fitting where it is small and names no split of its own."""
    small = len(cohort) < SMALL_COHORT and not cohort.table["split"].notna().any()
    return for_small_cohort(settings) if small else settings


def config_for(cohort: Cohort) -> NetConfig:
    """A network for what a cohort has: the kinds of input and the fields that at least one case gives.

    Without pictures it is narrow and has no fusion; a small cohort's fields also go straight to the logit (`wide`).
    """
    table, schema = cohort.table, cohort.schema
    images = any((table[column] != "").any() for column in IMAGE_COLUMNS)
    report = bool((table["report_text"].str.strip() != "").any())
    by_name = schema.by_name
    given = tuple(
        name for name in schema.tokens if table[name].notna().any() or (images and by_name[name].role == "measured")
    )
    if not (images or report or given):
        raise CaseError("neither pictures, reports nor fields", where=str(cohort.root), fix="Give the model something to read.")
    whole = compact_config()
    whole = replace(
        whole, fields=given, stages=schema.has_stages and bool(table["stage"].notna().any()),
        wide=bool(given) and len(cohort) < SMALL_COHORT, text_tokens=whole.text_tokens if report else 0,
    )  # fmt: skip
    if images:
        return whole
    return replace(whole, images=False, fusion_layers=0, self_layers=2, width=32, heads=4, mlp_width=64, dropout=0.2)


def paper_config_for(cohort: Cohort) -> NetConfig:
    """The published network for a cohort: without report tokens where it has no report, without stages where none is known.

    Raises
    ------
    CaseError
        If the cohort has no picture: the published network is nothing without.
    """
    table = cohort.table
    if not any((table[column] != "").any() for column in IMAGE_COLUMNS):
        raise CaseError("no picture, which the paper configuration needs", where=str(cohort.root), fix="Use --config compact.")
    config = replace(paper_config(), stages=cohort.schema.has_stages and bool(table["stage"].notna().any()))
    report = bool((table["report_text"].str.strip() != "").any())
    return config if report else replace(config, text_tokens=0, text_feature_width=None)


@dataclass(frozen=True)
class _Plan:
    """What follows from the cohort and the wishes, before anything is computed.

    Parameters
    ----------
    config, schema, tokenizer : of the network.
    training, validation : row numbers; the same, all of them, where `parts` cross-fit.
    parts : rows of each part; empty without cross-fitting.
    """

    config: NetConfig
    schema: Schema
    tokenizer: ReportTokenizer | None
    training: IntArray
    validation: IntArray
    parts: tuple[IntArray, ...]


def _plan(
    cohort: Cohort, label: np.ndarray[Any, Any], config: NetConfig | None, source: Checkpoint | None, settings: Settings,
    bert: Path | str | None,
) -> _Plan:  # fmt: skip
    parts: tuple[IntArray, ...] = ()
    if settings.folds:
        parts = tuple(folds(label, patients(cohort), settings.folds, seed=settings.seed))
        training = validation = np.arange(len(cohort))
    else:
        training, validation = split_cases(cohort, seed=settings.seed)
        for rows, which in ((training, "train"), (validation, "validate")):
            if label[rows].all() or not label[rows].any():
                raise CaseError(
                    f"all {len(rows)} cases that {which} have the same outcome", where=str(cohort.root),
                    fix="Give more cases of the rarer outcome, or a `split` with both in every part.",
                )  # fmt: skip
    config = config or config_for(cohort)
    if source is not None:
        config = warm_config(config, source.net.config)
    tokenizer: ReportTokenizer | None = None
    if bert is not None and not config.text_tokens:
        raise CaseError("no report for the BERT to read", where=str(cohort.root), fix="Leave out --bert.")
    if config.text_tokens:
        if bert is not None:
            tokenizer = reader = BertReports.load(bert, config.text_tokens)
            config = replace(config, text_feature_width=reader.width)
        elif source is not None and source.tokenizer is not None:
            tokenizer = source.tokenizer
        elif config.text_feature_width is not None:
            raise CaseError(
                "this configuration reads BERT features, and no folder of a BERT was named", where="--bert",
                fix="Name one with config.json, vocab.txt or tokenizer.json, and model.safetensors.",
            )  # fmt: skip
        else:
            tokenizer = ReportTokenizer.train(
                [str(t) for t in cohort.table["report_text"].iloc[training] if isinstance(t, str)],
                vocab_size=settings.vocabulary,
                max_tokens=config.text_tokens,
            )
        config = replace(config, vocab_size=tokenizer.vocab_size)
    schema = _scaled(cohort, training).restricted(config.fields, images=config.images, report=config.text_tokens > 0)
    return _Plan(config, schema, tokenizer, training, validation, parts)


def _scaled(cohort: Cohort, rows: IntArray) -> Schema:
    """The cohort's schema, its own numbers centred and scaled by the training cases."""

    def told(name: str) -> tuple[float, float]:
        values = cohort.table[name].iloc[rows].to_numpy(float)
        values = values[np.isfinite(values)]
        spread = float(values.std()) if len(values) > 1 else 0.0
        return (float(values.mean()), spread) if spread > 0 else (float(values.mean()) if len(values) else 0.0, 1.0)

    schema, own = cohort.schema, {f.name for f in cohort.schema.own if f.kind == "number"}
    if not own:
        return schema
    scales = {name: told(name) for name in own}
    scaled = (replace(f, mean=scales[f.name][0], spread=scales[f.name][1]) if f.name in own else f for f in schema.fields)
    return replace(schema, fields=tuple(scaled))


def _start(plan: _Plan, source: Checkpoint | None, log: Log) -> Callable[[LlnmNet, Dataset], None]:
    """How a network gets its first weights, from the cases that train it."""
    told = False

    def start(net: LlnmNet, training: Dataset) -> None:
        nonlocal told
        if source is not None:
            copied, kept = warm_start(net, plan.schema, plan.tokenizer, source)
            if not told:
                log(f"Warm start from {source.identity}: {len(copied)} of {len(copied) + len(kept)} weights copied.")
                for line in (*(c for c in copied if " of " in c), *kept):
                    log(f"  {'copied' if line in copied else 'not copied'}: {line}")
        elif plan.config.wide:
            start_wide(net, training.inputs, training.outcome.numpy() > 0.5)
            for parameter in net.wide.parameters():
                parameter.requires_grad_(False)
            if not told:
                log(f"Wide path: starts as a ridge logistic regression of {len(training)} cases.")
        told = True

    return start


@dataclass(frozen=True)
class _Found:
    """A trained network, the uncalibrated logits of cases that did not train it, and those cases."""

    net: LlnmNet
    logits: Tensor
    training: Dataset
    validation: Dataset
    history: History


def _network(
    dataset: Dataset, plan: _Plan, settings: Settings, runner: Runner, work: Path,
    start: Callable[[LlnmNet, Dataset], None], log: Log, step: Step,
) -> _Found:  # fmt: skip
    def task(rows: IntArray, held: IntArray | None, epochs: int, name: str) -> Task:
        training = dataset.rows(torch.from_numpy(rows))
        validation = None if held is None else dataset.rows(torch.from_numpy(held))
        begin = lambda net: start(net, training)  # noqa: E731
        return Task(training, validation, plan.config, plan.schema, begin, epochs, bool(plan.parts), name)

    if not plan.parts:
        only = task(plan.training, plan.validation, settings.epochs, "epoch")
        fitted = fit(only, settings, runner, work, log, step)
        assert only.validation is not None
        logits = dataset_logits(fitted.net, only.validation, runner.device)
        return _Found(fitted.net, logits, only.training, only.validation, fitted.history)
    traces = torch.zeros(settings.epochs + 1, len(dataset))
    quiet = replace(settings, patience=settings.epochs + 1)
    for k, held in enumerate(plan.parts):
        others = np.sort(np.concatenate([p for i, p in enumerate(plan.parts) if i != k]))
        one = task(others, held, settings.epochs, f"part {k + 1} of {len(plan.parts)}, epoch")
        traces[:, torch.from_numpy(held)] = fit(one, quiet, runner, work / f"part_{k + 1}", lambda _: None, step).trace
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        traces, dataset.outcome.expand_as(traces), reduction="none"
    )  # fmt: skip
    epochs = _epochs(losses)
    label = dataset.outcome.numpy()
    history = [
        {"validation_loss": float(loss), "auroc": float(roc_auc_score(label, logits.numpy()))}
        for loss, logits in zip(losses.mean(1), traces, strict=True)
    ]
    if runner.first:
        log(
            f"Cross-fitted over {len(plan.parts)} parts: {epochs} epochs are worth it (log loss "
            f"{history[epochs]['validation_loss']:.4f}, AUROC {history[epochs]['auroc']:.4f}; at the start "
            f"{history[0]['validation_loss']:.4f}, {history[0]['auroc']:.4f}). Training on all {len(dataset)} cases."
        )
    last = replace(task(plan.training, None, epochs, "epoch"), trace=False)
    fitted = fit(last, settings, runner, work / "all", lambda _: None, step)
    return _Found(fitted.net, traces[epochs], dataset, dataset, history)


def _epochs(losses: Tensor) -> int:
    """Epochs with the least mean of the (epochs + 1, n) losses, or none where the gain may be chance."""
    best = int(losses.mean(1).argmin())
    return best if beyond_chance(losses[0] - losses[best]) else 0


def _limits(cohort: Cohort, schema: Schema) -> list[str]:
    limits = [
        "Trained on synthetic cases only: figures say nothing about patients."
        if cohort.provenance == "synthetic"
        else "Valid at best for patients like those of the training cohort."
    ]
    if schema.has_images:
        limits.append("Expects two B-mode views without measuring lines, one nodule a picture.")
    if schema.has_report:
        limits.append("Reads English reports only.")
    return limits


def _counter(step: Step, total: int) -> Callable[[str, int], None]:
    """What is being done and how much more of it was done → `step`, with the sum so far."""
    done = 0

    def add(what: str, n: int) -> None:
        nonlocal done
        done += n
        step(what, done, total)

    return add


def _segmentation(
    cohort: Cohort, plan: _Plan, source: Checkpoint | None, work: Path, settings: Settings, runner: Runner, log: Log, step: Step,
) -> SegmentationNet | None:  # fmt: skip
    """Trained on the masks of the training cases by the first process; another checkpoint's where there are no masks."""
    if not plan.config.images:
        return None
    device = runner.device
    masks = [mask_column(target, view) for target in TARGETS for view in VIEWS]
    rows = plan.training if not plan.parts else np.random.default_rng([settings.seed, 81]).permutation(plan.training)
    if source is not None or not (cohort.table[masks] != "").any().any():
        other = source or load_checkpoint(SHIPPED)
        if other.segmentation is not None:
            if runner.first:
                log(f"Outlines by the segmentation network of {other.identity}.")
            return other.segmentation.to(device).eval()
    file = work / "segmentation.safetensors"

    def learn() -> None:
        if not file.exists():
            _train_segmentation(cohort, [cohort.case_ids[i] for i in rows], file, settings, device, step)

    runner.once(learn)
    net = SegmentationNet().to(device)
    net.load_state_dict(load_file(file))
    return net.eval()


def _train_segmentation(
    cohort: Cohort, ids: list[str], file: Path, settings: Settings, device: torch.device, step: Step
) -> None:
    chosen = ids[: settings.segmentation_cases]
    loaded = _counter(step, len(chosen))
    pictures, masks = load_views(cohort, chosen, lambda n: loaded("pictures for segmentation", n))
    trained = _counter(step, settings.segmentation_epochs * math.ceil(len(pictures) / BATCH))
    net = train_segmentation(
        pictures, masks, seed=settings.seed, epochs=settings.segmentation_epochs, device=device,
        progress=lambda n, loss: trained(f"segmentation, loss {loss:.3f}", n),
    )  # fmt: skip
    atomic_write_bytes(file, save_tensors(plain_tensors(net.state_dict())))


def _dataset(
    cohort: Cohort, plan: _Plan, segmentation: SegmentationNet | None, work: Path, runner: Runner, step: Step
) -> Dataset:
    """Every case measured once, by the first process."""
    file = work / "dataset.safetensors"
    names = tuple(str(c) for c in cohort.table["case_id"])

    def build() -> None:
        if file.exists():
            return
        count = _counter(step, len(names))
        built = build_dataset(
            cohort, segmentation, plan.tokenizer, plan.config, device=runner.device, schema=plan.schema,
            progress=lambda n: count("measuring", n),
        )  # fmt: skip
        tensors = {f.name: getattr(built.inputs, f.name) for f in fields(NetworkInputs)}
        stored = {k: v.contiguous() for k, v in tensors.items() if v is not None}
        atomic_write_bytes(
            file, save_tensors({**stored, "outcome": built.outcome, "stage": built.stage, "features": built.features})
        )

    runner.once(build)
    loaded = load_file(file)
    outcome, stage, features = (loaded.pop(name) for name in ("outcome", "stage", "features"))
    return Dataset(NetworkInputs(**loaded), outcome, stage, features, names)


class _Clock:
    """Seconds spent in each stage, over all calls of a resumed run."""

    def __init__(self, file: Path, *, writes: bool) -> None:
        self.file, self.writes = file, writes

    def seconds(self) -> dict[str, float]:
        return dict(json.loads(self.file.read_text("utf-8"))) if self.file.exists() else {}

    def __call__(self, stage: str) -> _Timed:
        return _Timed(self, stage)

    def add(self, stage: str, seconds: float) -> None:
        if not self.writes:
            return
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
        "endpoint": cohort.schema.endpoint.name,
        "centres": sorted({str(c) for c in cohort.table["centre"] if isinstance(c, str) and c}),
    }


def content_hash(cohort: Cohort) -> str:
    """SHA-256 of the table, and of what its card says of endpoint and fields: whether cases were mended since."""
    text = cohort.table.to_csv(index=False) + json.dumps(card_of(cohort.schema), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _claim(work: Path, run: dict[str, Any]) -> None:
    """Take the work folder for this run, or refuse if another run's work is in it."""
    file = work / RUN
    text = json.dumps(run, indent=1, sort_keys=True)
    if file.exists() and file.read_text("utf-8") != text:
        raise CaseError(
            "an unfinished run with other settings or cases is there", where=str(work), fix="Name another --out, or delete it."
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
