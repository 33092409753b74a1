"""Report text → token numbers, with the place of each token in the text as written.

Whole words where they are frequent, WordPiece parts of them otherwise (Schuster & Nakajima 2012; Devlin et al. 2019).
Lower case, accents stripped, punctuation split off, numbers split into digits. Built on the `tokenizers` library.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from model.errors import CheckpointError

PADDING, UNKNOWN = "[PAD]", "[UNK]"
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_WORD = 100  # characters; a longer run is no word and counts as unknown


@dataclass(frozen=True, eq=False)
class EncodedReport:
    """A report as the network reads it; M is the tokenizer's `max_tokens`.

    Parameters
    ----------
    ids : (M,) int64, 0 where padded.
    present : (M,) bool; False where padded and for an unknown word, which the network was never taught and does not
        read.
    word_spans : (start, end) characters of each token kept, in the ORIGINAL text; at most M of them.
    word_index : number of the word each token kept belongs to: parts of a word, or digits of a number, share it.
    cut : tokens left out after the first M.
    unknown_share : unknown words ÷ all words of the whole report; 0 for an empty one.
    """

    ids: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]
    word_spans: tuple[tuple[int, int], ...]
    word_index: tuple[int, ...]
    cut: int
    unknown_share: float

    @property
    def truncated(self) -> bool:
        """Whether the end of the report was left out."""
        return self.cut > 0


class ReportTokenizer:
    """Made by `train` or `from_json`; safe to share between threads.

    Parameters
    ----------
    tokenizer : of the `tokenizers` library, with the padding token at 0.
    max_tokens : tokens of a report, M.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._unknown = tokenizer.token_to_id(UNKNOWN)
        self.max_tokens = max_tokens

    @property
    def vocab_size(self) -> int:
        """Number of tokens, padding and unknown included: `NetConfig.vocab_size` of a network that reads them."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word piece in the order of its number."""
        numbers = self._tokenizer.get_vocab()
        return tuple(sorted(numbers, key=lambda piece: numbers[piece]))

    @classmethod
    def train(cls, reports: Iterable[str], vocab_size: int = 1000, max_tokens: int = 64) -> ReportTokenizer:
        """Learn the vocabulary of some reports; the same reports give the same one.

        Parameters
        ----------
        reports : texts; none at all gives a tokenizer to which every word is unknown.
        vocab_size : upper bound of the vocabulary, but every character of the reports is in it regardless.
        max_tokens : M.
        """
        if vocab_size < 2 or max_tokens < 1:
            raise ValueError(f"vocab_size, max_tokens: must be ≥ 2 and ≥ 1, got {vocab_size}, {max_tokens}")
        normalizer = normalizers.BertNormalizer(strip_accents=True, lowercase=True)
        splitter = pre_tokenizers.Sequence(
            [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
        )
        counts: Counter[str] = Counter()
        for report in reports:
            counts.update(w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(_readable(report))))
        numbers = {piece: i for i, piece in enumerate(_vocabulary(counts, vocab_size))}
        tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=UNKNOWN, max_input_chars_per_word=_LONGEST_WORD))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
        return cls(tokenizer, max_tokens)

    def encode(self, text: str) -> EncodedReport:
        """Tokens of one report: any text in any script, and no text at all, is accepted."""
        clean = _readable(text)
        found = self._tokenizer.encode(clean, add_special_tokens=False)
        ids = np.array(found.ids, dtype=np.int64)
        words = _word_numbers(clean, found.offsets, found.word_ids)
        known = ids != self._unknown
        strange = len({word for word, is_known in zip(words, known, strict=True) if not is_known})
        m = self.max_tokens
        kept = min(len(ids), m)
        padded, present = np.zeros(m, np.int64), np.zeros(m, np.bool_)
        padded[:kept], present[:kept] = ids[:m], known[:m]
        return EncodedReport(
            ids=padded,
            present=present,
            word_spans=tuple((int(start), int(end)) for start, end in found.offsets[:m]),
            word_index=tuple(words[:m]),
            cut=len(ids) - kept,
            unknown_share=strange / len(set(words)) if words else 0.0,
        )

    def to_json(self) -> str:
        """Everything `from_json` needs, as JSON text."""
        return json.dumps({"max_tokens": self.max_tokens, "tokenizer": json.loads(self._tokenizer.to_str())})

    @classmethod
    def from_json(cls, text: str) -> ReportTokenizer:
        """The tokenizer that `to_json` wrote.

        Raises
        ------
        CheckpointError
            If the text is no such tokenizer.
        """
        try:
            data = json.loads(text)
            max_tokens, tokenizer = data["max_tokens"], Tokenizer.from_str(json.dumps(data["tokenizer"]))
            if type(max_tokens) is not int or max_tokens < 1:
                raise ValueError(f"max_tokens {max_tokens!r}")
            if tokenizer.token_to_id(PADDING) != 0 or tokenizer.token_to_id(UNKNOWN) is None:
                raise ValueError(f"no {PADDING} at 0 or no {UNKNOWN}")
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(
                f"cannot be read ({error})", where="report tokenizer", fix="Restore the checkpoint."
            ) from None
        return cls(tokenizer, max_tokens)


def _vocabulary(counts: Counter[str], size: int) -> list[str]:
    """Padding, unknown and every character; then words by frequency; then heads and tails that words share.

    The library's own trainer breaks ties by chance, so that two trainings would not give the same network; and where
    most words are frequent, whole words and the parts that spare most characters are what it comes to.
    """
    words = sorted((w for w in counts if len(w) <= _LONGEST_WORD), key=lambda w: (-counts[w], w))
    characters = sorted({c for w in words for c in w[:1]}) + sorted({f"##{c}" for w in words for c in w[1:]})
    shared: Counter[str] = Counter()
    for word in words:
        shared.update(word[:k] for k in range(2, len(word)))
        shared.update(f"##{word[k:]}" for k in range(1, len(word) - 1))
    spared = {part: n * len(part.removeprefix("##")) for part, n in shared.items() if n > 1}
    parts = sorted(spared, key=lambda part: (-spared[part], part))
    rest = dict.fromkeys([*words, *parts])  # keeps the order, drops what comes twice
    for character in characters:
        rest.pop(character, None)
    fixed = [PADDING, UNKNOWN, *characters]
    return fixed + list(rest)[: max(size - len(fixed), 0)]


def _readable(text: str) -> str:
    """The text with lone surrogates, which no encoder takes, replaced one for one so that places stay."""
    return _SURROGATE.sub("\ufffd", text)


def _word_numbers(text: str, spans: list[tuple[int, int]], pieces_of: list[int | None]) -> list[int]:
    """Number of the word of each token: pieces of one split share it, and so do the digits of one number."""
    words: list[int] = []
    for i, (start, end) in enumerate(spans):
        same = i > 0 and (
            pieces_of[i] == pieces_of[i - 1]
            or (spans[i - 1][1] == start and text[slice(*spans[i - 1])].isdigit() and text[start:end].isdigit())
        )
        words.append(words[-1] + (not same) if words else 0)
    return words
