"""The model card and the performance report: their numbers are evaluate's, their words the same in HTML and PDF."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pypdf import PdfReader
from typer.testing import CliRunner

from model.cli import app
from model.cohort.benefit import net_benefit
from model.cohort.calibration import calibration_line
from model.cohort.evaluate import evaluate
from model.cohort.scores import ScoredCases
from model.errors import CaseError
from model.evaluate import evaluate_cohort
from model.predict import Predictor
from model.reporting import writers
from model.reporting.card import model_card
from model.reporting.document import Document, Section, Table, Text
from model.reporting.study import Study, Subject, judged, scored_study
from model.reporting.tripod import ITEMS
from model.schema import DEFAULT, Endpoint, Field
from model.train.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[3]
SCORED = ROOT / "data_samples" / "cohort.parquet"


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags = "", []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def in_html(document: Document) -> _Words:
    found = _Words()
    found.feed(writers()[".html"](document).decode())
    found.text = " ".join(found.text.split())
    return found


def in_pdf(document: Document) -> str:
    pages = PdfReader(io.BytesIO(writers()[".pdf"](document))).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def plain(text: str) -> str:
    """Without the spaces at which lines and cells break."""
    return re.sub(r"\s+", "", text)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.of(load_checkpoint())


@pytest.fixture(scope="module")
def study(subject: Subject) -> Study:
    return scored_study(subject, pd.read_parquet(SCORED), name="Held-out centres", provenance="synthetic")


@pytest.fixture(scope="module")
def document(subject: Subject, study: Study) -> Document:
    return model_card(subject, study, version="9.9", date="2026-11-25")


def test_both_files_hold_the_figures_of_evaluate_with_intervals_and_counts(document: Document) -> None:
    scores = ScoredCases.from_frame(pd.read_parquet(SCORED))
    true, line = evaluate(scores), calibration_line(scores)
    told = [f"AUROC {true.auroc.value:.3f} (n = 2,000) {true.auroc.low:.3f} to {true.auroc.high:.3f}"]
    for name, rate in (("sensitivity", true.sensitivity), ("specificity", true.specificity), ("accuracy", true.accuracy)):
        counts = f"({rate.numerator:,} of {rate.denominator:,})"
        told.append(f"{name} at 0.5 {rate.value:.3f} {counts} {rate.low:.3f}–{rate.high:.3f}")
    for name, value in (
        ("Brier score", true.brier), ("calibration error (ECE)", true.ece), ("slope (1 is perfect)", line.slope),
        ("in the large (0 is perfect)", line.intercept),
    ):  # fmt: skip
        told.append(f"{name} {value.value:.3f} (n = 2,000) {value.low:.3f} to {value.high:.3f}")
    at = net_benefit(scores, [0.3])
    told.append(f"30 % {at.model[0]:.3f} ({at.low[0]:.3f} to {at.high[0]:.3f}) {at.treat_all[0]:.3f}")
    for text in (in_html(document).text, in_pdf(document)):
        assert [t for t in told if plain(t) not in plain(text)] == []


def test_a_subgroup_whose_outcomes_do_not_overlap_has_no_interval_of_no_width(subject: Subject) -> None:
    scored = pd.read_parquet(SCORED)
    women = scored["sex"] == "female"
    separated = scored["logit"].where(~women, scored["llnm"].astype(float) * 8 - 4)
    scored = scored.assign(logit=separated, probability=1 / (1 + np.exp(-separated)))
    study = scored_study(subject, scored, name="Separated", provenance="synthetic")
    text = in_html(model_card(subject, study, version="9.9", date="2026-11-25")).text
    assert "1.000 (no interval: the outcomes do not overlap)" in text
    assert "male: AUROC no interval: the outcomes do not overlap" in text
    assert "(1.000–1.000)" not in text


def test_held_out_figures_of_the_card_have_their_counts(subject: Subject) -> None:
    text = in_html(model_card(subject, version="9.9", date="2026-11-25")).text
    external = subject.card["external"]
    assert f"sensitivity at 0.5 {external['sensitivity']:.3f} (n = {external['positives']:,})" in text
    assert f"specificity at 0.5 {external['specificity']:.3f} (n = {external['n'] - external['positives']:,})" in text


def test_a_cohort_folder_gives_what_llnm_evaluate_gives(predictor, cohort) -> None:  # type: ignore[no-untyped-def]
    made = judged(predictor, cohort)
    assert made.performance.evaluation == evaluate_cohort(predictor, cohort)
    assert made.cases == len(cohort)
    assert made.absent is not None
    assert made.absent["age_years"] == int(cohort.table["age_years"].isna().sum())
    assert not made.trained_on


def test_subgroups_are_the_cases_of_that_group(study: Study) -> None:
    frame = study.frame
    by = {d.name: d for d in study.performance.divisions}
    assert {"centre", "sex", "age band", "histology"} <= set(by)
    for group in by["centre"].groups:
        part = frame[frame["centre"] == group.of.name]
        true = evaluate(ScoredCases.from_frame(part))
        assert group.of.auroc == true.auroc
        assert (group.sensitivity, group.specificity) == (true.sensitivity, true.specificity)
        assert (group.observed.numerator, group.observed.denominator) == (int(part["llnm"].sum()), len(part))
        assert group.predicted == pytest.approx(part["probability"].mean())
    assert by["sex"].unknown == int(frame["sex"].isna().sum())


def test_every_item_of_tripod_ai_is_answered_or_said_to_be_open(document: Document) -> None:
    table = next(b for s in document.sections if s.title == "Items of TRIPOD+AI" for b in s.blocks)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == list(ITEMS)
    numbers = {int(re.sub(r"\D", "", item)) for item in ITEMS}
    assert numbers == set(range(1, 28))
    titles = {s.title for s in document.sections}
    for item, _, told in table.rows:
        if told.startswith("Cannot be answered from the run: "):
            assert not any(item in s.items for s in document.sections)
        else:
            assert any(item in s.items and s.title in told for s in document.sections), item
    assert {item for s in document.sections for item in s.items} <= set(ITEMS)
    assert {"17", "6b", "8c"} <= {row[0] for row in table.rows if row[2].startswith("Cannot be answered")}
    assert "Participants" in titles


def test_the_card_tells_use_data_hashes_and_limits_and_the_mark_is_on_every_page(subject: Subject, document: Document) -> None:
    html = in_html(document).text
    told = [subject.identity, "synthetic", "8,000", "not a medical device", "Not for: the diagnosis", "9.9", "2026-11-25"]
    told += [*subject.card["sha256"].values(), *subject.card["limits"], f"commit {subject.card['commit']}"]
    assert [t for t in told if t not in html] == []
    pages = PdfReader(io.BytesIO(writers()[".pdf"](document))).pages
    assert all("not a medical device" in page.extract_text() for page in pages)
    assert writers()[".pdf"](document) == writers()[".pdf"](document)


def test_without_a_cohort_it_is_the_card_alone(subject: Subject) -> None:
    text = in_pdf(model_card(subject, version="1", date="d"))
    assert "Model card: llnm-compact" in text
    assert "Items of TRIPOD+AI" not in text
    true = evaluate(subject.validation)
    assert plain(f"AUROC {true.auroc.value:.3f} (n = 2,000) {true.auroc.low:.3f} to {true.auroc.high:.3f}") in plain(text)


def test_small_and_odd_cohorts_are_told_and_not_made_up(subject: Subject) -> None:
    scored = pd.read_parquet(SCORED)
    few = scored.head(12).copy()
    few.loc[:, "llnm"] = True
    made = scored_study(subject, few, name="few", provenance="user")
    text = in_html(model_card(subject, made, version="1", date="d")).text
    assert "trained on synthetic cases only, these are others" in text
    assert "specificity at 0.5 no case" in text
    assert "No table of characteristics" in text
    assert "nan" not in text.lower().split()
    bare = scored_study(subject, scored[["llnm", "probability"]].head(200), name="bare", provenance="synthetic")
    text = in_html(model_card(subject, bare, version="1", date="d")).text
    assert "no field that divides them" in text
    assert "Cannot be answered from the run: no data of it in this run" in text  # 23b
    unknown = scored.assign(llnm=None)
    with pytest.raises(CaseError, match="no case with a known"):
        scored_study(subject, unknown, name="unknown", provenance="user")


def test_the_training_cohort_is_called_by_its_name(subject: Subject) -> None:
    named = replace(subject, card={**subject.card, "cohort": {"name": "C", "cases": 300}})
    made = scored_study(named, pd.read_parquet(SCORED).head(300), name="C", provenance="synthetic")
    assert "the figures are those of training cases" in in_html(model_card(named, made, version="1", date="d")).text


def test_another_endpoint_and_own_fields_rename_the_report(subject: Subject) -> None:
    own = Field("adenopathy", "Adenopathy", "category", "input", "On examination.", values=("none", "left"))
    flag = Field("goitre", "Goitre", "flag", "input", "Seen.")
    schema = DEFAULT.extended((own, flag), {}, Endpoint("malignant", "Malignancy", "malignancy", "Cancer in the specimen."))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"adenopathy": rng.choice(["none", "left"], 300), "goitre": rng.random(300) < 0.4})
    frame["malignant"] = rng.random(300) < 0.5
    frame["probability"] = rng.random(300)
    other = replace(subject, schema=schema)
    made = scored_study(other, frame, name="own", provenance="user")
    assert {"adenopathy", "goitre"} <= {d.name for d in made.performance.divisions}
    text = in_html(model_card(other, made, version="1", date="d")).text
    assert "Malignancy: model card and performance report" in text
    assert "with malignancy" in text
    assert "Adenopathy, n (%)" in text
    assert "LLNM in" not in text


def test_what_people_wrote_stays_text(subject: Subject) -> None:
    hostile = "<script>x</script> & <b>b</b> \u202eevil\x00 甲"
    card = {**subject.card, "name": hostile, "purpose": hostile, "limits": [hostile * 200], "cohort": {"name": hostile}}
    made = model_card(replace(subject, card=card), version="1", date="d")
    page = in_html(made)
    assert not [t for t, _ in page.tags if t in ("script", "b", "link", "iframe")]
    assert "<script>x</script> & <b>b</b>" in page.text
    assert "<b>b</b>" in in_pdf(made)


def test_pictures_are_part_of_the_page_and_have_words(document: Document) -> None:
    images = [attrs for tag, attrs in in_html(document).tags if tag == "img"]
    assert len(images) == 3
    assert all(i["src"].startswith("data:image/png;base64,") and len(i["alt"]) > 20 for i in images)


def test_a_table_whose_rows_do_not_fit_is_refused_and_long_cells_break() -> None:
    with pytest.raises(ValueError, match="header has 2"):
        Table(("a", "b"), (("1",),))
    long = Document("m", "t", "s", (Section("x", (Table(("a", "b"), (("word " * 2000, "y" * 900),)), Text("z" * 3000))),))
    assert "more)" in in_pdf(long)


def test_the_command_writes_either_and_refuses_other_endings(cohort_folder: Path, tmp_path: Path) -> None:
    def llnm(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["card", *map(str, words)])
        return result.exit_code, result.output

    assert llnm("shipped", "--out", tmp_path / "a.pdf")[0] == 0
    assert "Intended use" in " ".join(p.extract_text() for p in PdfReader(tmp_path / "a.pdf").pages)
    code, said = llnm("shipped", "--cohort", cohort_folder, "--out", tmp_path / "b.html")
    assert code == 0, said
    true = evaluate_cohort(Predictor.load(device="cpu"), _read(cohort_folder))
    assert f"{true.auroc.value:.3f} (n = 24)" in (tmp_path / "b.html").read_text()
    for words, told in (
        (("shipped", "--out", tmp_path / "c.docx"), ".docx"), ((tmp_path, "--out", tmp_path / "c.pdf"), "card.json"),
        (("shipped", "--cohort", tmp_path, "--out", tmp_path / "c.pdf"), str(tmp_path)),
    ):  # fmt: skip
        code, said = llnm(*words)
        assert code == 1
        assert told in said
        assert "Traceback" not in said
    assert not (tmp_path / "c.pdf").exists()


def _read(folder: Path):  # type: ignore[no-untyped-def]
    from model.ingest.cases import read_cohort

    return read_cohort(folder)
