"""What was given: a table and its files, in the memory of the session, and what its columns seem to hold."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from model.errors import CaseError
from model.importing import COHORTS
from model.importing.manifest import Manifest, open_manifest
from model.importing.mapping import Agreed, mapping_of
from model.importing.profile import Profile, profiles
from model.importing.propose import propose
from model.importing.sources import Uploads
from model.ingest.messages import some

TABLES = ["csv", "tsv", "txt", "xlsx", "parquet"]
FILES = ["png", "jpg", "jpeg", "dcm", "dicom", "tif", "tiff", "bmp", "webp", "txt"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,59}")


@dataclass(frozen=True)
class Given:
    """An export as uploaded.

    Parameters
    ----------
    key : changes with the table and the mapping file that was given.
    manifest : the table.
    profiles : of its columns.
    rows : how many.
    files : pictures and reports by name.
    proposal : the mapping to begin with.
    """

    key: str
    manifest: Manifest
    profiles: dict[str, Profile]
    rows: int
    files: Uploads
    proposal: Agreed


def cohorts_folder() -> Path:
    """Where cohorts are written: the folder that `llnm serve --cohorts` names, else `cohorts` where the server was started."""
    return Path(os.environ.get(COHORTS, "cohorts")).resolve()


def cohort_path(name: str) -> Path:
    """Folder of a new cohort; raises CaseError where the name could lead elsewhere."""
    if not _NAME.fullmatch(name.strip()):
        fix = "Give letters, digits, spaces, - and _, a letter or digit first, at most 60."
        raise CaseError("not usable as a folder's name", where="name of the cohort", fix=fix)
    return cohorts_folder() / name.strip()


def upload() -> Given | None:
    """The upload form; None until there is a table. Raises CaseError where it cannot be read."""
    left, right = st.columns(2)
    table = left.file_uploader("Table of the export (CSV, Excel or Parquet)", TABLES, key="import-table")
    files = right.file_uploader(
        "Pictures and report files that it names", FILES, key="import-files", accept_multiple_files=True
    )
    saved = st.file_uploader("A mapping saved before (JSON, optional)", ["json"], key="import-mapping")
    if table is None:
        return None
    if doubled := sorted(name for name, times in Counter(file.name for file in files or ()).items() if times > 1):
        # Which of them a row means, nobody can tell: an upload has no folders.
        fix = "Remove one of each; give files of several folders to llnm import, or rename them."
        raise CaseError(f"files given twice: {some(doubled)}", where="pictures and report files", fix=fix)
    uploads = Uploads({file.name: file.getvalue() for file in files or ()})
    key = f"{table.file_id}-{saved.file_id if saved else ''}"
    kept = st.session_state.get("import-given")
    if kept is None or kept.key != key:
        manifest = open_manifest(table.getvalue(), table.name)
        with st.spinner("Reading the table …"):
            found, rows = profiles(manifest.header, manifest.rows(), manifest.separator)
        kept = Given(key, manifest, found, rows, uploads, _mapping(saved) if saved else propose(manifest, found))
        for old in [k for k in st.session_state if str(k).startswith("import-done")]:
            del st.session_state[old]
    st.session_state["import-given"] = kept = Given(
        key, kept.manifest, kept.profiles, kept.rows, uploads, kept.proposal
    )
    return kept


def _mapping(file: object) -> Agreed:
    try:
        return mapping_of(json.loads(file.getvalue()))  # type: ignore[attr-defined]
    except ValueError:
        raise CaseError(
            "no valid JSON", where="mapping", fix="Give a file that this page or llnm import wrote."
        ) from None
