"""An import as a whole: dry, again, killed, resumed, refused."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from model.cli import app
from model.errors import CaseError
from model.importing import rows as rows_module
from model.importing.manifest import open_manifest
from model.importing.mapping import mapping_of
from model.importing.run import Imported, import_cohort
from model.importing.sources import Uploads
from model.importing.stage import staged_at
from model.ingest.cases import read_cohort
from tests.model.importing.conftest import speckle, write_table


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def export(folder: Path, count: int, **columns: list[Any]) -> Path:
    """An export of `count` patients with one of eight pictures each, and further columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(min(count, 8)):
        Image.fromarray(speckle(i)).save(folder / f"s{i}.png")
    rows = [
        [f"K{i:05d}", 30 + i % 40, "F" if i % 3 else "M", f"s{i % 8}.png", "yes" if i % 4 == 0 else "no"]
        for i in range(count)
    ]
    rows = [[*row, *(values[i] for values in columns.values())] for i, row in enumerate(rows)]
    return write_table(folder / "m.csv", ["Patient ID", "Age", "Gender", "Image", "LLNM", *columns], rows)


def test_a_dry_run_tells_everything_by_row_and_writes_no_cohort(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 12)
    lines = manifest.read_text().splitlines()
    lines[3] = lines[3].replace(",32,", ",320,")  # row 4: no age
    lines[5] = lines[5].replace("s4.png", "gone.png")  # row 6: no picture
    lines[7] = "K00006,,,gone.png,yes"  # row 8: nothing to read
    manifest.write_text("\n".join(lines))
    done = run(manifest, dry=True)
    assert (done.taken, done.dropped) == (11, 1)
    assert not (tmp_path / "cohort").exists()
    assert not (tmp_path / "cohort.key").exists()
    assert not staged_at(tmp_path / "cohort").exists()
    assert done.rows_file is not None
    told = pd.read_csv(done.rows_file, keep_default_na=False).values.tolist()
    assert told == [
        [4, "Age", "left out", "not a number from 18 to 110 years"],
        [6, "Image", "left out", "the file is missing"],
        [8, "Image", "left out", "the file is missing"],
        [8, "", "row dropped", "nothing to read: no picture, no report, no field"],
    ]
    real = run(manifest)
    assert (real.taken, real.dropped, real.told) == (done.taken, done.dropped, done.told)


def test_the_same_command_twice_changes_no_byte(
    tmp_path: Path, run: Callable[..., Imported], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = export(tmp_path / "export", 10)
    first = run(manifest)
    before = files_of(tmp_path / "cohort")
    monkeypatch.setattr(rows_module, "read_picture", lambda *_: pytest.fail("a picture was read again"))
    second = run(manifest)
    assert not first.unchanged
    assert second.unchanged
    assert second.taken == 10
    assert files_of(tmp_path / "cohort") == before
    # Another export is not written over it.
    manifest.write_text(manifest.read_text().replace(",30,", ",31,"))
    with pytest.raises(CaseError, match="another cohort is there"):
        run(manifest)
    assert files_of(tmp_path / "cohort") == before


def test_processes_give_the_bytes_of_one(
    tmp_path: Path, run: Callable[..., Imported], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.importing.run._FEW", 0)
    manifest = export(tmp_path / "export", 20)
    run(manifest)
    run(manifest, out=tmp_path / "two", key_file=tmp_path / "cohort.key", workers=2)
    one, two = files_of(tmp_path / "cohort"), files_of(tmp_path / "two")
    assert one.keys() == two.keys()
    assert {k for k in one if one[k] != two[k]} == {"cohort.json"}  # its name is the folder's
    assert json.loads(two["cohort.json"]) | {"name": "cohort"} == json.loads(one["cohort.json"])


def test_kill_9_leaves_no_cohort_and_the_same_command_goes_on(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 240)
    out = tmp_path / "cohort"
    command = [
        sys.executable,
        "-c",
        "from model.cli import app; app()",
        "import",
        str(manifest),
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    images = staged_at(out) / "images"
    try:
        deadline = time.monotonic() + 60
        while not images.exists() or len(os.listdir(images)) < 30:
            assert time.monotonic() < deadline
            assert process.poll() is None, "done before it could be killed"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    with pytest.raises(CaseError):
        read_cohort(out)
    written = len(list(images.iterdir()))
    assert written < 240
    said: list[tuple[str, int]] = []
    done = run(manifest, progress=lambda what, n, _total: said.append((what, n)))
    assert done.taken == 240
    kept = next(n for what, n in said if what == "cases")
    assert kept >= written - 8  # but for the rows that were under way
    run(manifest, out=tmp_path / "fresh", key_file=tmp_path / "cohort.key")
    one, two = files_of(out), files_of(tmp_path / "fresh")
    assert {k: v for k, v in one.items() if k != "cohort.json"} == {k: v for k, v in two.items() if k != "cohort.json"}
    assert len(read_cohort(out)) == 240


def test_a_full_disk_is_told_and_leaves_no_cohort(
    tmp_path: Path, run: Callable[..., Imported], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = export(tmp_path / "export", 12)
    real, count = rows_module._write, []

    def full(path: Path, data: bytes) -> None:
        count.append(path)
        if len(count) > 9:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)

    monkeypatch.setattr(rows_module, "_write", full)
    with pytest.raises(CaseError, match="the disk is full") as told:
        run(manifest)
    assert "goes on where it stopped" in told.value.fix
    assert not (tmp_path / "cohort").exists()
    monkeypatch.setattr(rows_module, "_write", real)
    assert run(manifest).taken == 12


def test_a_decoder_that_dies_costs_its_row_alone(
    tmp_path: Path, run: Callable[..., Imported], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segmentation fault cannot be caught; here a worker process ends itself on one row."""
    monkeypatch.setattr("model.importing.run._FEW", 0)
    manifest = export(tmp_path / "export", 10)
    monkeypatch.setattr("model.importing.run.start", _start_that_dies)
    done = run(manifest, workers=2)
    assert (done.taken, done.dropped) == (9, 1)
    assert [t["first_row"] for t in done.told if t["effect"] == "row dropped"] == [7]


def _start_that_dies(plan: Any, out: Path | None) -> None:
    from model.importing import work

    real = work.do_row

    def dies(plan: Any, job: Any, out: Path | None) -> Any:
        if job.row == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(plan, job, out)

    work.do_row = dies
    work.start(plan, out)


def test_another_import_of_the_same_folder_is_refused(tmp_path: Path, run: Callable[..., Imported]) -> None:
    from model.importing.stage import Stage

    manifest = export(tmp_path / "export", 3)
    held = Stage(staged_at(tmp_path / "cohort"), "other")
    try:
        with pytest.raises(CaseError, match="another import writes there"):
            run(manifest)
    finally:
        held.close()
    assert run(manifest).taken == 3


def test_a_patient_in_two_splits_is_refused(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 6, Split=["train", "test", "train", "val", "train", "test"])
    manifest.write_text(manifest.read_text().replace("K00005", "K00000"))
    with pytest.raises(CaseError, match="the patient of row 2 is in another split in row 7"):
        run(manifest, dry=True)
    manifest.write_text(manifest.read_text().replace(",test", ",train"))
    run(manifest)
    cohort = read_cohort(tmp_path / "cohort")
    assert cohort.table["split"].value_counts().to_dict() == {"train": 5, "validation": 1, "test": 0}
    twice = cohort.table["patient"].value_counts()
    assert sorted(twice) == [1, 1, 1, 1, 2]
    same = cohort.table.loc[cohort.table["patient"] == twice.idxmax(), "case_id"]
    assert sorted(i.rsplit("-", 1)[1] for i in same) == ["1", "2"]


def test_near_identical_pictures_of_two_patients_are_found(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 6)
    brighter = (speckle(2).astype(float) * 1.1 + 4).clip(0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(tmp_path / "export" / "s5.jpg", quality=80)
    manifest.write_text(manifest.read_text().replace("s5.png", "s5.jpg"))
    done = run(manifest)
    assert [pair["rows"] for pair in done.near] == [[4, 7]]
    quality = json.loads((tmp_path / "cohort" / "quality.json").read_text())
    assert len(quality["near"]) == 1
    assert any("near-identical" in notice for notice in quality["notices"])


def test_one_class_and_one_patient_are_said(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 4)
    text = manifest.read_text()
    manifest.write_text(text.replace(",yes", ",no"))
    assert any("All 4 rows with an outcome are negative" in n for n in run(manifest, dry=True).survey.notices)
    manifest.write_text("\n".join(text.splitlines()[:2]))
    assert "All rows are of one patient." in run(manifest, dry=True).survey.notices


def test_what_predicts_the_outcome_perfectly_is_questioned(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 40, Marker=["high" if i % 4 == 0 else "low" for i in range(40)])
    dry = run(manifest, dry=True)
    assert [q.column for q in dry.survey.questions] == ["Marker"]
    with pytest.raises(
        CaseError, match=r"column Marker: predicts the outcome almost perfectly by itself \(AUROC 1.000\)"
    ):
        run(manifest)
    assert not (tmp_path / "cohort").exists()
    from model.importing.manifest import open_manifest
    from model.importing.mapping import to_dict
    from model.importing.profile import profiles
    from model.importing.propose import propose

    opened = open_manifest(manifest, manifest.name)
    mapping = to_dict(propose(opened, profiles(opened.header, opened.rows(), opened.separator)[0]))
    assert run(manifest, {**mapping, "confirmed": ["Marker"]}).taken == 40


def test_what_is_only_filled_for_one_class_is_questioned(tmp_path: Path, run: Callable[..., Imported]) -> None:
    values = [12.5 + i / 10 if i % 4 == 0 else "" for i in range(40)]
    manifest = export(tmp_path / "export", 40, Ratio=values)
    assert [q.column for q in run(manifest, dry=True).survey.questions] == ["Ratio"]


def test_mixed_units_are_questioned(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 12, Size=[1.1, 12, 9, 0.8, 14, 1.7, 22, 31, 8, 1.2, 7, 9])
    with pytest.raises(
        CaseError, match=r"column Size: seems to mix cm and mm: 4 values are under 2 .*row 2.*8 are over 6"
    ):
        run(manifest)
    with_units = export(tmp_path / "clear", 3, Size=["1.1 cm", "12 mm", "0,9cm"])
    run(with_units)
    assert sorted(read_cohort(tmp_path / "cohort").table["size_mm"]) == [9, 11, 12]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Gender": {"to": "age_years"}}, "2 columns are mapped to age_years: Age, Gender; keep one"),
        ({"Stage": {"to": "own", "name": "x", "label": "X", "kind": "flag"}}, "known only after surgery or follow-up"),
        ({"Recurred": {"to": "multifocal"}}, "known only after surgery or follow-up"),
        ({"Gender": {"to": "gender"}}, "there is no field 'gender'"),
        ({"Sex": {"to": "sex"}}, r"column 'Sex' is not in the table"),
        ({"Age": {"to": "age_years", "unit": "cm"}}, "unit 'cm'; give one of years"),
        ({"Image": {"to": "own", "name": "n", "label": "Dr. Pemberton", "kind": "flag"}}, "look like a name"),
        ({"Gender": {"to": "birth_date"}}, "an age needs both birth_date and exam_date"),
    ],
)
def test_a_mapping_that_cannot_be_followed_is_refused(
    tmp_path: Path, run: Callable[..., Imported], change: dict[str, Any], words: str
) -> None:
    manifest = export(tmp_path / "export", 4, Stage=list("1212"), Recurred=["yes", "no", "no", "no"])
    columns = {
        "Patient ID": {"to": "patient"},
        "Age": {"to": "age_years"},
        "Image": {"to": "image_transverse"},
        "LLNM": {"to": "endpoint"},
    }
    with pytest.raises(CaseError, match=words):
        run(manifest, {"columns": columns | change})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export"]


def test_an_endpoint_of_ones_own_and_fields_of_ones_own(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 8, TSH=[f"{i},5" for i in range(8)], Diagnosis=["malign", "benign"] * 4)
    mapping = {
        "endpoint": {"name": "malignant", "label": "Malignancy", "short": "malignancy", "help": "Cancer in the specimen."},
        "columns": {
            "Patient ID": {"to": "patient"}, "Diagnosis": {"to": "endpoint", "values": {"malign": "yes", "*": "no"}},
            "TSH": {"to": "own", "name": "tsh", "label": "TSH", "kind": "number", "unit": "mIU/L", "low": 0, "high": 100},
        },
    }  # fmt: skip
    run(manifest, mapping)
    cohort = read_cohort(tmp_path / "cohort")
    assert cohort.schema.endpoint.label == "Malignancy"
    assert sorted(cohort.table["tsh"]) == [i + 0.5 for i in range(8)]
    assert cohort.table["malignant"].sum() == 4
    assert not cohort.table["image_transverse"].any()
    assert cohort.schema.by_name["tsh"].unit == "mIU/L"


def test_missing_and_damaged_files_of_every_kind(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 8)
    folder = manifest.parent
    (folder / "s1.png").write_bytes(b"")
    (folder / "s2.png").write_bytes((folder / "s3.png").read_bytes()[:4000])
    (folder / "s4.png").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 300)
    Image.new("L", (300, 200), 7).save(folder / "s5.png")
    (folder / "s6.png").unlink()
    (tmp_path / "outside.png").write_bytes((folder / "s7.png").read_bytes())
    manifest.write_text(manifest.read_text().replace("s7.png", "../outside.png"))
    done = run(manifest)
    assert done.taken == 8  # each still has age and sex
    told = {t["first_row"]: t["what"] for t in done.told if t["column"] == "Image"}
    assert told[3] == "the file is empty"
    assert "truncated" in told[4]
    assert "DICOM" in told[6]
    assert "no contrast" in told[7]
    assert told[8] == "the file is missing"
    assert "outside" in told[9]
    assert (read_cohort(tmp_path / "cohort").table["image_transverse"] != "").sum() == 2


def test_the_key_is_guarded(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = export(tmp_path / "export", 3)
    with pytest.raises(CaseError, match="the key lies in the cohort"):
        run(manifest, key_file=tmp_path / "cohort" / "key")
    open_to_all = tmp_path / "open.key"
    open_to_all.write_text("llnm-key-1:" + "0" * 64)
    open_to_all.chmod(0o644)
    with pytest.raises(CaseError, match="others can read the key"):
        run(manifest, key_file=open_to_all)
    open_to_all.chmod(0o600)
    run(manifest, key_file=open_to_all)
    (tmp_path / "cohort.key").unlink(missing_ok=True)
    with pytest.raises(CaseError, match="a cohort is there, but not its key"):
        run(manifest)


def test_the_real_public_table_by_one_command(tmp_path: Path) -> None:
    raw = Path(__file__).resolve().parents[4] / "shared" / "data" / "uci_thyroid" / "Thyroid_Diff.csv"
    if not raw.exists():
        pytest.skip("no ../shared/data here")
    out = tmp_path / "uci"
    done = CliRunner().invoke(app, ["import", str(raw), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["survey"]["positives"] == 93
    assert said["taken"] == 383
    left_out = {c for c, entry in said["mapping"]["columns"].items() if not entry["to"]}
    assert left_out == {"Risk", "M", "Stage", "Response", "Recurred"}
    cohort = read_cohort(out)
    assert int(cohort.table["llnm"].sum()) == 93
    assert cohort.table["adenopathy"].value_counts()["No"] == 277
    assert cohort.table["age_years"].min() == 15
    text = (out / "cases.csv").read_text() + (out / "cohort.json").read_text()
    assert not any(word in text for word in ("Recurred", "Indeterminate", "Excellent", "N1a"))


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, run: Callable[..., Imported]) -> None:
    manifest = write_table(tmp_path / "export" / "m.csv", ["Patient ID", "Age"], [["a", 40]])
    (tmp_path / "file").write_text("x")
    with pytest.raises(CaseError, match="cannot be written"):
        run(manifest, out=tmp_path / "file" / "cohort")
    with pytest.raises(CaseError, match="a file of this name is there"):
        run(manifest, out=tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export", "file"]


def test_a_message_begins_a_line_of_its_own(tmp_path: Path) -> None:
    rows = [[f"p{i}", "hi" if i % 2 else "lo", "yes" if i % 2 else "no"] for i in range(24)]
    manifest = write_table(tmp_path / "export" / "m.csv", ["Patient ID", "Marker", "LLNM"], rows)
    done = CliRunner().invoke(app, ["import", str(manifest), "--out", str(tmp_path / "cohort")])
    assert done.exit_code == 1
    assert "\nmapping: column Marker: predicts" in done.output.replace("\r", "\n")
    assert ".." not in done.output


def test_an_upload_does_not_give_one_patients_picture_to_another(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(speckle(1)).save(stream, "PNG")
    table = b"Patient ID,Age,Image\na,40,p1/1.png\nb,41,p2/1.png\nc,42,p3\\2.png\n"
    opened = open_manifest(table, "m.csv")
    targets = {"Patient ID": "patient", "Age": "age_years", "Image": "image_transverse"}
    agreed = mapping_of({"columns": {name: {"to": to} for name, to in targets.items()}})
    files = Uploads({"1.png": stream.getvalue(), "2.png": stream.getvalue()})
    for unchanged in (False, True):
        done = import_cohort(opened, agreed, files, tmp_path / "cohort", key_file=tmp_path / "key", workers=1)
        assert done.unchanged == unchanged
    table_of = read_cohort(tmp_path / "cohort").table
    assert sorted(table_of.loc[table_of["image_transverse"] != "", "age_years"]) == [42]
