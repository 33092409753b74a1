"""Where an export's pictures and reports lie: a folder, or the memory of an upload."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from model.errors import CaseError
from model.importing.values import CellError
from model.ingest.parts import inside


class Files(Protocol):
    """Files by the names that an export's cells give."""

    def find(self, name: str) -> Path | bytes:
        """The file; raises CellError, in words that do not repeat its name, where there is none."""
        ...

    def mark(self, name: str) -> str:
        """What changes when the file does; "" where there is none."""
        ...


@dataclass(frozen=True)
class Folder:
    """Files of a folder, which no name may leave.

    Parameters
    ----------
    root : the folder that names are relative to.
    """

    root: Path

    def find(self, name: str) -> Path:
        """See `Files`."""
        try:
            return inside(self.root, name, "")
        except CaseError as error:
            outside = "outside" in error.what
            raise CellError(
                "the file lies outside of the export's folder" if outside else "the file is missing"
            ) from None

    def mark(self, name: str) -> str:
        """Size and time of the last change."""
        try:
            found = self.find(name).stat()
        except (CellError, OSError):
            return ""
        return f"{found.st_size}:{found.st_mtime_ns}"


@dataclass(frozen=True)
class Uploads:
    """Files in memory, by their names without folders.

    Parameters
    ----------
    files : name → bytes.
    """

    files: Mapping[str, bytes]
    _asked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set), repr=False, compare=False)

    def find(self, name: str) -> bytes:
        """See `Files`; a name that was marked in two folders is refused: an upload holds one of the two, and cannot say which."""
        path = PurePosixPath(name.replace("\\", "/"))
        if len(self._asked[path.name]) > 1:
            raise CellError("rows name files of this name in several folders, which an upload cannot tell apart")
        found = self.files.get(path.name)
        if found is None:
            raise CellError("the file is missing")
        return found

    def mark(self, name: str) -> str:
        """Hash of its bytes."""
        path = PurePosixPath(name.replace("\\", "/"))
        self._asked[path.name].add(str(path))
        found = self.files.get(path.name)
        return "" if found is None else hashlib.sha256(found).hexdigest()
