"""The local engine: one process a core, each with its own model, each taking the next shard."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from model.errors import CaseError
from model.processes import cores, fresh_pool
from model.scale.job import Done, Job

_SCORER = None
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""For glibc: keep the memory of large tensors for the next ones, instead of asking the system for it anew each time."""


@contextmanager
def memory_kept() -> Iterator[None]:
    """`MEMORY` for the processes that are started meanwhile."""
    set_here = {name: value for name, value in MEMORY.items() if name not in os.environ}
    os.environ.update(set_here)
    try:
        yield
    finally:
        for name in set_here:
            os.environ.pop(name, None)


def run(job: Job, shards: Sequence[int], *, workers: int | None = None) -> Iterator[Done]:
    """Score shards, telling each when it is done; stopping early leaves the others undone.

    Parameters
    ----------
    workers : processes; all cores where None. One shard, or one worker, runs in this process.

    Raises
    ------
    CaseError
        If a worker died, as of too little memory.
    """
    workers = min(workers or cores(), len(shards))
    if workers <= 1:
        from model.scale.shard import Scorer

        scorer = Scorer(job)
        yield from (scorer(shard) for shard in shards)
        return
    pool = fresh_pool(workers, _prepare, (job, os.getpid()))
    try:
        with memory_kept():  # the processes start as the first of these are submitted
            futures = [pool.submit(_score, shard) for shard in shards]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise CaseError(
            "a worker process died, perhaps of too little memory", where="score",
            fix="Run the same command again with fewer --workers: it goes on where it stopped.",
        ) from None  # fmt: skip
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare(job: Job, parent: int) -> None:
    """Load the model once a process."""
    global _SCORER
    from model.scale.shard import Scorer

    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    _SCORER = Scorer(job)


def _follow(parent: int) -> None:
    """End with the parent: a killed one cannot tell its workers."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _score(shard: int) -> Done:
    assert _SCORER is not None
    return _SCORER(shard)
