"""Writing files whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never half of it.

    The folder is made where it is missing. The data go to a hidden `.partial` file beside `path`, which then takes its
    place; on any failure the partial file is removed and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:  # an interrupt, too, must leave no litter
        partial.unlink(missing_ok=True)
        raise


def atomic_write_text(path: Path | str, text: str) -> None:
    """As `atomic_write_bytes`, for text in UTF-8; line ends are written as they are."""
    atomic_write_bytes(path, text.encode("utf-8"))
