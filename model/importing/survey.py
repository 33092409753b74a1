"""The whole table against its mapping, before a pixel is read: what is refused, what is asked, and who is who.

One pass in flat memory: what must be compared over all rows lies in a temporary database, what is weighed is weighed on
the first rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from model.errors import CaseError
from model.importing.keys import digest, pseudonym
from model.importing.manifest import Manifest
from model.importing.mapping import BORN, ENDPOINT, OWN, PATIENT, SEEN, Agreed, to_dict
from model.importing.rows import Job, Plan
from model.importing.sources import Files
from model.importing.values import (
    DAY_FIRST,
    EITHER,
    LARGEST,
    LENGTHS,
    MONTH_FIRST,
    SMALLEST,
    CellError,
    DateOrder,
    date_orders,
    number,
)
from model.ingest.dicom import is_dicom, patient_id
from model.ingest.known import telling_words
from model.ingest.messages import list_faults, some
from model.ingest.table import image_column
from model.schema import FIELD, VIEWS, Value

VERSION = 1
_WEIGHED = 20_000
_PERFECT = 0.99  # AUROC
_LEAST_A_CLASS = 5
_FEW_VALUES = 2
_UNREAD_SHARE, _UNREAD_FEW = 0.1, 2
_BATCH = 500


@dataclass(frozen=True)
class Question:
    """What a person must answer before the import: about a column, what is odd, and how to answer."""

    column: str
    what: str
    answer: str


@dataclass(frozen=True)
class Survey:
    """What the whole table says.

    Parameters
    ----------
    rows, patients : how many.
    positives, negatives : rows by outcome.
    questions : to be answered before the import.
    notices : what a person should know, but need not answer.
    source : mark of the export, its files and its mapping; the same only where nothing changed.
    """

    rows: int
    patients: int
    positives: int
    negatives: int
    questions: tuple[Question, ...]
    notices: tuple[str, ...]
    source: str


class Jobs:
    """The rows of a surveyed export, each with its pseudonym, which the survey settled."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # in a temporary file that goes with the connection
        self._database.execute("create table jobs(row integer primary key, patient text, number integer)")
        self._database.execute("create table patients(patient text, split text, first integer, unique(patient, split))")
        self._database.execute("create table counted(patient text primary key, number integer)")

    def add(self, row: int, patient: str, split: str) -> None:
        """Note a row."""
        asked = (
            "insert into counted values (?, 1) on conflict(patient) do update set number = number + 1 returning number"
        )
        number = self._database.execute(asked, (patient,)).fetchone()[0]
        self._database.execute("insert into jobs values (?, ?, ?)", (row, patient, number))
        if split:
            self._database.execute("insert or ignore into patients values (?, ?, ?)", (patient, split, row))

    @property
    def patients(self) -> int:
        """How many."""
        return int(self._database.execute("select count(*) from counted").fetchone()[0])

    def in_two_splits(self) -> list[tuple[int, int]]:
        """First rows of each patient that stands in two splits."""
        asked = "select min(first), max(first) from patients group by patient having count(*) > 1 order by 1 limit 1000"
        return [(int(a), int(b)) for a, b in self._database.execute(asked)]

    def of(self, manifest: Manifest) -> Iterator[Job]:
        """The rows again, in order."""
        asked = iter(self._database.execute("select row, patient, number from jobs order by row"))
        for row, cells in manifest.rows():
            noted, patient, number = next(asked)
            if noted != row:
                raise CaseError("the table changed while it was read", where="manifest", fix="Run the command again.")
            yield Job(row, cells, f"{patient}-{number}", patient)


@dataclass
class _Weighed:
    """Values of one feature beside the outcome, as far as they are weighed."""

    counts: dict[object, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    numbers: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, value: Value | None, outcome: bool) -> None:
        if isinstance(value, float):
            self.numbers.append((value, outcome))
            value = "given"
        self.counts[value][outcome] += 1

    def auroc(self) -> float:
        """Of the better of value and missingness; 0.5 where there is too little to say."""
        best = 0.5
        both = np.array(list(self.counts.values())).reshape(-1, 2)
        if (both.sum(axis=0) >= _LEAST_A_CLASS).all():
            rates = np.repeat(both[:, 1] / both.sum(axis=1), 2)
            best = _auroc(rates, np.tile([False, True], len(both)), both.ravel())
        if self.numbers:
            values, outcomes = (np.array(part) for part in zip(*self.numbers, strict=True))
            if min(outcomes.sum(), (~outcomes).sum()) >= _LEAST_A_CLASS:
                found = _auroc(values, outcomes, np.ones(len(values)))
                best = max(best, found, 1 - found)
        return best


def _auroc(scores: np.ndarray, outcomes: np.ndarray, weights: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(outcomes, scores, sample_weight=weights))


def survey(
    manifest: Manifest, agreed: Agreed, files: Files, key: bytes, progress: Callable[[int], None] = lambda _: None
) -> tuple[Survey, Jobs, Plan]:
    """Read the table once.

    Parameters
    ----------
    manifest, agreed : the export and its mapping, which must have passed `mapping.check`.
    files : where its pictures lie; only looked for.
    key : of pseudonyms.
    progress : told the number of rows done.

    Raises
    ------
    CaseError
        If there is no row, or a patient stands in two splits.
    """
    plan = Plan(agreed, manifest.header, manifest.separator, files, key)
    features = plan.feature_columns
    weighed = {c.column: _Weighed() for c, _ in features}
    unread: Counter[str] = Counter()
    filled: Counter[str] = Counter()
    lengths: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])  # too small, too large, rows of each
    orders: dict[str, Counter[frozenset[DateOrder]]] = defaultdict(Counter)
    named: dict[str, int] = {}  # first row whose value is one of its patient's own words
    own = agreed.all_to(OWN)
    words_of = {v: telling_words(v) for c in own for v in c.values.values()}
    owners: dict[str, dict[Value, str]] = defaultdict(dict)  # value of an own category → its only patient, "" for several
    jobs = Jobs()
    outcomes: Counter[bool] = Counter()
    mark = digest(key, json.dumps([VERSION, manifest.header, to_dict(agreed)], ensure_ascii=False).encode())
    count = 0
    at = {name: i for i, name in enumerate(manifest.header)}
    for row, cells in manifest.rows():
        count += 1
        marks = [files.mark(name) for _, name in plan.file_cells(cells)]
        mark = digest(key, mark + json.dumps([row, cells, marks], ensure_ascii=False).encode())
        values, told = plan.values(row, cells)
        unread.update(t.column for t in told)
        filled.update(c.column for c in agreed.columns if c.to and cells[at[c.column]])
        outcome = values.get(plan.endpoint)
        if isinstance(outcome, bool):
            outcomes[outcome] += 1
            if count <= _WEIGHED:
                for c, name in features:
                    weighed[c.column].add(values.get(name), outcome)
        for c in agreed.columns:
            if c.to in LENGTHS:
                _weigh_length(lengths[c.column], row, cells[at[c.column]], manifest.separator)
            elif c.to in (BORN, SEEN):
                orders[c.column][date_orders(cells[at[c.column]])] += 1
        if words_of:
            persons = frozenset[str]().union(*map(telling_words, plan.identifiers(cells)))
            for c in own:
                if c.column not in named and words_of.get(str(values.get(c.name)), frozenset()) & persons:
                    named[c.column] = row
        who = _patient(plan, files, cells)
        split = str(values.get("split", ""))
        patient = pseudonym(key, "patient", who) if who else pseudonym(key, "row", str(row))
        for c in own:
            if c.kind == "category" and (word := values.get(c.name)) is not None:
                first = owners[c.column].setdefault(word, patient)
                owners[c.column][word] = patient if first == patient else ""
        jobs.add(row, patient, split)
        if count % _BATCH == 0:
            progress(count)
    progress(count)
    if not count:
        raise CaseError("the table holds no case", where="manifest", fix="Give a header and one row for each case.")
    split_column = agreed.to("split")
    if split_column is not None and (twice := jobs.in_two_splits()):
        faults = [f"the patient of row {a} is in another split in row {b}" for a, b in twice]
        raise list_faults(faults, where=f"column {split_column.column}")
    questions = [
        *_naming(named),
        *(_owned(agreed, owners) if jobs.patients < count else ()),
        *_leaks(agreed, weighed),
        *_mixed_units(agreed, lengths),
        *_date_orders(agreed, orders),
        *_unread_values(agreed, unread, filled),
    ]
    notices = _notices(plan, jobs.patients, outcomes)
    found = Survey(
        count,
        jobs.patients,
        outcomes[True],
        outcomes[False],
        tuple(questions),
        (*manifest.notices, *notices),
        mark.hex(),
    )
    return found, jobs, plan


class OpenQuestionsError(CaseError):
    """Questions that must be answered before the import, for a page to ask them."""

    def __init__(self, questions: tuple[Question, ...]) -> None:
        told = list_faults([f"column {q.column}: {q.what}. {q.answer.rstrip('.')}" for q in questions], where="mapping")
        super().__init__(told.what, where=told.where, fix=told.fix)
        self.questions = questions


def refuse_open_questions(found: Survey) -> None:
    """Raise one OpenQuestionsError with all questions, where there are any."""
    if found.questions:
        raise OpenQuestionsError(found.questions)


def _patient(plan: Plan, files: Files, cells: list[str]) -> str:
    """Who a row is about: the patient's column, else the number in a DICOM header; "" where nobody says."""
    if plan.agreed.to(PATIENT) is not None:
        return plan.cell(cells, PATIENT)
    for view in VIEWS:
        if name := plan.cell(cells, image_column(view)):
            try:
                source = files.find(name)
                head = source[:132] if isinstance(source, bytes) else _head(source)
            except (CellError, OSError):
                continue
            if is_dicom(head) and (found := patient_id(source)):
                return found
    return ""


def _head(path: object) -> bytes:
    with open(str(path), "rb") as file:
        return file.read(132)


def _weigh_length(counts: list[int], row: int, cell: str, separator: str) -> None:
    """Count a length without a unit of its own that is too small in mm, or too large in cm."""
    try:
        read = number(cell, separator)
    except CellError:
        return
    if read.unit:
        return
    if read.value < SMALLEST:
        counts[0] += 1
        counts[2] = counts[2] or row
    if read.value * 10 > LARGEST:
        counts[1] += 1
        counts[3] = counts[3] or row


def _naming(named: dict[str, int]) -> Iterator[Question]:
    for column, row in named.items():
        yield Question(
            column,
            f"has a value that is one of the patient's own identifying words (first in row {row})",
            "Map that value to another word or to “”, or the column to “identifying”.",
        )


def _owned(agreed: Agreed, owners: Mapping[str, Mapping[Value, str]]) -> Iterator[Question]:
    """Categories of an export with several rows a patient that tell the patients apart, as their names would."""
    for column, of in owners.items():
        if len(of) > _FEW_VALUES and "" not in of.values() and column not in agreed.confirmed:
            yield Question(
                column,
                f"has {len(of)} values, each of one patient alone, as a name would be",
                "Map it to “identifying”, or name it under “confirmed” if its values lead to nobody.",
            )


def _leaks(agreed: Agreed, weighed: dict[str, _Weighed]) -> Iterator[Question]:
    for column, found in weighed.items():
        if column not in agreed.confirmed and (auroc := found.auroc()) >= _PERFECT:
            yield Question(
                column,
                f"predicts the outcome almost perfectly by itself (AUROC {auroc:.3f}), as what is known only afterwards does",
                "Map it to nothing, or name it under “confirmed” if it is known before surgery.",
            )


def _mixed_units(agreed: Agreed, lengths: dict[str, list[int]]) -> Iterator[Question]:
    for column, (small, large, small_row, large_row) in lengths.items():
        if small and large and column not in agreed.confirmed:
            yield Question(
                column,
                f"seems to mix cm and mm: {small} values are under 2 (first in row {small_row}), {large} are over 6 (first in row "
                f"{large_row})",
                "Write the unit into the cells or into two columns, or name it under “confirmed”.",
            )


def _date_orders(agreed: Agreed, orders: dict[str, Counter[frozenset[DateOrder]]]) -> Iterator[Question]:
    for c in agreed.all_to(BORN, SEEN):
        seen = orders[c.column]
        if seen[DAY_FIRST] and seen[MONTH_FIRST] and c.column not in agreed.confirmed:
            yield Question(
                c.column,
                f"holds {seen[DAY_FIRST]:,} dates with the day first and {seen[MONTH_FIRST]:,} with the month first",
                "Write all of them in one order, best 2020-12-31, or name it under “confirmed” to leave the others empty.",
            )
        elif not c.dates and (seen[DAY_FIRST] or seen[MONTH_FIRST] or seen[EITHER]):
            yield Question(
                c.column, "holds dates whose day and month could be either", "Give it “dates”: “dmy” or “mdy”."
            )


def _unread_values(agreed: Agreed, unread: Counter[str], filled: Counter[str]) -> Iterator[Question]:
    for column, times in unread.items():
        if (
            column in filled
            and column not in agreed.confirmed
            and times > max(_UNREAD_FEW, _UNREAD_SHARE * filled[column])
        ):
            yield Question(
                column,
                f"{times:,} of {filled[column]:,} cells do not fit",
                "Map its values or unit, map it to nothing, or name it under “confirmed” to leave these cells empty.",
            )


def _notices(plan: Plan, patients: int, outcomes: Counter[bool]) -> Iterator[str]:
    agreed = plan.agreed
    label = agreed.schema.endpoint.label
    if agreed.to(ENDPOINT) is None:
        yield "No column is mapped to the outcome: the cohort can be predicted, but not trained or evaluated on."
    elif len(outcomes) == 1:
        which = "positive" if outcomes[True] else "negative"
        yield f"All {outcomes.total():,} rows with an outcome are {which} for {label}: no model can be trained or evaluated."
    elif not outcomes:
        yield f"No row has a readable outcome ({label})."
    if patients == 1:
        yield "All rows are of one patient."
    if agreed.to(PATIENT) is None:
        yield "No column is mapped to the patient: each row without a DICOM patient number counts as a patient of its own."
    dropped = [c.column for c in agreed.columns if c.to == ""]
    if dropped:
        yield f"Columns left out: {some(dropped)}."
    lacking = [FIELD[name].label for name in ("age_years", "sex") if not _given(agreed, name)]
    if lacking:
        yield f"No column gives {' and '.join(lacking).lower()}."


def _given(agreed: Agreed, name: str) -> bool:
    return agreed.to(name) is not None or (name == "age_years" and agreed.to(BORN) is not None)
