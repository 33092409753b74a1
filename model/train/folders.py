"""Where checkpoints lie; free of torch, so that the command line and a page can list them before anything loads."""

from __future__ import annotations

from pathlib import Path

from model.errors import CheckpointError

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints" / "llnm-compact"
"""The checkpoint that comes with the project."""

MORE = "LLNM_CHECKPOINTS"
"""Environment variable that names a folder of further checkpoints; `llnm serve --checkpoints` sets it."""

MAIN, CASES = "LLNM_CHECKPOINT", "LLNM_CASES"
"""Environment variables that name the checkpoint of the pages and the cohort whose cases they show; `llnm serve` sets them."""

HISTORY, RUN = "history.json", "run.json"
"""Files of a training's work folder: what its curves are read from while it runs, and what is trained there."""


def checkpoint_folders(*roots: Path) -> dict[str, Path]:
    """Folders with a card, whole or not, by name (by path where two share a name), in the order of the roots.

    Parameters
    ----------
    roots : folders of checkpoints, or checkpoints.

    Raises
    ------
    CheckpointError
        If a root is no folder or has no checkpoint in it.
    """
    found: dict[str, Path] = {}
    for root in roots:
        if not root.is_dir():
            raise CheckpointError("no such folder", where=str(root), fix="Name a folder that holds checkpoints.")
        cards = [root / "card.json", *sorted(root.glob("*/card.json"))]
        folders = [card.parent.resolve() for card in cards if card.is_file()]
        if not folders:
            raise CheckpointError("no checkpoint in it", where=str(root), fix="Put folders there that `llnm train` wrote.")
        for folder in folders:
            if folder not in found.values():
                found[str(folder) if folder.name in found else folder.name] = folder
    return found


def unfinished_runs(root: Path) -> dict[str, Path]:
    """Folders of trainings that are running or were interrupted, by name: those with `work/run.json` under a folder."""
    return {file.parent.parent.name: file.parent for file in sorted(root.glob(f"*/work/{RUN}"))}
