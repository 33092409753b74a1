"""How quickly What if answers: one table by one command, `python tests/benchmarks/whatif.py [--json] [--browser]`.

Each row is one turn of a slider, warm: what the page's fragment asks of the model, through the functions it calls. With
`--browser`, also what a user waits for, by the browser's own clock, with the page idle before every turn: from a key on a
slider, or a move of the nodule under the mouse, until the browser asks; until the last message came that the new number (and
the moved nodule) needs; until it is painted.
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
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CHROMIUM = "/usr/bin/chromium"
NUMBER, BOTH = ("number",), ("number", "nodule")
"""What a turn changes on the screen."""
LIMIT = 0.2
"""Seconds that a slider may take (issue 4)."""
TURNS, BROWSER_TURNS = 25, 14
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"


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
    from dashboard.case.nodule import scene
    from dashboard.case.picker import DEFAULT
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
        json.dumps(scene(measured, moved, view, (0, 0)))

    turns: dict[str, Callable[[int], object]] = {
        "a field": lambda i: risk(changed(measured, {"age_years": 30.0 + i})),
        "a word": lambda i: risk(changed(measured, report=without_words(report, [i % count]))),
        "nodule along the capsule": lambda i: risk(placed(measured, view, path, along=0.1 * (i + 1))),
        "nodule towards the capsule": lambda i: risk(placed(measured, view, path, towards=0.02 * (i + 1))),
        "all at once, with what the picture draws": both,
    }
    rows: list[dict[str, object]] = [
        {"what": what, "seconds": median_seconds(turn), "limit": LIMIT} for what, turn in turns.items()
    ]
    once = median_seconds(lambda _: capsule_path(measured, view))
    return [*rows, {"what": "the way along the capsule, once a case", "seconds": once, "limit": None}]


WATCH = """
window.marks = [];
const note = (what) => window.marks.push([what, performance.now()]);
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) { note('asked'); return send.call(this, data); };
window.WebSocket = new Proxy(WebSocket, { construct(of, given) {
  const socket = new of(...given);
  socket.addEventListener('message', () => note('got'));
  return socket;
} });
for (const kind of ['keydown', 'pointermove']) window.addEventListener(kind, () => note('begun'), true);
const looked = {
  number: () => [...document.querySelectorAll('[data-testid=stMetric]')].find(m => m.textContent.includes('after the change'))
    ?.querySelector('[data-testid=stMetricValue]').textContent,
  nodule: () => document.querySelector('[class*=st-key-if-nodule-] [data-testid=stBidiComponentIsolated]')
    ?.shadowRoot.querySelector('.now')?.getAttribute('d'),
};
const seen = {};
const look = () => {
  requestAnimationFrame(look);
  for (const [what, of] of Object.entries(looked)) {
    const now = of();
    if (now === seen[what]) continue;
    seen[what] = now;
    const painted = new MessageChannel();  // its message comes after the frame is painted
    painted.port1.onmessage = () => note(what);
    painted.port2.postMessage(0);
  }
};
look();
"""
"""Runs in the page before anything else: marks [what, ms] of every turn."""


def browser_rows() -> list[dict[str, object]]:
    """Rows of what a user waits for, medians."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.headless", "true"]
    server = subprocess.Popen(
        [*command, "--server.port", str(port), "--server.address", "127.0.0.1"], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return _browser_rows(f"http://127.0.0.1:{port}/")
    finally:
        server.terminate()
        server.wait(10)


def _browser_rows(address: str) -> list[dict[str, object]]:
    from playwright.sync_api import Error, sync_playwright

    rows: list[dict[str, object]] = []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1100})
        page.set_default_timeout(60_000)
        page.add_init_script(WATCH)
        for _ in range(120):  # until the server answers
            try:
                page.goto(f"{address}?whatif=1&attention=0")
                break
            except Error:
                time.sleep(0.25)
        page.wait_for_selector("text=Knowing nothing")
        page.wait_for_selector("text=after the change")
        page.wait_for_selector(IDLE)
        nodule = page.locator("[class*=st-key-if-nodule-] .nodule")
        nodule.scroll_into_view_if_needed()

        for what, thing, keys, wanted in (
            ("key on a field's slider", page.get_by_role("slider", name="Age (years)"), ("Right", "Left"), NUMBER),
            ("key on the nodule's slider", page.get_by_role("slider", name="Towards the capsule"), ("Right", "Left"), BOTH),
            ("key on the nodule", nodule, ("Down", "Up"), BOTH),
        ):
            thing.focus()
            press = partial(_press, page, keys)
            rows += _rows(what, [_turn(page, press, i, wanted) for i in range(BROWSER_TURNS)])
        box = page.locator("[class*=st-key-if-nodule-] .now").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        rows += _rows("move of the held nodule", [
            _turn(page, lambda i: page.mouse.move(x + 12 * (1 - i % 2), y - 12 * (1 - i % 2)), i, BOTH)
            for i in range(BROWSER_TURNS)
        ])  # fmt: skip
        browser.close()
    return rows


def _press(page, keys: tuple[str, str], i: int) -> None:  # type: ignore[no-untyped-def]
    page.keyboard.press(f"Arrow{keys[i % 2]}")


def _turn(page, act: Callable[[int], None], i: int, wanted: tuple[str, ...]) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """Seconds of one turn, by part, until all that is wanted is on the screen."""
    page.wait_for_selector(IDLE)
    page.wait_for_timeout(300)
    page.evaluate("window.marks.length = 0")
    act(i)
    page.wait_for_function("wanted => wanted.every(w => window.marks.some(m => m[0] === w))", arg=wanted)
    marks = page.evaluate("window.marks")
    first = dict(reversed(marks))
    begun, asked, shown = first["begun"], first["asked"], max(first[w] for w in wanted)
    got = max(at for what, at in marks if what == "got" and at < shown)
    parts = {
        "until the browser asks": asked - begun, "answer": got - asked, "drawing": shown - got,
        "asked to on the screen": shown - asked, "in all": shown - begun,
    }  # fmt: skip
    return {part: ms / 1000 for part, ms in parts.items()}


def _rows(what: str, turns: list[dict[str, float]]) -> list[dict[str, object]]:
    limited = ("asked to on the screen", "in all")
    return [
        {
            "what": f"{what}: {part}", "seconds": statistics.median(t[part] for t in turns[2:]),
            "limit": LIMIT if part in limited else None,
        }
        for part in turns[0]
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--browser", action="store_true")
    asked = parser.parse_args()
    rows = timings()
    if asked.browser:
        rows += browser_rows()
    if asked.json:
        print(json.dumps(rows))
        return
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for row in rows:
        limit = "" if row["limit"] is None else f"limit {1000 * float(str(row['limit'])):.0f} ms"
        print(f"{row['what']:<54}{1000 * float(str(row['seconds'])):>8.0f} ms   {limit}".rstrip())


if __name__ == "__main__":
    main()
