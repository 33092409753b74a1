"""What a worker process of an import runs: kept apart, so that it starts without what only the main process needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.importing.rows import Done, Job, Plan, do_row

_TALKATIVE = ("PIL", "pydicom")
_own: dict[str, Any] = {}


def start(plan: Plan, out: Path | None) -> None:
    """Make a fresh process ready."""
    import cv2

    cv2.setNumThreads(1)  # the processes are the parallelism
    _mute()
    _own["plan"], _own["out"] = plan, out


def work(chunk: list[Job]) -> list[Done]:
    """Rows, in order."""
    return [do_row(_own["plan"], job, _own["out"]) for job in chunk]


@contextmanager
def silent() -> Iterator[None]:
    """Let no reader repeat a file's name or tags in the log."""
    before = [
        (logging.getLogger(name), logging.getLogger(name).level, logging.getLogger(name).disabled)
        for name in _TALKATIVE
    ]
    _mute()
    try:
        yield
    finally:
        for logger, level, disabled in before:
            logger.setLevel(level)
            logger.disabled = disabled


def _mute() -> None:
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)  # of its children, too
        logger.disabled = True  # pydicom sets its own level when it is first imported
