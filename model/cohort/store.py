"""A scored cohort of any size: validated Parquet, asked through DuckDB, with cubes for what filters change often.

Names of columns are quoted or ours, values are parameters: nothing of a table's text is ever read as SQL.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from model.cohort.clean import clean
from model.cohort.codes import BINS, NO_STEP, bands
from model.cohort.cube import AXES, Aggregate, Cube, aggregate, widths
from model.cohort.faults import RowsError
from model.cohort.fields import KNOWN
from model.cohort.proven import read_proven
from model.cohort.scores import FloatArray
from model.cohort.selection import CATEGORIES, RANGES, STEPS, Filters
from model.errors import StatisticsError

FORMAT = 6
MAX_CELLS = 8_000_000
"""Numbers in a cube, at most (64 MB); a finer one is not kept, and the rows are counted."""
KEPT_CUBES = 64
WITH_RANGES = (
    ("centre", "sex", "tirads", "age"), ("centre", "sex", "tirads", "size"), ("sex", "histology", "side", "third", "age"),
    ("sex", "histology", "side", "third", "size"), ("sex", "age", "size"),
)  # fmt: skip
"""What people filter by together with a range: all at once would be too many combinations to keep."""
THREADS = 2

Where = tuple[str, list[object]]


def cache_folder() -> Path:
    """Where validated tables are kept: $LLNM_CACHE, or the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LLNM_CACHE") or Path(home) / "llnm-explorer") / "cohorts"


@dataclass(frozen=True)
class CohortStore:
    """A validated cohort on disk.

    Parameters
    ----------
    file : Parquet file in the schema's words.
    table : what it was made from, and when that was last changed (ns): numbers that are in order there are not written twice.
    label : column that was said to hold the outcome; None where its name tells.
    key : hash of the content it was made from; figures are kept by it.
    columns : what `rows` can give.
    cases, positives, bad_rows : usable cases, those with the outcome, and rows left out because they were at fault.
    ignored : columns of the table that mean nothing here.
    left_out : known columns without one usable value.
    options : cases of each value, for each field that can be filtered by.
    ranges : smallest and largest value of each number.
    described : what the table says of itself: model, and how it was explained (`model.cohort.explained`).
    outcome : what the labels are of, in few words: "LLNM". Text of the table's writer, never to be read as markup.
    """

    file: Path
    table: tuple[Path, int]
    label: str | None
    key: str
    columns: tuple[str, ...]
    cases: int
    positives: int
    bad_rows: int
    ignored: tuple[str, ...]
    left_out: tuple[str, ...]
    options: Mapping[str, Mapping[str, int]]
    ranges: Mapping[str, tuple[float, float]]
    described: Mapping[str, Any]
    outcome: str
    _proven: Mapping[str, str] = field(repr=False)
    _codes: Mapping[str, Mapping[str, int]] = field(repr=False)
    _steps: int = field(repr=False)
    _cubes: OrderedDict[tuple[str, ...], Cube | None] = field(default_factory=OrderedDict, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)
    _duck: Any = field(
        default_factory=lambda: duckdb.connect(config={"threads": THREADS}), repr=False, compare=False
    )  # fmt: skip

    @classmethod
    def open(
        cls, path: Path | str, *, probability: str | None = None, label: str | None = None, good_rows_only: bool = False,
        cache: Path | None = None,
        progress: Callable[[int], None] = lambda _rows: None,
    ) -> CohortStore:  # fmt: skip
        """Validate a table once; the same content opens at once from then on.

        Parameters
        ----------
        path : CSV or Parquet with a probability and a label, and any of the schema's fields.
        probability, label : their columns; None for the usual names (`model.cohort.scores`).
        good_rows_only : leave rows at fault out, instead of refusing the table.
        cache : folder for validated tables; the user's cache where None.
        progress : told the number of rows read.

        Raises
        ------
        RowsError
            If rows are at fault, unless `good_rows_only`; each column's rows and the fix are named.
        NoLabelError
            If there is no label; columns that could be it are named.
        StatisticsError
            If the file cannot be read, has no case, or lacks the probability.
        """
        path = Path(path).absolute()
        try:
            changed = path.stat().st_mtime_ns
            with path.open("rb") as file:
                key = hashlib.file_digest(file, "sha256").hexdigest()[:32] + ("-good" if good_rows_only else "")
            if probability or label:
                key += "-" + hashlib.sha256(repr((probability, label)).encode()).hexdigest()[:16]
        except OSError as error:
            raise StatisticsError(
                f"cannot be read ({error.strerror})", where=str(path), fix="Give a CSV or Parquet file with a header."
            ) from None
        target = (cache or cache_folder()) / f"{key}-{FORMAT}{path.suffix.lower()}.parquet"
        if not target.exists():
            try:
                clean(path, target, probability=probability, label=label, progress=progress)
            except RowsError as error:
                if not good_rows_only or not error.good:
                    raise
                clean(path, target, probability=probability, label=label, without=error, progress=progress)
        return cls._of(target, (path, changed), label, key)

    @classmethod
    def _of(cls, file: Path, table: tuple[Path, int], label: str | None, key: str) -> CohortStore:
        kept: dict[str, Any] = json.loads(pq.read_metadata(file).metadata[b"llnm"])
        options = {
            name: {value: counts[code] for value, code in kept["codes"][name].items() if counts[code]}
            for name, counts in kept["counts"].items()
        }
        return cls(
            file=file,
            table=table,
            label=label,
            key=key,
            columns=tuple(kept["columns"]),
            cases=kept["cases"],
            positives=kept["positives"],
            bad_rows=kept["bad_rows"],
            ignored=tuple(kept["ignored"]),
            left_out=tuple(kept["left_out"]),
            options={name: values for name, values in options.items() if values},
            ranges={name: (low, high) for name, (low, high) in kept["ranges"].items()},
            described=kept["described"],
            outcome=kept["outcome"],
            _proven=kept["proven"],
            _codes=kept["codes"],
            _steps=kept["steps"],
        )

    def usable(self, filters: Filters) -> Filters:
        """The filters without those of columns that the table lacks."""
        known = {n: getattr(filters, n) for n in (*CATEGORIES, *RANGES) if RANGES.get(n, n) in self.columns}
        region = filters.region if "capsule_distance_mm" in self.columns else None
        return Filters(**known, region=region)

    def aggregate(self, filters: Filters = Filters()) -> Aggregate:
        """Counts for every aggregate figure: from a cube where the filters fall on its steps, from the rows otherwise."""
        filters = self.usable(filters)
        cube = self._cube(filters.used()) if filters.on_steps() else None
        if cube is not None:
            return cube.select(self._allowed(filters))
        where, values = self._where(filters)
        parts = [self._sums(axis, "0::UBIGINT", where, values) for axis in AXES]
        row = np.zeros((1, sum(widths(self._steps))))
        for axis, found in zip(AXES, parts, strict=True):
            self._fill(row, axis, found, np.zeros(len(found["key"]), np.int64))
        return aggregate(row[0], self._steps, from_cube=False)

    def prepare(self) -> None:
        """Build the cube of all categories, so that filters by any of them are quick from the first on."""
        self._cube(self._there(CATEGORIES))

    def prepare_ranges(self) -> None:
        """Build cubes of ages and sizes beside categories, and of every field and two.

        Some seconds for ten million rows, so not before a page opens.
        """
        for fields in WITH_RANGES:
            if any(RANGES.get(n) in self.ranges for n in fields):
                self._cube(self._there(fields))
        for count in (1, 2):  # what is filtered by first; from the cubes that are there
            for few in combinations(self._there((*CATEGORIES, *RANGES)), count):
                self._cube(few)

    def _there(self, fields: Sequence[str]) -> tuple[str, ...]:
        """Those of some fields that the table has."""
        return tuple(n for n in fields if n in self.options or RANGES.get(n) in self.ranges)

    def rows(self, filters: Filters = Filters(), columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The cases that pass, in the table's order: only the columns asked for.

        `llnm` is 0 or 1; words are categories in the schema's order (other words in that of the alphabet), without those
        that no case has.

        Raises
        ------
        StatisticsError
            If a column is not there, or has to be read from a table that is no longer as it was when it was opened.
        """
        wanted = self.columns if columns is None else tuple(columns)
        for name in wanted:
            if name not in self.columns:
                raise StatisticsError(
                    "no such column", where=name[:80], fix=f"The table has {', '.join(self.columns)}."
                )
        words = [n for n in wanted if n in KNOWN and n != "case_id" and KNOWN[n].kind in ("category", "text")]
        here = pq.read_table(self.file, columns=[n for n in wanted if n not in self._proven], read_dictionary=words)
        parts = {n: here[n] for n in here.column_names} | self._left_in_table(wanted)
        table = pa.table({n: parts[n] for n in wanted})
        usable = self.usable(filters)
        if usable != Filters():
            where, values = self._where(usable)
            passes = self._asked(f"FROM read_parquet(?) SELECT {where} AS passes", values).fetchnumpy()["passes"]
            table = table.filter(pa.array(np.ma.filled(passes, fill_value=False)))
        frame: pd.DataFrame = table.to_pandas()
        for name in words:
            frame[name] = _in_order(frame[name], name)
        return frame.assign(llnm=frame["llnm"].astype(np.int64)) if "llnm" in frame else frame

    def among(self, ids: Sequence[str], filters: Filters = Filters()) -> list[str]:
        """Which of some case names pass the filters, in the order given; none where the table has no names."""
        if "case_id" not in self.columns:
            return []
        where, values = self._where(self.usable(filters))
        found = self._asked(
            f"SELECT case_id FROM read_parquet(?) WHERE {where} AND case_id IN (SELECT unnest(?::VARCHAR[]))",
            [*values, list(ids)],
        ).fetchall()
        there = {row[0] for row in found}
        return [name for name in ids if name in there]

    def case(self, name: str) -> pd.DataFrame:
        """The row of one case with all its columns; empty where there is none, or the table has no names."""
        if "case_id" not in self.columns:
            return pd.DataFrame()
        here = ", ".join(f'"{n}"' for n in self.columns if n not in self._proven)
        found: pd.DataFrame = self._asked(
            f"SELECT {here}, file_row_number AS _row FROM read_parquet(?, file_row_number=true) WHERE case_id = ?", [name]
        ).df()
        for row in found.pop("_row"):
            found = found.assign(**{n: v[0].as_py() for n, v in self._left_in_table(self.columns, row).items()})
        return found.reindex(columns=list(self.columns))

    def _left_in_table(self, wanted: Sequence[str], row: int | None = None) -> dict[str, pa.ChunkedArray]:
        """Those of some columns that were not written twice, of all rows or of one; raises `StatisticsError`."""
        columns = {n: self._proven[n] for n in wanted if n in self._proven}
        if not columns:
            return {}
        path, changed = self.table
        if not path.is_file() or path.stat().st_mtime_ns != changed:
            raise StatisticsError("no longer as it was when it was opened", where=path.name, fix="Open the table again.")
        return read_proven(path, columns, row)

    def sample(self, filters: Filters = Filters(), count: int = 2000) -> pd.DataFrame:
        """At most `count` cases with a capsule distance, the same ones every time, spread over the table."""
        columns = ", ".join(n for n in ("case_id", "capsule_distance_mm", "probability", "llnm") if n in self.columns)
        where, values = self._where(self.usable(filters))
        frame: pd.DataFrame = self._asked(
            f"SELECT {columns} FROM read_parquet(?, file_row_number=true) WHERE {where} AND capsule_distance_mm IS NOT NULL "
            "ORDER BY hash(file_row_number), file_row_number LIMIT ?",
            [*values, count],
        ).df()
        return frame

    def density(self, filters: Filters = Filters()) -> FloatArray:
        """(k, 20) cases by capsule distance in steps of 0.2 mm and by probability in bins of 0.05."""
        where, values = self._where(self.usable(filters))
        found = self._asked(
            f"SELECT _step // 2 AS step, _bin, count(*) AS n FROM read_parquet(?) "
            f"WHERE {where} AND _step <> {NO_STEP} GROUP BY ALL",
            values,
        ).fetchnumpy()
        result = np.zeros((max(1, -(-self._steps // 2)), BINS))
        result[found["step"], found["_bin"]] = found["n"]
        return result

    def _cube(self, fields: tuple[str, ...]) -> Cube | None:
        """The cube of some fields, from a larger one that is there or from the rows; None where it would be too large."""
        with self._lock:
            if fields in self._cubes:
                self._cubes.move_to_end(fields)
                return self._cubes[fields]
            larger = [c for names, c in self._cubes.items() if c is not None and set(fields) <= set(names)]
        cube = min(larger, key=lambda c: len(c.codes)).rolled_up(fields) if larger else self._built(fields)
        with self._lock:
            self._cubes[fields] = cube
            while len(self._cubes) > KEPT_CUBES:
                # Those made beforehand serve the others: they stay.
                stay = {fields, *map(self._there, (CATEGORIES, *WITH_RANGES))}
                del self._cubes[next(n for n in self._cubes if n not in stay)]
        return cube

    def _built(self, fields: tuple[str, ...]) -> Cube | None:
        """A cube counted in the database."""
        sizes = [self._size(n) for n in fields]
        key = "0::UBIGINT"
        for name, size in zip(fields, sizes, strict=True):
            key = f"({key} * {size} + _{name})"
        parts = [self._sums(axis, key, "true", []) for axis in AXES]
        combinations = np.unique(parts[1]["key"])
        if len(combinations) * sum(widths(self._steps)) > MAX_CELLS:
            return None
        sums = np.zeros((len(combinations), sum(widths(self._steps))))
        for axis, found in zip(AXES, parts, strict=True):
            self._fill(sums, axis, found, np.searchsorted(combinations, found["key"]))
        codes = (
            np.stack(np.unravel_index(combinations.astype(np.int64), sizes), 1)
            if fields
            else np.zeros((1, 0), np.int64)
        )
        return Cube(fields, codes, sums, self._steps)

    def _sums(self, axis: str, key: str, where: str, values: list[object]) -> dict[str, npt.NDArray[Any]]:
        """Cases, LLNM and probabilities by key and one axis."""
        at = f"{NO_STEP}::USMALLINT" if axis == "step" and "capsule_distance_mm" not in self.columns else f"_{axis}"
        found = self._asked(
            f"SELECT {key} AS key, {at} AS at, count(*) AS n, count(*) FILTER (llnm) AS hits, sum(probability) AS p "
            f"FROM read_parquet(?) WHERE {where} GROUP BY ALL",
            values,
        ).fetchnumpy()
        return {name: np.asarray(values) for name, values in found.items()}

    def _fill(
        self, sums: FloatArray, axis: str, found: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]
    ) -> None:
        """Put the sums of one axis in their columns."""
        begin = sum(widths(self._steps)[: AXES.index(axis)])
        at = np.asarray(found["at"], np.int64)
        at = np.where(at == NO_STEP, self._steps, at) if axis == "step" else at
        for k, name in enumerate(("n", "hits", "p")):
            sums[rows, begin + 3 * at + k] = found[name]

    def _size(self, name: str) -> int:
        """Codes that a field may have, 0 for missing among them."""
        return len(self._codes[name]) + 1 if name in CATEGORIES else 256

    def _allowed(self, filters: Filters) -> dict[str, npt.NDArray[np.bool_]]:
        """Which codes of each field pass."""
        allowed = {}
        for name in filters.used():
            passes = np.zeros(self._size(name), dtype=bool)
            if name in CATEGORIES:
                passes[[self._codes[name][v] for v in getattr(filters, name) if v in self._codes[name]]] = True
            else:
                low, high = bands(np.array(getattr(filters, name), float), STEPS[name])
                passes[low : int(high) + 1] = True
            allowed[name] = passes
        return allowed

    def _where(self, filters: Filters) -> Where:
        """The filters as a condition with its parameters."""
        conditions, values = ["true"], list[object]()
        for name in filters.used():
            if name in CATEGORIES:
                codes = [self._codes[name][v] for v in getattr(filters, name) if v in self._codes[name]]
                conditions.append(f"_{name} IN ({', '.join('?' * len(codes))})" if codes else "false")
                values += codes
            else:
                conditions.append(f"{RANGES[name]} BETWEEN ? AND ?")
                values += getattr(filters, name)
        if filters.region is not None:
            crossed = []
            for x0, y0, y1, slope in filters.region.edges():
                crossed.append(
                    "(((?::DOUBLE > probability) <> (?::DOUBLE > probability)) AND "
                    "capsule_distance_mm < ?::DOUBLE * (probability - ?::DOUBLE) + ?::DOUBLE)::INTEGER"
                )
                values += [y0, y1, slope, y0, x0]
            conditions.append(f"coalesce(({' + '.join(crossed)}) % 2 = 1, false)")
        return " AND ".join(conditions), values

    def _asked(self, query: str, values: Sequence[object]) -> duckdb.DuckDBPyConnection:
        """The answer to a query whose first parameter is the file; a cursor each, since sessions share the store."""
        answer: duckdb.DuckDBPyConnection = self._duck.cursor().execute(query, [str(self.file), *values])
        return answer


def _in_order(values: pd.Series, name: str) -> pd.Series:
    """Categories that are there, in the schema's order or by name."""
    held = values.cat.remove_unused_categories()
    there = list(held.cat.categories)
    known = [v for v in KNOWN[name].values if v in there]
    return held.cat.reorder_categories(known if len(known) == len(there) else sorted(there))
