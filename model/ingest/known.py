"""Words already known to lead to a person (a name, a number, a date of birth), found again in any text.

What a table's own identifying columns and a DICOM header say of a patient is the strongest list for that patient's report:
no pattern guesses as well. Nothing here is ever written or shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from model.ingest.reports import BLANK

_SHORTEST_WORD, _SHORTEST_NUMBER = 2, 3
# Parts of names and addresses that are also plain English or medical words, and lead to nobody by themselves.
_COMMON = frozenset(
    [
        "the",
        "and",
        "of",
        "for",
        "dr",
        "mr",
        "mrs",
        "ms",
        "prof",
        "saint",
        "hospital",
        "clinic",
        "centre",
        "center",
        "university",
        "medical",
        "department",
        "radiology",
        "ultrasound",
        "thyroid",
        "nodule",
        "nodules",
        "left",
        "right",
        "both",
        "bilateral",
        "lobe",
        "isthmus",
        "neck",
        "upper",
        "middle",
        "lower",
        "pole",
        "unknown",
        "none",
        "anonymous",
        "patient",
        "male",
        "female",
        "yes",
        "no",
        "street",
        "road",
        "avenue",
        "solid",
        "cystic",
        "mixed",
        "spongiform",
        "hypoechoic",
        "isoechoic",
        "hyperechoic",
        "anechoic",
        "markedly",
        "mildly",
        "smooth",
        "irregular",
        "lobulated",
        "margin",
        "margins",
        "calcification",
        "calcifications",
        "micro",
        "macro",
        "punctate",
        "foci",
        "focus",
        "shape",
        "taller",
        "wider",
        "than",
        "wide",
        "size",
        "large",
        "largest",
        "small",
        "normal",
        "abnormal",
        "suspicious",
        "benign",
        "malignant",
        "lymph",
        "node",
        "nodes",
        "gland",
        "echo",
        "echogenicity",
        "capsule",
        "tissue",
        "papillary",
        "follicular",
        "medullary",
        "carcinoma",
        "cancer",
        "tumor",
        "tumour",
        "surgery",
        "total",
        "mm",
        "cm",
        "with",
        "without",
        "not",
        "is",
        "was",
        "are",
        "in",
        "on",
        "at",
        "to",
        "by",
        "from",
        "ptc",
        "ftc",
        "mtc",
        "tirads",
        "ti",
        "rads",
        "goiter",
        "single",
        "multinodular",
        "multiple",
        "level",
        "lateral",
        "central",
        "report",
        "findings",
        "impression",
    ]
)


class Known:
    """Compiled search for a patient's identifying words.

    Parameters
    ----------
    values : names, numbers and other texts as they were given; split at everything that is no letter or digit.
    """

    def __init__(self, values: Iterable[str]) -> None:
        words: set[str] = set()
        for value in values:
            words |= telling_words(value)
            joined = re.sub(r"[\W_]+", "", fold(value))
            if any(c.isdigit() for c in joined) and len(joined) >= 4:
                words.add(joined)
        longest_first = sorted(words, key=lambda w: (-len(w), w))
        # Between the parts of a number or a name that was written together, signs may stand.
        self._short = frozenset(w for w in words if len(w) < 3)
        self._pattern = re.compile(
            "|".join(rf"(?<![^\W_]){_loose(w)}(?![^\W_])" for w in longest_first) or r"(?!)", re.IGNORECASE
        )

    def blank(self, text: str) -> tuple[str, int]:
        """The text with each known word replaced by "▇▇", and how many were."""
        folded = fold(text)
        if len(folded) != len(text):  # a letter that falls apart: compare what can be written
            text = folded
        pieces: list[str] = []
        at = found = 0
        for match in self._pattern.finditer(folded):
            as_written = text[match.start() : match.end()]
            if match[0].lower() in self._short and not as_written[0].isupper():
                continue  # Li is a name, "li" hardly
            pieces += [text[at : match.start()], BLANK]
            at, found = match.end(), found + 1
        return "".join([*pieces, text[at:]]), found

    def __contains__(self, text: str) -> bool:
        """Whether a text holds any of the words."""
        return self.blank(text)[1] > 0


def telling_words(text: str) -> frozenset[str]:
    """The words of a text, folded, that could lead to a person."""
    return frozenset(w for w in re.findall(r"[^\W_]+", fold(text)) if _telling(w))


def fold(text: str) -> str:
    """Lower-cased letters without accents; of the same length wherever each letter stays one."""
    out = []
    for letter in unicodedata.normalize("NFC", text):
        base = unicodedata.normalize("NFD", letter)[0]
        low = base.lower()
        out.append(low if len(low) == 1 else base)
    return "".join(out)


def _telling(word: str) -> bool:
    if word in _COMMON:
        return False
    if word.isdigit():
        return len(word) >= _SHORTEST_NUMBER
    return len(word) >= _SHORTEST_WORD or not word.isascii()


def _loose(word: str) -> str:
    """A number may be written with spaces or hyphens between its figures."""
    return r"[ ./-]?".join(word) if len(word) >= 6 and any(c.isdigit() for c in word) else re.escape(word)
