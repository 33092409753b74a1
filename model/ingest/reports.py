"""Free text of a report: made plain, measured for its script, and rid of likely identifiers.

This is the first door, not de-identification: it catches the plain forms of names, numbers, dates and addresses, and
says so. Measurements are never touched.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from model.schema import FIELD, parse

BLANK = "▇▇"
_MIN_LATIN_SHARE = 0.5


@dataclass(frozen=True)
class CleanReport:
    """A report's text after a cleaning step, and one sentence for each change that a person should know of."""

    text: str
    notices: tuple[str, ...] = ()


def clean_report(text: str, *, where: str = "") -> CleanReport:
    """Bring a report to plain text; cleaning it again changes nothing.

    Control and format characters go, Unicode is normalised (NFKC), white space collapses to single spaces and line
    breaks to single line breaks. A report in another script is kept, with a notice, since numbers in it still count.

    Raises
    ------
    FieldError
        If the text is longer than `model.schema.MAX_REPORT_CHARACTERS`.
    """
    spec = FIELD["report_text"]
    parse(spec, text, where=where)  # before normalising, whose time may grow with the square of the length
    breaks = re.sub(r"\r\n?|[\v\f\x85\u2028\u2029]", "\n", text)
    visible = "".join(c for c in breaks if c in "\n\t" or not unicodedata.category(c).startswith("C"))
    spaced = re.sub(r"[^\S\n]+", " ", unicodedata.normalize("NFKC", visible))
    plain = re.sub(r" ?\n[ \n]*", "\n", spaced).strip()
    cleaned = parse(spec, plain, where=where)  # NFKC can lengthen a text
    if cleaned is None:
        return CleanReport("")
    share = latin_share(plain)
    if share is not None and share < _MIN_LATIN_SHARE:
        return CleanReport(
            plain,
            ("The report is not in English: the model reads English only; its words will mostly be unknown.",),
        )
    return CleanReport(plain)


def latin_share(text: str) -> float | None:
    """Share of a text's letters that are Latin ones; None where it has no letters."""
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return None
    return sum(c.isascii() or unicodedata.name(c, "").startswith("LATIN") for c in letters) / len(letters)


_NUMBER = r"\d{1,3}(?:[.,]\d{1,3})?"
_MEASUREMENT = re.compile(
    # 12 x 8 x 9 (mm), 4.1-4.5 cm, 12/8/9 mm, 15 %, TI-RADS 4C. At most three numbers of three figures, and stroke and
    # hyphen join only where a unit follows, so that no date, telephone or record number fits in.
    rf"((?<![\w.,/-]){_NUMBER}(?:"
    rf"(?:\s*(?:mm|cm))?(?:\s*(?:[x×*]|by)\s*{_NUMBER}(?:\s*(?:mm|cm))?(?![\d/-]|\.\d)){{1,2}}"
    rf"|(?:[-–/]{_NUMBER}){{0,2}}\s*(?:mm|cm|ml|cc|m/s|kpa|%))(?!\w)"
    r"|\bTI-?RADS(?:\s*(?:category|score|class|grade))?\W{0,3}[1-6]\s?[a-c]?(?!\w))",
    re.IGNORECASE,
)

_DAY, _MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_MONTH_NAME = (  # English, then German, French, Spanish, Italian
    r"(?i:jan(?:uary|uar|vier)?|feb(?:ruary|ruar)?|mar(?:ch|s|zo)?|apr(?:il|ile)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober|obre)?|nov(?:ember|embre)?|dec(?:ember)?|jän(?:ner)?|märz|mai|juni|juli|okt(?:ober)?|dez(?:ember)?|"
    r"février|avril|juin|juillet|août|septembre|décembre|enero|febrero|abril|mayo|junio|julio|agosto|septiembre|octubre|"
    r"noviembre|diciembre|gennaio|febbraio|maggio|giugno|luglio|settembre|ottobre|dicembre)(?![^\W\d_])\.?"
)
_ORDINAL = rf"{_DAY}(?:st|nd|rd|th|er|\.)?"
_YEAR = r"(?:19|20)\d\d"
_NO_UNIT = r"(?!\d|\s*(?:mm|cm|ml)\b)"
_NO_NAME = (  # words that follow a title or a name field without being a name
    r"(?i:aged?|sex|gender|dob|date|born|mrn|id|no|number|patient|refer\w*|exam\w*|thyroid|neck|ultra\w*|findings?|report|"
    r"nodules?|female|male|woman|man|history|clinical|indication|unknown|the|is|was|an?|and|with|has|had|left|right)\b"
)
_NAME_WORD = rf"(?!{_NO_NAME})(?:[^\W\d_]\.|[^\W\d_]+(?:['’-][^\W\d_]+){{0,4}})"
_CAPITAL_WORD = rf"(?=[A-ZÀ-ÖØ-Þ]){_NAME_WORD}"
_TITLE_CASE = rf"(?=[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]){_NAME_WORD}"
_FAMILY = rf"(?:(?:van|von|vom|zu|der|den|de|del|della|di|da|dos|du|la|le|el|al|bin|ben|ter|ten) ){{0,3}}{_CAPITAL_WORD}"
_TITLE = (
    r"(?:[Mm]rs?|[Mm]s|[Mm]iss|[Dd]ra?|[Pp]rof(?:essor)?|Herrn?|Frau|OA|Mme|Mlle|Madame|Monsieur|Sra?|Srta|Señora?|Sig\.?ra|"
    r"Signora?|Dott(?:\.?ssa)?|med)\b\.? ?"
)
_CREDENTIALS = r"(?:MD|M\.D\.|D\.O\.|MBBS|MBChB|FRCR|FRCS|MRCP|MRCS|FACR|RDMS|PhD|Ph\.D\.)(?!\w)"

# In this order: what is blanked no longer matches, so the more telling kinds come first. A `value` group is the part to
# blank, and ends its pattern; without one the whole match is.
_IDENTIFIERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("e-mail addresses", re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")),
    (
        "dates",
        re.compile(
            rf"(?<!\d)(?<!\d[.,/-])(?:"
            rf"{_YEAR}(?P<iso>[-/.]){_MONTH}(?P=iso){_DAY}"
            rf"|(?:{_DAY}(?P<day>[-/.]){_MONTH}(?P=day)|{_MONTH}(?P<month>[-/.]){_DAY}(?P=month))(?:{_YEAR}|\d\d)"
            rf"|{_YEAR}\s?年\s?{_MONTH}\s?月(?:\s?{_DAY}\s?日)?"
            rf"|{_ORDINAL}(?:[ -](?:of |de )?)?{_MONTH_NAME}[ ,-]{{0,2}}(?:de )?(?:{_YEAR}|'?\d\d)"
            rf"|{_YEAR}[ -]{_MONTH_NAME}(?:[ -]{_ORDINAL})?"
            rf"|{_MONTH}[/-]{_YEAR}"
            rf"){_NO_UNIT}"
            rf"|\b{_MONTH_NAME}(?: {_ORDINAL})?,? {_YEAR}{_NO_UNIT}"
            # Without a year, only where the month is written as one: "level 3 may be".
            rf"|(?<!\d)(?<!\d[.,/-]){_ORDINAL} (?:of )?(?=[A-Z][a-zä]){_MONTH_NAME}"
            rf"|\b(?=[A-Z][a-zä]){_MONTH_NAME} {_DAY}(?:st|nd|rd|th)?(?!\d|[.,x×]\d|\s*(?:[mc]m|ml|%|[x×])\b)"
        ),
    ),
    (
        "telephone numbers",
        re.compile(
            r"(?i:\b(?:tel|telephone|phone|mobile|cell|fax)\b\.?(?: ?(?:no|number)\b\.?)? ?[:=]? ?)"
            r"(?P<value>\+?[\d(][\d ()./-]{4,}\d)"
        ),
    ),
    (
        "telephone numbers",
        re.compile(
            r"(?<!\d)(?<!\d[.,])(?:\+\d[\d ()-]{6,}\d|(?:\(0\d{1,4}\) ?|0\d{1,4}[ -])\d{3,4}[ -]?\d{3,4}"
            r"|(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}|\d{3}[ -]\d{4}[ -]\d{4}|\d{3}-\d{4})(?!\d)"
        ),
    ),
    (
        "record numbers",
        re.compile(
            r"(?i:\b(?:mrn|(?:medical|hospital|patient|case|record|accession|nhs|insurance|passport|exam(?:ination)?)"
            r"(?: record)? ?(?:id|no|nr|num|number)|id(?= ?[:#]))\b\.? ?(?:no\b|number\b)?\.? ?[:#=]? ?)"
            r"(?P<value>(?=[\w/-]*\d)[\w/-]+)"
        ),
    ),
    ("web addresses", re.compile(r"(?:https?://|\bwww\.)[^\s,;)]+|(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")),
    ("long numbers", re.compile(r"(?<!\d)(?:(?<!\d[.,])\d{5,}|\d{3}-\d{2}-\d{4})(?!\d)")),
    (
        "record numbers",
        re.compile(
            r"(?:(?i:\b(?:id|case|file|chart|hn|urn|acc(?:ession)?|visit|episode|encounter|fall|no|nr)\b)"
            r"\.? ?(?i:no|nr)?\.? ?[:#]? ?|#)"
            r"(?P<value>\d{4,}[\w/-]*)"
        ),
    ),
    # Above 89 few enough are alive to be known, as the table has it, too.
    ("ages above 89", re.compile(r"(?i:\bage(?:d|\s*[:=])?\s*)(?P<value>(?:9\d|1[0-2]\d)(?!\d|[.,]\d))")),
    ("ages above 89", re.compile(r"(?<![\d.,/-])(?:9\d|1[0-2]\d)(?=(?:[ -]years?[ -]old| ?(?:y/o|yo|yrs?|years)\b))")),
    (
        "addresses",
        re.compile(
            rf"(?<![\d.,])\d{{1,4}}[a-z]? (?:{_CAPITAL_WORD} ){{1,3}}"
            r"(?:Street|St|Road|Rd|Lane|Avenue|Ave|Drive|Close|Court|Way|Place)\b"
            r"|\b(?:[A-ZÄÖÜ][\w-]{0,40})?(?i:straße|strasse|str\.|gasse) \d{1,4}\b|\b[A-ZÄÖÜ][\w-]{1,40}(?:weg|platz) \d{1,4}\b"
        ),
    ),
    (
        "names",
        re.compile(
            r"(?i:\b(?:name of (?:the )?patient|(?:sur|fore|first |last |family )?name)\s*(?:[:=]|\bis\b)\s*)"
            rf"(?P<value>{_NAME_WORD}(?:(?: |, ?|\^+){_NAME_WORD}){{0,3}})"
        ),
    ),
    ("names", re.compile(rf"(?i:\bpatient(?:['’]s)? name)\s+(?P<value>{_CAPITAL_WORD}(?:(?: |, ?|\^+){_CAPITAL_WORD}){{0,3}})")),
    ("names", re.compile(rf"\b(?i:patient|pt\.?)\s*[:=]\s*(?P<value>{_CAPITAL_WORD}(?: {_CAPITAL_WORD}){{0,2}})")),
    ("names", re.compile(rf"\b(?:[Pp]atient|[Pp]t\.?) (?P<value>{_TITLE_CASE}(?: {_TITLE_CASE}){{1,2}})")),
    ("names", re.compile(r"(?:姓名\s*[:：]?|(?:患者|病人|医师|医生)\s*[:：])\s*(?P<value>[\u4e00-\u9fff]{2,4})")),
    (
        "names",
        re.compile(
            rf"\b{_TITLE}(?:{_TITLE}){{0,3}}(?P<value>{_FAMILY}(?: {_FAMILY}){{0,2}})"
        ),
    ),
    (
        "names",
        re.compile(
            r"\b(?i:(?:reported|dictated|transcribed|typed|interpreted|signed|verified|approved|performed|examined|seen|read|referred|scanned|reviewed|written)"
            r"(?: electronically)? by|radiologist|physician|doctor|surgeon|sonographer|operator|reader|referrer|referring|"
            r"consultant|attending|registrar|signed|gez|untersucher|befunder|arzt)\b\.?\s*[:,]?\s*"
            rf"(?!{_TITLE})(?P<value>{_FAMILY}(?:,? {_FAMILY}){{0,2}})"
        ),
    ),
    (
        "names",
        re.compile(
            r"\b(?i:(?:reported|dictated|transcribed|typed|interpreted|signed|verified|approved|examined|seen|read|reviewed) by)"
            r"\s*:\s*"
            rf"(?P<value>{_NAME_WORD}(?: {_NAME_WORD})?)"
        ),
    ),
    ("names", re.compile(rf"\b{_FAMILY}(?: {_FAMILY}){{0,2}}(?=,? {_CREDENTIALS})")),
)


def find_identifiers(text: str) -> CleanReport:
    """Blank likely identifiers of a person: dates, long numbers, e-mail, telephone and record numbers, names.

    Parameters
    ----------
    text : a report, as `clean_report` leaves it.

    Returns
    -------
    The text with each likely identifier replaced by "▇▇" (its label, such as "MRN:", stays), and one notice for each
    kind found, which never repeats what was blanked. Measurements ("12 x 8 x 9 mm", "1.2 cm", "TI-RADS 4C") stay.
    """
    pieces = _MEASUREMENT.split(text)  # odd pieces are measurements
    counts: dict[str, int] = {}
    for kind, pattern in _IDENTIFIERS:
        for i in range(0, len(pieces), 2):
            pieces[i], found = pattern.subn(_blank, pieces[i])
            counts[kind] = counts.get(kind, 0) + found
    notices = (f"Likely {kind} in the report were blanked: {found}." for kind, found in counts.items() if found)
    return CleanReport("".join(pieces), tuple(notices))


def _blank(match: re.Match[str]) -> str:
    label_end = match.start("value") if "value" in match.re.groupindex else match.start()
    return match.string[match.start() : label_end] + BLANK
