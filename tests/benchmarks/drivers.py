"""How quickly an explained cohort opens: `python tests/benchmarks/drivers.py [--json] [--cases N]`.

The Cohort page itself with “What drives it” open, run as Streamlit runs it but for the browser, on N explained cases: the
shipped cohort over and over, under new names and with a little noise in its contributions and probabilities. Nothing is kept from
before: the table is validated, counted, read, and every figure of the section is computed and drawn.

Rows: what, cases, seconds, payload_bytes (JSON of all figures of the page), peak_mb. Others, for 10,000 × 15 and a random forest:
explainerdashboard 493 s, shapash 21 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SHIPPED = ROOT / "data_samples" / "cohort.parquet"


def repeated(cases: int, to: Path) -> Path:
    """A table of so many explained cases."""
    source = pq.read_table(SHIPPED)
    rng = np.random.default_rng(0)
    rows = np.arange(cases) % source.num_rows
    frame = source.to_pandas().iloc[rows].reset_index(drop=True)
    frame["case_id"] = [f"{case}-{i // source.num_rows}" for i, case in enumerate(frame["case_id"])]
    for name in [c for c in frame if c.startswith("shap_") and c != "shap_base"]:
        frame[name] += rng.normal(0, 0.05, cases)
    frame["logit"] = frame.filter(like="shap_").sum(axis=1)
    frame["probability"] = 1 / (1 + np.exp(-frame["logit"]))
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(source.schema.metadata), to
    )
    return to


def opened(table: Path) -> tuple[float, int]:
    """Seconds until the page is there, and bytes of its figures."""
    from streamlit.testing.v1 import AppTest

    from dashboard import resources

    resources.EXTERNAL_SCORES = table
    app = AppTest.from_file(str(ROOT / "dashboard" / "screens" / "cohort.py"), default_timeout=600)
    app.query_params["drivers"] = "1"
    begin = time.perf_counter()
    app.run()
    took = time.perf_counter() - begin
    assert not app.exception, app.exception
    assert any("explained cases" in c.value for c in app.caption)
    return took, sum(len(f.proto.spec) for f in app.get("plotly_chart"))


def rows(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """One row a size."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        for cases in sizes:
            seconds, payload = opened(repeated(cases, Path(place) / f"{cases}.parquet"))
            found.append(
                {
                    "what": "Cohort page with “What drives it”, first opening", "cases": cases, "seconds": seconds,
                    "payload_bytes": payload, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                }
            )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cases", type=int, action="append")
    options = parser.parse_args()
    found = rows(tuple(options.cases or (10_000, 100_000)))
    print(json.dumps(found) if options.json else pd.DataFrame(found).to_string(index=False))


if __name__ == "__main__":
    main()
