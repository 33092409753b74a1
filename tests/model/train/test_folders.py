"""Where checkpoints are found, and what tells two of them apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import CheckpointError
from model.train.checkpoint import load_checkpoint, save_checkpoint
from model.train.folders import SHIPPED, checkpoint_folders


def card(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}")


def test_every_folder_with_a_card_is_found_under_a_name_of_its_own(tmp_path: Path) -> None:
    card(tmp_path / "one" / "x")
    card(tmp_path / "two" / "x")
    card(tmp_path / "two" / "y")
    (tmp_path / "two" / "no card").mkdir()
    found = checkpoint_folders(tmp_path / "one", tmp_path / "two", tmp_path / "one")
    assert list(found) == ["x", str(tmp_path / "two" / "x"), "y"]
    assert found["y"] == tmp_path / "two" / "y"


def test_a_checkpoint_itself_may_be_named_and_the_shipped_one_is_there() -> None:
    assert checkpoint_folders(SHIPPED) == checkpoint_folders(SHIPPED.parent) == {SHIPPED.name: SHIPPED}


@pytest.mark.parametrize(("name", "told"), [("nowhere", "no such folder"), ("", "no checkpoint in it")])
def test_a_root_without_checkpoints_is_told(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        checkpoint_folders(tmp_path / name)


def test_checkpoints_that_differ_in_temperature_alone_have_different_identities(untrained, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name, temperature in (("a", 1.5), ("b", 3.0), ("c", 1.5)):
        save_checkpoint(replace(untrained, temperature=temperature), tmp_path / name)
    a, b, c = (load_checkpoint(tmp_path / n).identity for n in "abc")
    assert a == c != b


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [("sha256", None, "sha256"), ("temperature", "hot", "temperature"), ("temperature", -1.0, "temperature"), ("name", 3, "name")],
)
def test_a_card_that_lacks_what_it_must_hold_is_refused(untrained, tmp_path: Path, key: str, value: object, told: str) -> None:  # type: ignore[no-untyped-def]
    save_checkpoint(untrained, tmp_path)
    held = json.loads((tmp_path / "card.json").read_text("utf-8"))
    (tmp_path / "card.json").write_text(json.dumps({**held, key: value}))
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(tmp_path)


def test_a_card_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no object"):
        load_checkpoint(tmp_path)
