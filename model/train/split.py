"""Which cases train and which judge: at random, by patient, by centre, or as the table says.

All cases of one patient (`patient`) stand on the same side, whatever the split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from model.errors import CaseError
from model.ingest.cases import Cohort
from model.ingest.messages import nearest, some

IntArray = npt.NDArray[np.int64]


def patients(cohort: Cohort) -> npt.NDArray[np.str_]:
    """(n,) pseudonym of each case's patient; a case whose patient is not named is a patient by itself."""
    named = cohort.table["patient"].astype(str).to_numpy(str)
    return np.where(named == "", np.char.add("case ", np.asarray(cohort.case_ids, str)), named)


def outcomes(cohort: Cohort) -> npt.NDArray[np.bool_]:
    """(n,) outcome of each case.

    Raises
    ------
    CaseError
        If a case has none, all have the same, or there is but one patient: nothing can be learned from them.
    """
    endpoint = cohort.schema.endpoint
    column = cohort.table[endpoint.name]
    unknown = cohort.table["case_id"][column.isna()].astype(str).tolist()
    if unknown:
        raise CaseError(
            f"{len(unknown)} cases without `{endpoint.name}`, the first {unknown[0]}",
            where=str(cohort.root),
            fix="Training needs an outcome for every case: fill it in or leave the case out.",
        )
    result: npt.NDArray[np.bool_] = column.astype(bool).to_numpy()
    if len(set(patients(cohort))) < 2:
        raise CaseError("1 patient", where=str(cohort.root), fix="Training needs at least 10 patients with both outcomes.")
    if result.all() or not result.any():
        raise CaseError(
            f"all {len(result)} cases are {'with' if result.all() else 'without'} {endpoint.short}",
            where=f"{cohort.root}, {endpoint.name}", fix="Training needs cases of both outcomes.",
        )  # fmt: skip
    return result


def split_cases(cohort: Cohort, *, seed: int, validation_share: float = 0.2) -> tuple[IntArray, IntArray]:
    """Row numbers for training and validation: as `split` says where it is given, else at random by patient (80/20).

    Cases of the split "test" are in neither.

    Raises
    ------
    CaseError
        If a part is empty, a patient stands in two splits, or only some cases have a split.
    """
    given = cohort.table["split"].astype(object)
    people = patients(cohort)
    if given.notna().any():
        _check_given(cohort, given, people)
        training, validation = (np.flatnonzero((given == name).to_numpy()) for name in ("train", "validation"))
    else:
        # Patients in the order of their first case; one for each case where none is named.
        _, first, of_case = np.unique(people, return_index=True, return_inverse=True)
        place = np.argsort(np.argsort(first))[of_case]
        counts = np.bincount(place)
        order = np.random.default_rng([seed, 80]).permutation(len(counts))
        cut = int(np.searchsorted(np.cumsum(counts[order]), round(len(people) * validation_share), side="right"))
        held = np.isin(place, order[:cut])
        training, validation = np.flatnonzero(~held), np.flatnonzero(held)
    if not len(training) or not len(validation):
        raise CaseError(f"{len(people)} cases", where=str(cohort.root), fix="Training needs at least 10 cases.")
    return training.astype(np.int64), validation.astype(np.int64)


def folds(label: npt.NDArray[np.bool_], people: npt.NDArray[np.str_], count: int, *, seed: int) -> list[IntArray]:
    """Rows of each of `count` parts, with about the same share of the outcome; a patient is in one part.

    Without repeated patients it is scikit-learn's `StratifiedKFold(count, shuffle=True, random_state=seed)`.

    Raises
    ------
    CaseError
        If there are fewer cases of an outcome than parts, or but one part.
    """
    if count < 2:
        raise CaseError(f"{count} fold", where="folds", fix="Give 2 or more, or 0 to hold a fifth of the cases back.")
    rarer = int(min(label.sum(), (~label).sum()))
    if rarer < count:
        raise CaseError(
            f"{rarer} cases of the rarer outcome for {count} folds", where="folds", fix="Ask for fewer folds, or give more cases."
        )
    rows = np.arange(len(label))
    if len(set(people)) == len(people):
        parts = StratifiedKFold(count, shuffle=True, random_state=seed).split(rows, label)
    else:
        parts = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(rows, label, people)
    return [np.asarray(held, np.int64) for _, held in parts]


def by_centre(cohort: Cohort) -> Iterator[tuple[str, IntArray]]:
    """Each centre's name and rows, in the order of the names; raises CaseError where there are not two of them."""
    centres = cohort.table["centre"].astype(str).to_numpy(str)
    names = sorted(set(centres) - {""})
    if len(names) < 2 or (centres == "").any():
        raise CaseError(
            f"{len(names)} centres, {int((centres == '').sum())} cases without one", where=f"{cohort.root}, centre",
            fix="Leaving one centre out needs two centres, and a centre for every case.",
        )  # fmt: skip
    for name in names:
        yield name, np.flatnonzero(centres == name).astype(np.int64)


def without_centre(cohort: Cohort, centre: str) -> tuple[Cohort, Cohort]:
    """The cohort without a centre, and that centre alone; raises CaseError where it has no case."""
    here = (cohort.table["centre"].astype(str) == centre).to_numpy()
    known = sorted({str(c) for c in cohort.table["centre"] if c})
    if not here.any():
        raise CaseError(
            f"no case of centre {centre!r}{nearest(centre, known)}", where=str(cohort.root), fix=f"Name one of {some(known)}."
        )
    shared = set(patients(cohort)[here]) & set(patients(cohort)[~here])
    if shared:
        raise CaseError(
            f"{len(shared)} patients of it are also in other centres", where=f"{cohort.root}, centre {centre!r}",
            fix="Give these patients one centre, or leave them out.",
        )  # fmt: skip
    return subset(cohort, ~here), subset(cohort, here)


def subset(cohort: Cohort, rows: npt.NDArray[np.bool_] | IntArray) -> Cohort:
    """Some cases of a cohort, by a mask or by row numbers."""
    places = np.flatnonzero(rows) if rows.dtype == bool else rows
    return replace(cohort, table=cohort.table.iloc[places].reset_index(drop=True))


def _check_given(cohort: Cohort, given: pd.Series, people: npt.NDArray[np.str_]) -> None:
    if given.isna().any():
        raise CaseError(
            f"{int(given.isna().sum())} cases have none, the others do", where=f"{cohort.root}, split",
            fix="Give every case a split, or none.",
        )  # fmt: skip
    sides = pd.Series(given.to_numpy(str)).groupby(people).nunique()
    torn = sorted(str(p) for p in sides.index[sides > 1])
    if torn:
        raise CaseError(
            f"{len(torn)} patients stand in two splits: {some(torn)}", where=f"{cohort.root}, split",
            fix="Give all cases of a patient the same split.",
        )  # fmt: skip
