"""What is done of an import, on disk, until the whole can appear at once.

A hidden folder beside the cohort holds the pictures and a small database of finished rows. Pictures of rows that are not
in the database are written again; the folder takes the cohort's name only when everything is there. So a process may be
killed at any point: what a reader sees under the cohort's name is nothing or all of it.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import CaseError
from model.importing.duplicates import BYTES, Fingerprints
from model.importing.rows import IMAGES, MASKS, Done, Effect, Told
from model.ingest.table import PATH_COLUMNS, SPACING_COLUMNS, TABLE_NAME

_SCHEMA = """
create table if not exists about(name text primary key, value text);
create table if not exists rows(row integer primary key, case_id text, cells text);
create table if not exists told(row integer, column_name text, what text, effect text);
create table if not exists prints(row integer, view text, print blob);
create index if not exists told_row on told(row);
"""
_DATABASE = "import.sqlite"
ROWS_COLUMNS = ("row", "column", "effect", "what")


def staged_at(out: Path) -> Path:
    """The hidden folder of an unfinished import."""
    return out.with_name(f".{out.name}.import")


class Stage:
    """Rows and pictures of an unfinished import; closes with `close`.

    Parameters
    ----------
    folder : hidden folder, made where it is missing.
    source : mark of manifest, mapping and files; what an import of another source left is thrown away.

    Raises
    ------
    CaseError
        If another process is at it.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._open()
        try:
            if self._about("source") != source:
                self._database.close()
                shutil.rmtree(folder)
                folder.mkdir()
                self._open()
                self._database.execute("insert into about values ('source', ?)", (source,))
                self._database.commit()
            for sub in (IMAGES, MASKS):
                (folder / sub).mkdir(exist_ok=True)
        except BaseException:
            self._database.close()
            raise

    def _open(self) -> None:
        self._database = sqlite3.connect(self.folder / _DATABASE, timeout=0.5)
        try:
            # A killed process loses nothing that was committed; only a power cut could, and then the database says so.
            self._database.execute("pragma synchronous = off")
            self._database.execute("pragma locking_mode = exclusive")
            self._database.executescript(f"begin exclusive; {_SCHEMA} commit;")
        except sqlite3.OperationalError as error:
            self._database.close()
            if "locked" not in str(error):
                raise
            fix = "Wait for it, or stop it and run the command again."
            raise CaseError("another import writes there", where=str(self.folder), fix=fix) from None
        except sqlite3.DatabaseError:
            self._database.close()
            (self.folder / _DATABASE).unlink()
            self._open()

    def close(self) -> None:
        """Let go of the database; the folder stays."""
        self._database.close()

    def _about(self, name: str) -> str | None:
        found = self._database.execute("select value from about where name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def finished(self, row: int) -> bool:
        """Whether a row is done."""
        return self._database.execute("select 1 from rows where row = ?", (row,)).fetchone() is not None

    def add(self, done: Iterable[Done]) -> None:
        """Note finished rows, all or none."""
        with self._database:
            for d in done:
                cells = None if d.cells is None else json.dumps(d.cells, ensure_ascii=False)
                self._database.execute("insert into rows values (?, ?, ?)", (d.row, d.case_id, cells))
                self._database.executemany(
                    "insert into told values (?, ?, ?, ?)", [(t.row, t.column, t.what, t.effect) for t in d.told]
                )
                self._database.executemany(
                    "insert into prints values (?, ?, ?)", [(d.row, v, p) for v, p in d.fingerprints.items()]
                )

    @property
    def counts(self) -> tuple[int, int]:
        """Rows taken and rows dropped."""
        found = self._database.execute("select count(cells), count(*) from rows").fetchone()
        return int(found[0]), int(found[1]) - int(found[0])

    def told(self) -> Iterator[Told]:
        """Everything told, by row."""
        asked = self._database.execute("select row, column_name, what, effect from told order by row, rowid")
        for row, column, what, effect in asked:
            yield Told(int(row), str(column), str(what), _effect(effect))

    def summary(self) -> list[dict[str, Any]]:
        """Everything told, counted: column, what, effect, number of rows and the first of them."""
        asked = self._database.execute(
            "select column_name, what, effect, count(distinct row), min(row) from told group by 1, 2, 3 order by 4 desc, 5, 1, 2"
        )
        keys = ("column", "what", "effect", "rows", "first_row")
        return [dict(zip(keys, found, strict=True)) for found in asked]

    def cells(self) -> Iterator[dict[str, str]]:
        """Cells of `cases.csv` in the order of the pseudonyms, so that the order of the export tells nothing."""
        for (cells,) in self._database.execute("select cells from rows where cells is not null order by case_id"):
            yield json.loads(cells)

    def fingerprints(self) -> tuple[list[tuple[str, str]], Fingerprints]:
        """(case, view) of each picture, and their fingerprints (n, 4)."""
        asked = self._database.execute(
            "select case_id, view, print from prints join rows using (row) order by case_id, view"
        )
        names: list[tuple[str, str]] = []
        data = bytearray()
        for case_id, view, found in asked:
            names.append((str(case_id), str(view)))
            data += found
        return names, np.frombuffer(bytes(data), dtype=np.uint64).reshape(-1, BYTES // 8)

    def row_of(self, case_id: str) -> int:
        """Row of the export that a case comes from."""
        return int(self._database.execute("select row from rows where case_id = ?", (case_id,)).fetchone()[0])

    def write_rows(self, path: Path) -> None:
        """Everything told as a CSV file, whole or not at all."""
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(ROWS_COLUMNS)
                writer.writerows((t.row, t.column, t.effect, t.what) for t in self.told())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def publish(self, out: Path, files: Mapping[str, str], names: Iterable[str]) -> None:
        """Write the table and small files, and give the folder the cohort's name.

        Parameters
        ----------
        out : the cohort's folder: not there, or empty.
        files : name → text.
        names : columns of the schema, in order.
        """
        used: set[str] = set()
        for cells in self.cells():
            used.update(name for name, cell in cells.items() if cell)
        order = dict.fromkeys((*names, *PATH_COLUMNS, *SPACING_COLUMNS))
        columns = [name for name in order if name in used]
        with (self.folder / TABLE_NAME).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.cells())
        for name, text in files.items():
            (self.folder / name).write_text(text, "utf-8")
        self.close()
        (self.folder / _DATABASE).unlink()
        for rest in self.folder.glob(f"{_DATABASE}-*"):
            rest.unlink()
        now = time.time()
        for sub in (IMAGES, MASKS):
            empty = True
            for picture in os.scandir(self.folder / sub):
                os.utime(picture, (now, now))  # the order in which they were written is that of the export
                empty = False
            if empty:
                (self.folder / sub).rmdir()
        if hasattr(os, "sync"):
            os.sync()  # before the name: a cohort that is seen is on the disk
        if out.exists():
            out.rmdir()
        os.rename(self.folder, out)


def _effect(raw: object) -> Effect:
    assert raw in ("row dropped", "left out", "changed")
    return raw
