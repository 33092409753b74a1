"""The Import page without a browser: what it tells of bad tables and mappings, and DICOM on the Case page's form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.test_pages import opened, words
from tests.model.ingest.test_ingest_dicom import file_of, region, saved, tissue

ROWS = [
    f"p{i},{30 + i},{'F' if i % 3 else 'M'},{'high' if i % 4 == 0 else 'low'},{'yes' if i % 4 == 0 else 'no'}"
    for i in range(24)
]
TABLE = "\n".join(["Patient ID,Age,Gender,Marker,LLNM", *ROWS])


@pytest.fixture(autouse=True)
def _cohorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLNM_COHORTS", str(tmp_path / "cohorts"))


def uploaded(text: str, name: str = "export.csv") -> AppTest:
    app = opened("import_cohort")
    return app.file_uploader(key="import-table").upload(name, text.encode(), "text/csv").run()


def key_of(app: AppTest, ending: str) -> str:
    return next(str(w.key) for w in app.selectbox if str(w.key).endswith(ending))


def test_a_table_that_is_none_is_told() -> None:
    app = uploaded("a,a\n1,2\n")
    assert not app.exception
    assert "columns given twice: a" in words(app)


def test_a_leak_is_asked_for_answered_and_imported(tmp_path: Path) -> None:
    app = uploaded(TABLE)
    assert "24 rows, 5 columns, 0 files" in words(app)
    app.button(key="import-run").click().run()
    assert "Marker: predicts the outcome almost perfectly" in words(app)
    assert "press the button below" in words(app)
    assert app.button(key="import-confirm-Marker")  # the answer is at hand here, too
    assert not (tmp_path / "cohorts" / "my-cohort").exists()
    app.button(key="import-dry").click().run()
    assert "1 question must be answered" in words(app)
    app.button(key="import-confirm-Marker").click().run()
    app.button(key="import-run").click().run()
    assert not app.exception
    assert (tmp_path / "cohorts" / "my-cohort" / "cases.csv").is_file()
    assert "All rows are" not in words(app)
    assert "Data quality" in words(app)
    assert "this cohort has none: train a model of your own" in words(app)


def test_two_questions_about_one_column_have_one_answer() -> None:
    sizes = ["0.8", "12", "0.9", "22", "9", "14"]
    rows = [f"p{i},{sizes[i % 6]},{'yes' if i % 5 == 0 else 'no'}" for i in range(24)]
    app = uploaded("\n".join(["Patient ID,Size,LLNM", *rows]))
    app.button(key="import-run").click().run()
    assert not app.exception
    assert "Size: seems to mix cm and mm" in words(app)
    assert "Size: 8 of 24 cells do not fit" in words(app)
    app.button(key="import-confirm-Size").click().run()
    app.button(key="import-run").click().run()
    assert "Data quality" in words(app)


def test_an_outcome_without_a_name_is_not_taken_for_lateral_metastasis(tmp_path: Path) -> None:
    app = uploaded(TABLE)
    app.toggle[0].set_value(True).run()
    app.button(key="import-run").click().run()
    assert not app.exception
    assert "has no name" in words(app)
    assert not (tmp_path / "cohorts" / "my-cohort").exists()


def test_two_files_of_one_name_are_not_confused() -> None:
    app = opened("import_cohort")
    box = app.file_uploader(key="import-files")
    box.upload("1.png", b"one", "image/png").upload("1.png", b"two", "image/png").run()  # as two patients' folders give them
    app.file_uploader(key="import-table").upload("m.csv", b"Patient ID,Image\na,p1/1.png\nb,p2/1.png\n", "text/csv").run()
    assert not app.exception
    assert "files given twice: 1.png" in words(app)


def test_two_columns_for_one_field_are_refused_by_name() -> None:
    app = uploaded(TABLE)
    app.selectbox(key=key_of(app, "-3-to")).set_value("age_years").run()
    app.button(key="import-dry").click().run()
    assert "2 columns are mapped to age_years: Age, Marker; keep one" in words(app)


def test_a_name_that_leads_elsewhere_is_refused() -> None:
    app = uploaded(TABLE)
    app.text_input(key="import-name").set_value("../other").run()
    assert "not usable as a folder's name" in words(app)


def test_the_form_of_one_case_reads_dicom() -> None:
    from dashboard.case.upload import read

    class File:
        name = "x.dcm"

        def getvalue(self) -> bytes:
            regions = [region((20, 20, 139, 119), (0.010, 0.008))]
            return saved(
                file_of(tissue(), "MONOCHROME2", SequenceOfUltrasoundRegions=regions, PatientName="Zebrowski^Q")
            )

    case, notices = read({"transverse": File()}, {"transverse": ""}, {}, "")
    view = case.images["transverse"]
    np.testing.assert_array_equal((view.pixels * 255).round(), tissue()[20:120, 20:140])
    assert view.pixel_spacing_mm == pytest.approx((0.08, 0.10))
    assert "Zebrowski" not in " ".join(notices)
    typed, _ = read({"transverse": File()}, {"transverse": "0,2"}, {}, "")
    assert typed.images["transverse"].pixel_spacing_mm == (0.2, 0.2)
