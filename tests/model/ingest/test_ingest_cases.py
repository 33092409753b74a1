import csv
import json
import logging
import os
import tempfile
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import CaseError, ImageError, ProblemError
from model.ingest.cases import Cohort, case_from_form, read_case, read_cases, read_cohort
from model.ingest.images import decode_image
from model.schema import DEFAULT, FIELD, FIELDS, VIEWS, Case, Field

LABEL_NAMES = {spec.name for spec in DEFAULT.labels}


def png(array: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


PICTURE = png(np.tile(np.arange(96, dtype=np.uint8) * 2, (80, 1)))
DISC = (np.indices((40, 48)) - [[[20]], [[24]]]) ** 2
MASK = png((DISC.sum(axis=0) < 100).astype(np.uint8) * np.uint8(255))


def folder(root: Path, table: str | bytes, *, images: bool = True) -> Path:
    (root / "images").mkdir(exist_ok=True)
    (root / "cases.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    if images:
        for name in ("a", "b"):
            (root / "images" / f"{name}.png").write_bytes(PICTURE)
        (root / "images" / "mask.png").write_bytes(MASK)
    return root


TABLE = """case_id,centre,age_years,sex,llnm,stage,tirads,braf_v600e,report_text,image_transverse,image_longitudinal,\
nodule_mask_transverse,pixel_spacing_mm,provenance
A1,H1,43,F,yes,2,4a,,"Solid nodule,  12 x 8 mm",images/a.png,images/b.png,images/mask.png,0.1,synthetic
A2,H2,NaN,male,no,,,0.0,,images/a.png,,,,user
"""


def faults(read: Callable[[], object]) -> str:
    with pytest.raises(CaseError) as caught:
        read()
    assert caught.value.where
    assert caught.value.fix
    return str(caught.value)


# ---- cohort folders ----


def test_cohort_reads_values_and_decodes_on_demand(tmp_path: Path) -> None:
    cohort = read_cohort(folder(tmp_path, TABLE))
    assert cohort.case_ids == ("A1", "A2")
    assert len(cohort) == 2
    assert cohort.provenance == "user"
    assert cohort.name == tmp_path.name
    assert cohort.notices == ()
    first, second = cohort.iter_cases()
    assert first.fields == {"age_years": 43.0, "sex": "female", "tirads": "4A"}
    assert first.labels == {"llnm": True, "stage": "2"}
    assert (first.centre, first.provenance, first.report_text) == ("H1", "synthetic", "Solid nodule, 12 x 8 mm")
    assert tuple(first.images) == VIEWS
    assert first.images["transverse"].pixel_spacing_mm == (0.1, 0.1)
    assert second.fields == {"sex": "male", "braf_v600e": False}
    assert second.labels == {"llnm": False}
    assert second.images["transverse"].pixel_spacing_mm is None
    assert tuple(second.images) == ("transverse",)


def test_table_has_the_same_columns_and_types_whatever_the_file_holds(tmp_path: Path) -> None:
    full = read_cohort(folder(tmp_path, TABLE)).table
    small = read_cohort(folder(tmp_path, "case_id,image_transverse\nA,images/a.png\n")).table
    assert list(full.columns) == list(small.columns)
    assert list(full.dtypes) == list(small.dtypes)
    assert set(FIELD) <= set(full.columns)
    assert full["age_years"].dtype == "float64"
    assert full["llnm"].tolist() == [True, False]
    assert small["llnm"].tolist() == [None]
    assert list(full["sex"].cat.categories) == ["female", "male"]


def test_masks_are_attached_only_when_asked_for(tmp_path: Path) -> None:
    folder(tmp_path, TABLE)
    without = read_cohort(tmp_path).case("A1").images["transverse"]
    assert without.nodule_mask is None
    attached = read_cohort(tmp_path, use_masks=True).case("A1").images["transverse"]
    assert attached.nodule_mask is not None
    assert attached.nodule_mask.shape == attached.pixels.shape
    true = read_cohort(tmp_path).true_masks("A1")
    np.testing.assert_array_equal(true["transverse"].nodule, attached.nodule_mask)
    assert true["transverse"].gland is None
    assert true["longitudinal"].nodule is None


def test_pictures_are_not_decoded_on_reading(tmp_path: Path) -> None:
    folder(tmp_path, TABLE)
    (tmp_path / "images" / "b.png").write_bytes(b"no picture")
    cohort = read_cohort(tmp_path)
    assert cohort.case("A2").case_id == "A2"
    with pytest.raises(ImageError, match=r"case A1, images/b\.png"):
        cohort.case("A1")


def test_spacing_by_axis_and_shrunk_pictures(tmp_path: Path) -> None:
    columns = "case_id,image_transverse,pixel_spacing_row_mm,pixel_spacing_column_mm\n"
    folder(tmp_path, columns + "A,images/wide.png,0.04,0.05\n")
    (tmp_path / "images" / "wide.png").write_bytes(
        png(np.random.default_rng(0).integers(0, 255, (600, 2048), np.uint8))
    )
    image = read_cohort(tmp_path).case("A").images["transverse"]
    assert image.pixels.shape == (300, 1024)
    assert image.pixel_spacing_mm == (0.08, 0.1)
    folder(tmp_path, columns + "A,images/a.png,0.04,\n")
    assert "row 2, only one of pixel_spacing_row_mm and" in faults(lambda: read_cohort(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_encodings(tmp_path: Path, separator: str, encoding: str) -> None:
    text = StringIO()
    rows = [
        ["Case_ID", "centre", "size_mm", "margin", "image_transverse"],
        ["A", "Köln", "12.5", "smooth", "images/a.png"],
    ]
    csv.writer(text, delimiter=separator).writerows(rows)
    case = read_cohort(folder(tmp_path, text.getvalue().encode(encoding))).case("A")
    assert case.centre == "Köln"
    assert case.fields == {"size_mm": 12.5, "margin": "smooth"}


def test_decimal_commas_in_a_semicolon_table(tmp_path: Path) -> None:
    cohort = read_cohort(folder(tmp_path, "case_id;size_mm;image_transverse\nA;12,5;images/a.png\n"))
    assert cohort.case("A").fields == {"size_mm": 12.5}


def test_all_bad_cells_are_told_together_with_their_rows(tmp_path: Path) -> None:
    table = (
        "case_id,age_years,sex,image_transverse\n"
        "A,430,?,images/a.png\n"
        "\n"
        "A,43,f,images/none.png\n"
        ",44,f,images/a.png\n"
        "D,,,\n"
        "E,45,f,images/a.png,surplus\n"
    )
    told = faults(lambda: read_cohort(folder(tmp_path, table)))
    assert "row 2, age_years: '430' is outside the allowed range (Give a number from 18 to 110 years" in told
    assert "row 2, sex: '?' is not an allowed value" in told
    assert "row 2, case_id: 'A' is given 2 times, in rows 2, 4" in told
    assert "row 4, image_transverse: the file 'images/none.png' is missing" in told
    assert "row 5, case_id: empty" in told
    assert "row 6, nothing to read" in told
    assert "row 7, 5 cells where there are 4 columns" in told
    assert "7 faults" in told


def test_only_the_first_twenty_faults_are_listed(tmp_path: Path) -> None:
    table = "case_id,age_years\n" + "".join(f"A{i},x\n" for i in range(50))
    told = faults(lambda: read_cohort(folder(tmp_path, table)))
    assert "50 faults" in told
    assert "row 21," in told
    assert "row 22," not in told
    assert "and 30 more" in told


@pytest.mark.parametrize(
    "file", ["../secret.png", "/etc/hostname", "images/../../secret.png", "..\\secret.png", "link.png"]
)
def test_pictures_outside_the_folder_are_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / "secret.png").write_bytes(PICTURE)
    root = tmp_path / "cohort"
    root.mkdir()
    os.symlink(tmp_path / "secret.png", root / "link.png")
    told = faults(lambda: read_cohort(folder(root, f"case_id,image_transverse\nA,{file}\n")))
    assert "lies outside the folder" in told


@pytest.mark.parametrize("file", ["images", "images/" + "x" * 5000, ".", "nul\x00.png", "a\nb.png"])
def test_names_that_are_no_file_are_refused(tmp_path: Path, file: str) -> None:
    faults(lambda: read_cohort(folder(tmp_path, f'case_id,image_transverse\nA,"{file}"\n')))


def test_unknown_columns_are_told_and_ignored(tmp_path: Path) -> None:
    columns = "case_id,age,'; DROP TABLE cases;--,image_transverse,"
    cohort = read_cohort(folder(tmp_path, f"{columns}\nA,1,1,images/a.png,\n"))
    assert cohort.case("A").fields == {}
    assert len(cohort.notices) == 1
    assert "'age' (did you mean age_years?)" in cohort.notices[0]
    assert "drop table" in cohort.notices[0]


def test_hostile_words_in_cells_stay_words(tmp_path: Path) -> None:
    hostile = "=cmd|'/c calc'!A1'; DROP TABLE cases;-- <script>"
    cohort = read_cohort(folder(tmp_path, f'case_id,image_transverse\n"{hostile}",images/a.png\n'))
    assert cohort.case(hostile).case_id == hostile


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (b"", "no case"),
        (b"case_id,age_years\n", "no case"),
        (b"caseid,age_years\nA,43\n", "no column case_id"),
        (b"case_id,sex,sex\nA,f,m\n", "given twice: sex"),
        (b'case_id,centre\nA,"' + b"x" * 5_000_000, "quotation mark"),
        (b'case_id,centre\nA,B\nC,"D\nE,F\n', "row 3 never ends"),
        (b"case_id,centre\nA,\x81\n", "neither UTF-8"),
        (b'case_id,centre\nA,"\x1b[2J"\n', "cannot be printed"),
        (b"case_id\n" + b"A" * 101 + b"\n", "longer than 100"),
        (b"case_id,report_text\nA," + b"x" * 100_000 + b"\n", "100,000 characters"),
    ],
)
def test_tables_that_do_not_hold_together(tmp_path: Path, table: bytes, told: str) -> None:
    assert told in faults(lambda: read_cohort(folder(tmp_path, table)))


def test_missing_table_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "cases.csv") in faults(lambda: read_cohort(tmp_path))
    assert "missing" in faults(lambda: read_cohort(tmp_path / "nowhere"))


def test_unknown_case_is_named_with_the_nearest(tmp_path: Path) -> None:
    cohort = read_cohort(folder(tmp_path, TABLE))
    assert "'A11' (did you mean A1?)" in faults(lambda: cohort.case("A11"))


def test_reports_are_cleaned_and_identifiers_blanked_with_their_row(tmp_path: Path) -> None:
    table = "case_id,report_text,image_transverse\nA,MRN 123456: nodule of 12 mm,images/a.png\nB,узел,images/a.png\n"
    cohort = read_cohort(folder(tmp_path, table))
    assert cohort.case("A").report_text == "MRN ▇▇: nodule of 12 mm"
    assert cohort.notices[0].startswith("Row 2: Likely record numbers")
    assert cohort.notices[1].startswith("Row 3: The report is not in English")


def test_table_without_pictures_opens_with_a_notice(tmp_path: Path) -> None:
    cohort = read_cohort(folder(tmp_path, "case_id,age_years\nA,43\n"))
    assert cohort.table["age_years"].tolist() == [43]
    assert "no pictures" in cohort.notices[0]
    assert cohort.case("A").fields == {"age_years": 43}
    cohort = read_cohort(folder(tmp_path, "case_id,age_years,centre\nA,,H1\n"))
    assert "nothing to read" in faults(lambda: cohort.case("A"))


def test_card_names_the_cohort(tmp_path: Path) -> None:
    folder(tmp_path, "case_id,image_transverse\nA,images/a.png\n")
    (tmp_path / "cohort.json").write_text('{"name": "Shift", "provenance": "synthetic", "seed": 7}')
    cohort = read_cohort(tmp_path / "cases.csv")
    assert (cohort.name, cohort.provenance, cohort.card["seed"]) == ("Shift", "synthetic", 7)
    assert cohort.case("A").provenance == "synthetic"
    (tmp_path / "cohort.json").write_text('{"provenance": "real"}')
    assert "one of synthetic, user" in faults(lambda: read_cohort(tmp_path))


def test_rows_name_the_provenance_where_there_is_no_card(tmp_path: Path) -> None:
    cohort = read_cohort(folder(tmp_path, "case_id,image_transverse,provenance\nA,images/a.png,synthetic\n"))
    assert cohort.provenance == "synthetic"


# ---- single cases ----


def write(root: Path, name: str = "case.json", **changes: object) -> Path:
    folder(root, TABLE)
    (root / "cases.csv").unlink()
    raw = {"case_id": "J1", "images": {"transverse": "images/a.png"}, **changes}
    path = root / name
    path.write_text(json.dumps(raw))
    return path


def test_full_json_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(
        tmp_path,
        centre="H1",
        provenance="synthetic",
        images={
            "transverse": "images/a.png",
            "longitudinal": {"file": "images/b.png", "pixel_spacing_mm": [0.1, 0.2], "nodule_mask": "images/mask.png"},
        },
        fields={"age_years": 43, "sex": "F", "multifocal": True, "side": None, "llnm": True},
        labels={"positive_nodes": 3},
        report_text="Dr Who saw\na nodule.",
    )
    with caplog.at_level(logging.WARNING):
        case = read_case(path)
    assert case.fields == {"age_years": 43.0, "sex": "female", "multifocal": True}
    assert case.labels == {"llnm": True, "positive_nodes": 3.0}
    assert (case.centre, case.provenance, case.report_text) == ("H1", "synthetic", "Dr ▇▇ saw\na nodule.")
    assert case.images["longitudinal"].pixel_spacing_mm == (0.1, 0.2)
    assert case.images["longitudinal"].nodule_mask is not None
    assert "names" in caplog.text


def test_json_faults_are_told_together_with_the_nearest_spelling(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        case_id="",
        feilds={},
        images={"transversal": "t.png", "transverse": {"file": "../a.png", "mask": "m.png"}, "longitudinal": ["l.png"]},
        fields={"age": 43, "sex": ["f"], "report_text": "x", "size_mm": 1e400},
        labels={"age_years": 43},
        report_text=5,
    )
    told = faults(lambda: read_case(path))
    for part in (
        "'feilds' (did you mean fields?)",
        "'transversal' (did you mean transverse?)",
        "images, transverse: unknown key 'mask'",
        "'../a.png' lies outside",
        "images, longitudinal: give file names",
        "fields: unknown key 'age' (did you mean age_years?)",
        "fields: unknown key 'report_text'",
        "sex: a list or object",
        "size_mm: inf is not a finite number",
        "labels: unknown key 'age_years'",
        "report_text: not a text",
        "case_id: empty",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"case_id": "A",\n "images": }', "line 2, column 12"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "no valid JSON"),
        ('{"case_id": ' + "1" * 5000 + "}", "no valid JSON"),
        ('{"case_id": "A", "case_id": "B"}', "given twice: case_id"),
        ('{"case_id": "A"}', "nothing to read"),
        ('{"case_id": "A", "images": "t.png"}', "images: not an object"),
        (
            '{"case_id": "A", "images": {"transverse": {"file": "images/a.png", "pixel_spacing_mm": [1, 2, 3]}}}',
            "3 numb",
        ),
        ('{"case_id": "A", "images": {"transverse": {"file": "images/a.png", "pixel_spacing_mm": 9}}}', "0.01 to 2"),
        ('{"case_id": "\\ud800", "images": {"transverse": "images/a.png"}}', "cannot be printed"),
    ],
)
def test_json_that_is_no_case(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path)
    path.write_text(text)
    assert told in faults(lambda: read_case(path))


def test_json_of_any_bytes_raises_nothing_but_problems(tmp_path: Path) -> None:
    path = tmp_path / "x.json"

    @given(st.binary(max_size=100))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        with pytest.raises(ProblemError):
            read_case(path)

    check()


# ---- forms ----

DECODED = decode_image(PICTURE, name="a.png")
LARGE = decode_image(png(np.random.default_rng(0).integers(0, 255, (600, 2048), np.uint8)), name="big.png")


def test_form_gives_a_case_and_its_notices() -> None:
    case, notices = case_from_form(
        "F1",
        {"transverse": LARGE},
        (0.04, 0.05),
        {"age_years": "43", "sex": "", "llnm": "yes", "centre": "H"},
        "MRN 12345",
    )
    assert case.fields == {"age_years": 43.0}
    assert (case.labels, case.centre, case.report_text) == ({"llnm": True}, "H", "MRN ▇▇")
    assert case.images["transverse"].pixel_spacing_mm == (0.08, 0.1)
    assert any("shrunk" in notice for notice in notices)
    assert any("record numbers" in notice for notice in notices)


def test_form_takes_a_spacing_for_each_view() -> None:
    views = {"transverse": DECODED, "longitudinal": DECODED}
    case, _ = case_from_form("F1", views, {"longitudinal": 0.2}, {}, "")
    assert case.images["transverse"].pixel_spacing_mm is None
    assert case.images["longitudinal"].pixel_spacing_mm == (0.2, 0.2)


def test_form_lists_every_fault_once() -> None:
    told = faults(lambda: case_from_form("", {}, None, {"age_years": 430, "sex": "?"}, "x" * 100_000))
    for part in ("age_years: 430 is outside", "sex: '?'", "case_id: empty", "100,000 characters", "4 faults"):
        assert part in told
    assert "nothing to read" in faults(lambda: case_from_form("A", {}, None, {}, ""))
    assert "transverse view, pixel_spacing_mm" in faults(
        lambda: case_from_form("A", {"transverse": DECODED}, -1, {}, "")
    )


# ---- labels never become inputs, whatever the columns ----


def valid(spec: Field) -> st.SearchStrategy[object]:
    if spec.kind == "number":
        return st.floats(spec.low, spec.high).map(lambda x: round(x, 3)).filter(lambda x: spec.low <= x <= spec.high)
    if spec.kind == "flag":
        return st.booleans()
    return st.sampled_from(spec.values)


SPECS = [spec for spec in FIELDS if spec.kind != "text" and spec.role != "identity"]
given_values = st.fixed_dictionaries({}, optional={spec.name: valid(spec) for spec in SPECS})
strange_columns = st.dictionaries(
    st.text("abcdefllnm_ ';-", min_size=1, max_size=12).filter(lambda c: c.strip() and c.strip() not in FIELD),
    st.text("abc1", max_size=5),
    max_size=3,
)


def assert_routed(case: Case, values: dict[str, object]) -> None:
    assert set(case.labels) == set(values) & LABEL_NAMES
    assert set(case.fields) == set(values) - LABEL_NAMES
    assert {**case.fields, **case.labels} == values


@given(given_values, strange_columns)
@settings(deadline=None, max_examples=30)
def test_labels_only_land_in_labels_from_a_table(values: dict[str, object], strange: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        row = {"case_id": "A", "image_transverse": "images/a.png", **values}
        strange = {c.strip().lower(): v for c, v in strange.items()}
        text = pd.DataFrame([{**row, **strange}]).to_csv(index=False)
        cohort = read_cohort(folder(Path(root), text))
        assert_routed(cohort.case("A"), values)
        assert (len(cohort.notices) == 1) == bool(strange)


@given(given_values)
@settings(deadline=None, max_examples=30)
def test_labels_only_land_in_labels_from_json_and_forms(values: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as root:
        assert_routed(read_case(write(Path(root), fields=values)), values)
    case, _ = case_from_form("A", {"transverse": DECODED}, None, values, "")
    assert_routed(case, values)


# ---- what the command line is given ----


def test_read_cases_takes_a_table_a_folder_or_a_file(tmp_path: Path) -> None:
    cohort, cases = tmp_path / "cohort", tmp_path / "cases"
    cohort.mkdir()
    cases.mkdir()
    folder(cohort, TABLE)
    write(cases, "b.json", case_id="B")
    one = write(cases, "a.json", case_id="A")
    (cases / "cohort.json").write_text("{}")
    assert [case.case_id for case in read_cases(cohort)] == ["A1", "A2"]
    assert [case.case_id for case in read_cases(cohort / "cases.csv")] == ["A1", "A2"]
    assert [case.case_id for case in read_cases(cases)] == ["A", "B"]
    assert [case.case_id for case in read_cases(one)] == ["A"]
    masked = next(iter(read_cases(cohort, use_masks=True)))
    assert masked.images["transverse"].nodule_mask is not None


def test_read_cases_refuses_shared_names_and_empty_folders(tmp_path: Path) -> None:
    assert "neither cases.csv" in faults(lambda: read_cases(tmp_path))
    write(tmp_path, "a.json")
    write(tmp_path, "b.json")
    assert "is also in a.json" in faults(lambda: list(read_cases(tmp_path)))


def test_cohort_can_be_narrowed_to_some_rows(tmp_path: Path) -> None:
    cohort = read_cohort(folder(tmp_path, TABLE))
    part = Cohort(cohort.name, cohort.provenance, cohort.table.iloc[1:], cohort.root)
    assert [case.case_id for case in part.iter_cases()] == ["A2"]
