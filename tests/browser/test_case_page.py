"""What a clinician does on the Case page, click by click."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboard.parts import MARK

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data_samples"
REAL = ROOT.parent / "shared" / "data" / "real_ultrasound"
RISK = re.compile(r"^\d{1,3}\.\d %$")


def settled(page) -> None:  # type: ignore[no-untyped-def]
    """Until nothing on the page is being computed."""
    page.wait_for_selector("h1")
    page.wait_for_function(
        "() => document.querySelectorAll('.js-plotly-plot').length > 0 || document.querySelector('[data-testid=stFileUploader]')"
    )
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stSpinner]') && !document.querySelector('[data-testid=stStatusWidget]')"
    )
    page.wait_for_timeout(400)


def risk(page) -> str:  # type: ignore[no-untyped-def]
    return str(page.locator("h1").filter(has_text=RISK).first.inner_text())


def give(page, address: str, file: Path) -> None:  # type: ignore[no-untyped-def]
    """Upload a file as one's own case and ask for its prediction."""
    page.goto(address + "?source=own")
    settled(page)
    page.locator("input[type=file]").first.set_input_files(str(file))
    page.get_by_test_id("stFileChip").wait_for()
    page.get_by_role("button", name="Predict").click()


def own_picture(page, address: str, file: Path) -> None:  # type: ignore[no-untyped-def]
    give(page, address, file)
    page.get_by_text("Calibrated probability").wait_for()
    settled(page)


def test_page_opens_with_risk_attention_and_shapley_on_screen(page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto(address)
    settled(page)
    assert RISK.match(risk(page))
    page.get_by_text("Knowing nothing").first.wait_for()
    assert page.get_by_text("attention ÷ an even share").count() == 6  # three maps, plain and weighted
    assert page.get_by_text(MARK).is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_upload_a_picture_and_read_the_risk(page, address: str) -> None:
    own_picture(page, address, next((SAMPLES / "images").glob("*_transverse.png")))
    assert RISK.match(risk(page))
    assert page.get_by_text("Outside the model's domain").is_visible()
    assert page.get_by_text("% of gland depth").first.is_visible()


def test_upload_a_real_ultrasound_picture(page, address: str) -> None:
    pictures = sorted(p for p in REAL.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg")) if REAL.is_dir() else []
    if not pictures:
        pytest.skip("no real pictures in ../shared/data/real_ultrasound")
    own_picture(page, address, pictures[0])
    assert RISK.match(risk(page))
    assert page.get_by_text("Outside the model's domain").is_visible()


def test_a_file_that_is_no_picture_is_told_and_nothing_breaks(page, address: str, tmp_path: Path) -> None:
    bad = tmp_path / "report.png"
    bad.write_bytes(b"%PDF-1.7 not a picture")
    give(page, address, bad)
    page.get_by_text("This could not be used.").wait_for()
    assert page.get_by_text("report.png").count() >= 1
    assert page.get_by_text("Traceback").count() == 0


LINKED = """() => {
    const of = (key) => [...document.querySelectorAll(`[class*="st-key-${key}"] .js-plotly-plot`)].filter(p => p.offsetParent);
    const ground = (s) => [s.x0, s.y0, s.fillcolor];
    return {
        maps: ['attention', 'weighted'].flatMap(row => of(`${row}-transverse-`)).map(p => p.layout.images[0].source),
        words: ['attention', 'weighted'].flatMap(row => of(`${row}-words-`))
            .map(p => JSON.stringify(p.layout.shapes.filter(s => s.name !== 'chosen').map(ground))),
    }; }"""
"""What the figures of cross-attention show now: the six maps' pictures, and the shading of both reports."""


def linked(page) -> dict[str, list[str]]:  # type: ignore[no-untyped-def]
    page.wait_for_function(f"() => {{ const now = ({LINKED})(); return now.maps.length === 6 && now.words.length === 2; }}")
    found: dict[str, list[str]] = page.evaluate(LINKED)
    return found


def changed(page, part: str, before: dict[str, list[str]]) -> dict[str, list[str]]:  # type: ignore[no-untyped-def]
    """What they show once every figure of a part ("maps" or "words") has changed."""
    page.wait_for_function(
        f"([part, old]) => {{ const now = ({LINKED})()[part]; "
        "return now.length === old.length && now.every((v, i) => v !== old[i]); }",
        arg=[part, before[part]],
    )
    settled(page)
    return linked(page)


def click_point(page, chart: str, trace: str, named: list[object]) -> None:  # type: ignore[no-untyped-def]
    """Click the first point of a trace whose `customdata` starts with `named`."""
    plot = page.locator(f"[class*='st-key-{chart}'] .js-plotly-plot")
    plot.scroll_into_view_if_needed()
    settled(page)
    place = plot.evaluate(
        """(p, [trace, named]) => {
        const t = p._fullData.find(t => t.name === trace);
        const i = t.customdata.findIndex(c => named.every((v, k) => c[k] === v));
        const box = p.getBoundingClientRect(), [x, y] = [p._fullLayout.xaxis, p._fullLayout.yaxis];
        return [box.x + x._offset + x.d2p(t.x[i]), box.y + y._offset + y.d2p(t.y[i])]; }""",
        [trace, named],
    )
    page.mouse.click(*place)


def chosen_box(page, chart: str) -> list[float]:  # type: ignore[no-untyped-def]
    """Where the outline of what is chosen lies on a figure of words."""
    place: list[float] = page.locator(f"[class*='st-key-{chart}'] .js-plotly-plot").evaluate(
        "p => p.layout.shapes.filter(s => s.name === 'chosen').flatMap(s => [s.x0, s.y0])"
    )
    assert len(place) == 2
    return place


@pytest.mark.parametrize("row", ["attention", "weighted"])
def test_click_on_a_word_gives_other_maps(page, address: str, row: str) -> None:
    page.goto(address + "?word=1")
    settled(page)
    page.get_by_text("Knowing nothing").first.wait_for()  # the slowest part is there
    before, outline = linked(page), chosen_box(page, "attention-words-")
    for token in (0, 3):  # the second click comes after the figures were drawn anew
        click_point(page, f"{row}-words-", "Places", [token])
        page.wait_for_url(re.compile(rf"[?&]word={token}(&|$)"))
        after = changed(page, "maps", before)
        assert after["words"] == before["words"]  # they belong to the region
        assert chosen_box(page, "attention-words-") != outline
        assert chosen_box(page, "attention-words-") == chosen_box(page, "weighted-words-")
        before, outline = after, chosen_box(page, "attention-words-")


def test_outline_by_hand_replaces_the_network_s_and_can_be_undone(page, address: str) -> None:
    page.goto(address + "?attention=0")
    settled(page)
    page.get_by_text("Knowing nothing").first.wait_for()
    before = risk(page)
    page.get_by_text("Outline by hand").first.click()
    page.get_by_text("Draw on this view").first.click()
    plot = page.locator("[class*=st-key-lasso-]").first
    plot.scroll_into_view_if_needed()
    settled(page)
    box = plot.locator(".nsewdrag").bounding_box()
    x, y, r = box["x"] + 0.5 * box["width"], box["y"] + 0.45 * box["height"], 0.09 * box["height"]
    page.mouse.move(x + r, y)
    page.mouse.down()
    for dx, dy in ((0.7, 0.7), (0, 1), (-0.7, 0.7), (-1, 0), (-0.7, -0.7), (0, -1), (0.7, -0.7), (1, 0)):
        page.mouse.move(x + r * dx, y + r * dy, steps=4)
    page.mouse.up()
    page.locator("button:enabled", has_text="Use as nodule").click()
    page.get_by_text("nodule: by hand").first.wait_for()
    settled(page)
    assert risk(page) != before
    page.get_by_role("button", name="Undo").first.click()
    page.get_by_text("nodule: by hand").first.wait_for(state="detached")
    settled(page)
    assert risk(page) == before


@pytest.mark.parametrize("row", ["attention", "weighted"])
def test_click_on_a_region_shows_what_it_reads(page, address: str, row: str) -> None:
    page.goto(address + "?region=margin-4-4")
    settled(page)
    page.get_by_text("Knowing nothing").first.wait_for()
    before = linked(page)
    for name, at in (("internal", (0, 0)), ("internal", (2, 1)), ("location", (1, 2))):
        click_point(page, f"{row}-transverse-{name}", "Regions", [name, *at])
        page.wait_for_url(re.compile(rf"[?&]region={name}-{at[0] + 1}-{at[1] + 1}(&|$)"))
        after = changed(page, "words", before)
        assert after["maps"] == before["maps"]  # they belong to the word
        before = after


def test_a_similar_case_opens_from_its_picture(page, address: str) -> None:
    page.goto(address + "?similar=1&attention=0")
    settled(page)
    page.get_by_text("fields differ").first.wait_for()
    heads = page.locator("p:has-text('·')").filter(has_text=re.compile(r"^syn-40-\d+ · (no )?LLNM$"))
    named = heads.first.inner_text().split(" ")[0]
    page.get_by_role("link", name="Open this case").first.click()
    page.get_by_text(f"Case {int(named[-5:]) + 1} of 40").wait_for()


def test_report_of_the_case_holds_its_number(page, address: str) -> None:
    page.goto(address + "?attention=0")
    settled(page)
    page.get_by_text("Knowing nothing").first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="This case as one page (HTML)").click()
    text = Path(download.value.path()).read_text("utf-8")
    assert download.value.suggested_filename == "syn-40-00027.html"
    assert risk(page) in text
    assert "not a medical device" in text


def test_address_of_a_case_can_be_sent_to_a_colleague(page, browser, address: str) -> None:
    page.goto(address + "?case=syn-40-00003")
    settled(page)
    page.get_by_role("button", name="Next").click()
    page.get_by_text("Case 5 of 40").wait_for()
    settled(page)
    assert "case=syn-40-00004" in page.url
    colleague = browser.new_page()
    colleague.goto(page.url)
    colleague.get_by_text("Case 5 of 40").wait_for()
    settled(colleague)
    assert risk(colleague) == risk(page)
    colleague.close()


def test_cohort_page_fits_and_filters(page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto(address + "cohort?sex=male")
    page.get_by_text("of 2,000 cases").wait_for()
    page.get_by_text(re.compile(r"^Below 2\.5 mm: \d+ % had LLNM")).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_text("patient's right").wait_for()


@pytest.mark.parametrize("place", ["", "cohort", "about"])
def test_mark_and_navigation_are_on_every_page_opened_first(browser, address: str, place: str) -> None:
    fresh = browser.new_page()
    fresh.goto(address + place)
    fresh.wait_for_selector("h1")
    fresh.get_by_text(MARK).wait_for()
    assert fresh.get_by_role("link", name="Cohort").count() >= 1
    assert fresh.locator("[data-testid=stSidebarNavLink]").filter(has_text=re.compile("^(app|screens)$")).count() == 0
    fresh.close()
