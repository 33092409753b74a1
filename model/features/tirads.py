"""Kwak TI-RADS from findings: the comparator that is drawn beside the model.

Kwak et al., Radiology 260, 892 (2011): category by the number of suspicious features among solid component,
hypoechogenicity or marked hypoechogenicity, microlobulated or irregular margins, microcalcifications and
taller-than-wide shape: none 3, one 4A, two 4B, three or four 4C, five 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.schema import Value

_FEATURES: tuple[tuple[str, str, tuple[Value, ...]], ...] = (
    ("composition", "solid", ("solid",)),
    ("echogenicity", "hypoechoic", ("hypoechoic", "marked hypoechoic")),
    ("margin", "irregular margin", ("irregular",)),
    ("calcification", "microcalcification", ("micro",)),
    ("taller_than_wide", "taller than wide", (True,)),
)
FINDINGS: tuple[str, ...] = tuple(name for name, _, _ in _FEATURES)
"""Fields that are counted."""
_CATEGORY = ("3", "4A", "4B", "4C", "4C", "5")


@dataclass(frozen=True)
class TiradsResult:
    """Kwak category of a nodule.

    Parameters
    ----------
    category : None where findings are missing and could change it.
    low, high : categories if the missing findings were all harmless, or all suspicious.
    suspicious : suspicious features found.
    missing : findings not given, by field name.
    """

    category: str | None
    low: str
    high: str
    suspicious: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def label(self) -> str:
        """The category, or the range that missing findings leave open."""
        return self.category or f"{self.low}–{self.high}"


@dataclass(frozen=True)
class Finding:
    """One of the five findings that Kwak counts.

    Parameters
    ----------
    name : its field.
    label : what is suspicious.
    value : as given, None where it is not.
    suspicious : None where it is not given.
    """

    name: str
    label: str
    value: Value | None
    suspicious: bool | None


def findings(fields: Mapping[str, Value]) -> tuple[Finding, ...]:
    """The five findings, from the fields composition, echogenicity, margin, calcification and taller_than_wide."""
    found = []
    for name, label, suspicious in _FEATURES:
        value = fields.get(name)
        found.append(Finding(name, label, value, None if value is None else value in suspicious))
    return tuple(found)


def kwak(fields: Mapping[str, Value]) -> TiradsResult:
    """Kwak TI-RADS category by the number of suspicious `findings`."""
    found = findings(fields)
    suspicious = tuple(f.label for f in found if f.suspicious)
    missing = tuple(f.name for f in found if f.suspicious is None)
    low, high = _CATEGORY[len(suspicious)], _CATEGORY[len(suspicious) + len(missing)]
    return TiradsResult(low if low == high else None, low, high, suspicious, missing)
