"""One shard of a cohort → its scored cases and those that were refused, each with the reason. Every engine runs this."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from model.cohort.explained import BASE, SHAP
from model.encode import MeasuredCase
from model.errors import ProblemError
from model.evaluate import scored_row
from model.explain.shapley import group_shapley
from model.ingest.card import schema_of
from model.ingest.cases import Cohort, ViewMasks, read_card
from model.ingest.files import atomic_write_bytes
from model.ingest.table import Sheet, parse_sheet
from model.predict import Predictor
from model.scale.columns import scored_schema, scored_table
from model.scale.fast import fast
from model.scale.job import Done, Job
from model.schema import DEFAULT, Case, Schema, View

NUMBER, SEPARATOR = "_row", b"separator"
"""Column of a shard that holds the row numbers, and the key of its metadata that holds the separator."""
REFUSED = b"refused"
"""Key of the metadata of a scored shard: [case, reason] of every case that was refused, as JSON."""

_PIECES = r"\d|[^\W\d]+|[^\w\s]"
"""What most tokens of a report are: digits, words, marks."""

Truth = Mapping[View, ViewMasks]
Refused = list[tuple[str, str]]


@dataclass(frozen=True)
class Scored:
    """What became of some cases: a row for each that was scored, (case, reason) for each that was refused."""

    rows: list[dict[str, Any]]
    refused: Refused


def score_cases(
    predictor: Predictor, cases: Iterable[tuple[Case, Truth]], *, batch: int = 32, explainer: Predictor | None = None,
    exact: bool = False, schema: Schema = DEFAULT,
) -> Scored:  # fmt: skip
    """Score a stream of cases, and explain them; one that fails is refused and the others go on.

    Parameters
    ----------
    cases : each with its true masks by view, where they are known.
    batch : cases that go through the networks together; memory grows with it, not with the stream.
    explainer : of the same checkpoint, with its plain networks; None leaves the cases without explanation.
    exact : see `Job`.
    schema : of the cohort.
    """
    found = Scored([], [])
    for block in _blocks(cases, batch):
        try:
            found.rows.extend(_rows(predictor, block, explainer, schema, exact=exact))
        except Exception:  # one of them: which, and why, is found case by case
            for one in block:
                try:
                    found.rows.extend(_rows(predictor, [one], explainer, schema, exact=exact))
                except Exception as error:
                    found.refused.append((one[0].case_id, reason(error)))
    return found


def reason(error: Exception) -> str:
    """Why a case was refused, in one line."""
    if isinstance(error, ProblemError):
        return " ".join(str(error).split())
    return f"unexpected: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def one_thread() -> Iterator[None]:
    """So that workers leave each other their cores, and no figure hangs on how many cores there are."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


class Scorer:
    """The shared function of all engines: the number of a shard → its file is written, whole or not at all.

    Raises
    ------
    CheckpointError
        If the model cannot be loaded.
    """

    def __init__(self, job: Job, predictor: Predictor | None = None) -> None:
        self.job = job
        self.plain = predictor or Predictor.load(job.checkpoint, job.device)
        self.predictor = fast(self.plain, job.precision)
        self.schema = schema_of(read_card(job.root), where=str(job.root))

    def __call__(self, shard: int) -> Done:
        """Score a shard from its given rows."""
        with one_thread():
            return self._scored(shard)

    def _scored(self, shard: int) -> Done:
        job = self.job
        cases, refused = read_given(job, shard, self.schema)
        reading = _Reading(cases)
        explainer = self.plain if job.explain else None
        scored = score_cases(self.predictor, reading, batch=job.batch, explainer=explainer, exact=job.exact, schema=self.schema)
        place = {case_id: i for i, case_id in enumerate(cases.case_ids)}
        scored.rows.sort(key=lambda row: place[row["case_id"]])
        refused += sorted(reading.refused + scored.refused, key=lambda one: place[one[0]])
        groups = self.plain.schema.groups if job.explain else ()
        table = scored_table(scored.rows, scored_schema(self.schema, groups))
        buffer = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata({REFUSED: json.dumps(refused)}), buffer)
        atomic_write_bytes(job.done(shard), buffer.getvalue().to_pybytes())
        return Done(shard, len(scored.rows), len(refused))


def write_given(job: Job, shard: int, sheet: Sheet) -> None:
    """Keep the rows of a shard as text, as they were given."""
    width = len(sheet.header)
    cells = [(*row[:width], *("",) * (width - len(row))) if len(row) <= width else tuple(row) for row in sheet.rows]
    # More cells than columns are a fault that is told later: they must not be lost here.
    most = max(map(len, cells))
    names = [f"{i} {name}" for i, name in enumerate((*sheet.header, *("",) * (most - width)))]
    columns = {name: [row[i] if i < len(row) else "" for row in cells] for i, name in enumerate(names)}
    table = pa.table(
        {NUMBER: pa.array(sheet.numbers, pa.int64()), **{n: pa.array(c, pa.string()) for n, c in columns.items()}}
    )
    buffer = pa.BufferOutputStream()
    metadata = {SEPARATOR: sheet.separator, b"columns": str(width)}
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    atomic_write_bytes(job.given(shard), buffer.getvalue().to_pybytes())


def read_given(job: Job, shard: int, schema: Schema) -> tuple[Cohort, Refused]:
    """The cases of a shard that can be used, and the refused ones."""
    table = pq.read_table(job.given(shard))
    metadata = table.schema.metadata
    width = int(metadata[b"columns"])
    header = [name.split(" ", 1)[1] for name in table.column_names[1 : width + 1]]
    columns = [column.to_pylist() for column in table.columns[1:]]
    given = dict(zip(table.column(NUMBER).to_pylist(), map(list, zip(*columns, strict=True)), strict=True))
    # They are taken out first: whether the earlier row lies in the same shard must not matter.
    doubled = {number: given.pop(number) for number in job.doubled & given.keys()}
    numbers = list(given)
    parsed, faults, _ = parse_sheet(Sheet(header, list(given.values()), numbers, metadata[SEPARATOR].decode()), job.root, schema)
    told: dict[int, list[str]] = {}
    for number, fault in faults:
        told.setdefault(number, []).append(fault)
    names = dict(zip(numbers, parsed["case_id"], strict=True))
    for number, row in doubled.items():
        names[number] = row[header.index("case_id")].strip()
        told[number] = ["case_id: an earlier row has this case; keep one"]
    refused = [(names[n] or f"row {n}", f"row {n}: {'; '.join(found)}") for n, found in sorted(told.items())]
    usable = parsed[[n not in told for n in numbers]].reset_index(drop=True)
    usable["provenance"] = usable["provenance"].fillna(job.provenance)
    return Cohort(job.cohort, job.provenance, usable, job.root, use_masks=True, schema=schema), refused


class _Reading:
    """Cases of a cohort with their true masks, decoded one at a time; what cannot be read is refused.

    Those with short reports come first: in a batch, every report takes as much time as the longest.
    """

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        self.refused: Refused = []

    def __iter__(self) -> Iterator[tuple[Case, Truth]]:
        lengths = self.cohort.table["report_text"].str.count(_PIECES).fillna(0).to_numpy()
        for case_id in np.array(self.cohort.case_ids)[lengths.argsort(kind="stable")].tolist():
            try:
                case = self.cohort.case(case_id)
            except Exception as error:
                self.refused.append((case_id, reason(error)))
                continue
            truth = {view: ViewMasks(image.nodule_mask, image.gland_mask) for view, image in case.images.items()}
            # The model draws its own outlines, as for a user's picture.
            images = {view: replace(image, nodule_mask=None, gland_mask=None) for view, image in case.images.items()}
            yield replace(case, images=images), truth


def _blocks(cases: Iterable[tuple[Case, Truth]], size: int) -> Iterator[tuple[tuple[Case, Truth], ...]]:
    iterator = iter(cases)
    while block := tuple(islice(iterator, size)):
        yield block


def _rows(
    predictor: Predictor, block: Iterable[tuple[Case, Truth]], explainer: Predictor | None, schema: Schema, *, exact: bool
) -> list[dict[str, Any]]:
    block = list(block)
    measured = predictor.measure(case for case, _ in block)
    predictions = predictor.predict_measured(measured)
    rows = []
    for case, prediction, (_, truth) in zip(measured, predictions, block, strict=True):
        row = scored_row(case, prediction, truth, schema)
        rows.append(row if explainer is None else row | attributed(explainer, case, exact=exact))
    return rows


def attributed(predictor: Predictor, case: MeasuredCase, *, exact: bool = False) -> dict[str, float]:
    """Shapley values of a measured case in calibrated logits, by column of a scored table."""
    found = group_shapley(predictor, case, exact=exact)
    values = {SHAP + group.name: float(value) for group, value in zip(found.groups, found.values, strict=True)}
    return {**values, BASE: found.base_logit}
