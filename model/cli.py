"""`llnm`: from a cohort to a model, its figures and the dashboard. Everything a user can cause ends in one clear line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from tqdm import tqdm

from model.cohort import SERVED
from model.errors import CaseError, ProblemError
from model.importing import COHORTS
from model.schema import LLNM
from model.train.folders import CASES, MAIN, MORE, checkpoint_folders, unfinished_runs
from model.train.settings import Precision, Settings

if TYPE_CHECKING:
    from model.predict import Predictor

SAMPLES = Path(__file__).resolve().parent.parent / "data_samples"
"""The cases that come with the project."""

app = typer.Typer(
    help="LLNM Explorer. Research and teaching only; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Explain(StrEnum):
    """How `score` explains."""

    none, shap = "none", "shap"


class ScorePrecision(StrEnum):
    """What `score` multiplies in."""

    fp32, bf16 = "fp32", "bf16"


class Engine(StrEnum):
    """What `score` runs on."""

    local, ray = "local", "ray"


CheckpointOption = Annotated[Path | None, typer.Option(help="Checkpoint folder; the shipped one by default.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu or cuda; CUDA when there is one by default.")]


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the user can mend into one message and exit code 1."""
    try:
        yield
    except ProblemError as problem:
        typer.secho(str(problem), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.secho("Stopped. The same command goes on where it stopped.", err=True)
        raise typer.Exit(130) from None


class _Bars:
    """Progress bars on standard error, one for each thing being done."""

    def __init__(self) -> None:
        self.what = ""
        self.bar: tqdm[None] | None = None

    def close(self) -> None:
        """Take the last bar away, so that a message begins a line of its own."""
        if self.bar is not None:
            self.bar.close()

    def __call__(self, what: str, done: int, total: int) -> None:
        stem = what.split(",")[0]
        if self.bar is None or stem != self.what:
            self.close()
            self.what, self.bar = stem, tqdm(total=total, file=sys.stderr, mininterval=1.0, leave=False)
        self.bar.set_description(what, refresh=False)
        self.bar.update(done - self.bar.n)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the cohort; an unfinished one is gone on with.")],
    cases: Annotated[int, typer.Option(help="Number of cases.")] = 2000,
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = 1,
    external: Annotated[bool, typer.Option("--external", help="Only the five external centres.")] = False,
    training: Annotated[bool, typer.Option("--training", help="Only the two training centres.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores by default.")] = None,
) -> None:
    """Make a synthetic cohort: pictures, masks, reports, fields, outcomes and the truth behind them."""
    from model.cohort.discrimination import auroc
    from model.simulate.cohort import TRUTH_NAME, read_truth
    from model.simulate.cohort import simulate as make

    with _told():
        if external and training:
            raise CaseError(
                "both --external and --training", where="simulate", fix="Name one, or none for all centres."
            )
        part = "external" if external else "training" if training else "all"
        with tqdm(total=cases, unit="case", file=sys.stderr, mininterval=1.0) as bar:
            folder = make(cases, seed, out, part=part, workers=workers, progress=bar.update)
        truth = read_truth(folder)
        typer.echo(f"{len(truth):,} synthetic cases in {folder} ({TRUTH_NAME} holds the truth).")
        typer.echo(f"LLNM in {truth['llnm'].mean():.1%} ({int(truth['llnm'].sum())} of {len(truth)}).")
        if truth["llnm"].nunique() == 2:
            best = auroc(truth["probability"].to_numpy(), truth["llnm"].to_numpy("int64"))
            typer.echo(
                f"Bayes-optimal AUROC, from the true probabilities: {best.value:.4f} ({best.low:.4f}–{best.high:.4f})."
            )


@app.command("import")
def import_(
    manifest: Annotated[Path, typer.Argument(help="Table of the export (.csv, .xlsx, .parquet); its files lie beside it.")],
    out: Annotated[Path, typer.Option(help="Folder for the cohort; an unfinished import of it is gone on with.")],
    mapping: Annotated[
        Path | None, typer.Option(help="What the columns mean (JSON). A dry run writes a proposal to it where it is not there.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be taken and dropped; write no cohort.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    key: Annotated[Path | None, typer.Option(help="Key of the pseudonyms; COHORT.key beside the cohort by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores by default.")] = None,
) -> None:
    """Make a cohort of a hospital's export: mapped, checked, de-identified."""
    from model.importing import report as told_of
    from model.importing.keys import key_beside
    from model.importing.manifest import open_manifest
    from model.importing.mapping import read_mapping, write_mapping
    from model.importing.profile import profiles
    from model.importing.propose import propose
    from model.importing.run import import_cohort
    from model.importing.sources import Folder

    with _told():
        opened = open_manifest(manifest, manifest.name)
        if mapping is not None and (mapping.exists() or not dry_run):
            agreed = read_mapping(mapping)
        else:
            agreed = propose(opened, profiles(opened.header, opened.rows(), opened.separator)[0])
            if mapping is not None:
                write_mapping(agreed, mapping)
                typer.echo(f"A proposal was written to {mapping}: read it, correct it, and run the dry run again.", err=True)
        with closing(_Bars()) as bars:
            done = import_cohort(
                opened, agreed, Folder(manifest.resolve().parent), out, key_file=key or key_beside(out), dry=dry_run,
                workers=workers, progress=bars,
            )  # fmt: skip
        if as_json:
            typer.echo(json.dumps(told_of.as_json(done, agreed), ensure_ascii=False))
        else:
            for line in told_of.lines(done, agreed):
                typer.echo(line)


@app.command()
def train(
    cohort: Annotated[Path, typer.Argument(help="Cohort folder with outcomes; pictures, reports and fields as it has them.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint; an unfinished run in it is gone on with.")],
    external: Annotated[Path | None, typer.Option(help="Held-out cohort, evaluated for the card.")] = None,
    leave_out: Annotated[str | None, typer.Option(help="Centre that is held out and evaluated for the card.")] = None,
    warm_start: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from, as far as it fits; “shipped” for the one that ships.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Field that may predict the outcome all but perfectly; may be repeated.")
    ] = None,
    config: Annotated[
        str, typer.Option(help="compact, or paper: the published network, which reads BERT features.")
    ] = "compact",
    bert: Annotated[
        Path | None, typer.Option(help="Folder of a pretrained BERT, in the layout of Hugging Face; never downloaded.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = Settings.seed,
    epochs: Annotated[int | None, typer.Option(help="At most; training stops early.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Cases a step.", min=1)] = None,
    accumulate: Annotated[
        int, typer.Option(help="Parts of a batch, whose gradients are added; a multiple of the processes.", min=1)
    ] = Settings.accumulate,
    folds: Annotated[
        int | None, typer.Option(help="Cross-fit over so many parts; 0 holds a fifth back. By the cohort's size by default.", min=0)
    ] = None,
    balance: Annotated[bool, typer.Option("--balance", help="Weigh the rarer outcome up; probabilities stay right.")] = False,
    precision: Annotated[str | None, typer.Option(help="32-true or bf16-mixed; the latter on CUDA by default.")] = None,
    segmentation_cases: Annotated[
        int, typer.Option(help="Cases that train the segmentation network.", min=1)
    ] = Settings.segmentation_cases,
    segmentation_epochs: Annotated[int, typer.Option(help="Passes over them.", min=1)] = Settings.segmentation_epochs,
    name: Annotated[str | None, typer.Option(help="Name on the card; that of the folder by default.")] = None,
    device: DeviceOption = None,
    devices: Annotated[int, typer.Option(help="Processes on this machine, one a GPU.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.", min=1)] = 1,
) -> None:
    """Train a model for the cohort's endpoint: outlines, network, calibration; resumable, CPU or CUDA, one or many."""
    from model.ingest.cases import read_cohort
    from model.train.folders import SHIPPED
    from model.train.loop import paper_config_for, settings_for
    from model.train.loop import train as run
    from model.train.settings import for_paper

    with _told():
        if config not in ("compact", "paper"):
            raise CaseError(f"{config!r}", where="--config", fix="Give compact or paper.")
        if precision not in (None, *get_args(Precision)):
            raise CaseError(f"{precision!r}", where="--precision", fix=f"Give {' or '.join(get_args(Precision))}.")
        read = read_cohort(cohort)
        base = Settings() if folds == 0 else settings_for(read)
        base = for_paper(base) if config == "paper" else base
        settings = replace(
            base, seed=seed, accumulate=accumulate, balance=balance, segmentation_cases=segmentation_cases,
            segmentation_epochs=segmentation_epochs, precision=cast("Precision | None", precision),
            epochs=base.epochs if epochs is None else epochs, batch=base.batch if batch is None else batch,
            folds=base.folds if folds is None else folds,
        )  # fmt: skip
        run(
            read, out, settings=settings, external=external, leave_out=leave_out, allow=allow or (), device=device,
            config=paper_config_for(read) if config == "paper" else None, bert=bert,
            warm=SHIPPED if warm_start is not None and str(warm_start) == "shipped" else warm_start,
            devices=devices, nodes=nodes, name=name, log=lambda line: tqdm.write(line), step=_Bars(),
        )  # fmt: skip


@app.command()
def crossvalidate(
    cohort: Annotated[Path, typer.Argument(help="Cohort folder with outcomes.")],
    work: Annotated[Path, typer.Option(help="Folder for the folds; an unfinished call in it is gone on with.")],
    folds: Annotated[int, typer.Option(help="Folds, cut by patient with about the same share of the outcome.", min=2)] = 5,
    by: Annotated[str, typer.Option(help="patient, or centre to leave one centre out at a time.")] = "patient",
    seed: Annotated[int, typer.Option(help="Of the cut.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Of each training, at most.", min=1)] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Field that may predict the outcome all but perfectly; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    device: DeviceOption = None,
) -> None:
    """Out-of-fold AUROC of the whole training beside logistic regression and gradient boosting on the same folds."""
    from model.ingest.cases import read_cohort
    from model.train.crossvalidate import By
    from model.train.crossvalidate import crossvalidate as run
    from model.train.loop import settings_for

    with _told():
        if by not in get_args(By):
            raise CaseError(f"{by!r}", where="--by", fix=f"Give {' or '.join(get_args(By))}.")
        read = read_cohort(cohort)
        settings = None if epochs is None else replace(settings_for(read), epochs=epochs)
        found = run(
            read, work, count=folds, by=cast("By", by), seed=seed, settings=settings, allow=allow or (), device=device,
            log=lambda line: tqdm.write(line, file=sys.stderr), step=_Bars(),
        )  # fmt: skip
        typer.echo(json.dumps(found.to_dict()) if as_json else found.to_text())


@app.command()
def calibrate(
    cohort: Annotated[Path, typer.Argument(help="The cohort that the checkpoint was trained on.")],
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
) -> None:
    """Add what tells unlike cases from the training cases to a checkpoint that lacks it; its weights stay."""
    from model.train.folders import SHIPPED
    from model.train.reference import add_reference

    with _told():
        made = add_reference(cohort, checkpoint or SHIPPED, device=device, progress=partial(_Bars(), "measuring"))
        typer.echo(json.dumps({"model": made.identity, **made.card["reference"]}))


@app.command()
def evaluate(
    cohort: Annotated[Path | None, typer.Option(help="Cohort folder with labels.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="CSV or Parquet with columns prediction and label; stages and overlaps if there are any.")
    ] = None,
    prediction: Annotated[str | None, typer.Option(help="Column of --predictions that holds the probability.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of --predictions that holds the outcome, 0 or 1.")] = None,
    good_rows_only: Annotated[bool, typer.Option("--good-rows-only", help="Leave rows of --predictions at fault out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
) -> None:
    """Discrimination, calibration and segmentation with 95 % intervals, of a cohort or of any model's predictions."""
    from model.cohort.evaluate import evaluate_good_rows, evaluate_table, format_table
    from model.cohort.scores import read_table

    with _told():
        if (cohort is None) == (predictions is None):
            raise CaseError("give one of --cohort and --predictions", where="evaluate", fix="Name what to evaluate.")
        if predictions is None and (prediction or label or good_rows_only):
            raise CaseError(
                "said of no table", where="--prediction, --label, --good-rows-only", fix="Name the table with --predictions."
            )
        endpoint = LLNM
        if predictions is not None and good_rows_only:
            result, left_out = evaluate_good_rows(read_table(predictions), probability=prediction, label=label)
            typer.echo(f"{left_out:,} rows at fault were left out.", err=True)
        elif predictions is not None:
            result = evaluate_table(read_table(predictions), probability=prediction, label=label)
        else:
            from model.evaluate import evaluate_cohort
            from model.ingest.cases import read_cohort

            assert cohort is not None
            predictor = _predictor(checkpoint, device)
            endpoint = predictor.schema.endpoint
            result = evaluate_cohort(predictor, read_cohort(cohort), progress=partial(_Bars(), "cases"))
        typer.echo(json.dumps(result.to_dict()) if as_json else format_table(result, endpoint))


@app.command()
def predict(
    cases: Annotated[Path, typer.Argument(help="A case (JSON), a cohort folder, its CSV, or a folder of JSON cases.")],
    out: Annotated[Path | None, typer.Option(help="Write a table (.csv or .parquet) of a cohort instead.")] = None,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
) -> None:
    """Calibrated probability, interval, stages and measurements: one JSON line a case."""
    if out is not None:
        score(cases, out, checkpoint=checkpoint, device=device)
        return
    from model.ingest.cases import read_cases

    with _told():
        predictor = _predictor(checkpoint, device)
        for prediction in predictor.predict_many(read_cases(cases, schema=predictor.schema)):
            typer.echo(json.dumps(prediction.to_dict(), ensure_ascii=False))


@app.command()
def score(
    cohort: Annotated[Path, typer.Argument(help="Cohort folder, or its table (CSV or Parquet).")],
    out: Annotated[Path, typer.Option(help="Table to write (.parquet or .csv), or a folder; an unfinished run is gone on with.")],
    explain: Annotated[Explain, typer.Option(help="Shapley values of every case too, for “What drives it”.")] = Explain.none,
    exact: Annotated[bool, typer.Option("--exact", help="Shapley values from every coalition.")] = False,
    precision: Annotated[
        ScorePrecision,
        typer.Option(help="bf16: quicker on a CPU that has it; in 99 of 100 cases a probability differs by at most 0.02."),
    ] = ScorePrecision.fp32,
    engine: Annotated[Engine, typer.Option(help="Processes of this machine, or a Ray cluster.")] = Engine.local,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores by default.", min=1)] = None,
    batch: Annotated[int, typer.Option(help="Cases that go through the networks together.", min=1)] = 32,
    shard: Annotated[int | None, typer.Option(help="Cases of a shard; 256, or 16 with --explain.", min=1)] = None,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
) -> None:
    """Score and explain a cohort of any size: one table for the Cohort page; bad cases go to a side table."""
    from model.scale.score import score as run
    from model.train.folders import SHIPPED

    with _told():
        done = run(
            cohort, out, checkpoint=SHIPPED if checkpoint is None else checkpoint, device=device, explain=explain is Explain.shap,
            exact=exact, precision=precision.value, engine=engine.value, workers=workers, batch=batch, shard=shard,
            progress=partial(_Bars(), "cases"),
        )  # fmt: skip
        kept = f" {done.kept} of {done.shards} shards were there from before." if done.kept else ""
        typer.echo(f"{done.cases:,} scored cases in {done.out}.{kept}")
        if done.side_table is not None:
            typer.secho(f"{done.refused:,} cases could not be scored: see {done.side_table}.", err=True, fg=typer.colors.YELLOW)


@app.command()
def trust(
    cohort: Annotated[Path | None, typer.Option(help="Simulated cohort with its truth; the sample cases by default.")] = None,
    cases: Annotated[int | None, typer.Option(help="The first so many of its cases; all by default.", min=2)] = None,
    out: Annotated[Path | None, typer.Option(help="File; trust.json beside the checkpoint by default.")] = None,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
) -> None:
    """Check every explanation method on cases whose truth is known: what passes, what must not be relied on."""
    from model.explain.trust import NAME, measure_trust, verdicts, write_trust
    from model.ingest.cases import read_cohort
    from model.schema import DEFAULT
    from model.train.folders import SHIPPED

    with _told():
        predictor = _predictor(checkpoint, device)
        if predictor.schema != DEFAULT:
            raise CaseError(
                "the checks need cases whose truth is known, and only the built-in endpoint is simulated",
                where=str(checkpoint), fix="Name a checkpoint of the built-in schema.",
            )  # fmt: skip
        path = (SHIPPED if checkpoint is None else checkpoint) / NAME if out is None else out
        unfinished = path.with_name(f".{path.name}.partial")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        found = measure_trust(
            predictor, read_cohort(SAMPLES if cohort is None else cohort), cases=cases, partial=unfinished,
            progress=partial(_Bars(), "cases"),
        )  # fmt: skip
        write_trust(found, path)
        unfinished.unlink(missing_ok=True)
        for verdict in verdicts(found).values():
            typer.echo(f"{verdict.label}: {verdict.sentence}")
        typer.echo(f"{found['cases']} synthetic cases; figures in {path}.")


@app.command()
def ablate(
    cohort: Annotated[Path, typer.Argument(help="Cohort folder with labels, to measure on.")],
    out: Annotated[Path, typer.Option(help="CSV to write; fusion variants are kept in a folder beside it.")],
    training: Annotated[
        Path | None, typer.Option(help="Cohort that trains the fusion variants; four fifths of COHORT without one.")
    ] = None,
    fusion: Annotated[bool, typer.Option("--fusion/--no-fusion", help="Train and compare the fusion variants.")] = True,
    epochs: Annotated[int, typer.Option(help="Of each fusion variant, at most.")] = 4,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = Settings.seed,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
) -> None:
    """What each kind of input and the fusion bring, as a table with DeLong intervals; resumable."""
    from model.ablation import ablate as table_of
    from model.ablation import write_ablation
    from model.ingest.cases import read_cohort

    settings = Settings(seed=seed, epochs=epochs)
    with _told():
        if fusion:
            typer.echo(
                f"Fusion variants are trained briefly (at most {epochs} epochs each): they compare with each other, not "
                "with the shipped model.", err=True,
            )  # fmt: skip
        table = table_of(
            _predictor(checkpoint, device), read_cohort(cohort), training=training,
            work=out.with_name(f"{out.stem}_fusion") if fusion else None, settings=settings,
            log=lambda line: tqdm.write(line, file=sys.stderr), step=_Bars(),
        )  # fmt: skip
        write_ablation(table, out)
        for row in table.itertuples():
            typer.echo(f"{row.part:<7} {row.variant:<24} AUROC {row.auroc:.3f} ({row.low:.3f}–{row.high:.3f})")
        typer.echo(f"{len(table)} variants in {out}.")


@app.command()
def models(
    folder: Annotated[Path, typer.Argument(help="Folder of checkpoints.")],
    use: Annotated[str | None, typer.Option(help="Choose this one for the pages; “shipped” for the one that ships.")] = None,
    roll_back: Annotated[bool, typer.Option("--roll-back", help="Go back to the one that was in use before.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of text.")] = False,
) -> None:
    """The checkpoints of a folder with their figures: which is in use, which are refused and why; choose, roll back."""
    from model import registry

    with _told():
        if use is not None and roll_back:
            raise CaseError("both --use and --roll-back", where="models", fix="Give one of them.")
        if use is not None:
            registry.use(folder, use)
        if roll_back:
            registry.roll_back(folder)
        rows = registry.overview(folder)
        if as_json:
            typer.echo(json.dumps(rows, ensure_ascii=False))
            return
        for row in rows:
            mark = "*" if row["in use"] else " "
            typer.echo(f"{mark} {row['checkpoint']}  {row['identity']}  made {row['made']}".rstrip())
            words = {"outcome": "predicts", "trained on": "trained on", "cases": "cases", "AUROC": "AUROC"}
            known = [f"{told} {row[key]}" for key, told in words.items() if row[key]]
            typer.echo(f"    {'; '.join(known)}" if not row["refused"] else f"    refused: {row['refused']}")
        typer.echo("* in use. AUROC with its 95 % interval.")


@app.command()
def card(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder; “shipped” for the one that ships.")],
    out: Annotated[Path, typer.Option(help="File to write: .html or .pdf.")],
    cohort: Annotated[Path | None, typer.Option(help="Held-out cohort with outcomes, for the performance report.")] = None,
    device: DeviceOption = None,
) -> None:
    """Model card of a checkpoint; with --cohort also a performance report after TRIPOD+AI. As HTML or PDF."""
    from datetime import date
    from importlib.metadata import version

    from model.ingest.cases import read_cohort
    from model.ingest.files import atomic_write_bytes
    from model.reporting import writers
    from model.reporting.card import model_card
    from model.reporting.study import Subject, judged

    with _told():
        if out.suffix.lower() not in writers():
            raise CaseError(f"ending {out.suffix!r}", where=str(out), fix=f"Name a {' or '.join(writers())} file.")
        read = None if cohort is None else read_cohort(cohort)
        predictor = _predictor(None if str(checkpoint) == "shipped" else checkpoint, device)
        study = None if read is None else judged(predictor, read, progress=partial(_Bars(), "cases"))
        made = model_card(
            Subject.of(predictor.checkpoint), study, version=version("llnm-explorer"), date=date.today().isoformat()
        )
        atomic_write_bytes(out, writers()[out.suffix.lower()](made))
        typer.echo(f"{made.title} in {out}.")


@app.command()
def fields(
    cohort: Annotated[Path | None, typer.Option(help="Cohort folder whose card adds fields; the built-in ones by default.")] = None,
) -> None:
    """Print every field of a case as a table: meaning, unit, what is allowed, who reads it."""
    from model.schema import DEFAULT, fields_as_markdown

    with _told():
        schema = DEFAULT
        if cohort is not None:
            from model.ingest.cases import read_cohort

            schema = read_cohort(cohort).schema
        typer.echo(fields_as_markdown(schema))


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port of the dashboard.")] = 8501,
    address: Annotated[
        str, typer.Option(help="Where it is to be reached: this machine alone by default; 0.0.0.0 for all on its network.")
    ] = "localhost",
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser.")] = False,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder of further checkpoints, to compare.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint of the pages; the shipped one by default.")] = None,
    cases: Annotated[Path | None, typer.Option(help="Cohort folder of the Case page; the sample cases by default.")] = None,
    scored: Annotated[
        Path | None, typer.Option(help="Scored table (CSV or Parquet) of any size, offered on the Cohort page.")
    ] = None,
    cohorts: Annotated[Path, typer.Option(help="Folder in which the Import page writes cohorts.")] = Path("cohorts"),
) -> None:
    """Open the dashboard."""
    import importlib.util
    import os

    from streamlit.web import cli

    found = importlib.util.find_spec("dashboard")  # named, not imported: the model knows nothing of the screen
    if found is None or not found.submodule_search_locations:
        typer.secho("The dashboard is not installed. Run pip install -e . in the project's folder.", err=True)
        raise typer.Exit(1)
    script = Path(next(iter(found.submodule_search_locations))) / "app.py"
    if checkpoints is not None:
        with _told():
            if not unfinished_runs(checkpoints):  # a first training may be watched
                checkpoint_folders(checkpoints)
        os.environ[MORE] = str(checkpoints.resolve())
    if checkpoint is not None:
        with _told():
            checkpoint_folders(checkpoint)
        os.environ[MAIN] = str(checkpoint.resolve())
    if cases is not None:
        from model.ingest.cases import read_cohort

        with _told():
            read_cohort(cases)
        os.environ[CASES] = str(cases.resolve())
    if scored is not None:
        with _told():
            if not scored.is_file():
                raise CaseError("no such file", where=str(scored), fix="Name a table, such as `llnm predict --out` writes.")
        os.environ[SERVED] = str(scored.resolve())
    os.environ[COHORTS] = str(cohorts.resolve())
    # Its theme and settings lie beside the script, in dashboard/.streamlit.
    options = {"port": str(port), "address": address, "headless": str(headless).lower()}
    cli.main(["run", str(script), *(f"--server.{name}={value}" for name, value in options.items())])


def _predictor(checkpoint: Path | None, device: str | None) -> Predictor:
    """The model to predict with: the shipped one, or another folder's."""
    from model.predict import Predictor

    return Predictor.load(device=device) if checkpoint is None else Predictor.load(checkpoint, device)


if __name__ == "__main__":
    app()
