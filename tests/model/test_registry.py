"""The registry of checkpoints: choosing, rolling back, refusing, and two who choose at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from model import registry
from model.cli import app
from model.cohort.discrimination import auroc
from model.errors import CheckpointError
from model.train.checkpoint import load_checkpoint, save_checkpoint
from model.train.folders import SHIPPED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, untrained) -> Path:  # type: ignore[no-untyped-def]
    """Three checkpoints that fit, and one of each way of not fitting."""
    root = tmp_path_factory.mktemp("registry")
    card = {
        "training_data": "synthetic", "cohort": {"name": "Tests"}, "training_cases": 300, "validation_cases": 400,
        "validation": {"auroc": 0.5},
    }  # fmt: skip
    for k, name in enumerate(("a", "b", "c")):
        save_checkpoint(
            replace(untrained, temperature=1.0 + k, card={**untrained.card, **card, "name": name}), root / name
        )
    shutil.copytree(root / "a", root / "damaged")
    weights = root / "damaged" / "llnm_net.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    shutil.copytree(root / "a", root / "foreign")
    changed = json.loads((root / "foreign" / "card.json").read_text())
    changed["schema"]["categories"]["sex"] = ["female", "male", "other"]
    (root / "foreign" / "card.json").write_text(json.dumps(changed))
    shutil.copytree(root / "a", root / "later")
    (root / "later" / "card.json").write_text(json.dumps({**changed, "format": 99}))
    shutil.copytree(root / "a", root / "gone")
    (root / "gone" / "validation.safetensors").unlink()
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A registry of one's own; weights are linked, not copied."""
    shutil.copytree(made, tmp_path / "r", copy_function=lambda a, b: Path(b).hardlink_to(a))
    return tmp_path / "r"


def test_the_list_tells_figures_identity_and_what_is_refused_and_why(root: Path) -> None:
    rows = {row["checkpoint"]: row for row in registry.overview(root)}
    assert set(rows) == {"shipped", "a", "b", "c", "damaged", "foreign", "later", "gone"}
    assert rows["shipped"]["in use"] == "yes"
    external = json.loads((SHIPPED / "card.json").read_text())["external"]
    assert rows["shipped"]["AUROC"].startswith(f"{external['auroc']:.3f} ({external['auroc_ci'][0]:.3f}–")
    loaded = load_checkpoint(root / "a")
    area = auroc(loaded.validation_logits.astype(float), loaded.validation_labels.astype("int64"))
    assert rows["a"]["AUROC"] == f"{area.value:.3f} ({area.low:.3f}–{area.high:.3f}), 400 validation cases"
    assert rows["a"]["identity"] == loaded.identity
    assert rows["a"]["trained on"] == "Tests (synthetic)"
    assert rows["a"]["made"] == loaded.card["date"]
    assert [name for name, row in rows.items() if row["refused"]] == ["damaged", "foreign", "gone", "later"]
    for name, why in (
        ("damaged", "llnm_net.safetensors does not match its card"), ("foreign", "categories (sex ('other'))"),
        ("later", "format 99"), ("gone", "validation.safetensors is missing"),
    ):  # fmt: skip
        assert why in rows[name]["refused"]


@pytest.mark.parametrize("name", ["damaged", "foreign", "later", "gone", "nowhere"])
def test_what_does_not_fit_is_refused_and_the_one_in_use_stays(root: Path, name: str) -> None:
    registry.use(root, "b")
    before = (root / registry.FILE).read_bytes()
    with pytest.raises(CheckpointError):
        registry.use(root, name)
    assert (root / registry.FILE).read_bytes() == before
    assert registry.in_use(root).name == "b"


def test_weights_that_do_not_load_are_refused_though_their_hash_fits(root: Path) -> None:
    card = json.loads((root / "c" / "card.json").read_text())
    card["network"]["width"] = 64
    (root / "c" / "card.json").unlink()
    (root / "c" / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="weights do not fit"):
        registry.use(root, "c")
    assert registry.history(root) == ()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["a", "b", "c", "shipped", "back"]), max_size=8))
def test_rolling_back_undoes_choices_one_by_one(
    made: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    monkeypatch.setattr(registry, "_proved", lambda entry: entry)  # weights are loaded elsewhere; here the order counts
    (made / registry.FILE).unlink(missing_ok=True)
    stack: list[str] = []
    for step in steps:
        if step != "back":
            assert registry.use(made, step).name == step
            stack += [step] * (not stack or stack[-1] != step)
        elif stack:
            stack.pop()
            assert registry.roll_back(made).name == (stack[-1] if stack else "shipped")
        else:
            with pytest.raises(CheckpointError, match="nothing to roll back"):
                registry.roll_back(made)
        assert registry.in_use(made).name == (stack[-1] if stack else "shipped")
    (made / registry.FILE).unlink(missing_ok=True)


def test_one_that_changed_after_it_was_chosen_is_told_and_not_rolled_back_to(root: Path) -> None:
    registry.use(root, "a")
    registry.use(root, "b")
    shutil.rmtree(root / "a")
    save_checkpoint(replace(load_checkpoint(root / "b"), temperature=7.0), root / "a")
    with pytest.raises(CheckpointError, match=r"this is b@\w+; a@\w+ was chosen"):
        registry.roll_back(root)
    assert registry.in_use(root).name == "b"
    shutil.rmtree(root / "b")
    for asked in (registry.in_use, registry.folder_in_use):
        with pytest.raises(CheckpointError):
            asked(root)


def test_a_history_that_cannot_be_read_is_told(root: Path) -> None:
    for broken in ("{", "[]", '{"format": 1, "history": [{"at": "x"}]}', '{"format": 2, "history": []}'):
        (root / registry.FILE).write_text(broken)
        with pytest.raises(CheckpointError, match="cannot be read"):
            registry.in_use(root)


def test_an_interrupted_choice_leaves_the_one_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.use(root, "a")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        registry.use(root, "b")
    assert registry.in_use(root).name == "a"
    assert not list(root.glob("*.partial")) + list(root.glob(".*.partial"))


def test_two_processes_that_choose_at_once_leave_one_history_with_every_choice(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from model import registry; registry._proved = lambda e: e\n"
        "for k in range(20): registry.use(Path(sys.argv[1]), sys.argv[2 + k % 2])"
    )
    pairs = (("a", "b"), ("c", "shipped"))
    running = [subprocess.Popen([sys.executable, "-c", code, str(root), *pair], cwd=ROOT) for pair in pairs]
    assert [p.wait(60) for p in running] == [0, 0]
    names = [c.name for c in registry.history(root)]
    assert all(names.count(name) == 10 for pair in pairs for name in pair)


def test_the_command_lists_chooses_and_rolls_back(root: Path) -> None:
    def llnm(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["models", *map(str, words)], env={"COLUMNS": "200"})
        return result.exit_code, result.output

    code, said = llnm(root)
    assert code == 0
    assert "shipped" in said
    assert "refused: llnm_net.safetensors does not match its card" in said
    assert llnm(root, "--use", "a")[0] == 0
    listed = json.loads(llnm(root, "--json")[1])
    assert [row["checkpoint"] for row in listed if row["in use"]] == ["a"]
    code, said = llnm(root, "--use", "damaged")
    assert code == 1
    assert "llnm_net.safetensors" in said
    assert registry.in_use(root).name == "a"
    assert llnm(root, "--roll-back")[0] == 0
    assert registry.in_use(root).name == "shipped"
    code, said = llnm(root, "--use", "a", "--roll-back")
    assert code == 1
    assert "Traceback" not in said
    assert llnm(root / "nowhere")[0] == 1
