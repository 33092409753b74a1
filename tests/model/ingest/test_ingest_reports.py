import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import FieldError
from model.ingest.reports import BLANK, clean_report, find_identifiers, latin_share
from model.schema import MAX_REPORT_CHARACTERS


def test_white_space_collapses_and_lines_stay() -> None:
    assert clean_report("  a \t b\r\n\r\n  c\u00a0d\u2028e ").text == "a b\nc d\ne"


def test_unicode_is_normalised_and_unseen_characters_go() -> None:
    assert clean_report("12\u00d78\u202e mm\u200b \ufb01ne \uff11\uff12\x00\x1b").text == "12×8 mm fine 12"


@given(st.text(max_size=300))
def test_cleaning_is_idempotent_and_leaves_no_control_characters(text: str) -> None:
    once = clean_report(text)
    assert clean_report(once.text) == once
    assert all(c == "\n" or not unicodedata.category(c).startswith("C") for c in once.text)
    once.text.encode("utf-8")


@pytest.mark.parametrize("text", ["", "   ", "\x00", "N/A", "none"])
def test_no_report_is_the_empty_text(text: str) -> None:
    assert clean_report(text).text == ""


def test_report_in_another_script_gets_a_notice_and_stays() -> None:
    text = "甲状腺左叶低回声结节，大小约 12 x 8 mm，边界不清"
    cleaned = clean_report(text)
    assert "not in English: the model reads English only" in cleaned.notices[0]
    assert "12 x 8 mm" in cleaned.text
    assert clean_report("Гипоэхогенный узел").notices
    assert not clean_report("Nodule of 12 mm in the left lobe (左叶).").notices
    assert not clean_report("Naïve Ångström façade").notices


def test_latin_share() -> None:
    assert latin_share("abé 12") == 1
    assert latin_share("ab я茶") == 0.5
    assert latin_share("12.5") is None


@pytest.mark.parametrize("text", ["a" * 100_000, "ﷺ" * (MAX_REPORT_CHARACTERS // 10)])
def test_report_that_is_too_long_before_or_after_normalising_is_refused(text: str) -> None:
    with pytest.raises(FieldError, match="report_text"):
        clean_report(text)


IDENTIFIERS = {
    "dates": [
        "12/03/2021", "3.4.21", "2021-03-12", "12-03-1987", "3 March 2023", "May 12, 2020", "12th of Jan 2019",
        "December 2022", "2023年5月1日",
    ],
    "telephone numbers": ["+44 20 7946 0958", "(555) 123-4567", "020 7946 0958", "138 1234 5678", "555.123.4567"],
    "e-mail addresses": ["jane.doe+x@mail.example.co.uk"],
    "long numbers": ["20231187", "123456", "078-05-1120"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in IDENTIFIERS.items() for value in values])
def test_identifiers_are_blanked_wherever_they_stand(kind: str, value: str) -> None:
    for before, after in (("", ""), ("Seen ", ", nodule 12 mm."), ("(", ")"), ("no:", " 5 mm")):
        found = find_identifiers(f"{before}{value}{after}")
        assert found.text == f"{before}{BLANK}{after}"
        assert found.notices == (f"Likely {kind} in the report were blanked: 1.",)


@pytest.mark.parametrize(
    ("text", "blanked"),
    [
        ("Patient name: JOHN SMITH Age: 45", "Patient name: ▇▇ Age: 45"),
        ("patient name: john smith\nnodule", "patient name: ▇▇\nnodule"),
        ("Name: Müller, Anne-Marie\nSex: F", "Name: ▇▇\nSex: F"),
        ("Patient: Jane Doe.", "Patient: ▇▇."),
        ("Seen by Dr. J. O'Brien. Nodule", "Seen by Dr. ▇▇. Nodule"),
        ("Reported by Alan Smith on", "Reported by ▇▇ on"),
        ("Radiologist: Smith, Alan. Nodule seen by ultrasound", "Radiologist: ▇▇. Nodule seen by ultrasound"),
        ("姓名：王小明 结节", "姓名：▇▇ 结节"),
        ("Mrs Jones has a nodule", "Mrs ▇▇ has a nodule"),
        ("MRN: A-12/7 left", "MRN: ▇▇ left"),
        ("MRN 00123, left", "MRN ▇▇, left"),
        ("Hospital number 4711", "Hospital number ▇▇"),
        ("NHS number: 943 476 5919", "NHS number: ▇▇"),
        ("Tel: 5551234", "Tel: ▇▇"),
        ("no.138 1234 5678", "no.▇▇"),
        ("12/03/21-5 mm nodule", "▇▇-5 mm nodule"),
        ("3 x 12.03.2021", "3 x ▇▇"),
        ("Herrn Dr. med. Weber", "Herrn Dr. med. ▇▇"),
        ("Frau van der Berg has", "Frau ▇▇ has"),
        ("Prof. Dr. Weber", "Prof. Dr. ▇▇"),
        ("gez. Weber", "gez. ▇▇"),
        ("reported by: weber", "reported by: ▇▇"),
        ("typed by Anna Klein, left", "typed by ▇▇, left"),
        ("S. Weber, M.D.", "▇▇, M.D."),
        ("Consultant: Weber", "Consultant: ▇▇"),
        ("Patient John Smith, left", "Patient ▇▇, left"),
        ("Patient Name SMITH^JOHN", "Patient Name ▇▇"),
        ("姓名 王小明", "姓名 ▇▇"),
        ("14. März 1961", "▇▇"),
        ("le 3 février 2021", "le ▇▇"),
        ("14MAR1961", "▇▇"),
        ("on 3 May the", "on ▇▇ the"),
        ("March 14th: 12 mm", "▇▇: 12 mm"),
        ("in 03/2021", "in ▇▇"),
        ("Acc. No. 1234", "Acc. No. ▇▇"),
        ("ID 4711", "ID ▇▇"),
        ("Call 555-1234.", "Call ▇▇."),
        ("zip 26121", "zip ▇▇"),
        ("see www.hospital.org/p/1 now", "see ▇▇ now"),
        ("at 12 Long Lane, left", "at ▇▇, left"),
        ("Lange Straße 12, links", "Lange ▇▇, links"),
        ("aged 93", "aged ▇▇"),
        ("93-year-old woman", "▇▇-year-old woman"),
    ],
)
def test_labels_stay_and_their_values_go(text: str, blanked: str) -> None:
    assert find_identifiers(text).text == blanked


@pytest.mark.parametrize(
    "text",
    [
        "12 x 8 x 9 mm", "12×8×9", "1.2 cm", "1.25 x 0.83 x 1.1 cm", "4.1-4.5 mm", "12/8/9 mm", "12/08/10 mm",
        "TI-RADS 4C", "TIRADS: 4a", "ACR TI-RADS category 5", "BRAF V600E", "V600E", "Bethesda VI", "level 2-4, 5.5 ml",
        "size 1.2345678", "distance 0.123456 mm", "Patient: female, 45 years", "patient is a man", "may be 12 mm",
        "level 3 may be involved", "LEVEL 3 MAY BE", "89-year-old", "MARGINS DO NOT", "Patient Presents With", "95th percentile",
        "PD Signal", "TSH 2.345", "5/8 nodes, 7.5-12 MHz", "age 45", "Nodule 2, TI-RADS 3 May be benign",
        "PTC, 3 of 12 nodes", "vascularity 2 m/s, 30 kPa, 15%", "the margin is irregular", "Name: unknown",
    ],
)  # fmt: skip
def test_measurements_and_plain_findings_stay(text: str) -> None:
    found = find_identifiers(text)
    assert found.text == text
    assert found.notices == ()


number = st.one_of(
    st.integers(1, 99).map(str), st.decimals(0, 99, places=1).map(str), st.decimals(0, 9, places=2).map(str)
)
unit = st.sampled_from([" mm", "mm", " cm", "cm"])
measurement = st.one_of(
    st.builds(lambda sizes, x, u: x.join(sizes) + u, st.lists(number, min_size=2, max_size=3),
              st.sampled_from([" x ", "x", "×", " × ", " by "]), st.one_of(unit, st.just(""))),
    st.builds(lambda a, b, u: f"{a}-{b}{u}", number, number, unit),
    st.builds(str.__add__, number, unit),
    st.builds(lambda p, g: p + g, st.sampled_from(["TI-RADS ", "TIRADS-", "TI-RADS: ", "ti-rads category "]),
              st.sampled_from(["3", "4A", "4b", "4C", "5"])),
)  # fmt: skip
identifier = st.sampled_from([value for values in IDENTIFIERS.values() for value in values])


@given(st.lists(st.tuples(measurement, identifier), min_size=1, max_size=5), st.sampled_from([", ", "; ", ". ", "\n"]))
def test_no_measurement_is_blanked_beside_identifiers_which_all_are(pairs: list[tuple[str, str]], mark: str) -> None:
    found = find_identifiers(mark.join(f"{size}{mark}{private}" for size, private in pairs))
    assert found.text == mark.join(f"{size}{mark}{BLANK}" for size, _ in pairs)


@given(st.text(max_size=300))
def test_notices_count_what_was_blanked_and_blanking_keeps_lines(text: str) -> None:
    found = find_identifiers(text)
    blanked = sum(int(notice.rstrip(".").rsplit(" ", 1)[1]) for notice in found.notices)
    assert found.text.count(BLANK) == text.count(BLANK) + blanked


def test_notices_never_repeat_what_was_blanked() -> None:
    found = find_identifiers("Patient name: Zaphod Beeblebrox, MRN 998877, 01.02.2003")
    assert not any(word in " ".join(found.notices) for word in ("Zaphod", "998877", "2003"))
    assert "Zaphod" not in found.text
