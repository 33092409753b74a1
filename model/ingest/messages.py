"""Words for faults: the nearest known spelling, short lists, and many faults told in one error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

from model.errors import CaseError, ProblemError

MAX_TOLD = 20


def nearest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean …?)", empty where nothing known is near."""
    names = list(known)
    with_unit = [known_name for known_name in names if known_name.startswith(f"{name.lower()}_")]  # age → age_years
    found = with_unit or difflib.get_close_matches(name[:100], names, n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def short(value: object) -> str:
    """A value as Python writes it, cut to 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def some(told: Sequence[str]) -> str:
    """The first `MAX_TOLD` of a list, and how many more there are."""
    more = f", and {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else ""
    return ", ".join(told[:MAX_TOLD]) + more


def unknown_keys(given: Iterable[str], known: Iterable[str], place: str) -> list[str]:
    """One fault for each key that is not known, with the nearest one that is."""
    names = list(known)
    return [f"{place}unknown key {short(key)}{nearest(key, names)}" for key in given if key not in names]


def each_once(where: str, shown: Callable[[str], str] = str) -> Callable[[list[tuple[str, object]]], dict[str, object]]:
    """For `json.loads(object_pairs_hook=…)`: objects whose keys stand there once; raises `CaseError` for others."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        if doubled := sorted({key for key in keys if keys.count(key) > 1}):
            raise CaseError(f"keys given twice: {some([shown(k) for k in doubled])}", where=where, fix="Keep one of each.")
        return dict(pairs)

    return once


def told(error: ProblemError) -> str:
    """An error as one line of a list."""
    return f"{error.where}: {error.what} ({error.fix.rstrip('.')})"


def list_faults(faults: Sequence[str], *, where: str) -> CaseError:
    """One error for everything that is wrong, in the order given; the first `MAX_TOLD` are told."""
    if len(faults) == 1:
        return CaseError(faults[0], where=where, fix="Mend it and read it again.")
    lines = [f"- {fault}" for fault in faults[:MAX_TOLD]]
    if len(faults) > MAX_TOLD:
        lines.append(f"- and {len(faults) - MAX_TOLD} more")
    listed = "\n".join(lines)
    return CaseError(f"{len(faults)} faults:\n{listed}", where=where, fix="Mend them and read it again.")
