"""How fast an import is, and what it holds in memory: `python tests/benchmarks/scale_import.py [--json] [--cases 2000]`.

An export of simulated PNG pictures (one transverse view a case, as most exports have) and a report is imported as `llnm import`
does: decoded, searched for burnt-in text, scrubbed, written. `ratio` is to the limit of 100 cases a second; the second row is
ten times the cases of the first in the same memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT = 100.0  # cases a second


def export(folder: Path, cases: int, drawn: int = 120) -> Path:
    """An export of `cases` cases whose pictures repeat `drawn` simulated ones."""
    from model.simulate.cohort import simulate

    made = simulate(min(cases, drawn), 11, folder / "simulated")
    with (made / "cases.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = folder / "export"
    images.mkdir()
    header = ["MRN", "Name", "Age", "Gender", "Size (mm)", "Report", "Image", "LLNM"]
    with (images / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for i in range(cases):
            row = rows[i % len(rows)]
            name = f"p{i:06d}.png"
            (images / name).hardlink_to(made / row["image_transverse"])
            writer.writerow(
                [
                    f"{4_000_000 + i}",
                    f"Name{i} Given{i}",
                    row["age_years"],
                    row["sex"],
                    row["size_mm"],
                    row["report_text"],
                    name,
                    row["llnm"],
                ]
            )
    return images / "manifest.csv"


def imported(manifest: Path, out: Path) -> tuple[float, float]:
    """Seconds of an import, and the most MB that any of its processes held."""
    command = [sys.executable, __file__, "--one", str(manifest), str(out)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = json.loads(said)
    return float(seconds), float(peak)


def _import(manifest: Path, out: Path) -> tuple[float, float]:
    from model.importing.keys import key_beside
    from model.importing.manifest import open_manifest
    from model.importing.profile import profiles
    from model.importing.propose import propose
    from model.importing.run import import_cohort
    from model.importing.sources import Folder

    begin = time.perf_counter()
    opened = open_manifest(manifest, manifest.name)
    agreed = propose(opened, profiles(opened.header, opened.rows(), opened.separator)[0])
    done = import_cohort(opened, agreed, Folder(manifest.parent), out, key_file=key_beside(out))
    seconds = time.perf_counter() - begin
    assert done.dropped == 0
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return seconds, max(own, children) / 1024


def rows(cases: int = 2000) -> list[dict[str, Any]]:
    """Rows of `scale.py`: a tenth of the cases, and all."""
    found = []
    for count in (max(100, cases // 10), cases):
        folder = Path(tempfile.mkdtemp(prefix="llnm-scale-"))
        try:
            seconds, peak = imported(export(folder, count), folder / "cohort")
        finally:
            shutil.rmtree(folder)
        rate = count / seconds
        found.append(
            {
                "what": f"import, {count:,} PNG cases",
                "per_second": round(rate, 1),
                "ratio": round(rate / LIMIT, 2),
                "fraction_of_peak": None,
                "peak_mb": round(peak),
            }
        )
    return found


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument(
        "--one", nargs=2, type=Path, metavar=("MANIFEST", "OUT"), help="one import, measured in this process"
    )
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_import(*given.one)))
        return
    found = rows(given.cases)
    for row in found:
        print(json.dumps(row) if given.json else "  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
