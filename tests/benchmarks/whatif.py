"""How quickly What if answers: one table by one command, `python tests/benchmarks/whatif.py [--json] [--browser]`.

Each row is one turn of a slider, warm: what the page's fragment asks of the model, through the functions it calls. With
`--browser`, also the time from a key on a slider's thumb to the new number on the screen, drawing included.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CHROMIUM = "/usr/bin/chromium"
LIMIT = 0.2
"""Seconds that a slider may take (issue 4)."""
TURNS = 25


def median_seconds(turn: Callable[[int], object]) -> float:
    """Median of `TURNS` turns, each told its number so that no two ask the same, after two that warm up."""
    times = []
    for i in range(TURNS + 2):
        begin = time.perf_counter()
        turn(i)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[2:])


def timings() -> list[dict[str, object]]:
    """Rows {what, seconds, limit} of the model's part, on the case that a newcomer sees first."""
    from dashboard.case.picker import DEFAULT
    from dashboard.figures.case_whatif import moved_picture
    from model.explain.counterfactual import capsule_path, changed, nearest_view, placed, without_words, words_of
    from model.ingest.cases import read_cohort
    from model.predict import Predictor

    predictor = Predictor.load()
    measured = predictor.measure([read_cohort(ROOT / "data_samples").case(DEFAULT)])[0]
    view = nearest_view(measured)
    assert view is not None
    path, report = capsule_path(measured, view), measured.case.report_text
    count = len(words_of(report))

    def risk(case: object) -> float:
        return predictor.predict_measured([case])[0].probability  # type: ignore[list-item]

    def both(i: int) -> None:
        moved = placed(measured, view, path, along=0.1 * (i + 1), towards=0.02 * (i + 1))
        risk(changed(moved, {"age_years": 30.0 + i}, without_words(report, [i % count])))
        moved_picture(measured, moved, view).to_json()

    turns: dict[str, Callable[[int], object]] = {
        "a field": lambda i: risk(changed(measured, {"age_years": 30.0 + i})),
        "a word": lambda i: risk(changed(measured, report=without_words(report, [i % count]))),
        "nodule along the capsule": lambda i: risk(placed(measured, view, path, along=0.1 * (i + 1))),
        "nodule towards the capsule": lambda i: risk(placed(measured, view, path, towards=0.02 * (i + 1))),
        "all at once, picture drawn": both,
    }
    rows: list[dict[str, object]] = [
        {"what": what, "seconds": median_seconds(turn), "limit": LIMIT} for what, turn in turns.items()
    ]
    once = median_seconds(lambda _: capsule_path(measured, view))
    return [*rows, {"what": "the way along the capsule, once a case", "seconds": once, "limit": None}]


def browser_seconds() -> float:
    """Median seconds from a key on the age's slider to the new number on the screen; Streamlit itself waits before it sends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.headless", "true"]
    server = subprocess.Popen(
        [*command, "--server.port", str(port), "--server.address", "127.0.0.1"], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return _browser_seconds(f"http://127.0.0.1:{port}/")
    finally:
        server.terminate()
        server.wait(10)


def _browser_seconds(address: str) -> float:
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1100})
        page.set_default_timeout(60_000)
        for _ in range(120):  # until the server answers
            try:
                page.goto(f"{address}?whatif=1&attention=0")
                break
            except Error:
                time.sleep(0.25)
        page.wait_for_selector("text=Knowing nothing")
        page.wait_for_selector("text=after the change")
        page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
        thumb = page.get_by_role("slider", name="Age (years)")
        thumb.focus()
        value = page.get_by_test_id("stMetric").filter(has_text="after the change").get_by_test_id("stMetricValue")
        times = []
        for _ in range(12):
            before = value.inner_text()
            begin = time.perf_counter()
            thumb.press("ArrowRight")
            page.wait_for_function(  # at every frame; a locator looks ten times a second
                """(old) => [...document.querySelectorAll('[data-testid=stMetric]')].some(m =>
                m.textContent.includes('after the change') && !m.textContent.includes(old))""",
                arg=before,
            )
            times.append(time.perf_counter() - begin)
        browser.close()
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--browser", action="store_true")
    asked = parser.parse_args()
    rows = timings()
    if asked.browser:
        rows.append({"what": "key to new number in the browser", "seconds": browser_seconds(), "limit": LIMIT})
    if asked.json:
        print(json.dumps(rows))
        return
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for row in rows:
        limit = "" if row["limit"] is None else f"limit {1000 * float(str(row['limit'])):.0f} ms"
        print(f"{row['what']:<42}{1000 * float(str(row['seconds'])):>8.0f} ms   {limit}".rstrip())


if __name__ == "__main__":
    main()
