"""From an export's table to a mapping and from cells to values: kinds of tables, proposals, units, dates, words."""

from __future__ import annotations

import json
import re
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import CaseError
from model.importing.manifest import open_manifest
from model.importing.mapping import ALL_TARGETS, Agreed, Column, mapping_of, read_mapping, to_dict, write_mapping
from model.importing.profile import profiles
from model.importing.propose import propose
from model.importing.values import CellError, age, coded, date_of, date_orders, number, value
from model.schema import FIELD

HEADER = ["PatID", "DOB", "Exam Date", "Geschlecht", "Size", "Smoker", "Ward", "Remarks", "pN", "Marker"]
ROWS = [
    [f"{900000 + i}", f"{13 + i % 10:02d}.04.19{50 + i}", f"05.1{i % 3}.2020", "W" if i % 2 else "M",
     f"{0.8 + i / 10:.1f}".replace(".", ","), "ja" if i % 3 else "nein", f"W{i % 4}", f"free words number {i} of somebody",
     "N1b" if i % 4 == 0 else "N0", str(i * 1.5)]
    for i in range(24)
]  # fmt: skip


def proposed(path: Path) -> Agreed:
    opened = open_manifest(path, path.name)
    return propose(opened, profiles(opened.header, opened.rows(), opened.separator)[0])


@pytest.mark.parametrize("kind", ["semicolon", "tab", "utf-16", "cp1252", "xlsx", "parquet"])
def test_every_kind_of_table_reads_alike(tmp_path: Path, kind: str) -> None:
    text = {s: "\n".join(s.join(r) for r in [HEADER, *ROWS]) for s in (";", "\t")}
    path = tmp_path / ("m.xlsx" if kind == "xlsx" else "m.parquet" if kind == "parquet" else "m.csv")
    if kind == "xlsx":
        book = openpyxl.Workbook()
        for row in [HEADER, *ROWS]:
            book.active.append(row)  # type: ignore[union-attr]
        book.save(path)
    elif kind == "parquet":
        pd.DataFrame(ROWS, columns=HEADER).to_parquet(path)
    else:
        path.write_bytes(
            text["\t" if kind == "tab" else ";"].encode({"utf-16": "utf-16", "cp1252": "cp1252"}.get(kind, "utf-8"))
        )
    opened = open_manifest(path, path.name)
    assert list(opened.header) == HEADER
    assert [cells for _, cells in opened.rows()] == ROWS
    assert [row for row, _ in opened.rows()] == list(range(2, 26))
    assert {c.column: c.to for c in proposed(path).columns} == {
        "PatID": "patient", "DOB": "birth_date", "Exam Date": "exam_date", "Geschlecht": "sex", "Size": "size_mm", "Smoker": "own",
        "Ward": "own", "Remarks": "identifying", "pN": "endpoint", "Marker": "own",
    }  # fmt: skip


def test_typed_cells_of_excel(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["id", "DOB", "Age", "Flag", "Size"])  # type: ignore[union-attr]
    book.active.append(["a", date(1970, 1, 2), 50.0, True, 1.25])  # type: ignore[union-attr]
    book.create_sheet("more").append(["x"])
    book.save(tmp_path / "m.xlsx")
    opened = open_manifest(tmp_path / "m.xlsx", "m.xlsx")
    assert list(opened.rows()) == [(2, ["a", "1970-01-02", "50", "yes", "1.25"])]
    assert "first sheet" in opened.notices[0]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("m.csv", b"a,a\n1,2", "columns given twice: a"),
        ("m.csv", b"", "no header"),
        ("m.pdf", b"%PDF", ".pdf is no table"),
        ("m.xlsx", b"PK no", "damaged or no XLSX"),
        ("m.parquet", b"PAR1", "damaged or no PARQUET"),
        ("m.csv", b"a,b\n1,2,3", "row 2: 3 cells where there are 2 columns"),
        ("m.csv", b"Our study;;\n\na;b;c\n1;2;3", "row 3: 3 cells .* no title or merged cells above"),
        ("m.csv", b'a,b\n1,2\n3,"4\n5,6\n7,8\n', "row 3: a quotation mark opens a cell of 3 lines"),
        ("m.csv", b"a,b\n" + b"1,2\n" * 40_000 + b"\x81,3\n", "neither UTF-8, .* Save it as “CSV UTF-8”"),
    ],
)
def test_no_table_is_told(name: str, data: bytes, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        list(open_manifest(data, name).rows())


def test_names_that_are_missing_and_a_line_that_names_the_separator() -> None:
    opened = open_manifest(b"sep=;\r\n;Age;;\r\n0;40;x;\r\n", "m.csv")
    assert opened.header == ("unnamed 1", "Age")
    with pytest.raises(CaseError, match="row 3: 4 cells where there are 2 columns"):
        list(opened.rows())
    opened = open_manifest(b"sep=;\r\n;Age;;Sex\r\n0;40;;F\r\n1;41;;M\r\n", "m.csv")
    assert list(opened.rows()) == [(3, ["0", "40", "", "F"]), (4, ["1", "41", "", "M"])]
    agreed = propose(opened, profiles(opened.header, opened.rows(), opened.separator)[0])
    assert [(c.column, c.to) for c in agreed.columns] == [
        ("unnamed 1", "identifying"), ("Age", "age_years"), ("unnamed 2", ""), ("Sex", "sex"),
    ]  # fmt: skip


def test_a_table_in_gb_18030_and_one_in_german() -> None:
    assert open_manifest("住院号,年龄\n1,40\n".encode("gb18030"), "m.csv").header == ("住院号", "年龄")
    assert open_manifest("Größe,Müller\n1,40\n".encode("cp1252"), "m.csv").header == ("Größe", "Müller")


def test_a_cover_page_and_a_size_that_is_wrong_hide_no_rows(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["Our study"])  # type: ignore[union-attr]
    sheet = book.create_sheet("data")
    for row in (["id", "Age"], ["a", 40], ["b", 41]):
        sheet.append(row)
    book.save(tmp_path / "right.xlsx")
    path = tmp_path / "m.xlsx"
    with zipfile.ZipFile(tmp_path / "right.xlsx") as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            after.writestr(name, re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', before.read(name)))
    opened = open_manifest(path, path.name)
    assert list(opened.rows()) == [(2, ["a", "40"]), (3, ["b", "41"])]
    assert opened.notices == ("Only sheet 2 was read; 1 more was not.",)


def test_damage_within_a_parquet_file_is_told_where_it_is_met(tmp_path: Path) -> None:
    pd.DataFrame({"a": [str(i) for i in range(5000)]}).to_parquet(tmp_path / "m.parquet")
    data = bytearray((tmp_path / "m.parquet").read_bytes())
    data[4:64] = b"\xff" * 60
    opened = open_manifest(bytes(data), "m.parquet")
    with pytest.raises(CaseError, match="damaged or no PARQUET"):
        list(opened.rows())


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(2), pa.list_(pa.int8())])
def test_bytes_and_lists_of_parquet_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    cell = [1, 2] if pa.types.is_list(kind) else b"ab"
    pq.write_table(pa.table({"a": ["1"], "raw": pa.array([cell], kind)}), tmp_path / "m.parquet")
    with pytest.raises(CaseError, match="bytes in raw"):
        open_manifest(tmp_path / "m.parquet", "m.parquet")


def test_a_proposal_knows_units_orders_and_own_fields(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("\n".join(";".join(r) for r in [HEADER, *ROWS]), "utf-8")
    by_name = {c.column: c for c in proposed(path).columns}
    assert by_name["Size"].unit == "cm"
    assert by_name["DOB"].dates == "dmy"
    assert by_name["Exam Date"].dates == ""  # 05.10., 05.11., 05.12.: nobody can tell
    assert by_name["pN"].values == {"N1b": "yes", "*": "no"}
    assert (by_name["Marker"].kind, by_name["Ward"].kind) == ("number", "category")


@pytest.mark.parametrize(
    ("column", "values", "to"),
    [
        ("Recurred", ["yes", "no"], ""),
        ("T stage final pathology", ["T1", "T2"], ""),
        ("Surgeon", ["A", "B"], "identifying"),
        ("Case number", ["101234", "101235", "101236"], "identifying"),
        ("Tel", ["555", "556"], "identifying"),
        ("Consultant", ["Weber", "Klein", "Weber", "Klein"], "identifying"),
        ("PATNAME", ["Weber", "Klein", "Weber", "Klein"], "identifying"),
        ("Hausarzt", ["Weber", "Klein", "Weber", "Klein"], "identifying"),
        ("DOB1", ["1950", "1960", "1950"], "identifying"),
        ("Sample ID", ["1", "2", "3"], "identifying"),
        ("Operation", ["44000", "44000", "44012"], "identifying"),
        ("Birthday", ["22354", "22355", "31002"], "identifying"),
        ("Calcium post-op", ["2.1", "2.2"], ""),
        ("Number of positive LN", ["1", "2"], ""),
        ("Size", ["1.2", "14", "0.8", "22", "0.9"], "size_mm"),  # cm and mm: asked about by the survey
        ("Ki67", ["5%", "12%", "5 %"], "own"),
        ("Visit", ["2020-01-01", "2020-01-02"], "identifying"),
        ("TI-RADS", ["4A", "5"], "tirads"),
        ("Nodule Size (mm)", ["12", "9"], "size_mm"),
        ("BRAF", ["mutated", "wild type"], "braf_v600e"),
        ("Constant", ["3", "3"], ""),
    ],
)  # fmt: skip
def test_where_a_column_goes(tmp_path: Path, column: str, values: list[str], to: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(
        "\n".join(
            [
                f"id,{column}",
                *(
                    f"p{i},{values[i % len(values)]}"
                    for i in range(3 * len(values) if to != "identifying" else len(values))
                ),
            ]
        )
    )
    assert {c.column: c.to for c in proposed(path).columns}[column] == to


texts = st.text("abcXYZ 019_*=", min_size=1, max_size=12)
columns = st.builds(
    Column, texts, st.sampled_from(ALL_TARGETS), st.dictionaries(texts, texts, max_size=4), st.sampled_from(["", "mm", "cm"]),
    st.sampled_from(["", "ymd", "dmy", "mdy"]), texts, texts, st.sampled_from(["number", "category", "flag"]),
    st.none() | st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6), texts, texts, texts,
)  # fmt: skip


@given(st.lists(columns, max_size=6, unique_by=lambda c: c.column), st.sets(texts, max_size=3))
def test_a_mapping_comes_back_from_its_json(made: list[Column], confirmed: set[str]) -> None:
    agreed = Agreed(tuple(made), {"name": "malignant", "label": "M"}, frozenset(confirmed))
    assert mapping_of(json.loads(json.dumps(to_dict(agreed)))) == agreed


def test_a_mapping_file_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    with pytest.raises(CaseError, match="the file is missing"):
        read_mapping(path)
    for text, words in (
        ("{", "no valid JSON at line 1"),
        ("[]", "no object with “columns”"),
        ('{"columns": {"A": {"to": "sex"}, "A": {"to": "side"}}}', "given twice: 'A'"),
        ('{"columns": {"A": {"too": "sex"}}}', r"unknown key 'too' \(did you mean to\?\)"),
        ('{"columns": {"A": {"to": "birth_date", "dates": "d/m"}}}', "dates 'd/m'; give ymd, dmy or mdy"),
        ('{"columns": {"A": {"to": "sex", "values": ["F"]}}}', "values must map texts to texts"),
    ):
        path.write_text(text)
        with pytest.raises(CaseError, match=words):
            read_mapping(path)
    write_mapping(Agreed((Column("A", "sex"),)), path)
    assert read_mapping(path).columns == (Column("A", "sex"),)


@pytest.mark.parametrize(
    ("field", "cell", "options", "expected"),
    [
        ("size_mm", "1,2", {"unit": "cm"}, 12.0),
        ("size_mm", "12 mm", {"unit": "cm"}, 12.0),
        ("size_mm", "1.2cm", {}, 12.0),
        ("size_mm", "12 %", {}, CellError),
        ("age_years", "66 Months", {"separator": ";"}, CellError),
        ("age_years", "252 months", {}, 21.0),
        ("age_years", "97", {}, 90.0),
        ("age_years", "9", {}, CellError),
        ("sex", "2", {"values": {"2": "female"}}, "female"),
        ("sex", " f ", {}, "female"),
        ("sex", "3", {}, CellError),
        ("sex", "9", {"values": {"9": ""}}, None),
        ("multifocal", "ja", {}, True),
        ("multifocal", "−", {}, False),
        ("multifocal", "2.0", {"values": {"2": "yes", "*": "no"}}, True),
        ("multifocal", "7", {"values": {"2": "yes", "*": "no"}}, False),
        ("calcification", "none", {}, "none"),
        ("size_mm", "unknown", {}, None),
        ("size_mm", "1,200", {"separator": ","}, CellError),
        ("size_mm", "12 kg", {}, CellError),
    ],
)
def test_cells(field: str, cell: str, options: dict[str, Any], expected: object) -> None:
    given_options = {"values": {}, "unit": "", "separator": ";"} | options
    if expected is CellError:
        with pytest.raises(CellError) as told:
            value(FIELD[field], cell, **given_options)
        assert cell not in str(told.value)
    else:
        assert value(FIELD[field], cell, **given_options) == expected


@given(st.dates(date(1000, 1, 1), date(2999, 12, 31)), st.sampled_from("-./"))
def test_a_date_is_read_in_the_order_it_was_written(day: date, sign: str) -> None:
    written = {
        "ymd": f"{day.year}{sign}{day.month:02d}{sign}{day.day:02d}", "dmy": f"{day.day}{sign}{day.month}{sign}{day.year}",
        "mdy": f"{day.month:02d}{sign}{day.day:02d}{sign}{day.year}",
    }  # fmt: skip
    for order, text in written.items():
        assert date_of(text, order) == day  # type: ignore[arg-type]
        assert order in date_orders(text)
    assert date_of(day.strftime("%Y%m%d") if day.year > 999 else written["ymd"], "") == day


def test_dates_with_words_for_months_and_days_as_excel_counts_them() -> None:
    for cell in ("14-Mar-1961", "14 March 1961", "Mar 14, 1961", "14. März 1961", "14MAR1961", "22354"):
        assert date_of(cell, "") == date(1961, 3, 14)
    for cell in ("31-Feb-2000", "14-Foo-1961", "1961", "12", "99999"):
        with pytest.raises(CellError):
            date_of(cell, "")


@given(st.dates(date(1900, 1, 1), date(1990, 1, 1)), st.integers(0, 110))
def test_an_age_counts_birthdays(born: date, years: int) -> None:
    if (born.month, born.day) == (2, 29):
        return
    birthday = born.replace(year=born.year + years)
    assert age(born, birthday) == years
    if years:
        assert age(born, date.fromordinal(birthday.toordinal() - 1)) == years - 1


@given(st.floats(-1e5, 1e5, allow_nan=False).map(lambda x: round(x, 3)))
def test_decimal_commas_and_points_read_alike(x: float) -> None:
    text = f"{x:.3f}"
    assert number(text, ";").value == number(text.replace(".", ","), ";").value == x


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text("xyz", max_size=3), max_size=5),
    st.text("abc ", max_size=5),
)
def test_letter_case_and_space_never_matter_in_a_value_mapping(values: dict[str, str], cell: str) -> None:
    assert coded(cell, values) == coded(f"  {cell.upper()} ", values)
