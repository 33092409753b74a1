"""Reports as radiologists write them: from the findings, in varied words, with omissions and about 5 % errors.

Every hospital has a preferred style but all draw from the same phrases, as readers trained together do. Capsule
distance is hardly ever in a report (only some nodules that touch the capsule are described so).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

ERROR_RATE = 0.05
"""Chance that a stated finding is wrong."""

_PHRASES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "echogenicity": {
        "marked hypoechoic": ("markedly hypoechoic", "very hypoechoic", "marked hypoechogenicity", "darker than strap muscle"),
        "hypoechoic": ("hypoechoic", "low echo", "reduced echogenicity", "hypoechogenic"),
        "isoechoic": ("isoechoic", "similar echo to thyroid tissue", "isoechogenic", "iso-echo"),
        "hyperechoic": ("hyperechoic", "high echo", "increased echogenicity", "hyperechogenic"),
    },
    "composition": {
        "solid": ("solid", "solid", "completely solid", "predominantly solid"),
        "mixed": ("mixed solid and cystic", "partly cystic", "mixed", "solid-cystic"),
        "cystic": ("cystic", "largely cystic", "cystic", "fluid-filled"),
    },
    "margin": {
        "smooth": ("smooth margins", "well-defined border", "circumscribed edge", "regular margin"),
        "ill-defined": ("ill-defined margins", "indistinct border", "blurred edge", "poorly defined margin"),
        "irregular": ("irregular margins", "microlobulated border", "spiculated edge", "lobulated irregular margin"),
    },
    "calcification": {
        "none": ("no calcification", "without calcifications", "calcification not seen", "no echogenic foci"),
        "macro": ("coarse calcification", "macrocalcification", "coarse calcification with shadow", "rim calcification"),
        "micro": ("microcalcifications", "punctate echogenic foci", "multiple microcalcifications", "tiny bright foci"),
    },
    "taller_than_wide": {
        "yes": ("taller than wide", "aspect ratio above 1", "taller-than-wide shape", "A/T > 1"),
        "no": ("wider than tall", "aspect ratio below 1", "wider-than-tall shape", "A/T < 1"),
    },
    "marked_vascularity": {
        "yes": (
            "Marked internal vascularity.",
            "Rich intranodular flow on Doppler.",
            "Abundant blood flow inside.",
            "CDFI: hypervascular.",
        ),
        "no": ("No marked vascularity.", "Little flow on Doppler.", "Sparse blood flow.", "CDFI: scant flow."),
    },
    "suspicious_node": {
        "yes": (
            "Suspicious lymph node in the lateral neck.",
            "Enlarged level IV node without fatty hilum.",
            "Lateral cervical node with microcalcification, suspicious.",
            "Round lymph node at level III, hilum lost.",
        ),
        "no": (
            "No suspicious lymph nodes.",
            "Cervical nodes of normal appearance.",
            "No enlarged nodes in the neck.",
            "Lymph nodes: unremarkable.",
        ),
    },
    "thyroiditis": {
        "yes": (
            "Diffuse thyroiditis in the background.",
            "Heterogeneous gland, Hashimoto pattern.",
            "Coarse background, chronic thyroiditis.",
        ),
        "no": ("Background gland homogeneous.", "Normal background echo.", "Thyroid otherwise normal."),
    },
    "multifocal": {
        "yes": ("Multifocal disease suspected.", "Further suspicious foci in the gland.", "More than one suspicious nodule."),
        "no": ("Solitary nodule.", "Single focus.", "No further nodule."),
    },
    "capsule": {"yes": ("It abuts the capsule.", "Contact with the thyroid capsule.", "The capsule appears interrupted.")},
}  # fmt: skip

_OMITTED = {
    "echogenicity": 0.08, "composition": 0.12, "margin": 0.12, "calcification": 0.12, "taller_than_wide": 0.25,
    "marked_vascularity": 0.06, "thyroiditis": 0.10, "multifocal": 0.35,
}  # fmt: skip
_OMITTED_WHEN_ABSENT = {"suspicious_node": 0.08, "thyroiditis": 0.45, "multifocal": 0.6}
_OMITTED_WHEN_PRESENT = {"suspicious_node": 0.02, "thyroiditis": 0.05, "multifocal": 0.15}


class _Writer:
    """One report's dice: which phrase, what is left out, what is wrong."""

    def __init__(self, truth: Mapping[str, object], style: int, rng: np.random.Generator) -> None:
        self.truth, self.style, self.rng = truth, style, rng

    def value(self, name: str) -> str | None:
        """What the report says of a finding, or None where it is left out."""
        raw = self.truth[name]
        value = ("yes" if raw else "no") if isinstance(raw, bool | np.bool_) else str(raw)
        chances = _OMITTED_WHEN_PRESENT if value == "yes" else _OMITTED_WHEN_ABSENT
        if self.rng.random() < chances.get(name, _OMITTED.get(name, 0.0)):
            return None
        if self.rng.random() < ERROR_RATE * (0.3 if name == "suspicious_node" else 1.0):
            others = [v for v in _PHRASES[name] if v != value]
            return str(self.rng.choice(others))
        return value

    def phrase(self, name: str, value: str) -> str:
        """Words for a finding; the hospital's habit is taken half of the time."""
        options = _PHRASES[name][value]
        habit = self.rng.random() < 0.5
        return options[self.style % len(options) if habit else int(self.rng.integers(len(options)))]

    def say(self, name: str) -> str:
        value = self.value(name)
        return "" if value is None else self.phrase(name, value)


def write_report(truth: Mapping[str, object], style: int, rng: np.random.Generator) -> str:
    """One English report of a case.

    Parameters
    ----------
    truth : one row of the true findings (see `model.simulate.patients`), with capsule_distance_mm and the axes
        width_mm, height_mm, length_mm.
    style : 0 sentences, 1 telegram, 2 structured, 3 abbreviations.
    """
    w = _Writer(truth, style, rng)
    side, third = str(truth["side"]), str(truth["third"])
    place = "isthmus" if side == "isthmus" else f"{third} {side} lobe"
    if side != "isthmus" and style in (1, 3) and rng.random() < 0.6:
        place = f"{side} lobe, {third} third"
    axes = [float(truth[a]) for a in ("length_mm", "width_mm", "height_mm")]  # type: ignore[arg-type]
    if rng.random() < 0.5:
        size = f"{axes[0]:.0f} x {axes[1]:.0f} x {axes[2]:.0f} mm"
    else:
        size = f"{max(axes):.0f} mm" if rng.random() < 0.6 else f"{max(axes) / 10:.1f} cm"
    texture = [t for t in (w.say("composition"), w.say("echogenicity")) if t]
    details = [d for d in (w.say("margin"), w.say("taller_than_wide"), w.say("calcification")) if d]
    rng.shuffle(details)
    head = {
        0: f"A {size} {', '.join(texture)} nodule in the {place}" if texture else f"A {size} nodule in the {place}",
        1: f"Nodule {place}, {size}" + (f", {', '.join(texture)}" if texture else ""),
        2: f"Site: {place}. Size: {size}" + (f". Echo: {', '.join(texture)}" if texture else ""),
        3: f"{place.capitalize()}: {size} nodule" + (f", {', '.join(texture)}" if texture else ""),
    }[style]
    joined = ", ".join(details)
    if joined:
        joined = {
            0: f" with {joined}.",
            1: f". {joined[0].upper()}{joined[1:]}.",
            2: f". Features: {joined}.",
            3: f"; {joined}.",
        }[style]
    sentences = [head + (joined or ".")]
    if float(truth["capsule_distance_mm"]) < 0.3 and rng.random() < 0.25:  # type: ignore[arg-type]
        sentences.append(w.phrase("capsule", "yes"))
    rest = [w.say(n) for n in ("marked_vascularity", "multifocal", "thyroiditis", "suspicious_node")]
    if rng.random() < 0.4:
        rng.shuffle(rest)
    return " ".join(sentences + [r for r in rest if r])
