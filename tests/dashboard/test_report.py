"""One case as one page, HTML and PDF: whole, the same words in both, and deaf to what people wrote."""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from pypdf import PdfReader

from dashboard.report.content import CaseContent, case_content
from dashboard.report.html import as_html
from dashboard.report.pdf import INNER, SMALL, Style, as_pdf, fitted
from model.explain.shapley import group_shapley
from model.reporting.text import printable
from model.uncertainty.conformal import ConformalSet
from model.uncertainty.novelty import NoveltyScore

CARD = {
    "name": "untrained", "training_data": "synthetic", "training_cases": 8000, "validation_cases": 2000,
    "validation": {"auroc": 0.951}, "external": {"n": 2000, "positives": 1135, "auroc": 0.94312, "auroc_ci": [0.9321, 0.9543]},
    "limits": ["Reads English reports only."], "sha256": {"llnm_net.safetensors": "abc123" * 10}, "purpose": "Tests.",
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(predictor, measured):  # type: ignore[no-untyped-def]
    case = measured[0]
    return case, predictor.predict_measured([case])[0], group_shapley(predictor, case)


def content(parts, **changes) -> CaseContent:  # type: ignore[no-untyped-def]
    """Of the case with other parts of `Case`; what was measured stays."""
    measured, prediction, shapley = parts
    measured = replace(measured, case=replace(measured.case, **changes))
    return case_content(measured, prediction, shapley, CARD, version="9.9", date="2026-11-25")


def read(pdf: bytes) -> str:
    """The text of its one page, on one line."""
    pages = PdfReader(io.BytesIO(pdf)).pages
    assert len(pages) == 1
    return " ".join(pages[0].extract_text().split())


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def parsed(page: str) -> Tags:
    found = Tags()
    found.feed(page)
    found.text = " ".join(found.text.split())
    return found


@pytest.mark.parametrize("render", [lambda c: parsed(as_html(c)).text, lambda c: read(as_pdf(c))], ids=["html", "pdf"])
def test_page_holds_the_case_s_numbers_their_basis_the_model_and_the_mark(parts, render) -> None:
    measured, prediction, shapley = parts
    text = render(content(parts))
    told = [f"{100 * prediction.probability:.1f} %", f"logit {prediction.logit:+.2f}"]
    told += [f"{prediction.interval.positives} of the {prediction.interval.count} validation cases"]
    told += [f"stage {i + 1}: {100 * p:.0f} %" for i, p in enumerate(prediction.stage_probabilities)]
    told += [f"capsule distance {f.capsule.distance:.1f} mm" for f in measured.features.values()]
    for group, given, logit, points in zip(
        shapley.groups, shapley.present, shapley.values, shapley.probability_values, strict=True
    ):
        told += [f"{group.label} {logit:+.2f} {100 * points:+.1f} pp" if given else f"{group.label} not given"]
    told += [f"Age {measured.fields['age_years']:g} years given", "mm measured"]
    told += [prediction.model, "9.9", "2026-11-25", "abc123", "AUROC 0.943 (95 % interval 0.932–0.954)", "8,000 synthetic"]
    told += ["not a medical device", "Reads English reports only.", "no figure here says anything about a patient"]
    told += measured.case.report_text.split()[:5]
    assert [t for t in told if t not in text] == []


def test_both_pages_say_the_same_sentences(parts) -> None:
    said = content(parts)
    html, pdf = parsed(as_html(said)).text, read(as_pdf(said))
    for sentence in (*said.summary, *said.notices, said.basis, said.conformal, *(p.caption for p in said.pictures)):
        assert sentence in html
        assert sentence in pdf


def test_html_needs_nothing_from_elsewhere_and_has_no_script(parts) -> None:
    page = parsed(as_html(content(parts)))
    assert not [t for t, _ in page.tags if t in ("script", "link", "iframe")]
    sources = [a["src"] for t, a in page.tags if t == "img"]
    assert len(sources) == len(parts[0].case.images)
    assert all(s is not None and s.startswith("data:image/png;base64,") for s in sources)


def test_bars_of_the_waterfall_are_joined_and_end_at_the_prediction(parts) -> None:
    steps = content(parts).steps
    for before, after in pairwise(steps[:-1]):
        assert after.start == pytest.approx(before.end)
    assert steps[-2].end == pytest.approx(steps[-1].end, abs=1e-3)
    assert all(0 <= s.start <= 1 and 0 <= s.end <= 1 for s in steps)


HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x> & <b>bold</b>",
    "right to left": "عقيدة درقية \u202eevil\u202c גוש בבלוטה",
    "emoji": "nodule 😀 👩‍👩‍👧 12 mm",
    "another script": "甲状腺右叶低回声结节,边界不清。",
    "controls": "nodule\x00\x07\x1b[2J\x7f of 9 mm\r\n\ud800 end",
    "endless": "hypoechoic " * 1818,
    "no spaces": "x" * 20_000,
    "signs": "≥ 5 mm → α − β ≤ ½",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_any_report_makes_one_page_and_stays_text(parts, kind: str) -> None:
    said = content(parts, report_text=HOSTILE[kind], case_id="<b>x</b>" + 90 * "y", provenance="user")
    html, text = as_html(said), read(as_pdf(said))
    assert not [t for t, _ in parsed(html).tags if t in ("script", "b", "i")]
    html.encode()  # a lone surrogate would not go
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", html)
    assert said.probability in text
    assert "own case" in text.lower()
    if kind in ("markup", "signs"):
        assert HOSTILE[kind] in text
    if kind in ("emoji", "another script"):
        assert "characters that this type lacks are shown as □" in text
    if kind == "right to left":
        assert "Right-to-left words are set from left to right" in text


@pytest.mark.parametrize("kind", ["endless", "no spaces"])
def test_what_a_long_report_leaves_out_is_counted(parts, kind: str) -> None:
    report = HOSTILE[kind].strip()
    said = content(parts, report_text=report)
    assert report in as_html(said)
    text = read(as_pdf(said))
    left_out = int(re.search(r"… \(([\d,]+) further characters\)", text).group(1).replace(",", ""))
    shown = report[: len(report) - left_out].rstrip()
    assert 100 < len(shown) < 2000
    assert shown.replace(" ", "") in text.replace(" ", "")
    assert (shown + report[len(shown) : len(shown) + 40]).replace(" ", "") not in text.replace(" ", "")


def test_case_without_spacing_report_or_measured_view_is_told_so(predictor, measured) -> None:
    case = measured[0].case
    bare = replace(
        case, images={"transverse": replace(case.images["transverse"], pixel_spacing_mm=None)}, fields={}, report_text=""
    )
    found = predictor.measure([bare])[0]
    unseen = replace(found, features={}, fields={})
    for told, words in (
        (found, ("% of gland depth", "Pixel spacing unknown", "Report none")),
        (unseen, ("Capsule distance, shortest over the views not measured", "nothing measured")),
    ):
        if told is found and not found.features:
            continue
        prediction = predictor.predict_measured([told])[0]
        text = read(as_pdf(case_content(told, prediction, group_shapley(predictor, told), {"sha256": {}}, version="1", date="d")))
        assert [w for w in words if w not in text] == []


@pytest.mark.parametrize("render", [lambda c: parsed(as_html(c)).text, lambda c: read(as_pdf(c))], ids=["html", "pdf"])
@pytest.mark.parametrize(
    ("llnm", "no_llnm", "said"),
    [(True, False, "LLNM alone is left"), (True, True, "undecided"), (False, False, "neither outcome fits")],
)
def test_page_says_which_outcomes_are_left_and_what_is_unlike_training(parts, render, llnm, no_llnm, said) -> None:
    measured, prediction, shapley = parts
    score = NoveltyScore("transverse picture", 61.2, 25.3, 1.0)
    told = replace(
        prediction,
        conformal=tuple(ConformalSet(s.level, llnm, no_llnm) for s in prediction.conformal),
        novelty=(score,),
        notices=(*prediction.notices, score.words),
    )
    text = render(content((measured, told, shapley)))
    assert f"90 % conformal set: {said}" in text
    assert score.words in text
    assert "distance 61.2, threshold 25.3" in text


def test_same_content_gives_the_same_bytes_in_any_thread(parts) -> None:
    pages = [content(parts), content(parts, report_text="α β γ ≥ другой")] * 3
    alone = [as_pdf(p) for p in pages[:2]]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(as_pdf, pages)) == alone * 3


def test_lines_fit_and_what_fits_is_whole() -> None:
    text = "Left lobe, lower third: 11 mm nodule, predominantly solid."
    assert fitted(text, SMALL, INNER, 1) == [text]
    broken = fitted(text, SMALL, 80, 99)
    assert " ".join(broken) == text
    assert len(broken) > 2
    assert fitted("", Style(), 100, 3) == []
    assert "".join(fitted("y" * 300, SMALL, 80, 99)) == "y" * 300


def test_controls_and_direction_marks_leave_the_text() -> None:
    assert printable("a\x00b\u202ec\ud800d\ne") == "a bc\ufffdd\ne"
