"""Known identifying words, found in any dress."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.ingest.known import Known
from model.ingest.reports import BLANK


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        ("Zebrowski^Quentin", "Mr ZEBROWSKI, Quentin: nodule", f"Mr {BLANK}, {BLANK}: nodule"),
        ("Müllerová", "Frau Mullerova und Müllerová", f"Frau {BLANK} und {BLANK}"),
        ("Müllerová", "Mu\u0308llerova\u0301 seen", f"{BLANK} seen"),
        ("8842117", "No 8842117, 884 2117 and 88-42-117.", f"No {BLANK}, {BLANK} and {BLANK}."),
        ("19610314", "born 1961-03-14 or 1961/03/14", f"born {BLANK} or {BLANK}"),
        ("Li Na", "Li Na has a linear, li-like echo", f"{BLANK} {BLANK} has a linear, li-like echo"),
        ("王小明", "王小明 结节", f"{BLANK} 结节"),
        ("Okonkwo", "OkonkwoAdaeze", BLANK),
        ("Müller", "MUELLER, Mueller", f"{BLANK}, {BLANK}"),
        ("Mueller", "Müller", BLANK),
        ("Groß", "GROSS", BLANK),
        ("Wałęsa", "WALESA", BLANK),
        ("Søren", "Soren or Soeren", f"{BLANK} or {BLANK}"),
        ("O'Brien", "OBRIEN", BLANK),
        ("MRN4711", "no 4711", f"no {BLANK}"),
        ("Zebrowski", "Mr Zebrow-\nski has", f"Mr {BLANK} has"),
        ("王小明", "患者王小明,女", f"{BLANK},女"),
        ("Right Solid", "a solid nodule in the right lobe", "a solid nodule in the right lobe"),
        ("", "12 x 8 mm", "12 x 8 mm"),
    ],
)
def test_words_are_blanked_and_others_stay(known: str, text: str, expected: str) -> None:
    assert Known([known]).blank(unicodedata.normalize("NFKC", text))[0] == expected


names = st.text(st.characters(categories=("Lu", "Ll"), max_codepoint=0x17F), min_size=3, max_size=12)


@given(
    names,
    st.sampled_from(["upper", "lower", "title"]),
    st.text("abc ,.;()-", max_size=20),
    st.text(" ,.;()-", min_size=1, max_size=5),
)
def test_a_name_is_found_wherever_it_stands(name: str, case: str, before: str, after: str) -> None:
    from model.ingest.known import fold, telling_words

    if not telling_words(name):
        return
    text = f"{before} {getattr(name, case)()}{after}"
    if fold(getattr(name, case)()) != fold(name):  # ß and its like change with the case
        return
    assert BLANK in Known([name]).blank(text)[0]


@given(st.text(max_size=60))
def test_without_known_words_nothing_changes(text: str) -> None:
    assert Known([]).blank(text) == (unicodedata.normalize("NFC", text), 0)
