"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from model.errors import StorageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never half of it.

    The folder is made where it is missing. The data go to a hidden `.partial` file beside `path`, which then takes its
    place; on any failure the partial file is removed and `path` is as it was.

    Raises
    ------
    StorageError
        If the disk is full or may not be written to.
    """
    path = Path(path)
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):  # a read-only disk refuses this, too, where there is nothing to remove
            partial.unlink(missing_ok=True)
        if error.errno in _NO_ROOM:
            fix = "Free some space and give the same command again."
            raise StorageError("the disk is full", where=str(path.parent), fix=fix) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            fix = "Name a folder that you may write to."
            raise StorageError(f"cannot be written ({error.strerror})", where=str(path.parent), fix=fix) from error
        raise
    except BaseException:  # an interrupt, too, must leave no litter
        partial.unlink(missing_ok=True)
        raise


def atomic_write_text(path: Path | str, text: str) -> None:
    """As `atomic_write_bytes`, for text in UTF-8; line ends are written as they are."""
    atomic_write_bytes(path, text.encode("utf-8"))
