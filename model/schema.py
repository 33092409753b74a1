"""The one place where a field is defined.

Validation, forms, documentation, model tokens and Shapley groups all derive from a `Schema`: the built-in rows `FIELDS`,
`MAPS` and `GROUPS` (`DEFAULT`), and what a cohort's card adds to them (`model.ingest.card`): fields and an endpoint of its
own. A new built-in field is one new row of `FIELDS`; it then shows up everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.errors import CaseError, FieldError

View = Literal["transverse", "longitudinal"]
VIEWS: tuple[View, ...] = ("transverse", "longitudinal")

Value = float | str | bool
"""What a field holds: a number in the field's unit, one of its allowed values, or a yes/no."""

GrayImage = npt.NDArray[np.float32]  # (height, width), 0 black … 1 white
Mask = npt.NDArray[np.bool_]  # (height, width)

Kind = Literal["number", "category", "flag", "text"]
Role = Literal["identity", "input", "measured", "comparator", "label"]


@dataclass(frozen=True)
class Field:
    """One column of a case.

    Parameters
    ----------
    name : column name, with its unit where it has one.
    label : what people read on a page.
    kind : number, category, flag (yes/no) or text.
    role : `input` is a model token; `measured` is a model token that the images give when nobody typed it;
        `comparator` is shown beside the model and never given to it; `label` is known only after surgery and never
        given to it either.
    help : one sentence of definition.
    unit : unit of a number ("mm", "years"), empty otherwise.
    low, high : allowed range of a number, inclusive.
    mean, spread : what a number is centred and scaled by before it becomes a token.
    values : allowed values of a category, in their natural order.
    synonyms : other spellings accepted on input, lower case, → allowed value.
    """

    name: str
    label: str
    kind: Kind
    role: Role
    help: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    mean: float = 0.0
    spread: float = 1.0
    values: tuple[str, ...] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_token(self) -> bool:
        """Whether the model is given this field."""
        return self.role in ("input", "measured")

    @property
    def label_with_unit(self) -> str:
        """What people read where the value stands without its unit: "Age (years)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def allowed(self) -> str:
        """What the field allows, in words: for messages, forms and documentation."""
        if self.kind == "number":
            return f"a number from {self.low:g} to {self.high:g} {self.unit}".rstrip()
        if self.kind == "category":
            return "one of " + ", ".join(self.values)
        return "yes or no" if self.kind == "flag" else "text"


_FLAG_WORDS = {
    "1": True, "yes": True, "y": True, "true": True, "t": True, "positive": True, "present": True, "mutated": True,
    "0": False, "no": False, "n": False, "false": False, "f": False, "negative": False, "absent": False,
    "wild type": False,
}  # fmt: skip
_MISSING_WORDS = frozenset({"", "nan", "none", "na", "n/a", "null", "missing", "unknown", "not known"})

MAX_REPORT_CHARACTERS = 20_000

FIELDS: tuple[Field, ...] = (
    Field("case_id", "Case", "text", "identity", "Pseudonym of the case; never a name or a hospital number."),
    Field("centre", "Centre", "text", "identity", "Hospital the case comes from, as a code."),
    Field("patient", "Patient", "text", "identity",
          "Pseudonym of the patient; the cases of one patient never stand on both sides of a split."),
    Field("split", "Split", "category", "identity", "Which part of a training a case belongs to.",
          values=("train", "validation", "test"), synonyms={"training": "train", "valid": "validation", "val": "validation"}),
    Field("report_text", "Ultrasound report", "text", "identity", "Findings as written, in English."),
    Field("age_years", "Age", "number", "input", "Age at surgery.", "years", 18, 110, 43.5, 12.0),
    Field("sex", "Sex", "category", "input", "Sex as recorded.", values=("female", "male"),
          synonyms={"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}),
    Field("size_mm", "Nodule size", "number", "input", "Largest diameter as reported.", "mm", 1, 150, 8.0, 5.0),
    Field("multifocal", "Multifocal", "flag", "input", "More than one suspicious focus in the gland."),
    Field("side", "Side", "category", "input", "Lobe the nodule lies in.", values=("left", "right", "isthmus"),
          synonyms={"l": "left", "r": "right", "left lobe": "left", "right lobe": "right"}),
    Field("third", "Third", "category", "input", "Height within the lobe.", values=("upper", "middle", "lower"),
          synonyms={"superior": "upper", "mid": "middle", "inferior": "lower"}),
    Field("composition", "Composition", "category", "input", "Solid, mixed or cystic.",
          values=("solid", "mixed", "cystic")),
    Field("calcification", "Calcification", "category", "input", "Kind of echogenic foci.",
          values=("none", "macro", "micro"),
          synonyms={"microcalcification": "micro", "microcalcifications": "micro", "macrocalcification": "macro",
                    "macrocalcifications": "macro"}),
    Field("margin", "Margin", "category", "input", "Edge of the nodule.", values=("smooth", "ill-defined", "irregular"),
          synonyms={"circumscribed": "smooth", "lobulated": "irregular", "microlobulated": "irregular",
                    "spiculated": "irregular", "ill defined": "ill-defined"}),
    Field("echogenicity", "Echogenicity", "category", "input", "Echo level against the gland around it.",
          values=("marked hypoechoic", "hypoechoic", "isoechoic", "hyperechoic"),
          synonyms={"markedly hypoechoic": "marked hypoechoic"}),
    Field("taller_than_wide", "Taller than wide", "flag", "input", "Depth exceeds width on the transverse view."),
    Field("histology", "Histology (FNA or frozen section)", "category", "input",
          "Cancer type known before the neck is decided.", values=("PTC", "FTC", "MTC"),
          synonyms={"papillary": "PTC", "follicular": "FTC", "medullary": "MTC"}),
    Field("braf_v600e", "BRAF V600E", "flag", "input", "BRAF V600E mutation in the needle sample."),
    Field("extrathyroidal_extension_suspected", "Extrathyroidal extension suspected", "flag", "input",
          "Suspected before surgery, on imaging or frozen section."),
    Field("capsule_distance_mm", "Capsule distance", "number", "measured",
          "Shortest distance from nodule to thyroid capsule over the views.", "mm", 0, 40, 2.5, 2.0),
    Field("capsule_distance_fraction", "Capsule distance (share of gland depth)", "number", "measured",
          "Capsule distance ÷ largest distance of any gland point from the capsule; needs no pixel spacing.",
          "", 0, 1, 0.25, 0.2),
    Field("height_mm", "Nodule height", "number", "measured", "Depth of the nodule on the transverse view (x_s).",
          "mm", 0.1, 150, 6.0, 4.0),
    Field("width_mm", "Nodule width", "number", "measured", "Width of the nodule on the transverse view (x_s).",
          "mm", 0.1, 150, 7.0, 4.0),
    Field("echo_difference", "Echo difference", "number", "measured",
          "Mean echo inside minus just outside the nodule (x_e), in grey levels from −1 to 1.", "", -1, 1, -0.12, 0.08),
    Field("tirads", "Kwak TI-RADS", "category", "comparator",
          "Kwak category; drawn beside the model and never given to it.",
          values=("1", "2", "3", "4A", "4B", "4C", "5", "6"), synonyms={"4a": "4A", "4b": "4B", "4c": "4C"}),
    Field("llnm", "Lateral node metastasis", "flag", "label",
          "At least one positive node among the lateral nodes excised."),
    Field("stage", "LLNM risk stage", "category", "label",
          "1: at most 5 nodes, all <2 mm; 3: any node >30 mm; 2: otherwise (of LLNM-positive cases).",
          values=("1", "2", "3")),
    Field("positive_nodes", "Positive lateral nodes", "number", "label", "Count after surgery.", "nodes", 0, 120),
    Field("largest_node_mm", "Largest positive node", "number", "label", "Largest deposit.", "mm", 0, 100),
    Field("central_metastasis", "Central node metastasis", "flag", "label", "Positive central node after surgery."),
)  # fmt: skip

FIELD: Mapping[str, Field] = MappingProxyType({f.name: f for f in FIELDS})
PAPER_FIELDS: tuple[str, ...] = ("age_years", "sex", "echo_difference", "height_mm", "width_mm")
"""The paper's own clinical tokens: age, sex, x_e and x_s (height and width are one token there, two here)."""

MapName = Literal["location", "internal", "margin"]
MAPS: tuple[MapName, ...] = ("location", "internal", "margin")
"""The image maps of each view: x_l (CPDT location), x_t (internal morphology), x_m (margin)."""


@dataclass(frozen=True)
class Group:
    """Inputs that stand or fall together in a Shapley attribution.

    `maps` and `fields` name its members; `report` says whether the words of the report belong to it.
    """

    name: str
    label: str
    maps: tuple[MapName, ...] = ()
    fields: tuple[str, ...] = ()
    report: bool = False


GROUPS: tuple[Group, ...] = (
    Group("location", "Capsule distance and location", ("location",),
          ("capsule_distance_mm", "capsule_distance_fraction")),
    Group("position", "Lobe position", (), ("side", "third")),
    Group("internal", "Internal morphology", ("internal",), ("composition", "calcification")),
    Group("margin", "Margin", ("margin",), ("margin",)),
    Group("echogenicity", "Echogenicity", (), ("echogenicity", "echo_difference")),
    Group("shape", "Shape", (), ("height_mm", "width_mm", "taller_than_wide")),
    Group("size", "Size and multifocality", (), ("size_mm", "multifocal")),
    Group("report", "Report words", report=True),
    Group("sex", "Sex", (), ("sex",)),
    Group("age", "Age", (), ("age_years",)),
    Group("pathology", "Pre-operative pathology", (),
          ("histology", "braf_v600e", "extrathyroidal_extension_suspected")),
)  # fmt: skip


@dataclass(frozen=True)
class Endpoint:
    """The outcome that a model predicts: yes or no, known only after surgery.

    Parameters
    ----------
    name : column of `cases.csv` that holds it.
    label : what people read: "Lateral node metastasis".
    short : where there is little room: "LLNM".
    help : one sentence of definition.
    """

    name: str
    label: str
    short: str
    help: str

    @property
    def phrase(self) -> str:
        """The label within a sentence: "lateral node metastasis"; an abbreviation keeps its capitals."""
        return in_sentence(self.label)

    @property
    def title(self) -> str:
        """The label with the short name, where that says another thing: "Lateral node metastasis (LLNM)"."""
        return self.label if self.short.lower() in self.label.lower() else f"{self.label} ({self.short})"

    @property
    def field(self) -> Field:
        """The endpoint as a column."""
        return Field(self.name, self.label, "flag", "label", self.help)


LLNM = Endpoint("llnm", FIELD["llnm"].label, "LLNM", FIELD["llnm"].help)


@dataclass(frozen=True)
class Schema:
    """Everything that a cohort's cases may hold, or that a model reads: fields, Shapley groups and the endpoint.

    Parameters
    ----------
    fields : every column of a case, own ones after the built-in ones.
    groups : what stands or falls together in a Shapley attribution; every token belongs to exactly one.
    endpoint : what is predicted.
    """

    fields: tuple[Field, ...] = FIELDS
    groups: tuple[Group, ...] = GROUPS
    endpoint: Endpoint = LLNM

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields by their names."""
        return {f.name: f for f in self.fields}

    @cached_property
    def numbers(self) -> tuple[Field, ...]:
        """Fields that are numeric tokens, in the order of `NetworkInputs.numeric`."""
        return tuple(f for f in self.fields if f.is_token and f.kind == "number")

    @cached_property
    def categories(self) -> tuple[Field, ...]:
        """Fields that are category tokens, in the order of `NetworkInputs.categorical`."""
        return tuple(f for f in self.fields if f.is_token and f.kind in ("category", "flag"))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Names of all fields that a network can be given, numbers first."""
        return tuple(f.name for f in (*self.numbers, *self.categories))

    @cached_property
    def labels(self) -> tuple[Field, ...]:
        """What is known only after surgery."""
        return tuple(f for f in self.fields if f.role == "label")

    @cached_property
    def own(self) -> tuple[Field, ...]:
        """Fields that are not built in; neither is the endpoint among them."""
        return tuple(f for f in self.fields if f.name not in FIELD and f.name != self.endpoint.name)

    @property
    def has_report(self) -> bool:
        """Whether the words of a report belong to it."""
        return any(g.report for g in self.groups)

    @property
    def has_images(self) -> bool:
        """Whether the maps of pictures belong to it."""
        return any(g.maps for g in self.groups)

    @property
    def has_stages(self) -> bool:
        """Whether the risk stages are of its endpoint: they are stages of lateral node metastasis."""
        return self.endpoint.name == LLNM.name

    def extended(self, own: tuple[Field, ...], groups: Mapping[str, str], endpoint: Endpoint = LLNM) -> Schema:
        """With own fields and another endpoint.

        Parameters
        ----------
        own : fields to add; one of a built-in field's name takes its place.
        groups : by the name of an own field, the name of the group it joins: a built-in one, or a new one that it shares
            with others; a field without one is a group by itself.
        endpoint : what is predicted.
        """
        replaced = {f.name: f for f in own}
        fields = [replaced.pop(f.name, f) for f in self.fields]
        added = tuple(replaced.values())
        if endpoint.name not in {f.name for f in fields}:
            added = (endpoint.field, *added)
        joined: dict[str, list[str]] = {}
        taken = {g.name for g in self.groups}
        for new in added:
            if new.is_token:
                alone = f"{new.name}_own" if new.name in taken else new.name  # "pathology" is a built-in group, too
                joined.setdefault(groups.get(new.name, alone), []).append(new.name)
        result = [replace(g, fields=g.fields + tuple(joined.pop(g.name, ()))) for g in self.groups]
        label = {f.name: f.label for f in added} | {f"{f.name}_own": f.label for f in added if f.name in taken}
        result += [Group(name, label.get(name, name), (), tuple(members)) for name, members in joined.items()]
        return Schema((*fields, *added), tuple(result), endpoint)

    def restricted(self, tokens: Collection[str], *, images: bool, report: bool) -> Schema:
        """Only what a network reads: other token fields go, and with them the groups that are left empty."""
        groups = [
            replace(
                g, maps=g.maps if images else (), report=g.report and report,
                fields=tuple(f for f in g.fields if f in tokens),
            )
            for g in self.groups
        ]  # fmt: skip
        return Schema(
            tuple(f for f in self.fields if not f.is_token or f.name in tokens),
            tuple(g for g in groups if g.maps or g.report or g.fields),
            self.endpoint,
        )


DEFAULT = Schema()
"""The built-in schema: that of the shipped checkpoint and of every cohort whose card names no other."""



_ROLE_WORDS = {
    "identity": "not read by the model, or as words", "input": "model", "measured": "model; measured where not given",
    "comparator": "shown beside the model", "label": "known after surgery, never given to the model",
}  # fmt: skip


def fields_as_markdown(schema: Schema = DEFAULT) -> str:
    """Every field as a table in Markdown: column, meaning, what it allows, who reads it."""
    rows = ["| column | meaning | allowed | read by |", "| --- | --- | --- | --- |"]
    rows += [f"| `{f.name}` | {f.label}. {f.help} | {f.allowed()} | {_ROLE_WORDS[f.role]} |" for f in schema.fields]
    return "\n".join(rows)


def in_sentence(label: str) -> str:
    """A label within a sentence: small first letter, unless it is an abbreviation."""
    return label if label[:2].isupper() or len(label) == 1 else label[:1].lower() + label[1:]


def category_values(spec: Field) -> tuple[str, ...]:
    """Token values of a category or flag, in order; the index 0 of the token table is kept for "missing"."""
    return ("no", "yes") if spec.kind == "flag" else spec.values


def is_missing(text: str) -> bool:
    """Whether a cell says that nothing is known: empty, "NA", "unknown" and the like."""
    return text.strip().lower() in _MISSING_WORDS


def parse(spec: Field, raw: object, *, where: str = "") -> Value | None:
    """Turn whatever a form, a CSV cell or JSON holds into the field's value; `None` where it is missing.

    Parameters
    ----------
    spec : the field.
    raw : a string, number, bool or None.
    where : file, row or form the value comes from, for the message.

    Raises
    ------
    FieldError
        If the value is not allowed; the message names field, value, what is allowed and the fix.
    """
    place = f"{where}, {spec.name}" if where else spec.name

    def refuse(reason: str) -> FieldError:
        shown = repr(raw) if len(repr(raw)) <= 60 else repr(raw)[:57] + "…"
        return FieldError(f"{shown} {reason}", where=place, fix=f"Give {spec.allowed()}, or leave it empty.")

    if raw is None or (isinstance(raw, float) and math.isnan(raw)):
        return None
    text = str(raw).strip()
    if is_missing(text) and text.lower() not in spec.values:  # "none" is a value of calcification
        return None
    if spec.kind == "text":
        if spec.name == "report_text" and len(text) > MAX_REPORT_CHARACTERS:
            raise FieldError(
                f"{len(text):,} characters",
                where=place,
                fix=f"Paste only the thyroid findings, at most {MAX_REPORT_CHARACTERS:,} characters.",
            )
        return text
    if spec.kind == "number":
        if isinstance(raw, bool):
            raise refuse("is not a number")
        try:
            number = float(text)
        except ValueError:
            raise refuse("is not a number") from None
        if not math.isfinite(number):
            raise refuse("is not a finite number")
        if not spec.low <= number <= spec.high:
            raise refuse("is outside the allowed range")
        return number
    if spec.kind == "flag":
        if isinstance(raw, int | float) and raw in (0, 1):
            return bool(raw)
        if text.lower() not in _FLAG_WORDS:
            raise refuse("is neither yes nor no")
        return _FLAG_WORDS[text.lower()]
    if isinstance(raw, float) and raw.is_integer():
        text = str(int(raw))  # pandas reads an integer column with gaps as floats
    by_lower = {v.lower(): v for v in spec.values}
    found = by_lower.get(text.lower()) or spec.synonyms.get(text.lower())
    if found is None:
        raise refuse("is not an allowed value")
    return found


@dataclass(frozen=True)
class ViewImage:
    """One ultrasound picture.

    Parameters
    ----------
    pixels : (height, width) float32 in 0…1.
    pixel_spacing_mm : (row, column) size of a pixel in mm, or None when unknown.
    nodule_mask, gland_mask : (height, width) bool where given or drawn by a person; None lets the network segment.
    """

    pixels: GrayImage
    pixel_spacing_mm: tuple[float, float] | None = None
    nodule_mask: Mask | None = None
    gland_mask: Mask | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2:
            raise CaseError(f"shape {self.pixels.shape}", where="image", fix="Give a grey (height, width) picture.")
        for name in ("nodule_mask", "gland_mask"):
            mask = getattr(self, name)
            if mask is not None and mask.shape != self.pixels.shape:
                raise CaseError(
                    f"{mask.shape} where the image is {self.pixels.shape}",
                    where=name,
                    fix="Resize the mask to its image with nearest-neighbour sampling.",
                )
        spacing = self.pixel_spacing_mm
        if spacing is not None and not all(0.01 <= s <= 2.0 for s in spacing):
            raise CaseError(
                f"{spacing} mm per pixel", where="pixel_spacing_mm", fix="Give 0.01 to 2 mm per pixel, or leave it out."
            )


Provenance = Literal["synthetic", "user"]


@dataclass(frozen=True)
class Case:
    """One patient before surgery: pictures, report, fields, at least one of the three; labels when known.

    `fields` holds validated values by field name (token and comparator fields only; a missing field is absent).
    `labels` holds what is known only after surgery: the model is never given it. `schema` says what may be there.
    """

    case_id: str
    images: Mapping[View, ViewImage]
    fields: Mapping[str, Value] = field(default_factory=dict)
    report_text: str = ""
    centre: str = ""
    provenance: Provenance = "user"
    labels: Mapping[str, Value] = field(default_factory=dict)
    schema: Schema = field(default=DEFAULT, repr=False)

    def __post_init__(self) -> None:
        if not self.case_id:
            raise CaseError("empty", where="case_id", fix="Give every case a pseudonym.")
        if not (self.images or self.fields or self.report_text.strip()):
            raise CaseError(
                "nothing to read", where=f"case {self.case_id}",
                fix="Give a transverse or longitudinal image, a report or a field.",
            )  # fmt: skip
        known = self.schema.by_name
        for name in self.fields:
            if name not in known or known[name].role not in ("input", "measured", "comparator"):
                raise CaseError(
                    f"{name!r} is no pre-operative field",
                    where=f"case {self.case_id}",
                    fix="Fields known only after surgery belong in labels; remove anything else.",
                )
