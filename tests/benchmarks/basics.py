"""How fast and how large: one table by one command, `python tests/benchmarks/basics.py [--json]`.

Measured on this machine, each beside its limit: cold start to the first rendered case, the same case again, memory of
the server, one prediction, simulation. Needs Debian's chromium and the extra `test`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
PICTURE = ".js-plotly-plot .layer-below image, .js-plotly-plot image"
WATERFALL = "text=Knowing nothing"
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"
WATCH = """
window.clicked = window.settled = 0;
window.wanted = '';
window.addEventListener('click', () => { window.clicked = performance.now(); window.settled = 0; }, true);
const look = () => {
  requestAnimationFrame(look);
  if (!window.clicked || window.settled) return;
  if (document.querySelector('[data-testid=stApp]')?.dataset.testScriptState !== 'notRunning') return;
  if (![...document.querySelectorAll('p')].some(p => p.textContent.includes(window.wanted))) return;
  const painted = new MessageChannel();  // its message comes after the frame is painted, figures and all
  painted.port1.onmessage = () => { window.settled = performance.now(); };
  painted.port2.postMessage(0);
};
look();
"""
"""Runs in the page before anything else: when the last click was, and when all that it asked for was on the screen. Locators
that look through the whole page at every frame would take a third of the time that they measure."""


def simulation_rate(cases: int = 160) -> float:
    """Cases a second, all cores."""
    from model.simulate.cohort import simulate

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        simulate(cases, 1, Path(folder) / "c")
        return cases / (time.perf_counter() - begin)


def prediction_seconds(repeats: int = 30) -> float:
    """Median seconds from a decoded case to its probability, segmentation and measuring included."""
    from model.ingest.cases import read_cohort
    from model.predict import Predictor

    predictor = Predictor.load()
    cohort = read_cohort(ROOT / "data_samples")
    cases = [cohort.case(c) for c in cohort.case_ids[:repeats]]
    predictor.predict(cases[0])
    times = []
    for case in cases:
        begin = time.perf_counter()
        predictor.predict(case)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def dashboard() -> tuple[float, float, float, float]:
    """Seconds from the start of the server to the first rendered case and to its last explanation, to come back to a case
    shown before with all its explanations, and MB."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begin = time.perf_counter()
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.headless", "true"]
    server = subprocess.Popen(
        [*command, "--server.port", str(port), "--server.address", "127.0.0.1"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            while time.perf_counter() - begin < 60:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            url = f"http://127.0.0.1:{port}/"
            page = browser.new_page()
            page.add_init_script(WATCH)
            page.goto(url)
            page.wait_for_selector(PICTURE, timeout=60_000)
            cold = time.perf_counter() - begin
            page.wait_for_selector(WATERFALL, timeout=60_000)
            explained = time.perf_counter() - begin
            again = []
            page.wait_for_selector(IDLE)
            for _ in range(5):
                _clicked(page, "Next", "Case 29 of 40")
                again.append(_clicked(page, "Previous", "Case 28 of 40"))
            browser.close()
        memory = _resident_mb(server.pid)
    finally:
        server.terminate()
        server.wait(10)
    return cold, explained, statistics.median(again), memory


def _clicked(page, button: str, place: str) -> float:  # type: ignore[no-untyped-def]
    """Seconds from a click until the case of that place is on the screen with its last explanation; by the browser's clock."""
    page.wait_for_timeout(500)
    page.evaluate("place => { window.wanted = place; }", place)
    page.get_by_role("button", name=button).click()
    page.wait_for_function("window.settled > window.clicked", polling=100)
    page.wait_for_selector(WATERFALL, timeout=1_000)
    return float(page.evaluate("window.settled - window.clicked")) / 1000


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    cold, explained, repeat, memory = dashboard()
    rows = [
        {"what": "cold start to first rendered case", "value": cold, "limit": 10.0, "unit": "s"},
        {"what": "cold start to the last explanation", "value": explained, "limit": None, "unit": "s"},
        {"what": "repeat case", "value": repeat, "limit": 1.0, "unit": "s"},
        {"what": "memory of the server", "value": memory, "limit": 1500.0, "unit": "MB"},
        {"what": "one case predicted", "value": 1000 * prediction_seconds(), "limit": 150.0, "unit": "ms"},
        {"what": "simulation", "value": simulation_rate(), "limit": 20.0, "unit": "cases/s (at least)"},
    ]
    if as_json:
        print(json.dumps(rows))
        return
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for row in rows:
        limit = "" if row["limit"] is None else f"limit {row['limit']:g}"
        print(f"{row['what']:<36}{row['value']:>10.2f} {row['unit']:<20} {limit}".rstrip())


if __name__ == "__main__":
    main()
