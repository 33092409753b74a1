"""How fast and how large cohorts are scored: `python tests/benchmarks/scale.py [--json] [--part PART] [--cases N]`.

Parts: `network` (the networks alone, beside a plain loop and beside the machine's own matrix products), `files` (the whole way
from files to a table, beside a plain loop), `memory` (peak memory from 1,000 to 100,000 cases), `ray` (Ray beside the local
engine). Larger cohorts are the sample cases over and over under new names: every picture is read, decoded and measured each time,
but for `memory`, where rows of 100,000 cases are parsed, sharded, written and joined with figures computed once.

Rows: what, per_second (cases), ratio (to the plain loop: `Predictor.predict`, case by case), fraction_of_peak (of the matrix
products measured in the same run; operations of the plain networks as torch's FlopCounterMode counts them), peak_mb (resident
memory of the whole run). Matrix products are torch's own, `a @ b`, and a second row tells the share of the quickest there are,
with the second matrix laid out beforehand as oneDNN likes it: `a @ b` in fp32 goes to MKL, which on AMD's processors is half as
fast.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.scale.job import Precision

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SAMPLES = ROOT / "data_samples"
Row = dict[str, Any]
SECONDS = 4.0
"""Of each measurement of the networks."""


def row(what: str, per_second: float | None = None, **more: float | None) -> Row:
    return {"what": what, "per_second": per_second, "ratio": None, "fraction_of_peak": None, "peak_mb": None, **more}


def together(tasks: Sequence[str], workers: int) -> list[float]:
    """Sum of what workers do of each task a second, by turns, each with one thread and all at the same time, in processes like
    those of `llnm score`."""
    from model.scale.local import memory_kept

    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(workers), context.Queue()
    started = [context.Process(target=_work, args=(tasks, barrier, queue)) for _ in range(workers)]
    with memory_kept():
        for process in started:
            process.start()
    done = [queue.get() for _ in started]
    for process in started:
        process.join()
    return [sum(speeds) for speeds in zip(*done, strict=True)]


def _work(tasks: Sequence[str], barrier: Any, queue: Any) -> None:
    import torch

    torch.set_num_threads(1)
    made = [_tasks()[task]() for task in tasks]
    best = [0.0 for _ in tasks]
    with torch.inference_mode():
        for call, _ in made:
            call()
        barrier.wait()
        until = time.perf_counter() + SECONDS * len(tasks)
        while time.perf_counter() < until:
            for i, (call, units) in enumerate(made):
                at = time.perf_counter()
                call()
                best[i] = max(best[i], units / (time.perf_counter() - at))
    queue.put(best)


def _tasks() -> dict[str, Callable[[], tuple[Callable[[], Any], float]]]:
    import torch

    def product(kind: Any, *, quickest: bool = False) -> Callable[[], tuple[Callable[[], Any], float]]:
        def made() -> tuple[Callable[[], Any], float]:
            a, b = (torch.randn(2048, 2048).to(kind) for _ in range(2))
            laid = torch.ops.mkldnn._reorder_linear_weight(b, None)
            ways = (lambda: a @ b, lambda: torch.ops.mkldnn._linear_pointwise(a, laid, None, "none", [], ""))
            ways = ways if quickest else ways[:1]
            return min(ways, key=lambda way: min(timeit.repeat(way, number=1, repeat=5))), 2 * 2048**3 / 1e9

        return made

    return {
        "fp32": product(torch.float32), "fp32, quickest": product(torch.float32, quickest=True),
        "bf16": product(torch.bfloat16), "bf16, quickest": product(torch.bfloat16, quickest=True),
        "networks in fp32": partial(_networks, quick="fp32"), "networks in bf16": partial(_networks, quick="bf16"),
    }  # fmt: skip


def _networks(*, batch: int = 32, quick: Precision | None = None) -> tuple[Callable[[], Any], float]:
    """Both networks, quick ones or plain, over a batch of cases that were read and measured before."""
    from model import Predictor, read_cohort
    from model.scale.fast import fast

    predictor = Predictor.load(device="cpu")
    cohort = read_cohort(SAMPLES)
    cases = [cohort.case(c) for c in cohort.case_ids[:batch]]
    inputs, pictures = predictor.encode(predictor.measure(cases)), _pictures(cases)
    used = predictor if quick is None else fast(predictor, quick)

    def call() -> None:
        for part in pictures.split(16):  # as `model.segment.segment` does
            used.segmentation(part)
        used.net(inputs)

    return call, float(len(cases))


def _pictures(cases: list[Any]) -> Any:
    import numpy as np
    import torch

    from model.segment import network_input

    return torch.from_numpy(np.stack([network_input(v.pixels) for case in cases for v in case.images.values()]))[
        :, None
    ]


def operations() -> float:
    """GFLOP of both networks for a case."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    call, cases = _networks()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / cases / 1e9


def network_rows(workers: int) -> Iterator[Row]:
    import torch

    torch.set_num_threads(workers)
    kinds: tuple[Precision, ...] = ("fp32", "bf16")
    found = {k: together([k, f"{k}, quickest", f"networks in {k}"], workers) for k in kinds}
    flops = operations()
    call, _ = _networks(batch=1)
    with torch.inference_mode():
        call()
        times = []
        until = time.perf_counter() + SECONDS
        while time.perf_counter() < until:
            at = time.perf_counter()
            call()
            times.append(time.perf_counter() - at)
    loop = 1 / statistics.median(times)
    for kind, (peak, quickest, _) in found.items():
        yield row(f"matrix products, {kind}, GFLOP/s on {workers} cores", peak)
        yield row(f"the quickest matrix products, {kind}, GFLOP/s on {workers} cores", quickest, ratio=quickest / peak)
    yield row("networks only, plain loop over cases", loop, ratio=1.0, fraction_of_peak=loop * flops / found["fp32"][0])
    for kind, (peak, quickest, ours) in found.items():
        what = f"networks only, as llnm score --precision {kind} runs them"
        yield row(what, ours, ratio=ours / loop, fraction_of_peak=ours * flops / peak)
        yield row(f"{what}, of the quickest products", ours, ratio=ours / loop, fraction_of_peak=ours * flops / quickest)


def repeated(folder: Path, cases: int) -> Path:
    """A table of the sample cases over and over, without their true masks, in a folder that links to their pictures."""
    (folder / "images").mkdir(parents=True)
    for file in (SAMPLES / "images").iterdir():
        # Copies by hard link: pictures may not lie outside a cohort's folder.
        try:
            os.link(file, folder / "images" / file.name)
        except OSError:
            (folder / "images" / file.name).write_bytes(file.read_bytes())
    with (
        (SAMPLES / "cases.csv").open(newline="", encoding="utf-8") as source,
        (folder / "cases.csv").open("w", newline="", encoding="utf-8") as to,
    ):
        reader = csv.DictReader(source)
        kept = [name for name in reader.fieldnames or () if "mask" not in name]
        rows, writer = list(reader), csv.DictWriter(to, kept, extrasaction="ignore")
        writer.writeheader()
        for i in range(cases):
            given = rows[i % len(rows)]
            writer.writerow({**given, "case_id": f"{given['case_id']}-{i // len(rows)}"})
    (folder / "cohort.json").write_text('{"provenance": "synthetic"}')
    return folder


def file_rows(cases: int, workers: int) -> Iterator[Row]:
    from model import Predictor, read_cohort

    with tempfile.TemporaryDirectory() as place:
        folder = repeated(Path(place) / "c", cases)
        predictor, cohort = Predictor.load(device="cpu"), read_cohort(folder)
        predictor.predict(cohort.case(cohort.case_ids[0]))
        times = []
        for case_id in cohort.case_ids[:60]:
            at = time.perf_counter()
            predictor.predict(cohort.case(case_id))
            times.append(time.perf_counter() - at)
        loop = 1 / statistics.median(times)
        yield row("from files, plain loop over cases", loop, ratio=1.0)
        for precision in ("fp32", "bf16"):
            done: list[tuple[float, int]] = []
            progress = partial(lambda told, n, _: told.append((time.perf_counter(), n)), done)
            begin = time.perf_counter()
            _score(folder, Path(place) / f"{precision}.parquet", workers, progress=progress, shard=64, precision=precision)
            whole = cases / (time.perf_counter() - begin)
            started, ended = next(d for d in done if d[1] > 0), done[-1]
            steady = (ended[1] - started[1]) / (ended[0] - started[0])
            what = f"from files, llnm score --precision {precision}, {cases:,} cases"
            yield row(f"{what}, once started", steady, ratio=steady / loop)
            yield row(f"{what}, start included", whole, ratio=whole / loop)


def _score(folder: Path, out: Path, workers: int, **options: Any) -> None:
    from model.scale.score import score

    score(folder, out, workers=workers, **options)


def memory_rows(sizes: tuple[int, ...]) -> Iterator[Row]:
    for size in sizes:
        yield _alone("_virtual_memory", size)
    yield _alone("_real_memory", 400)


def _alone(function: str, cases: int) -> Row:
    """A row measured in a process of its own, since memory once taken is not told from memory in use."""
    here = str(Path(__file__).parent)
    code = f"import json, sys; sys.path.insert(0, {here!r}); import scale; print(json.dumps(scale.{function}({cases})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def _virtual_memory(cases: int) -> Row:
    """The whole run but for the networks: figures of the samples are computed once and given to each of their repeats."""
    import pandas as pd

    from model.scale import shard

    figures = {r["case_id"]: r for r in pd.read_parquet(SAMPLES / "scored.parquet").astype(object).to_dict("records")}
    figures = {k: {n: None if v is None or v != v else v for n, v in r.items()} for k, r in figures.items()}

    def scored(_: Any, reading: Any, **__: Any) -> Any:
        names = list(reading.cohort.case_ids)
        return shard.Scored([{**figures[n.rsplit("-", 1)[0]], "case_id": n} for n in names], [])

    shard.score_cases = scored  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as place:
        folder = repeated(Path(place) / "c", cases)
        begin = time.perf_counter()
        _score(folder, Path(place) / "out.parquet", 1)
        took = time.perf_counter() - begin
    return row(f"memory, {cases:,} cases repeated, networks left out", cases / took, peak_mb=_peak())


def _real_memory(cases: int) -> Row:
    with tempfile.TemporaryDirectory() as place:
        folder = repeated(Path(place) / "c", cases)
        begin = time.perf_counter()
        _score(folder, Path(place) / "out.parquet", 1)
        took = time.perf_counter() - begin
    return row(f"memory, {cases:,} cases from files, one process", cases / took, peak_mb=_peak())


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ray_rows(cases: int, workers: int) -> Iterator[Row]:
    if importlib.util.find_spec("ray") is None:
        yield row("Ray: not installed (pip install 'llnm-explorer[ray]')")
        return
    taken = {}
    with tempfile.TemporaryDirectory() as place:
        folder = repeated(Path(place) / "c", cases)
        for engine in ("local", "ray"):
            begin = time.perf_counter()
            _score(folder, Path(place) / f"{engine}.parquet", workers, engine=engine)
            taken[engine] = time.perf_counter() - begin
    yield row(f"local engine, {cases:,} cases from files", cases / taken["local"], ratio=1.0)
    yield row(
        f"Ray engine, {cases:,} cases from files; ratio of the times",
        cases / taken["ray"],
        ratio=taken["ray"] / taken["local"],
    )


def import_rows() -> Iterator[Row]:
    """Rows of `scale_import.py`."""
    file = Path(__file__).with_name("scale_import.py")
    if file.exists():
        spec = importlib.util.spec_from_file_location("scale_import", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from module.rows()


def main() -> None:
    from model.processes import cores

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parts = {
        "network": lambda o: network_rows(o.workers), "files": lambda o: file_rows(min(o.cases, 1000), o.workers),
        "memory": lambda _: memory_rows((1_000, 10_000, 100_000)), "ray": lambda o: ray_rows(o.cases, o.workers),
        "import": lambda _: import_rows(),
    }  # fmt: skip
    parser.add_argument("--part", choices=list(parts), action="append")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=cores())
    options = parser.parse_args()
    found = []
    for part in options.part or parts:
        for one in parts[part](options):
            found.append(one)
            if not options.json:
                told = [
                    f"{one[k]:.3g}" if one[k] is not None else "–"
                    for k in ("per_second", "ratio", "fraction_of_peak", "peak_mb")
                ]
                print(f"{one['what']:<86}" + "".join(f"{t:>10}" for t in told), flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
