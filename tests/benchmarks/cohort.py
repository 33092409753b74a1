"""How fast the Cohort page is, and how much it sends: `python tests/benchmarks/cohort.py --rows N [--json]`.

One row a figure: {figure, seconds, pandas_seconds, payload_bytes, peak_mb}. `seconds` is from a filter change (or from the
file) to the figure's numbers, `pandas_seconds` the same aggregate by pandas on a table that lies in memory already, with the
same counts asserted, null where the figure needs the rows; `payload_bytes` what the figure sends to the browser; `peak_mb` the
memory that making it added at most. The table is synthetic: the shipped scored cohort repeated with every number jittered and
every outcome drawn anew, all 40 columns that `llnm predict` writes. Targets at 10⁶ and 10⁷ rows stand in `TARGETS`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from dashboard.figures import atlas as draw_atlas
from dashboard.figures import quality as draw
from dashboard.figures.lobe_map import lobe_map
from dashboard.figures.near_far import near_far
from dashboard.figures.risk_curve import distance_curve
from dashboard.figures.selecting import cases_to_select
from model.cohort.adjusted import adjusted_curve
from model.cohort.atlas import place, risk_atlas
from model.cohort.benefit import net_benefit
from model.cohort.bootstrap import cells, roc_band
from model.cohort.calibration import calibration_bins, calibration_curve
from model.cohort.cube import Aggregate
from model.cohort.curves import distance_grid, risk_curve
from model.cohort.discrimination import (
    STAGE_COLUMNS,
    auroc,
    confusion,
    operating_point,
    precision_curve,
    roc_curve,
    stage_auroc,
    staged_cases,
)
from model.cohort.evaluate import evaluate
from model.cohort.position import distance_interaction, near_and_far
from model.cohort.regression import VARIABLES, odds_ratios
from model.cohort.scores import ScoredCases
from model.cohort.selection import CATEGORIES, RANGES, Filters, Region
from model.cohort.store import CohortStore
from model.cohort.subgroups import by_group, division, gaps, heterogeneity
from model.cohort.table_one import table_one

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "data_samples" / "cohort.parquet"
CHROMIUM = "/usr/bin/chromium"

TARGETS = {
    "a filter change, all aggregate figures": {10**6: "≥ 50 × pandas", 10**7: "≥ 500 × pandas"},
    "first opening": {10**6: "≤ 1.5 s", 10**7: "≤ 6 s, ≤ 1,000 MB"},
}
ON_STEPS = (  # one after the other, as a reader narrows down
    Filters(sex=("female",)), Filters(sex=("male",)), Filters(sex=("male",), third=("upper",)),
    Filters(sex=("male",), third=("upper", "middle")), Filters(sex=("male",), age=(30, 60)), Filters(sex=("male",), age=(35, 60)),
    Filters(centre=("C", "D"), age=(35, 60)), Filters(centre=("C",), age=(35, 60)), Filters(histology=("PTC",), size=(5, 20)),
)  # fmt: skip
BETWEEN = (Filters(sex=("female",), age=(31, 58)), Filters(size=(4, 17), third=("middle", "lower")))
DRAWN = Region.drawn([0, 3.2, 2.4, 0.1], [0.5, 0.61, 0.97, 0.9])
PLACED = ("side", "third", "x_normalised", "y_normalised", "z_normalised")
SIX = ("age_years", "sex", "size_mm", "multifocal", "capsule_distance_mm", "histology")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    figure: str
    seconds: float
    pandas_seconds: float | None
    payload_bytes: int | None
    peak_mb: float


def make_table(rows: int, file: Path) -> None:
    """The same table for the same number of rows."""

    def u(k: int) -> str:
        return f"(hash(i * 64 + {k}) / 18446744073709551616.0)"

    duckdb.connect(config={"threads": 2}).execute(f"""
        COPY (WITH s AS (SELECT *, row_number() OVER () - 1 AS r FROM read_parquet('{SHIPPED}')),
        j AS (SELECT i, s.* EXCLUDE (r) FROM (SELECT range AS i, hash(range) % 2000 AS r FROM range({rows})) JOIN s USING (r)),
        p AS (SELECT *, greatest(least(1 / (1 + exp(-(logit + 0.8 * ({u(1)} - 0.5)))), 0.9999), 0.0001) AS q FROM j)
        SELECT * EXCLUDE (i, q) REPLACE (
            'c' || i AS case_id, q AS probability, ln(q / (1 - q)) AS logit, {u(2)} < q AS llnm,
            CASE WHEN {u(2)} < q THEN stage END AS stage, capsule_distance_mm * (0.9 + 0.2 * {u(3)}) AS capsule_distance_mm,
            greatest(least(age_years + floor(7 * {u(4)}) - 3, 90), 18) AS age_years,
            greatest(size_mm * (0.9 + 0.2 * {u(5)}), 1) AS size_mm, height_mm * (0.9 + 0.2 * {u(6)}) AS height_mm,
            width_mm * (0.9 + 0.2 * {u(7)}) AS width_mm)
        FROM p) TO '{file}' (FORMAT parquet)""")


def _status(name: str) -> float:
    """A line of this process's memory, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def timed(what: Callable[[], Any]) -> tuple[Any, float, float]:
    """A result, its seconds and the memory that it added at most, MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, begin = _status("VmRSS"), time.perf_counter()
    result = what()
    seconds = time.perf_counter() - begin
    return result, seconds, max(0.0, _status("VmHWM") - before)


def size(*figures: Any) -> int:
    """Bytes of figures as they are sent."""
    return sum(len(f.to_json().encode()) for f in figures)


# What every aggregate figure is drawn from, by pandas on the rows: counts that must be the same.


def passing(table: pd.DataFrame, filters: Filters) -> pd.DataFrame:
    """The rows that pass."""
    keep = np.ones(len(table), dtype=bool)
    for name in filters.used():
        value = getattr(filters, name)
        column = table[RANGES.get(name, name)]
        keep &= (column.between(*value) if name in RANGES else column.isin(value)).to_numpy()
    if filters.region is not None:
        keep &= filters.region.contains(table["capsule_distance_mm"].to_numpy(), table["probability"].to_numpy())
    return table[keep]


def bins_by_pandas(part: pd.DataFrame) -> pd.DataFrame:
    """Counts by half a millimetre."""
    step = np.floor(part["capsule_distance_mm"] * 2)
    return part.groupby(step).agg(n=("llnm", "size"), hits=("llnm", "sum"), p=("probability", "mean"))


def places_by_pandas(part: pd.DataFrame) -> pd.DataFrame:
    """Counts by side and third."""
    return part.groupby(["side", "third"], observed=True).agg(n=("llnm", "size"), hits=("llnm", "sum"), p=("probability", "mean"))


def calibration_by_pandas(part: pd.DataFrame) -> pd.DataFrame:
    """Counts by tenth of the predicted probability."""
    tenth = np.minimum(np.floor(part["probability"] * 10), 9)
    return part.groupby(tenth).agg(n=("llnm", "size"), hits=("llnm", "sum"), p=("probability", "mean"))


def all_by_pandas(table: pd.DataFrame, filters: Filters) -> tuple[int, int, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Filter, then every aggregate."""
    part = passing(table, filters)
    return len(part), int(part["llnm"].sum()), bins_by_pandas(part), places_by_pandas(part), calibration_by_pandas(part)


def all_by_store(store: CohortStore, filters: Filters) -> tuple[Aggregate, Any, Any, Any]:
    """Filter, then every aggregate, with its intervals."""
    counts = store.aggregate(filters)
    return counts, counts.distance_bins(), counts.positions(), counts.calibration()


def require_same(ours: tuple[Aggregate, Any, Any, Any], theirs: tuple[int, int, Any, Any, Any]) -> None:
    """Every count is that of pandas."""
    counts, bins, places, tenths = ours
    n, hits, their_bins, their_places, their_tenths = theirs
    assert (counts.cases, counts.positives) == (n, hits)
    found = {int(2 * b.low): (b.observed.denominator, b.observed.numerator) for b in bins}
    assert found == {int(k): (r.n, r.hits) for k, r in their_bins.iterrows()}
    for p in places:
        if p.side == "isthmus":  # of any third, and of none
            continue
        row = their_places.loc[(p.side, p.third)] if (p.side, p.third) in their_places.index else None
        assert (p.observed.denominator, p.observed.numerator) == ((0, 0) if row is None else (row.n, row.hits))
    assert [(b.observed.denominator, b.observed.numerator) for b in tenths] == [(r.n, r.hits) for r in their_tenths.itertuples()]


def aggregates(store: CohortStore, table: pd.DataFrame) -> list[Row]:
    """Figures that are drawn from counts."""
    rows = []
    cut = Filters(region=DRAWN)
    for name, filters in (
        ("a filter change, all aggregate figures", ON_STEPS),
        ("a filter between steps (database), all aggregate figures", BETWEEN),
        ("a drawn region (database), all aggregate figures", (cut,)),
    ):
        ours, theirs, peaks = [], [], []
        for one in filters:
            found, seconds, peak = timed(lambda one=one: all_by_store(store, one))
            assert found[0].from_cube == one.on_steps()
            begin = time.perf_counter()
            reference = all_by_pandas(table, one)
            theirs.append(time.perf_counter() - begin)
            require_same(found, reference)
            ours.append(seconds)
            peaks.append(peak)
        _, bins, places, tenths = found
        sent = size(distance_curve(bins, None, None), lobe_map(places), draw.calibration(tenths))
        rows.append(Row(name, statistics.median(ours), statistics.median(theirs), sent, max(peaks)))
    parts: tuple[tuple[str, Callable[[Aggregate], Any], Callable[[pd.DataFrame], Any], Callable[[Any], Any]], ...] = (
        ("distance bins", lambda a: a.distance_bins(), bins_by_pandas, lambda b: distance_curve(b, None, None)),
        ("lobe map", lambda a: a.positions(), places_by_pandas, lobe_map),
        ("calibration bins", lambda a: a.calibration(), calibration_by_pandas, draw.calibration),
    )
    for name, one, other, drawn in parts:
        found, seconds, peak = timed(lambda one=one: [one(store.aggregate(f)) for f in ON_STEPS])
        begin = time.perf_counter()
        for filters in ON_STEPS[:2]:
            other(passing(table, filters))
        by_pandas = (time.perf_counter() - begin) / 2
        rows.append(Row(name, seconds / len(ON_STEPS), by_pandas, size(drawn(found[-1])), peak))
    return rows


def of_rows(store: CohortStore) -> list[Row]:
    """Figures that need the rows: from the file to their numbers."""
    none = Filters()

    def fetched(*columns: str) -> pd.DataFrame:
        return store.rows(none, columns)

    def scored() -> ScoredCases:
        part = fetched("probability", "llnm")
        return ScoredCases.from_arrays(part["probability"].to_numpy(), part["llnm"].to_numpy())

    def smooth() -> Any:
        part = fetched("capsule_distance_mm", "probability", "llnm").dropna()
        x = part["capsule_distance_mm"].to_numpy()
        grid = distance_grid(x)
        return store.aggregate(none).distance_bins(), *(risk_curve(x, part[c].to_numpy(), grid) for c in ("llnm", "probability"))

    def adjusted() -> Any:
        part = fetched("capsule_distance_mm", "llnm", "age_years", "sex", "size_mm")
        part = part[part["capsule_distance_mm"].notna()]
        grid = distance_grid(part["capsule_distance_mm"].to_numpy())
        return adjusted_curve(part, "capsule_distance_mm", "llnm", ["age_years", "sex", "size_mm"], grid).curve

    def roc() -> Any:
        scores = scored()
        at = np.linspace(0, 1, 101)
        band = (at, *roc_band(cells(scores).draw(1000, 0), at))
        return auroc(scores.probability, scores.label), roc_curve(scores), operating_point(scores), band

    def groups() -> Any:
        part = fetched("probability", "llnm", "centre")
        scores = ScoredCases.from_arrays(part["probability"].to_numpy(), part["llnm"].to_numpy())
        by = division(part, "centre")
        assert by is not None
        found = by_group(scores, by)
        return found, heterogeneity(found), gaps(scores, by, reference=found[0].name)

    def stages() -> Any:
        predicted, stage = staged_cases(fetched("stage", *STAGE_COLUMNS, "llnm"))
        return confusion(predicted, stage), stage_auroc(predicted, stage)

    def precision() -> Any:
        scores = scored()
        return precision_curve(scores), operating_point(scores), scores.positives / len(scores)

    def calibrated() -> Any:
        scores = scored()
        return calibration_bins(scores), calibration_curve(scores)

    def atlas() -> Any:
        part = fetched(*PLACED, "llnm")
        return risk_atlas(place(part), part["llnm"])

    every = [v for v in VARIABLES if v in store.columns]
    names = ["stage 1", "stage 2", "stage 3"]
    near = ("side", "third", "capsule_distance_mm", "llnm")
    figures: tuple[tuple[str, Callable[[], Any], Callable[[Any], Sequence[Any]]], ...] = (
        ("distance curve: two splines with bands", smooth, lambda f: [distance_curve(*f)]),
        ("distance curve adjusted for age, sex, size", adjusted, lambda f: [distance_curve((), None, None, f)]),
        ("near and far by place", lambda: near_and_far(fetched(*near), 2.5), lambda f: [near_far(f, 2.5)]),
        ("place × distance, test", lambda: distance_interaction(fetched(*near)), lambda _: []),
        ("risk atlas", atlas, lambda f: [draw_atlas.atlas_figure(f)]),
        ("ROC with DeLong and band", roc, lambda f: [draw.roc(f[1], f[2], f[3])]),
        ("precision–recall", precision, lambda f: [draw.precision_recall(*f)]),
        ("headline figures with intervals", lambda: evaluate(scored()), lambda _: []),
        ("calibration, smooth", calibrated, lambda f: [draw.calibration(*f)]),
        ("decision curve and impact", lambda: net_benefit(scored(), np.arange(1, 100) / 100),
         lambda f: [draw.decision_curve(f), draw.clinical_impact(f)]),
        ("subgroups by centre with gaps", groups, lambda f: [draw.forest(f[0], f[1]), draw.gap_dots(f[2])]),
        ("stages", stages, lambda f: [draw.confusion(f[0], names)]),
        ("Table 1, six variables", lambda: table_one(fetched(*SIX, "llnm"), SIX, by="llnm"), lambda _: []),
        ("odds ratios, six variables", lambda: odds_ratios(fetched(*SIX, "llnm"), SIX), lambda _: []),
        (f"odds ratios, all {len(every)} variables", lambda: odds_ratios(fetched(*every, "llnm"), every), lambda _: []),
        ("cases to select", lambda: store.sample(none, 2000), lambda f: [cases_to_select(f)]),
    )  # fmt: skip
    rows = []
    for name, made, drawn in figures:
        found, seconds, peak = timed(made)
        rows.append(Row(name, seconds, None, size(*drawn(found)) or None, peak))
    return rows


def page(file: Path, cache: Path) -> list[Row]:
    """The whole page with every section open, in chromium: until it rests, and what came over the websocket."""
    import socket

    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from model.cli import app; app()", "serve", "--headless", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--scored", str(file)], cwd=ROOT, env=os.environ | {"LLNM_CACHE": str(cache), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    rows = []
    try:
        with sync_playwright() as p:
            for _ in range(240):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.25)
            browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for name, query in (
                ("page as it opens", "cohort=served"),
                ("page, every section open", "cohort=served&quality=1&statistics=1&atlas=1&near=1&select=1&split=sex"),
            ):
                sent = [0]
                tab = browser.new_page(viewport={"width": 1440, "height": 1000})
                tab.set_default_timeout(300_000)
                tab.on("websocket", lambda s, sent=sent: s.on(
                    "framereceived", lambda frame, sent=sent: sent.__setitem__(0, sent[0] + len(frame))))  # fmt: skip
                begin = time.perf_counter()
                tab.goto(f"http://127.0.0.1:{port}/cohort?{query}")
                tab.get_by_text("Against the doctors").wait_for()
                tab.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
                rows.append(Row(name, time.perf_counter() - begin, None, sent[0], _resident(server.pid)))
                tab.close()
            browser.close()
    finally:
        server.terminate()
        server.wait(30)
    return rows


def _resident(pid: int) -> float:
    """The most memory that a process had, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def measure(rows: int, *, file: Path | None, parts: Sequence[str]) -> list[Row]:
    """All rows of the table."""
    with tempfile.TemporaryDirectory(prefix="llnm-benchmark-") as folder:
        cache = Path(folder) / "cache"
        if file is None:
            file = Path(folder) / f"{rows}.parquet"
            make_table(rows, file)
        source = file

        def opening() -> CohortStore:
            store = CohortStore.open(source, cache=cache / "cohorts")
            store.prepare()
            return store

        store, seconds, peak = timed(opening)
        assert store.cases == rows
        found = [Row("first opening", seconds, None, None, peak)]
        _, seconds, peak = timed(store.prepare_ranges)
        found.append(Row("ages and sizes counted, beside the page", seconds, None, None, peak))
        _, seconds, peak = timed(opening)
        found.append(Row("the same content again", seconds, None, None, peak))
        if "aggregates" in parts:
            columns = [*CATEGORIES, *RANGES.values(), "capsule_distance_mm", "probability", "llnm"]
            table = pd.read_parquet(source, columns=columns).astype(dict.fromkeys(CATEGORIES, "category") | {"llnm": "int8"})
            found += aggregates(store, table)
            del table
        if "rows" in parts:
            found += of_rows(store)
        if "page" in parts and Path(CHROMIUM).exists():
            found += page(source, cache)
        return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--file", type=Path, help="A table made before, with so many rows.")
    parser.add_argument("--parts", nargs="+", default=["aggregates", "rows", "page"], choices=["aggregates", "rows", "page"])
    given = parser.parse_args()
    rows = measure(given.rows, file=given.file, parts=given.parts)
    if given.json:
        print(json.dumps([asdict(r) for r in rows], ensure_ascii=False))
        return
    print(f"{given.rows:,} rows, {os.cpu_count()} cores")
    for r in rows:
        by_pandas = "" if r.pandas_seconds is None else f"{r.pandas_seconds:9.4f} ({r.pandas_seconds / r.seconds:,.0f} ×)"
        sent = "" if r.payload_bytes is None else f"{r.payload_bytes:,}"
        target = TARGETS.get(r.figure, {}).get(given.rows, "")
        print(f"{r.figure:<58}{r.seconds:10.5f}{by_pandas:>24}{sent:>12}{r.peak_mb:8.0f}  {target}")


if __name__ == "__main__":
    main()
