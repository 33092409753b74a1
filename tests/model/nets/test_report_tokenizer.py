"""The report tokenizer: reproducible, places in the original text, and no text that breaks it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.errors import CheckpointError
from model.nets.tokenizer import ReportTokenizer

REPORTS = [
    "A 12 x 8 mm solid, hypoechoic nodule in the upper left lobe with irregular margins.",
    "Nodule lower right lobe, 0.8 cm. Microcalcifications. A/T > 1. No suspicious lymph nodes.",
    "Hypoechoic nodule; microcalcification, hyperechoic foci. No enlarged nodes in the neck.",
]
TOKENIZER = ReportTokenizer.train(REPORTS, max_tokens=32)
UNCUT = ReportTokenizer.train(REPORTS, max_tokens=1000)


def words(text: str, tokenizer: ReportTokenizer = TOKENIZER) -> list[str]:
    return [text[start:end] for start, end in tokenizer.encode(text).word_spans]


def test_whole_words_punctuation_apart_and_numbers_in_digits():
    assert words("Hypoechoic nodule, 12 mm. A/T > 1") == [
        "Hypoechoic", "nodule", ",", "1", "2", "mm", ".", "A", "/", "T", ">", "1",
    ]  # fmt: skip
    assert TOKENIZER.encode("12 mm").word_index == (0, 0, 1)  # the digits are one number


def test_case_and_accents_do_not_change_the_tokens():
    plain = TOKENIZER.encode("hypoechoic nodule").ids
    assert np.array_equal(plain, TOKENIZER.encode("HYPOECHOIC Nödulé").ids)


def test_a_new_word_falls_back_to_parts_that_share_its_number():
    text = "solid hypoechoics nodule"
    read = TOKENIZER.encode(text)
    assert "".join(words(text)) == text.replace(" ", "")
    assert len(read.word_spans) > 3
    assert set(read.word_index) == {0, 1, 2}
    assert read.unknown_share == 0


def test_unknown_words_are_counted_and_not_read():
    read = TOKENIZER.encode("nodule 甲状腺 nodule")
    assert read.unknown_share == pytest.approx(3 / 5)  # each Han character is a word
    assert read.present[:5].tolist() == [True, False, False, False, True]
    assert len(read.word_spans) == 5  # still shown, so that a page can mark them


def test_a_long_report_is_cut_and_says_by_how_much():
    read = TOKENIZER.encode("nodule " * 40)
    assert read.truncated
    assert read.cut == 8
    assert read.present.all()
    short = TOKENIZER.encode("nodule")
    assert (short.truncated, short.cut) == (False, 0)
    assert short.present.sum() == 1
    assert not short.ids[1:].any()


def test_the_end_that_was_cut_counts_towards_the_unknown_share():
    assert TOKENIZER.encode("nodule " * 32 + "Ж " * 32).unknown_share == pytest.approx(0.5)


def test_json_round_trip():
    again = ReportTokenizer.from_json(TOKENIZER.to_json())
    assert (again.vocab_size, again.max_tokens) == (TOKENIZER.vocab_size, 32)
    for text in [*REPORTS, "hypoechoics 甲", ""]:
        a, b = TOKENIZER.encode(text), again.encode(text)
        assert np.array_equal(a.ids, b.ids)
        assert a.word_spans == b.word_spans


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "no json", '{"max_tokens": 3, "tokenizer": {}}', '{"max_tokens": 3, "tokenizer": null}']
)
def test_a_damaged_tokenizer_is_refused(text: str):
    with pytest.raises(CheckpointError, match="report tokenizer"):
        ReportTokenizer.from_json(text)


def test_a_tokenizer_without_a_length_is_refused():
    data = json.loads(TOKENIZER.to_json())
    for wrong in (0, "32", None, True):
        with pytest.raises(CheckpointError, match="max_tokens"):
            ReportTokenizer.from_json(json.dumps({**data, "max_tokens": wrong}))


def test_training_again_in_another_process_gives_the_same():
    code = (
        "import json, sys; from model.nets.tokenizer import ReportTokenizer as R;"
        "sys.stdout.write(R.train(json.load(sys.stdin), max_tokens=32).to_json())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(REPORTS), capture_output=True, text=True, check=True, timeout=60
    )
    assert other.stdout == TOKENIZER.to_json()


def test_vocabulary_size_is_kept_and_the_most_frequent_words_stay_whole():
    tokenizer = ReportTokenizer.train(["nodule"] * 3 + ["isthmus"], vocab_size=20)
    assert tokenizer.vocab_size <= 20
    assert words("nodule", tokenizer) == ["nodule"]
    assert tokenizer.encode("isthmus").unknown_share == 0
    for size, length in [(1, 8), (10, 0)]:
        with pytest.raises(ValueError, match="vocab_size, max_tokens"):
            ReportTokenizer.train(REPORTS, vocab_size=size, max_tokens=length)


def test_no_reports_give_a_tokenizer_to_which_all_is_unknown():
    read = ReportTokenizer.train([], max_tokens=4).encode("solid nodule")
    assert read.unknown_share == 1
    assert not read.present.any()


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=st.characters(), max_size=200)
    | st.text(max_size=200)
    | st.text("aA nÖé1.,>/\ud800\x00\u200b\u0301😀甲", max_size=80)
)
@example("\ud83d\ude00 \ud800")
@example("\x00\x07\x1b[31m\u202e\ufeff")
@example("a" * 5000)
@example("é" * 300 + "e\u0301" * 300)
@example("İ" * 20)
@example("[PAD] [UNK] ##a [CLS]")
@example("👩🏽‍⚕️ العربية עברית ไทย 한국어")
@example(" \t\r\n\u2028\u3000")
def test_any_text_is_read(text: str):
    read = TOKENIZER.encode(text)
    n = len(read.word_spans)
    assert read.ids.shape == read.present.shape == (32,)
    assert n == len(read.word_index) == min(n + read.cut, 32)
    assert ((read.ids >= 0) & (read.ids < TOKENIZER.vocab_size)).all()
    assert not read.ids[n:].any()
    assert not read.present[n:].any()
    assert (read.ids[:n] != 0).all()
    assert 0 <= read.unknown_share <= 1
    assert all(0 <= start < end <= len(text) for start, end in read.word_spans)
    assert list(read.word_spans) == sorted(read.word_spans)
    steps = np.diff(read.word_index)
    assert ((steps == 0) | (steps == 1)).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["hypoechoic", "Nodule", "12", "mm", ",", "solid", "0.8", "甲", "😀", "lobes"]),
        max_size=20,
    )
)
def test_spans_give_back_the_text(pieces: list[str]):
    text = "  ".join(pieces)
    assert "".join(words(text, UNCUT)) == "".join(pieces)
