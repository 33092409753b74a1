"""`llnm import`: survey, then every row on all cores, then the whole cohort at once.

Running it again does nothing where nothing changed, and goes on where it was stopped; a dry run does all of it but write.
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model.errors import CaseError
from model.importing.duplicates import near_pairs
from model.importing.keys import load_key
from model.importing.manifest import Manifest
from model.importing.mapping import Agreed, check
from model.importing.quality import quality_of
from model.importing.rows import Done, Job, Plan, Told, do_row
from model.importing.sources import Files
from model.importing.stage import Stage, staged_at
from model.importing.survey import VERSION, Survey, refuse_open_questions, survey
from model.importing.work import silent, start, work
from model.ingest.cases import CARD_NAME
from model.ingest.table import TABLE_NAME
from model.processes import cores, fresh_pool

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

QUALITY_NAME = "quality.json"
_CHUNK = 8
_FEW = 100  # rows with pictures below which starting processes takes longer than the work
_MOST_PAIRS = 1000
_NOTE = (
    "De-identified on import: pictures hold pixels only, burnt-in text was blanked, patients and centres are pseudonyms, dates and "
    "likely identifiers in reports were blanked. Check before you share it."
)


@dataclass(frozen=True)
class Imported:
    """What an import did, or would do.

    Parameters
    ----------
    out : the cohort's folder.
    dry : whether nothing was written.
    unchanged : whether the cohort was there already.
    survey : of the table.
    taken, dropped : rows.
    told : everything told of rows, counted (`Stage.summary`).
    rows_file : CSV file with everything told by row; None where nothing was done.
    near : pairs of near-identical pictures, as rows of the export.
    """

    out: Path
    dry: bool
    unchanged: bool
    survey: Survey
    taken: int
    dropped: int
    told: tuple[dict[str, Any], ...] = ()
    rows_file: Path | None = None
    near: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it, without the mark of the source."""
        made = {
            **asdict(self),
            "out": str(self.out),
            "rows_file": None if self.rows_file is None else str(self.rows_file),
        }
        made["survey"].pop("source")
        return made


def rows_beside(out: Path) -> Path:
    """Where everything told by row is written: beside the cohort, whose reader need not know rows of the export."""
    return out.with_name(f"{out.name}.rows.csv")


def import_cohort(
    manifest: Manifest,
    agreed: Agreed,
    files: Files,
    out: Path,
    *,
    key_file: Path,
    dry: bool = False,
    workers: int | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Imported:
    """Make a cohort folder of an export.

    Parameters
    ----------
    manifest : the export's table.
    agreed : what its columns mean.
    files : where its pictures and reports lie.
    out : the cohort's folder: new, empty, or holding the cohort of an earlier, equal call.
    key_file : of the pseudonyms; made where there is none.
    dry : do everything but write the cohort (and the key); open questions are told, not refused.
    workers : processes; all cores by default, this process alone for a few rows.
    progress : see `Progress`.

    Raises
    ------
    CaseError
        If the mapping cannot be followed, a question is open, a patient stands in two splits, no row can be taken, `out`
        holds anything else, another import writes there, or the disk is full.
    """
    check(agreed, manifest.header)
    # A cohort without its key cannot be compared with what is asked for, and a new key would not be its own.
    if (out / TABLE_NAME).exists() and not key_file.exists():
        raise CaseError(
            "a cohort is there, but not its key",
            where=str(out),
            fix=f"Name its key (it was {key_file}), or a new folder.",
        )
    if out.exists() and not (out / TABLE_NAME).exists() and (not out.is_dir() or any(out.iterdir())):
        what = "the folder is not empty" if out.is_dir() else "a file of this name is there"
        raise CaseError(what, where=str(out), fix="Name a new or empty folder.")
    with _disk(out), silent():
        key = load_key(key_file, out, create=not dry)
        found, jobs, plan = survey(manifest, agreed, files, key, lambda done: progress("reading the table", done, done))
        if (out / TABLE_NAME).exists():
            return _as_it_is(found, out, dry)
        if not dry:
            refuse_open_questions(found)
            return _done(found, plan, jobs.of(manifest), out, staged_at(out), dry, workers, progress)
        with TemporaryDirectory(prefix="llnm-import-") as folder:
            return _done(found, plan, jobs.of(manifest), out, Path(folder) / "stage", dry, workers, progress)


def _as_it_is(found: Survey, out: Path, dry: bool) -> Imported:
    """The cohort that is there, if it is the one asked for."""
    try:
        card = json.loads((out / CARD_NAME).read_text("utf-8"))
        made = card["import"]
        same = made["source"] == found.source
        taken, dropped = int(made["taken"]), int(made["dropped"])
    except (OSError, ValueError, KeyError, TypeError):
        same, taken, dropped = False, 0, 0
    if not same:
        fix = "Name a new folder; or the same manifest, mapping, pictures and key, to leave it as it is."
        raise CaseError("another cohort is there", where=str(out), fix=fix)
    return Imported(out, dry, True, found, taken, dropped)


def _done(
    found: Survey,
    plan: Plan,
    jobs: Iterator[Job],
    out: Path,
    folder: Path,
    dry: bool,
    workers: int | None,
    progress: Progress,
) -> Imported:
    stage = Stage(folder, found.source)
    try:
        todo = (job for job in jobs if not stage.finished(job.row))
        taken, dropped = stage.counts
        done = taken + dropped
        progress("cases", done, found.rows)
        for finished in _all_rows(plan, todo, found.rows - done, None if dry else folder, workers):
            stage.add(finished)
            done += len(finished)
            progress("cases", done, found.rows)
        taken, dropped = stage.counts
        if not taken and not dry:
            worst = stage.summary()
            reason = f" ({worst[0]['what']})" if worst else ""
            raise CaseError(
                f"no row can be taken{reason}", where="manifest", fix="See llnm import --dry-run for each row."
            )
        names, prints = stage.fingerprints()
        pairs = []
        for one, two, bits in near_pairs(
            prints, progress=lambda n: progress("looking for near-identical pictures", n, len(prints))
        ):
            if names[one][0] != names[two][0]:
                pairs.append((names[one], names[two], bits))
            if len(pairs) >= _MOST_PAIRS:
                break
        near = tuple(
            {"rows": sorted((stage.row_of(a), stage.row_of(b))), "views": [view, other], "differing_bits": bits}
            for (a, view), (b, other), bits in pairs
        )
        rows_file = rows_beside(out)
        if not dry or out.parent.is_dir():
            stage.write_rows(rows_file)
        told = tuple(stage.summary())
        if not dry:
            _publish(found, plan, stage, out, [(a, b) for (a, _), (b, _), _ in pairs], taken, dropped)
        return Imported(out, dry, False, found, taken, dropped, told, rows_file if rows_file.exists() else None, near)
    finally:
        stage.close()


def _publish(
    found: Survey, plan: Plan, stage: Stage, out: Path, near: list[tuple[str, str]], taken: int, dropped: int
) -> None:
    schema = plan.agreed.schema
    card = {
        "name": out.name,
        "provenance": "user",
        "cases": taken,
        **plan.agreed.card,
        "import": {
            "version": VERSION,
            "source": found.source,
            "taken": taken,
            "dropped": dropped,
            "patients": found.patients,
        },
        "note": _NOTE,
    }
    quality = quality_of(stage.cells(), schema, near)
    files = {CARD_NAME: card, QUALITY_NAME: quality.to_dict()}
    texts = {name: json.dumps(made, ensure_ascii=False, indent=1) + "\n" for name, made in files.items()}
    stage.publish(out, texts, schema.by_name)


def _all_rows(
    plan: Plan, todo: Iterator[Job], count: int, out: Path | None, workers: int | None
) -> Iterator[list[Done]]:
    """Finished rows, a few at a time and in order; never more in flight than keeps the workers busy."""
    workers = workers or cores()
    chunks = _chunks(todo)
    if workers == 1 or count < _FEW or not plan.has_pictures:
        for chunk in chunks:
            yield [do_row(plan, job, out) for job in chunk]
        return
    pool = _pool(plan, out, workers)
    try:
        waiting: deque[tuple[list[Job], Future[list[Done]]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, pool.submit(work, chunk)))
            if len(waiting) < 3 * workers:
                continue
            first, future = waiting.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                # A decoder took its process down: find the row, and go on without its pictures.
                for jobs in [first, *(jobs for jobs, _ in waiting)]:
                    yield _rescued(plan, jobs, out)
                waiting.clear()
                pool.shutdown(cancel_futures=True)
                pool = _pool(plan, out, workers)
        while waiting:
            first, future = waiting.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                yield _rescued(plan, first, out)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _rescued(plan: Plan, jobs: Iterable[Job], out: Path | None) -> list[Done]:
    """Rows one by one in a process of their own, of which those that bring it down are dropped."""
    done: list[Done] = []
    pool: ProcessPoolExecutor | None = None
    for job in jobs:
        pool = pool or _pool(plan, out, 1)
        try:
            done += pool.submit(work, [job]).result()
        except BrokenProcessPool:
            why = Told(job.row, "", "its pictures bring the decoder down", "row dropped")
            done.append(Done(job.row, job.case_id, None, {}, (why,)))
            pool.shutdown()
            pool = None
    if pool is not None:
        pool.shutdown()
    return done


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    chunk: list[Job] = []
    for job in jobs:
        chunk.append(job)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _pool(plan: Plan, out: Path | None, workers: int) -> ProcessPoolExecutor:
    return fresh_pool(workers, start, (plan, out))


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Turn what a disk can do into one message."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
        what = "the disk is full" if full else f"cannot be written ({error.strerror})"
        fix = (
            "Free some space; the same command goes on where it stopped."
            if full
            else "Name a folder that you can write to."
        )
        raise CaseError(what, where=str(out), fix=fix) from None
    except sqlite3.OperationalError as error:
        if "full" not in str(error) and "I/O" not in str(error):
            raise
        fix = "Free some space; the same command goes on where it stopped."
        raise CaseError("the disk is full", where=str(out), fix=fix) from None
