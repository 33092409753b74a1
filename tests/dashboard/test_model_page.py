"""The Model page: the registry (choose, roll back, refuse) as every page then uses it, and the documents to take away."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.case.picker import DEFAULT
from model import Predictor, read_cohort, registry
from model.reporting.card import model_card
from model.reporting.html import as_html
from model.reporting.study import Subject
from model.train.checkpoint import load_checkpoint, save_checkpoint
from model.train.folders import MAIN, MORE

ROOT = Path(__file__).resolve().parents[2]
APP, SCREENS = ROOT / "dashboard" / "app.py", ROOT / "dashboard" / "screens"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped checkpoint with twice its temperature, and that one damaged; the dashboard is started on the folder."""
    shipped = load_checkpoint()
    save_checkpoint(replace(shipped, temperature=2 * shipped.temperature, card={**shipped.card, "name": "soft"}), tmp_path / "soft")
    shutil.copytree(tmp_path / "soft", tmp_path / "damaged")
    (tmp_path / "damaged" / "llnm_net.safetensors").write_bytes(b"nothing")
    monkeypatch.setenv(MORE, str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def links(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Where links lead; a page that is run alone knows no other."""
    found: list[dict[str, str]] = []
    monkeypatch.setattr("streamlit.page_link", lambda page, **more: found.append({"page": page, **more.get("query_params", {})}))
    return found


def opened(screen: str = "about", **address: str) -> AppTest:
    script = APP if screen == "case" else SCREENS / f"{screen}.py"
    app = AppTest.from_file(str(script), default_timeout=120)
    for name, value in address.items():
        app.query_params[name] = value
    return app.run()


def words(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.warning, app.error, app.text, app.success)
    return "\n".join(str(e.value) for kind in kinds for e in kind)


def button(app: AppTest, label: str):  # type: ignore[no-untyped-def]
    return next(b for b in app.button if b.label.startswith(label))


def probability(app: AppTest) -> float:
    return next(float(m.value[2:-2]) for m in app.markdown if re.fullmatch(r"# [\d.]+ %", m.value))


def test_the_list_has_figures_and_says_what_is_refused_and_why(root: Path, links: list[dict[str, str]]) -> None:
    app = opened()
    assert not app.exception
    table = next(d.value for d in app.dataframe if "refused" in d.value)
    assert table["checkpoint"].tolist() == ["shipped", "damaged", "soft"]
    assert table["in use"].tolist() == ["yes", "", ""]
    assert "does not match its card" in table["refused"][1]
    external = json.loads((root / "soft" / "card.json").read_text())["external"]
    assert f"{external['auroc']:.3f} ({external['auroc_ci'][0]:.3f}–{external['auroc_ci'][1]:.3f})" in table["AUROC"][2]
    assert links[-1] == {"page": "screens/compare.py", "by": "checkpoints", "first": "llnm-compact", "second": "soft"}


def test_choosing_changes_every_page_and_rolling_back_changes_it_back(root: Path) -> None:
    app = opened()
    app.selectbox(key="registry-name").set_value("soft").run()
    button(app, "Use it on every page").click().run()
    assert not app.exception
    soft = Predictor.load(root / "soft")
    assert f"{soft.checkpoint.identity} is now in use" in words(app).replace("\\", "")
    assert registry.in_use(root).name == "soft"
    case = read_cohort(ROOT / "data_samples").case(DEFAULT)
    assert probability(opened("case", case=DEFAULT)) == pytest.approx(100 * soft.predict(case).probability, abs=0.051)
    button(app, "Roll back to shipped").click().run()
    assert registry.in_use(root).name == "shipped"
    shipped = 100 * Predictor.load().predict(case).probability
    assert probability(opened("case", case=DEFAULT)) == pytest.approx(shipped, abs=0.051)


def test_the_cohort_page_shows_cases_as_the_model_in_use_scores_them(root: Path) -> None:
    registry.use(root, "soft")
    app = opened("cohort")
    assert not app.exception
    assert "cases of data_samples" in words(app)
    registry.roll_back(root)
    assert "cases of data_samples" not in words(opened("cohort"))


def test_a_refused_choice_is_told_and_the_one_in_use_stays(root: Path) -> None:
    app = opened()
    app.selectbox(key="registry-name").set_value("damaged").run()
    button(app, "Use it on every page").click().run()
    assert not app.exception
    assert "llnm_net.safetensors does not match its card" in words(app)
    assert registry.history(root) == ()


def test_one_in_use_that_is_gone_is_told_on_every_page_and_can_be_rolled_back(root: Path) -> None:
    registry.use(root, "soft")
    shutil.rmtree(root / "soft")
    for page in ("case", "about"):
        app = opened(page)
        assert not app.exception
        assert "no checkpoint 'soft'" in words(app)
    button(app, "Roll back to shipped").click().run()
    assert not app.exception
    assert "Training cases" in [m.label for m in app.metric]


def test_a_bare_or_hostile_card_leaves_the_page_and_the_way_back(root: Path) -> None:
    """Only what a card must have; then text that would be Markdown, and things of other kinds."""
    file, text = root / "soft" / "card.json", "**bold** [x](javascript:alert(1)) <img src=x>"
    whole = json.loads(file.read_text("utf-8"))
    kept = ("format", "name", "sha256", "schema", "temperature", "network", "segmentation")
    bare = {key: whole[key] for key in kept}
    hostile = {
        **whole, "purpose": text, "limits": [text], "training_data": text, "device": text, "training_cases": text,
        "parameters": None, "training_seconds": [], "external": {"n": text, "auroc": text, text: 1}, "cohort": text,
    }  # fmt: skip
    registry.use(root, "soft")
    for card in (bare, hostile):
        file.write_text(json.dumps(card), "utf-8")
        app = opened()
        assert not app.exception
        assert "not known" in [m.value for m in app.metric]
        assert button(app, "Roll back to shipped")
        assert not [m.value for m in (*app.markdown, *app.caption) if text in m.value]  # never as Markdown
        subject = Subject.of(load_checkpoint(root / "soft"))
        assert "not on the card" in as_html(model_card(subject, version="0", date="today"))


def test_a_checkpoint_named_on_starting_goes_before_a_choice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAIN, str(root / "soft"))
    app = opened()
    assert "goes before a choice here" in words(app)
    table = next(d.value for d in app.dataframe if "refused" in d.value).set_index("checkpoint")
    assert table.index[table["in use"] == "yes"].tolist() == ["soft"]
    assert not [b for b in app.button if b.label.startswith(("Use it", "Roll back"))]


def test_without_a_folder_the_page_says_how_to_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MORE, raising=False)
    app = opened()
    assert not app.exception
    assert "llnm serve --checkpoints" in words(app)


def test_documents_can_be_taken_away_and_the_report_is_of_the_cohort_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MORE, raising=False)
    app = opened(report="1")
    assert not app.exception
    labels = [b.label for b in app.get("download_button")]
    assert {"Model card (PDF)", "Model card (HTML)", "Performance report (PDF)", "Performance report (HTML)"} <= set(labels)
    assert "2,000 synthetic cases, 1,135 with LLNM; AUROC 0.946 (95 %: 0.937–0.954)" in words(app)
