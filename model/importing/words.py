"""What columns are called in hospitals: names of the schema's fields, of identifying columns, of outcomes."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Target → other names of its column, in the plain form of `plain_name`. Units at the end of a name are taken off before.
NAMES: Mapping[str, tuple[str, ...]] = {
    "patient": ("patient", "patient id", "patientid", "pat id", "patid", "pid", "subject", "subject id", "subjectid", "case id",
                "caseid", "mrn", "medical record number", "hospital number", "patient no", "patient number", "patient nr", "id",
                "study id", "record id", "pt id", "pt no", "patient code", "pat nr",
                "pat no", "pseudonym", "patienten id", "病历号", "住院号"),
    "split": ("split", "set", "fold", "partition", "subset", "dataset", "data set", "cohort part"),
    "centre": ("centre", "center", "hospital", "site", "institution", "clinic", "centre id", "center id", "site id"),
    "report_text": ("report", "report text", "ultrasound report", "us report", "findings", "text", "narrative", "befund"),
    "report_file": ("report file", "report path", "reportfile", "text file", "report filename"),
    "birth_date": ("dob", "birth date", "birthdate", "date of birth", "birthday", "geburtsdatum", "birth", "出生日期"),
    "exam_date": ("exam date", "examdate", "date of exam", "examination date", "study date", "studydate", "surgery date",
                  "date of surgery", "operation date", "op date", "us date", "ultrasound date", "scan date", "visit date"),
    "age_years": ("age", "age years", "age at surgery", "age at diagnosis", "alter", "patient age", "年龄"),
    "sex": ("sex", "gender", "geschlecht", "sexe", "性别"),
    "size_mm": ("size", "nodule size", "tumor size", "tumour size", "diameter", "max diameter", "largest diameter",
                "maximum diameter", "nodule diameter", "tumor diameter", "lesion size"),
    "height_mm": ("height", "nodule height", "depth", "ap diameter", "anteroposterior diameter", "ap"),
    "width_mm": ("width", "nodule width", "transverse diameter"),
    "capsule_distance_mm": ("capsule distance", "distance to capsule"),
    "multifocal": ("multifocal", "multifocality", "focality", "multiple foci", "multiplicity"),
    "side": ("side", "lobe", "laterality", "nodule side", "location side", "tumor side"),
    "third": ("third", "pole", "level", "position", "vertical position", "lobe third"),
    "composition": ("composition", "nodule composition", "solidity"),
    "calcification": ("calcification", "calcifications", "echogenic foci", "microcalcification"),
    "margin": ("margin", "margins", "border", "boundary", "edge"),
    "echogenicity": ("echogenicity", "echo", "echotexture"),
    "taller_than_wide": ("taller than wide", "shape taller", "tallerthanwide", "aspect ratio above 1", "taller wide"),
    "histology": ("histology", "histotype", "cancer type", "pathology", "fna", "fna result", "cytology", "frozen section"),
    "braf_v600e": ("braf", "braf v600e", "brafv600e", "braf mutation"),
    "extrathyroidal_extension_suspected": ("extrathyroidal extension suspected", "ete suspected", "suspected ete", "us ete"),
    "tirads": ("tirads", "ti rads", "kwak", "kwak tirads", "k tirads", "tirads category"),
    "image_transverse": ("image transverse", "transverse image", "transverse", "image t", "img transverse", "trans",
                         "us transverse", "image", "picture", "file", "filename", "image file", "image path", "img", "dicom"),
    "image_longitudinal": ("image longitudinal", "longitudinal image", "longitudinal", "sagittal", "image sagittal", "image l",
                           "img longitudinal", "long", "us longitudinal"),
    "nodule_mask_transverse": ("nodule mask transverse", "mask transverse", "mask", "nodule mask"),
    "nodule_mask_longitudinal": ("nodule mask longitudinal", "mask longitudinal"),
    "gland_mask_transverse": ("gland mask transverse", "gland mask"),
    "gland_mask_longitudinal": ("gland mask longitudinal",),
    "frame_transverse": ("frame transverse", "transverse frame", "frame", "frame number", "frame t"),
    "frame_longitudinal": ("frame longitudinal", "longitudinal frame", "frame l"),
    "pixel_spacing_mm": ("pixel spacing", "pixelspacing", "pixel size", "spacing"),
    "pixel_spacing_row_mm": ("pixel spacing row", "row spacing", "pixel spacing y"),
    "pixel_spacing_column_mm": ("pixel spacing column", "column spacing", "pixel spacing x"),
    "endpoint": ("llnm", "lateral lymph node metastasis", "lateral node metastasis", "lateral metastasis", "lateral nodes",
                 "n1b", "lateral ln metastasis", "lateral", "outcome", "label", "endpoint", "target"),
    "stage": ("llnm stage", "llnm risk stage"),
    "positive_nodes": ("positive lateral nodes", "lateral nodes positive"),
    "largest_node_mm": ("largest positive node", "largest node", "largest deposit"),
    "central_metastasis": ("central metastasis", "central node metastasis", "clnm", "central lymph node metastasis"),
}  # fmt: skip

N_CATEGORY = frozenset({"n", "pn", "p n", "n stage", "pn stage", "p n stage", "n category"})
"""Names of the TNM node category, of which N1b is lateral node metastasis."""

# Words of a column's name that say that it leads to a person, or is free text that may.
_IDENTIFYING = re.compile(
    r"\b(\w*name|initials?|address|street|city|town|village|suburb|county|zip( code)?|postcode|postal|phone|tel|telephone|mobile|"
    r"fax|e ?mail|mail|ssn|social security|insurance|passport|nhs|nhs number|accession|mrn|medical record|hospital (number|no)|"
    r"(record|case|visit|sample|specimen|episode|encounter|admission|study|exam|order|lab|file|chart) (number|no|nr|id)|"
    r"\w*(patient|pat|subject|case|person) ?(number|no|nr|id)|barcode|encounter|doctor|physician|consultant|clinician|gp|attending|"
    r"radiologist|pathologist|surgeon|referr\w+|operator|reader|examiner|technician|nurse|assistant|author|signature|responsible|"
    r"(scanned|reported|performed|seen|read|examined|signed|done|entered|checked) by|"
    r"sonographer|contact|next of kin|relative|mother|father|spouse|dob|birth\w*|date|day of|comments?|remarks?|notes?|memo|url|"
    r"ip|device (id|serial)|serial|uid|guid|employer|occupation|ethnicity|unnamed|index level|"
    # German, French, Spanish, Italian, Chinese
    r"geb|gebdat\w*|geburts\w*|telefon\w*|handy|stra(ss|ß)e|plz|ort|wohnort|adresse|anschrift|\w*arzt|ärztin|untersucher\w*|"
    r"operateur\w*|chirurg\w*|befunder|unterschrift|initialen|fall (nr|nummer)|fallnummer|aufnahmenummer|patientennummer|"
    r"krankenkasse|kvnr|versicherten\w*|bemerkung\w*|kommentar|nom|prénom|prenom|médecin|medecin|téléphone|naissance|"
    r"nombre|apellidos?|médico|medico|dirección|direccion|teléfono|telefono|cognome|nome|indirizzo|姓名|电话|地址|身份证|医生|医师)\d*\b"
)

_UNITS = {"mm": "mm", "cm": "cm", "years": "years", "yrs": "years", "yr": "years", "y": "years", "months": "months"}


def plain_name(column: str) -> str:
    """A column's name in small letters, single spaces between words: "Age_at-Surgery" → "age at surgery"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column.strip())
    return " ".join(re.findall(r"[^\W_]+", apart.lower()))


def name_and_unit(column: str) -> tuple[str, str]:
    """A column's plain name without the unit it ends in, and that unit: "Size (cm)" → ("size", "cm")."""
    words = plain_name(column).split()
    if len(words) > 1 and words[-1] in _UNITS:
        return " ".join(words[:-1]), _UNITS[words[-1]]
    return " ".join(words), ""


def leads_to_a_person(column: str) -> bool:
    """Whether a column's name says so."""
    return _IDENTIFYING.search(plain_name(column)) is not None


def meanings(column: str) -> tuple[str, ...]:
    """Targets that a column's name fits, the most telling first."""
    full, (short, _) = plain_name(column), name_and_unit(column)
    exact = [t for t, names in NAMES.items() if full == plain_name(t) or full in names or short in names]
    within = [
        t for t, names in NAMES.items()
        if t not in exact and any(len(n) > 3 and re.search(rf"\b{re.escape(n)}\b", short) for n in names)
    ]  # fmt: skip
    return (*exact, *within)
