"""The pages without a browser: what they say, what they hold in the address bar, how they take nonsense."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "dashboard" / "screens"
SECONDS = 120


def opened(page: str, **address: str) -> AppTest:
    # The Case page is the app's first, and its links need the app's navigation.
    script = PAGES.parent / "app.py" if page == "case" else PAGES / f"{page}.py"
    app = AppTest.from_file(str(script), default_timeout=SECONDS)
    for name, value in address.items():
        app.query_params[name] = value
    return app.run()


def words(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.warning, app.error, app.text)
    return "\n".join(str(e.value) for kind in kinds for e in kind)


@pytest.fixture(scope="module")
def case_page() -> AppTest:
    return opened("case")


def test_first_case_is_there_with_its_risk_and_its_uncertainty(case_page: AppTest) -> None:
    assert not case_page.exception
    said = words(case_page)
    assert "Calibrated probability" in said
    assert "95 % interval" in said
    assert "of the 200 validation cases" in said
    assert "synthetic" in said


def test_answer_on_the_page_is_the_model_s(case_page: AppTest) -> None:
    from model import Predictor, read_cohort

    samples = read_cohort(ROOT / "data_samples")
    shown = case_page.query_params.get("case", [samples.case_ids[0]])
    from dashboard.case.picker import DEFAULT

    case_id = DEFAULT if "case" not in case_page.query_params else shown[0]
    probability = Predictor.load().predict(samples.case(case_id)).probability
    assert f"{100 * probability:.1f} %" in words(case_page)


def test_address_opens_a_case_and_next_goes_on() -> None:
    from model import read_cohort

    ids = read_cohort(ROOT / "data_samples").case_ids
    app = opened("case", case=ids[3])
    assert f"Case 4 of {len(ids)}" in words(app)
    next(b for b in app.button if b.label == "Next").click().run()
    assert not app.exception
    assert app.query_params["case"] in (ids[4], [ids[4]])


def test_unknown_case_in_the_address_is_told() -> None:
    app = opened("case", case="<script>alert(1)</script>")
    assert not app.exception
    assert "no sample case of that name" in words(app)
    assert "alert(1)" not in words(app)


def test_attention_is_there_and_says_what_it_is_not(case_page: AppTest) -> None:
    assert "not what caused the prediction" in words(case_page)


def test_attention_can_be_left_out_from_the_address() -> None:
    app = opened("case", attention="0")
    assert not app.exception
    assert "not what caused the prediction" not in words(app)


@pytest.fixture(scope="module")
def how_sure() -> AppTest:
    return opened("case", case="syn-40-00003", sure="1", layer="all", word="2", region="margin-2-3")


def test_attention_through_all_layers_says_of_what_each_share_is(how_sure: AppTest) -> None:
    assert not how_sure.exception
    said = [str(c.value) for c in how_sure.caption if str(c.value).startswith(("Location: ", "Internal morphology: ", "Margin: "))]
    for whole in ("of what the head reads.", "of the relevance for the logit."):
        assert len([c for c in said if c.endswith(whole)]) == 3
    assert next(s for s in how_sure.selectbox if s.label == "Head").disabled


def test_attention_opens_at_the_word_and_region_of_the_address(how_sure: AppTest) -> None:
    chosen = {s.label: s.value for s in how_sure.selectbox if s.key and s.key.startswith("attention-")}
    assert (chosen["Word or field"], chosen["Region: map"], chosen["Row"], chosen["Column"]) == (2, "margin", 1, 2)


def test_how_sure_tells_sets_coverage_likeness_and_what_is_missing(how_sure: AppTest) -> None:
    from model import Predictor, read_cohort

    said = words(how_sure)
    prediction = Predictor.load().predict(read_cohort(ROOT / "data_samples").case("syn-40-00003"))
    sets = next(d.value for d in how_sure.dataframe if "stated coverage" in d.value)
    assert sets["set"].tolist() == [s.words for s in prediction.conformal]
    assert all(score.words in said for score in prediction.novelty)
    assert f"the probability is {100 * prediction.probability:.1f} % without it" in said
    assert "beside the stated 90 %" in said
    next(b for b in how_sure.button_group if b.label == "Stated coverage").set_value(0.95)
    how_sure.run()
    assert not how_sure.exception
    assert "beside the stated 95 %" in words(how_sure)


def test_sections_come_in_the_order_of_a_reader_s_questions(case_page: AppTest) -> None:
    heads = [str(h.value).split(":")[0] for h in case_page.subheader]
    assert heads == [
        "Pictures", "Why", "Scores as published", "Cross-attention between picture and report", "Image evidence", "How sure",
        "What if", "Similar cases", "How far to trust these explanations", "Report",
    ]  # fmt: skip


def test_truth_is_hidden_until_asked_for() -> None:
    app = opened("case")
    assert "True probability" not in words(app)
    next(t for t in app.toggle if t.label == "Reveal the simulated truth").set_value(True).run()
    assert not app.exception
    assert "True probability" in words(app)
    assert "Rank agreement with the truth" in words(app)


def test_image_evidence_opens_from_the_address_with_its_methods() -> None:
    app = opened("case", methods="gradients,cam", attention="0")
    assert not app.exception
    said = words(app)
    assert "Integrated gradients (Sundararajan" in said
    assert "Grad-CAM++ (Chattopadhay" in said
    assert "Capsule side" in said


def test_scores_open_from_the_address_with_points_and_words() -> None:
    app = opened("case", scores="1", attention="0")
    assert not app.exception
    said = words(app)
    assert "when the model knows that feature alone" in said
    assert "Knowing nothing: 0." in said
    assert "of 5 points" in said
    assert "One word at a time is left out" in said
    assert len(app.dataframe[1].value) == 5  # Kwak's findings, after the table of cases


def test_scores_of_a_case_without_report_say_so() -> None:
    app = own({"own-transverse": ("a.png", sample_picture(), "image/png")})
    next(t for t in app.toggle if t.label == "Show scores as published").set_value(True).run()
    assert not app.exception
    said = words(app)
    assert "read no word of a report" in said
    assert "Without a score" in said


def after_the_change(app: AppTest) -> str:
    return str(next(m.value for m in app.metric if m.label.endswith("after the change")))


def test_changing_the_age_moves_the_prediction_and_back() -> None:
    app = opened("case", whatif="1", attention="0")
    assert not app.exception
    age = next(s for s in app.slider if s.label == "Age (years)")
    before, value = after_the_change(app), age.value
    age.set_value(19.0 if value > 50 else 85.0).run()
    assert after_the_change(app) != before
    next(s for s in app.slider if s.label == "Age (years)").set_value(value).run()
    assert not app.exception
    assert after_the_change(app) == before


def test_moving_the_nodule_along_keeps_its_distance_and_towards_brings_it_to_the_capsule() -> None:
    app = opened("case", whatif="1", attention="0")

    def distance() -> float:
        told = next(str(c.value) for c in app.caption if "shortest over the views: " in str(c.value))
        return float(told.split("shortest over the views: ")[1].split(" mm")[0])

    before = distance()
    next(s for s in app.slider if s.label.startswith("Along the capsule")).set_value(3.0).run()
    assert not app.exception
    assert distance() == pytest.approx(before, abs=0.2)  # a pixel is 0.15 mm
    towards = next(s for s in app.slider if s.label.startswith("Towards the capsule"))
    towards.set_value(towards.max).run()
    assert distance() < 0.25


def nodule_shown(app: AppTest) -> dict[str, Any]:
    """What the picture of What if was given to draw."""
    return dict(json.loads(app.get("bidi_component")[0].proto.json))


def test_picture_of_what_if_shows_where_the_sliders_put_the_nodule() -> None:
    app = opened("case", whatif="1", attention="0")
    still = nodule_shown(app)
    assert still["now"] == still["before"]
    assert still["shift"] == [0, 0]
    next(s for s in app.slider if s.label.startswith("Along the capsule")).set_value(3.0).run()
    moved = nodule_shown(app)
    assert moved["before"] == still["before"] != moved["now"]
    assert np.hypot(*moved["shift"]) > 1
    assert {k: moved[k] for k in ("image", "gland", "size", "step")} == {k: still[k] for k in ("image", "gland", "size", "step")}


def test_a_nodule_without_spacing_is_moved_in_pixels_and_one_that_was_not_found_not_at_all() -> None:
    app = opened("case", source="own", whatif="1", attention="0")
    next(u for u in app.file_uploader if u.key == "own-transverse").upload("a.png", sample_picture(), "image/png")
    next(b for b in app.button if b.label == "Predict").click()
    app.run()
    assert not app.exception
    assert nodule_shown(app)["distance"]["text"].endswith("% of gland depth")
    assert any(s.label.startswith("Towards the capsule (pixels") for s in app.slider)
    app = opened("case", source="own", whatif="1", attention="0")
    shades = png(np.tile(np.arange(160, dtype=np.uint8), (120, 1)))
    next(u for u in app.file_uploader if u.key == "own-transverse").upload("b.png", shades, "image/png")
    next(b for b in app.button if b.label == "Predict").click()
    app.run()
    assert not app.exception
    assert not app.get("bidi_component")
    assert "the nodule cannot be moved" in words(app)


def test_words_taken_out_shorten_the_report_and_take_their_weight_with_them() -> None:
    app = opened("case", whatif="1", attention="0")
    before = after_the_change(app)
    pills = next(p for p in app.button_group if p.key.startswith("if-words-"))
    pills.set_value(list(range(len(pills.options) - 3))).run()
    assert not app.exception
    assert f"{len(pills.options) - 3} of {len(pills.options)} words taken out" in words(app)
    assert after_the_change(app) != before


def test_numbers_that_a_case_lacks_are_typed_and_nonsense_is_told() -> None:
    app = opened("case", source="own", whatif="1", attention="0")
    next(u for u in app.file_uploader if u.key == "own-transverse").upload("a.png", sample_picture(), "image/png")
    next(b for b in app.button if b.label == "Predict").click()
    app.run()
    before = after_the_change(app)
    age = next(t for t in app.text_input if t.key.startswith("if-age_years"))
    age.set_value("19").run()
    assert after_the_change(app) != before
    next(t for t in app.text_input if t.key.startswith("if-age_years")).set_value("430").run()
    assert not app.exception
    assert "18 to 110 years" in words(app)


@pytest.mark.parametrize(("address", "shown"), [("30", 30), ("0", 50), ("x", 50), ("100", 50)])
def test_threshold_comes_from_the_address_where_it_is_one(address: str, shown: int) -> None:
    app = opened("case", whatif="1", attention="0", threshold=address, smallest="1")
    assert not app.exception
    assert next(s for s in app.slider if s.label == "Threshold (%)").value == shown
    assert "Held: age, sex, histology (FNA or frozen section), BRAF V600E, side, third." in words(app)


def test_summary_says_the_same_probability_as_the_headline(case_page: AppTest) -> None:
    headline = next(m.value for m in case_page.markdown if m.value.startswith("# ")).removeprefix("# ")
    assert any(f"metastasis at {headline}" in t.value for t in case_page.text)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def own(case_page_files: dict[str, tuple[str, bytes, str]], **texts: str) -> AppTest:
    app = opened("case", source="own")
    for key, file in case_page_files.items():
        next(u for u in app.file_uploader if u.key == key).upload(*file)
    for key, text in texts.items():
        (app.text_area(key=key) if key == "own-report" else app.text_input(key=key)).set_value(text)
    next(b for b in app.button if b.label == "Predict").click()
    return app.run()


def sample_picture() -> bytes:
    return next((ROOT / "data_samples" / "images").rglob("*.png")).read_bytes()


def test_own_picture_is_scored_with_the_domain_warning_and_without_millimetres() -> None:
    app = own({"own-transverse": ("a.png", sample_picture(), "image/png")})
    assert not app.exception
    said = words(app)
    assert "Outside the model's domain" in said
    assert "Pixel spacing unknown" in said
    assert "% of gland depth" in said


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"no picture at all", "not"),
        (b"", "empty"),
        (png(np.zeros((120, 160), np.uint8)), "no contrast"),
    ],
    ids=["text", "empty", "black"],
)
def test_what_is_no_ultrasound_picture_is_told_with_its_name(data: bytes, told: str) -> None:
    app = own({"own-transverse": ("bad.png", data, "image/png")})
    assert not app.exception
    said = words(app)
    assert "could not be used" in said
    assert "bad.png" in said
    assert told in said


def test_impossible_age_names_field_value_and_range() -> None:
    app = own({"own-transverse": ("a.png", sample_picture(), "image/png")}, **{"own-age_years": "430"})
    assert not app.exception
    said = words(app)
    assert "430" in said
    assert "18 to 110 years" in said


def test_endless_report_is_refused_with_the_limit() -> None:
    app = own({"own-transverse": ("a.png", sample_picture(), "image/png")}, **{"own-report": "nodule " * 14_300})
    assert not app.exception
    said = words(app)
    assert "could not be used" in said
    assert "20,000" in said or "20000" in said


def test_report_in_another_script_is_scored_and_its_downgrade_stated() -> None:
    app = own({"own-transverse": ("a.png", sample_picture(), "image/png")}, **{"own-report": "甲状腺右叶低回声结节,边界不清。"})
    assert not app.exception
    said = words(app)
    assert "Calibrated probability" in said
    assert "unknown to the model" in said or "not in English" in said or "Latin" in said


@pytest.mark.parametrize("kind", ["sixteen bits", "transparent", "turned by EXIF"])
def test_unusual_but_readable_pictures_are_scored(kind: str) -> None:
    grey = np.asarray(Image.open(io.BytesIO(sample_picture())).convert("L"))
    out = io.BytesIO()
    if kind == "sixteen bits":
        Image.fromarray(grey.astype(np.uint16) * 257).save(out, "PNG")
    elif kind == "transparent":
        Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 200)])).save(out, "PNG")
    else:
        turned = Image.fromarray(np.rot90(grey))
        exif = turned.getexif()
        exif[274] = 6
        turned.save(out, "JPEG", exif=exif, quality=95)
    app = own({"own-transverse": ("a.png", out.getvalue(), "image/png")})
    assert not app.exception
    assert "Calibrated probability" in words(app)


def test_faulty_change_leaves_the_case_before_it_on_the_page() -> None:
    app = own({"own-transverse": ("a.png", sample_picture(), "image/png")}, **{"own-age_years": "50"})
    before = [m.value for m in app.markdown if m.value.startswith("# ")]
    app.text_input(key="own-age_years").set_value("minus two")
    next(b for b in app.button if b.label == "Predict").click()
    app.run()
    assert not app.exception
    assert "minus two" in words(app)
    assert [m.value for m in app.markdown if m.value.startswith("# ")] == before


def test_report_text_is_never_markup() -> None:
    nasty = "<img src=x onerror=alert(1)> hypoechoic nodule **bold** $x^2$"
    app = own({"own-transverse": ("a.png", sample_picture(), "image/png")}, **{"own-report": nasty})
    assert not app.exception
    assert "onerror" not in "\n".join(str(m.value) for m in app.markdown)


def test_cohort_page_tells_rate_interval_and_the_published_mark() -> None:
    app = opened("cohort")
    assert not app.exception
    said = words(app)
    assert "2,000 of 2,000 cases" in said
    assert "95 %" in said
    assert "Below 2.5 mm" in said


def test_cohort_filters_come_from_the_address() -> None:
    table = pd.read_parquet(ROOT / "data_samples" / "cohort.parquet")
    app = opened("cohort", sex="male")
    men = table[table["sex"] == "male"]
    assert f"{len(men):,} of 2,000 cases" in words(app)
    assert f"{int(men['llnm'].sum()):,} with LLNM" in words(app)


@pytest.mark.parametrize("address", [{"sex": "?"}, {"age": "x-y"}, {"age": "90-20"}, {"centre": "<b>"}, {"split": "shoe"}])
def test_nonsense_in_the_address_is_passed_over(address: dict[str, str]) -> None:
    app = opened("cohort", **address)
    assert not app.exception


def test_filters_that_nobody_passes_say_so() -> None:
    app = opened("cohort", histology="MTC", side="isthmus", sex="male", age="18-19")
    assert not app.exception
    assert "No case passes" in words(app)


def test_own_table_without_outcome_names_the_column() -> None:
    app = opened("cohort", cohort="own")
    app.file_uploader(key="cohort-file").upload("t.csv", b"probability\n0.4\n", "text/csv").run()
    assert not app.exception
    assert "llnm" in words(app)
    assert "could not be used" in words(app)


def test_own_table_is_analysed_with_the_panels_it_can_fill() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"probability": rng.random(80), "llnm": rng.integers(0, 2, 80)})
    app = opened("cohort", cohort="own")
    app.file_uploader(key="cohort-file").upload("t.csv", table.to_csv(index=False).encode(), "text/csv").run()
    assert not app.exception
    said = words(app)
    assert "80 of 80 cases" in said
    assert "Risk against capsule distance: this table has no capsule_distance_mm" in said
    assert "Risk against capsule distance" not in [h.value for h in app.subheader]


def test_model_page_says_what_it_must_not_be_used_for() -> None:
    app = opened("about")
    assert not app.exception
    assert "not a medical device" in words(app)


def test_serving_on_a_new_machine_asks_for_nothing(tmp_path: Path) -> None:
    told = "import streamlit.web.bootstrap as b; b.run = lambda *_: print('served'); from model.cli import app; app(['serve'])"
    done = subprocess.run(
        [sys.executable, "-c", told], input="\n", capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "served", done.stdout + done.stderr
