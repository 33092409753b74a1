"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import StorageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A hidden `.partial` file beside `path` to be written, which takes its place at the end: a reader sees the old file or the
    new one, never half of it.

    The folder is made where it is missing. On any failure the partial file is removed and `path` is as it was.

    Raises
    ------
    StorageError
        If the disk is full or may not be written to.
    """
    path = Path(path)
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        _removed(partial)
        raise unwritable(error, path.parent) from error
    except BaseException:  # an interrupt, too, must leave no litter
        _removed(partial)
        raise


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` as `whole_file` says, and raise what it raises."""
    with whole_file(path) as partial:
        partial.write_bytes(data)


def unwritable(error: OSError, folder: Path) -> StorageError:
    """Why nothing can be written to a folder, in words."""
    if error.errno in _NO_ROOM:
        return StorageError("the disk is full", where=str(folder), fix="Free some space and give the same command again.")
    fix = "Name a folder that you may write to."
    return StorageError(f"cannot be written ({error.strerror or error})", where=str(folder), fix=fix)


def _removed(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return  # where its folder is none, it is not there either


def atomic_write_text(path: Path | str, text: str) -> None:
    """As `atomic_write_bytes`, for text in UTF-8; line ends are written as they are."""
    atomic_write_bytes(path, text.encode("utf-8"))
