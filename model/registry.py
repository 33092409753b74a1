"""A folder of checkpoints as a registry: what lies there and fits, which one is in use, and the way back.

`in_use.json` beside the checkpoints holds every choice in order. It is written whole or not at all, under a lock, so that
two people who choose at once leave one history with both choices. A checkpoint that does not fit, by format, schema or
hash, is refused with the difference named, and the one in use stays. Nothing here needs torch until a choice is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from safetensors.numpy import load_file

from model.cohort.discrimination import Estimate, auroc
from model.errors import CheckpointError, ProblemError, StatisticsError, StorageError
from model.ingest.files import atomic_write_text
from model.ingest.messages import nearest
from model.schema import Schema
from model.train.card import VALIDATION, identity, read_card, read_files, schema_of_card
from model.train.folders import SHIPPED, checkpoint_folders

FILE = "in_use.json"
SHIPPED_NAME = "shipped"
"""What the checkpoint that comes with the project is called in every registry; it is in use where none was chosen."""
PATIENCE_S = 10.0
"""Seconds to wait for another one's choice."""
_FORMAT = 1

Action = Literal["use", "roll back"]


@dataclass(frozen=True)
class Entry:
    """A checkpoint of a registry.

    Parameters
    ----------
    name, folder : of the checkpoint.
    card : its card; empty where it cannot be read.
    identity : name and hash; empty where the card has none.
    refused : why it cannot be used, with the difference; empty where it can.
    schema : what it reads and predicts; None where it is refused.
    """

    name: str
    folder: Path
    card: Mapping[str, Any]
    identity: str
    refused: str
    schema: Schema | None

    @property
    def date(self) -> str:
        """Day it was made (UTC), year first; empty for cards of before that was noted."""
        return str(self.card.get("date", ""))


@dataclass(frozen=True)
class Choice:
    """One line of the history.

    Parameters
    ----------
    at : time in UTC, ISO 8601.
    action : "use" puts a checkpoint on top, "roll back" takes the top one away.
    name, identity : of the checkpoint that was in use afterwards.
    """

    at: str
    action: Action
    name: str
    identity: str


def entries(root: Path) -> tuple[Entry, ...]:
    """The checkpoint that ships, then every checkpoint of the folder by name; what does not fit says why.

    Raises
    ------
    CheckpointError
        If `root` is no folder, or there is no checkpoint in it.
    """
    return tuple(_entry(name, folder) for name, folder in folders(root).items())


def history(root: Path) -> tuple[Choice, ...]:
    """Every choice, oldest first; none where nothing was chosen.

    Raises
    ------
    CheckpointError
        If the file is there and cannot be read.
    """
    file = root / FILE
    try:
        data = json.loads(file.read_text("utf-8"))
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']!r}, this version reads {_FORMAT}")
        return tuple(_choice(line) for line in data["history"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"cannot be read ({error})",
            where=str(file),
            fix="Restore it, or delete it to go on with the shipped checkpoint.",
        ) from None


def standing(choices: Sequence[Choice]) -> list[Choice]:
    """Choices that were not taken back, oldest first; the last one is in use, the one before it what is rolled back to."""
    stack: list[Choice] = []
    for choice in choices:
        if choice.action == "use":
            stack.append(choice)
        elif stack:
            stack.pop()
    return stack


def in_use(root: Path) -> Entry:
    """The checkpoint that the pages use: the last choice that stands, else the shipped one.

    Raises
    ------
    CheckpointError
        If it is gone, no longer fits, or is another than the one that was chosen.
    """
    chosen = standing(history(root))
    if not chosen:
        return _entry(SHIPPED_NAME, SHIPPED)
    return _same(_named(root, chosen[-1].name), chosen[-1])


def folder_in_use(root: Path) -> Path:
    """Where the checkpoint in use lies, without looking into its files; raises `CheckpointError` as `history` does, and where
    its card is gone or says that it is another one."""
    chosen = standing(history(root))
    if not chosen:
        return SHIPPED
    folder = _folder(root, chosen[-1].name)
    _told_apart(identity(read_card(folder)), chosen[-1], folder)
    return folder


def use(root: Path, name: str) -> Entry:
    """Choose a checkpoint; its files are read and its weights loaded before the choice is written.

    Raises
    ------
    CheckpointError
        If there is none of that name, or it does not fit; the one in use stays.
    """
    with _locked(root):
        chosen = _proved(_named(root, name))
        past = history(root)
        stack = standing(past)
        if not stack or (stack[-1].name, stack[-1].identity) != (chosen.name, chosen.identity):
            _write(root, (*past, Choice(_now(), "use", chosen.name, chosen.identity)))
        return chosen


def roll_back(root: Path) -> Entry:
    """Go back to what was in use before the last choice that stands.

    Raises
    ------
    CheckpointError
        If there is nothing to go back to, or what was in use then no longer fits; the one in use stays.
    """
    with _locked(root):
        past = history(root)
        stack = standing(past)
        if not stack:
            raise CheckpointError(
                "nothing was chosen here, so there is nothing to roll back",
                where=str(root),
                fix="Choose one with --use NAME.",
            )
        before = stack[-2] if len(stack) > 1 else None
        found = _named(root, SHIPPED_NAME if before is None else before.name)
        if before is not None:
            found = _same(found, before)
        _proved(found)
        _write(root, (*past, Choice(_now(), "roll back", found.name, found.identity)))
        return found


def _entry(name: str, folder: Path) -> Entry:
    card: Mapping[str, Any] = {}
    known = ""
    try:
        card = read_card(folder)
        known = identity(card)
        schema = schema_of_card(card, folder)
        read_files(card, schema, folder)
    except ProblemError as error:
        return Entry(name, folder, card, known, error.what, None)
    return Entry(name, folder, card, known, "", schema)


def folders(root: Path) -> dict[str, Path]:
    """Every checkpoint by its name; one in a folder that is called like the shipped one goes by its path.

    Raises
    ------
    CheckpointError
        If `root` is no folder, or there is no checkpoint in it.
    """
    others = ((str(f) if n == SHIPPED_NAME else n, f) for n, f in checkpoint_folders(root).items() if f != SHIPPED)
    return {SHIPPED_NAME: SHIPPED, **dict(others)}


def _folder(root: Path, name: str) -> Path:
    found = folders(root)
    if name not in found:
        raise CheckpointError(
            f"no checkpoint {name!r}{nearest(name, found)}", where=str(root), fix=f"Name one of {', '.join(found)}."
        )
    return found[name]


def _named(root: Path, name: str) -> Entry:
    return _entry(name, _folder(root, name))


def _proved(entry: Entry) -> Entry:
    """The entry, if its weights can be loaded too."""
    if entry.refused:
        raise CheckpointError(entry.refused, where=str(entry.folder), fix="Choose another; the one in use stays.")
    from model.train.checkpoint import load_checkpoint

    load_checkpoint(entry.folder)
    return entry


def _same(entry: Entry, choice: Choice) -> Entry:
    if entry.refused:
        raise CheckpointError(
            f"{choice.name}, chosen {choice.at}, no longer fits: {entry.refused}", where=str(entry.folder),
            fix="Restore it, choose another, or roll back.",
        )  # fmt: skip
    _told_apart(entry.identity, choice, entry.folder)
    return entry


def _told_apart(found: str, choice: Choice, folder: Path) -> None:
    if found != choice.identity:
        raise CheckpointError(
            f"this is {found}; {choice.identity} was chosen {choice.at}", where=str(folder),
            fix="Restore the one that was chosen, choose this one anew, or roll back.",
        )  # fmt: skip


def _choice(line: Mapping[str, Any]) -> Choice:
    made = Choice(**line)
    if made.action not in ("use", "roll back") or not all(isinstance(v, str) for v in asdict(made).values()):
        raise ValueError(f"no choice: {line!r}"[:200])
    return made


def _write(root: Path, choices: Sequence[Choice]) -> None:
    content = {"format": _FORMAT, "history": [asdict(c) for c in choices]}
    atomic_write_text(root / FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One choice at a time, over all processes of the machine."""
    checkpoint_folders(root)  # told before a lock file is left in a folder that is no registry
    lock = FileLock(root / f".{FILE}.lock", timeout=PATIENCE_S)
    try:
        lock.acquire()
    except Timeout:
        raise CheckpointError(
            f"someone else has been choosing for {PATIENCE_S:.0f} s", where=str(root), fix="Try again."
        ) from None
    except OSError as error:
        raise StorageError(
            f"cannot be written ({error.strerror})", where=str(root), fix="Name a folder that you may write to."
        ) from None
    try:
        yield
    finally:
        lock.release()


def overview(root: Path) -> list[dict[str, str]]:
    """The registry as rows of text, for a terminal or a page: name, whether in use, outcome, AUROC with its 95 % interval
    and n on held-out cases (else of the validation cases), cases, data, date, identity, what is refused and why."""
    chosen = standing(history(root))
    used = chosen[-1].name if chosen else SHIPPED_NAME
    return [_row(entry, used) for entry in entries(root)]


def _row(entry: Entry, used: str) -> dict[str, str]:
    try:
        told = _figures(entry)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StatisticsError):
        told = {"AUROC": "", "cases": "", "trained on": "not on the card"}
    return {
        "checkpoint": entry.name,
        "in use": "yes" if entry.name == used else "",
        "outcome": "" if entry.schema is None else entry.schema.endpoint.short,
        **told,
        "made": entry.date or "not recorded",
        "identity": entry.identity,
        "refused": entry.refused,
    }


def _figures(entry: Entry) -> dict[str, str]:
    card = entry.card
    if not card:
        return {"AUROC": "", "cases": "", "trained on": ""}
    cohort = card.get("cohort", {}).get("name", "")
    data = f"{cohort} ({card['training_data']})" if cohort else str(card["training_data"])
    cases = f"{int(card['training_cases']):,} + {int(card['validation_cases']):,} validation"
    held = card.get("external")
    if held and "auroc" in held:
        low, high = held["auroc_ci"]
        area = f"{held['auroc']:.3f} ({low:.3f}–{high:.3f}), {held['n']:,} held-out cases"
    elif entry.schema is not None:
        found, n = validation_auroc(entry.folder)
        area = f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f}), {n:,} validation cases"
    else:
        area = f"{card['validation']['auroc']:.3f}, {int(card['validation_cases']):,} validation cases"
    return {"AUROC": area, "cases": cases, "trained on": data}


def validation_auroc(folder: Path) -> tuple[Estimate, int]:
    """AUROC of a checkpoint's own validation cases with its 95 % interval (DeLong), and their number.

    Raises
    ------
    StatisticsError
        If all of them have the same outcome.
    """
    held = load_file(folder / VALIDATION)
    labels = held["validation_labels"].astype("int64")
    return auroc(held["validation_logits"].astype("float64"), labels), len(labels)
