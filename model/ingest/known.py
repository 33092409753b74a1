"""Words already known to lead to a person (a name, a number, a date of birth), found again in any text.

What a table's own identifying columns and a DICOM header say of a patient is the strongest list for that patient's report:
no pattern guesses as well. Nothing here is ever written or shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from model.ingest.reports import BLANK

_SHORTEST_WORD, _SHORTEST_NUMBER, _SHORTEST_JOINED, _SHORTEST_PART = 2, 3, 4, 6
_MOST_PARTS = 12  # of a number written with signs between its figures
_WORD = re.compile(r"[^\W_]+")
_HYPHENED = re.compile(r"[^\W_]+(?:['’`´-][^\W_]+)+")
_BROKEN = re.compile(r"- *\n *")  # a word that goes on in the next line
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
# Letters that Unicode does not take apart, and what typewriters, headers and file names make of them and of umlauts.
_BASE = str.maketrans("łøđıðħŧ", "lodidht")
_SPELT_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe", "þ": "th", "đ": "dj"}
)
# Parts of names and addresses that are also plain English or medical words, and lead to nobody by themselves.
_COMMON = frozenset({
    "the", "and", "of", "for", "dr", "mr", "mrs", "ms", "prof", "saint", "hospital", "clinic", "centre", "center",
    "university", "medical", "department", "radiology", "ultrasound", "thyroid", "nodule", "nodules", "left", "right",
    "both", "bilateral", "lobe", "isthmus", "neck", "upper", "middle", "lower", "pole", "unknown", "none", "anonymous",
    "patient", "male", "female", "yes", "no", "street", "road", "avenue", "solid", "cystic", "mixed", "spongiform",
    "hypoechoic", "isoechoic", "hyperechoic", "anechoic", "markedly", "mildly", "smooth", "irregular", "lobulated",
    "margin", "margins", "calcification", "calcifications", "micro", "macro", "punctate", "foci", "focus", "shape",
    "taller", "wider", "than", "wide", "size", "large", "largest", "small", "normal", "abnormal", "suspicious", "benign",
    "malignant", "lymph", "node", "nodes", "gland", "echo", "echogenicity", "capsule", "tissue", "papillary", "follicular",
    "medullary", "carcinoma", "cancer", "tumor", "tumour", "surgery", "total", "mm", "cm", "with", "without", "not", "is",
    "was", "are", "in", "on", "at", "to", "by", "from", "ptc", "ftc", "mtc", "tirads", "ti", "rads", "goiter", "single",
    "multinodular", "multiple", "level", "lateral", "central", "report", "findings", "impression",
})  # fmt: skip


class Known:
    """Search for a patient's identifying words.

    Parameters
    ----------
    values : names, numbers and other texts as they were given; split at everything that is no letter or digit.
    """

    def __init__(self, values: Iterable[str]) -> None:
        words: set[str] = set()
        joined: set[str] = set()
        for value in values:
            for spelling in _spellings(value):
                words |= telling_words(spelling)
                words |= {re.sub(r"[\W_]+", "", w) for w in _HYPHENED.findall(fold(spelling))}
            # "MRN4711" is written as "4711", too.
            words |= {n for w in _WORD.findall(value) for n in re.findall(r"\d+", w) if len(n) >= _SHORTEST_JOINED}
            whole = re.sub(r"[\W_]+", "", fold(value))
            if any(c.isdigit() for c in whole) and len(whole) >= _SHORTEST_JOINED:
                joined.add(whole)
        self._words = frozenset(words | joined)
        # A number may be written with signs between its parts, and a long name be part of a longer word.
        self._joined = frozenset(w for w in self._words if any(c.isdigit() for c in w) and len(w) >= _SHORTEST_JOINED)
        # Chinese and Japanese are written without spaces, Korean with endings: a name is a part of what looks like one long word.
        self._long = tuple(w for w in self._words if len(w) >= _SHORTEST_PART or _IDEOGRAPHS.fullmatch(w))

    def blank(self, text: str) -> tuple[str, int]:
        """The text (in Unicode's form NFC) with each known word replaced by "▇▇", and how many were."""
        text = unicodedata.normalize("NFC", text)
        folded = fold(text)
        tokens = [(m.start(), m.end(), m[0]) for m in _WORD.finditer(folded)]
        pieces: list[str] = []
        at = found = i = 0
        while i < len(tokens):
            last = self._known_from(tokens, i, folded, text)
            if last is not None:
                pieces += [text[at : tokens[i][0]], BLANK]
                at, found, i = tokens[last][1], found + 1, last
            i += 1
        return "".join([*pieces, text[at:]]), found

    def _known_from(self, tokens: list[tuple[int, int, str]], i: int, folded: str, text: str) -> int | None:
        """The last of the words from the i-th on that are together known, None where there are none."""
        start, end, word = tokens[i]
        last = None
        # Li is a name, "li" hardly.
        if (word in self._words and (len(word) > _SHORTEST_WORD or text[start].isupper() or not word.isascii())) or any(
            part in word for part in self._long
        ):
            last = i
        if i + 1 < len(tokens) and _BROKEN.fullmatch(folded, end, tokens[i + 1][0]) and word + tokens[i + 1][2] in self._words:
            return i + 1
        for j in range(i + 1, min(len(tokens), i + _MOST_PARTS)):
            if tokens[j][0] - end != 1 or folded[end] not in " ./-_^":
                break
            end, word = tokens[j][1], word + tokens[j][2]
            if word in self._joined:
                last = j
        return last

    def __contains__(self, text: str) -> bool:
        """Whether a text holds any of the words."""
        return self.blank(text)[1] > 0


def telling_words(text: str) -> frozenset[str]:
    """The words of a text, folded, that could lead to a person."""
    return frozenset(w for w in _WORD.findall(fold(text)) if _telling(w))


def fold(text: str) -> str:
    """Lower-cased letters without accents; of the same length wherever each letter stays one."""
    out = []
    for letter in unicodedata.normalize("NFC", text):
        base = unicodedata.normalize("NFD", letter)[0]
        low = base.lower()
        out.append(low.translate(_BASE) if len(low) == 1 else base)
    return "".join(out)


def _spellings(value: str) -> Iterator[str]:
    """A value as given, with its umlauts spelt out, and with what may be spelt-out umlauts as one letter."""
    yield value
    low = unicodedata.normalize("NFC", value).lower()
    if (spelt_out := low.translate(_SPELT_OUT)) != low:
        yield spelt_out
    if any(c.isalpha() for c in low):
        yield re.sub(r"(?<=[^\W\d_])([aou])e(?=[^\W\d_])", r"\1", low)
        yield low.replace("ss", "ß")


def _telling(word: str) -> bool:
    if word in _COMMON:
        return False
    if word.isdigit():
        return len(word) >= _SHORTEST_NUMBER
    return len(word) >= _SHORTEST_WORD or not word.isascii()
