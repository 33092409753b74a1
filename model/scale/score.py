"""`llnm score`: a cohort of any size → one table of scored and explained cases, resumable by shard.

The rows of the cohort are put into shards; an engine scores them, each into a file written whole or not at all; at last the
files become one table. A run that was stopped, however it was, goes on with the shards that are missing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from model.cohort.explained import METADATA, read_description
from model.cohort.fields import own_ranges
from model.devices import device_for
from model.errors import CaseError
from model.evaluate import check_outcome
from model.ingest.card import schema_of
from model.ingest.cases import CARD_NAME, read_card
from model.ingest.files import atomic_write_text, unwritable, whole_file
from model.ingest.table import PATH_COLUMNS, TABLE_NAME, iter_sheets
from model.scale import local
from model.scale.columns import optional
from model.scale.fast import check_precision
from model.scale.job import EXPLAINED_SHARD, FORMAT, SHARD, Done, Job, Precision
from model.schema import Group, Schema
from model.train.folders import SHIPPED

Engine = Literal["local", "ray"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """A finished run.

    Parameters
    ----------
    out : the scored table.
    cases, refused : how many were scored, and refused.
    side_table : CSV of the refused ones (case, reason); None where none was.
    kept : shards that an earlier run had already scored.
    shards : of this run.
    """

    out: Path
    cases: int
    refused: int
    side_table: Path | None
    kept: int
    shards: int


def score(
    cohort: Path, out: Path, *, checkpoint: Path = SHIPPED, device: str | None = None, explain: bool = False,
    exact: bool = False, precision: Precision = "fp32", engine: Engine = "local", workers: int | None = None, batch: int = 32,
    shard: int | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Summary:  # fmt: skip
    """Score a cohort into one table that the Cohort page opens.

    Parameters
    ----------
    cohort : cohort folder, or its table (CSV or Parquet).
    out : Parquet or CSV file, or a folder, which gets `scored.parquet`.
    checkpoint, device : the model, and what it runs on.
    explain, exact : Shapley values of every case too; from every coalition.
    precision : "bf16" for networks in bfloat16 on a CPU: quicker, and told in the table, since its figures differ.
    engine : "local" for processes of this machine, "ray" for a Ray cluster that sees the same files.
    workers : processes; all cores where None.
    batch : cases that go through the networks together.
    shard : cases of a shard; 256, or 16 with explanations, where None.
    progress : told rows done and in all.

    Raises
    ------
    CaseError
        If the cohort's table cannot be read, its outcomes are of another endpoint than the model's, no case could be scored, a
        worker died, this machine has no such device or precision, `out` is a file that no scoring wrote, or another run is
        writing it.
    CheckpointError
        If the model cannot be loaded.
    StorageError
        If the disk is full or may not be written to.
    """
    device_for(device)  # before any worker is started
    check_precision(precision, device)
    out = _file(out)
    table = cohort / TABLE_NAME if cohort.is_dir() else cohort
    _check_replaced(out, table)
    card = read_card(table.parent)
    name = str(card.get("name") or table.parent.resolve().name)
    rows = shard or (EXPLAINED_SHARD if explain else SHARD)
    schema = schema_of(card, where=str(table.parent / CARD_NAME))
    identity, of_model = _model(checkpoint)
    found = _looked_through(table, rows, schema)
    if found.labelled:
        check_outcome(of_model, schema, where=str(table))
    settings = {
        "format": FORMAT, "model": identity, "explain": explain, "exact": exact, "precision": precision, "batch": batch,
        "rows": rows, "card": card,
    }  # fmt: skip
    key = hashlib.sha256(json.dumps([settings, found.digest], sort_keys=True).encode()).hexdigest()[:32]
    parts = out.with_name(f".{out.name}.parts").resolve()
    job = Job(
        cohort=name, provenance="synthetic" if card.get("provenance") == "synthetic" else "user", root=table.parent.resolve(),
        parts=parts / key, checkpoint=checkpoint.resolve(), device=device, explain=explain, exact=exact, precision=precision,
        batch=batch, doubled=found.doubled,
    )  # fmt: skip
    with _alone(out):
        if (there := _as_it_is(out, key, found.shards)) is not None:
            shutil.rmtree(parts, ignore_errors=True)  # of a run that was stopped after its last step but this
            return there
        _stage(job, table, rows, schema)
        todo = [i for i in range(found.shards) if not job.done(i).exists()]
        total, done = found.rows, found.rows - sum(found.sizes[i] for i in todo)
        progress(done, total)
        for finished in _run(engine, job, todo, workers):
            done += found.sizes[finished.shard]
            progress(done, total)
        described = {
            "model": identity, "cohort": name, "outcome": of_model.endpoint.short, "key": key, "rows": total,
            "precision": precision, "ranges": own_ranges(schema.fields),
        }  # fmt: skip
        if explain:
            described |= {"explanation": described_explanation(of_model.groups, exact=exact)}
        try:
            cases, refused = _merged(job, found.shards, out, schema, described)
        except CaseError:  # whatever is mended, the cases must be looked at anew
            shutil.rmtree(parts, ignore_errors=True)
            raise
        shutil.rmtree(parts, ignore_errors=True)
    return Summary(out, cases, refused, _side_table(out) if refused else None, found.shards - len(todo), found.shards)


def _check_replaced(out: Path, table: Path) -> None:
    """Raise CaseError where a file would be lost that no scoring wrote, as the cohort's own table."""
    where, fix = str(out), "Name another --out, or move that away."
    try:
        if out.is_dir():
            raise CaseError("a folder is there", where=where, fix=fix)
        if not out.exists() or not out.stat().st_size:
            return
    except OSError as error:
        raise CaseError(f"no name for a file ({error.strerror})", where=where, fix="Name another --out.") from None
    if table.exists() and out.samefile(table):
        raise CaseError("this is the cohort's own table", where=where, fix="Name another --out.")
    try:
        if out.suffix == ".csv":
            with out.open(encoding="utf-8", newline="") as file:
                columns = next(csv.reader([file.readline(1 << 20)]), [])
        else:
            columns = pq.read_schema(out).names
    except (OSError, ValueError, csv.Error, pa.ArrowException):
        columns = []
    if not {"case_id", "probability", "logit"} <= set(columns):
        raise CaseError("a file is there that is no scored table", where=where, fix=fix)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One run at a time writes a table: another one would throw its parts away."""
    lock = FileLock(out.with_name(f".{out.name}.lock"), timeout=0)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise CaseError("another run is writing it", where=str(out), fix="Wait for its end, or name another --out.") from None
    except OSError as error:
        raise unwritable(error, out.parent) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _as_it_is(out: Path, key: str, shards: int) -> Summary | None:
    """A table that the same run wrote before; None where it did not, or not all of it is there."""
    described = read_description(out)
    if described.get("key") != key:
        return None
    side_table, cases = _side_table(out), pq.read_metadata(out).num_rows
    refused = described["rows"] - cases
    if refused and not side_table.exists():
        return None
    return Summary(out, cases, refused, side_table if refused else None, shards, shards)


@dataclass(frozen=True)
class _Manifest:
    """A cohort's table looked through once: rows of each shard, rows whose case came before, a digest of all, and whether it has
    a column of outcomes."""

    sizes: list[int]
    doubled: frozenset[int]
    digest: str
    labelled: bool

    @property
    def shards(self) -> int:
        return len(self.sizes)

    @property
    def rows(self) -> int:
        return sum(self.sizes)


def _looked_through(table: Path, rows: int, schema: Schema) -> _Manifest:
    """Rows, pseudonyms, and files by size, time of change and who may read them: a run goes on only with what it began with."""
    digest, hashes, numbers, sizes, labelled = hashlib.sha256(), array("Q"), array("Q"), [], False
    for sheet in iter_sheets(table, schema, rows):
        sizes.append(len(sheet.rows))
        at, labelled = sheet.header.index("case_id"), schema.endpoint.name in sheet.header
        files = [i for i, name in enumerate(sheet.header) if name in PATH_COLUMNS]
        digest.update(repr(sheet).encode())
        for number, row in zip(sheet.numbers, sheet.rows, strict=True):
            if at < len(row) and row[at].strip():
                hashes.append(
                    int.from_bytes(hashlib.blake2b(row[at].strip().encode(), digest_size=8).digest(), "little")
                )
                numbers.append(number)
            for i in files:
                if i < len(row) and row[i].strip():
                    try:
                        there = os.stat(table.parent / row[i].strip())
                    except (OSError, ValueError):
                        continue  # told when the shard is read
                    digest.update(f"{there.st_size} {there.st_mtime_ns} {there.st_mode} ".encode())
    ids = np.frombuffer(hashes, np.uint64)
    _, first = np.unique(ids, return_index=True)
    later = np.setdiff1d(np.arange(len(ids)), first)
    return _Manifest(sizes, frozenset(int(numbers[i]) for i in later), digest.hexdigest(), labelled)


def _stage(job: Job, table: Path, rows: int, schema: Schema) -> None:
    """Lay the shards ready, unless the same run did before; the parts of another run are thrown away.

    Every run has a folder of its own for its parts: what a worker of a killed one still writes is not taken for this one's.
    """
    plan = job.parts / "plan.json"
    if plan.exists():
        return
    shutil.rmtree(job.parts.parent, ignore_errors=True)
    from model.scale.shard import write_given

    for i, sheet in enumerate(iter_sheets(table, schema, rows)):
        write_given(job, i, sheet)
    atomic_write_text(plan, json.dumps({"cohort": job.cohort}))  # all of them are there


def _run(engine: Engine, job: Job, shards: list[int], workers: int | None) -> Iterator[Done]:
    if not shards:
        return iter(())
    if engine == "ray":
        from model.scale import ray

        return ray.run(job, shards, workers=workers)
    return local.run(job, shards, workers=workers)


def _merged(job: Job, shards: int, out: Path, cohort: Schema, described: dict[str, Any]) -> tuple[int, int]:
    """One table of all shards, one after another, and the side table; cases scored and refused."""
    from model.scale.shard import REFUSED

    files = [job.done(i) for i in range(shards)]
    schema, refused, held = pq.read_schema(files[0]), list[list[str]](), dict.fromkeys(optional(cohort), 0)
    cases = 0
    for file in files:
        metadata = pq.read_metadata(file)
        cases += metadata.num_rows
        refused += json.loads(metadata.metadata[REFUSED])
        for group in range(metadata.num_row_groups if metadata.num_rows else 0):
            for i, name in enumerate(schema.names):
                if name in held:
                    column = metadata.row_group(group).column(i)
                    held[name] += column.num_values - column.statistics.null_count
    if not cases:
        told = "; ".join(f"{case}: {why if len(why) <= 300 else f'{why[:300]}…'}" for case, why in refused[:3])
        raise CaseError(f"none of {len(refused):,} cases could be scored ({told})", where="score", fix="Mend them.")
    kept = [name for name in schema.names if held.get(name, 1)]
    metadata = {METADATA: json.dumps(described)}
    chosen = pa.schema([schema.field(name) for name in kept], metadata)
    side_table = _side_table(out)
    if refused:  # before the table, which tells that all is done
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("case_id", "reason"), *refused])
        atomic_write_text(side_table, text.getvalue())
    _written(files, out, chosen)
    if not refused:
        side_table.unlink(missing_ok=True)
    return cases, len(refused)


def _written(files: list[Path], out: Path, schema: pa.Schema) -> None:
    """Write the shards one after another, some rows at a time; the file is whole or not there."""
    opened = pa_csv.CSVWriter if out.suffix == ".csv" else pq.ParquetWriter
    with whole_file(out) as partial, opened(partial, schema) as writer:
        for block in _blocks(files, schema):
            writer.write_table(block)


def _blocks(files: list[Path], schema: pa.Schema, rows: int = 1 << 14) -> Iterator[pa.Table]:
    """Shards joined to tables of about so many rows, so that a row group is not as small as a shard."""
    held: list[pa.Table] = []
    for file in files:
        held.append(pq.read_table(file, columns=schema.names).cast(pa.schema(list(schema))))
        if sum(map(len, held)) >= rows:
            yield pa.concat_tables(held).combine_chunks().replace_schema_metadata(schema.metadata)
            held = []
    if held:
        yield pa.concat_tables(held).combine_chunks().replace_schema_metadata(schema.metadata)


def _file(out: Path) -> Path:
    if out.suffix in (".parquet", ".csv"):
        return out
    if out.suffix and not out.is_dir():
        raise CaseError(f"ending {out.suffix!r}", where=str(out), fix="Name a .parquet or .csv file, or a folder.")
    return out / "scored.parquet"


def _side_table(out: Path) -> Path:
    return out.with_name(f"{out.stem}_refused.csv")


def _model(checkpoint: Path) -> tuple[str, Schema]:
    """Name and hash of the model, and its schema; the networks themselves are loaded by the workers."""
    from model.train.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    return loaded.identity, loaded.schema


def described_explanation(groups: Sequence[Group], *, exact: bool) -> dict[str, Any]:
    """How the Shapley values of these groups came about, for whoever opens the table."""
    from model.explain.shapley import COALITIONS

    few = f"at most {COALITIONS} coalitions, exact where there are no more"
    return {
        "method": f"Shapley values over feature groups, from {'every coalition' if exact else few}",
        "baseline": "every group missing (the model's learned “missing” tokens)",
        "unit": "calibrated logit",
        "groups": {group.name: {"label": group.label, "fields": list(group.fields)} for group in groups},
    }
