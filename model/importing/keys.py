"""The key of a cohort's pseudonyms: kept outside of the cohort, readable by its owner alone.

A pseudonym is HMAC-SHA256 of a patient's number under the key: the same patient has the same pseudonym wherever the same key
is used, and without the key nobody can try numbers out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from model.errors import CaseError
from model.importing.values import plain

_BYTES = 32
_MARK = "llnm-key-1:"


def key_beside(out: Path) -> Path:
    """Where the key of a cohort lies unless another file is named: beside its folder."""
    return out.with_name(f"{out.name}.key")


def load_key(path: Path, out: Path, *, create: bool) -> bytes:
    """Read a key, or make one.

    Parameters
    ----------
    path : its file.
    out : the cohort's folder, in which no key may lie.
    create : whether to write a new key where there is none; otherwise one is made up and forgotten (a dry run).

    Raises
    ------
    CaseError
        If the key lies in the cohort, is readable by others, is no key, or cannot be read.
    OSError
        If a new one cannot be written.
    """
    if out.resolve() == path.resolve() or out.resolve() in path.resolve().parents:
        fix = "Keep it elsewhere: whoever gets the cohort must not get the key."
        raise CaseError("the key lies in the cohort", where=str(path), fix=fix)
    if not path.exists():
        return _created(path) if create else secrets.token_bytes(_BYTES)
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise CaseError("others can read the key", where=str(path), fix=f"Run chmod 600 {path}.")
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise CaseError(f"no readable key ({reason})", where=str(path), fix="Name another file.") from None
    try:
        key = bytes.fromhex(text.removeprefix(_MARK))
    except ValueError:
        key = b""
    if len(key) != _BYTES or not text.startswith(_MARK):
        raise CaseError("no key", where=str(path), fix="Name a file that llnm import made, or a new one.")
    return key


def pseudonym(key: bytes, kind: str, value: str, length: int = 12) -> str:
    """Twelve letters and digits (60 bits) that stand for a value; writing it in other letter case changes nothing.

    Parameters
    ----------
    key : of `load_key`.
    kind : what the value is ("patient", "centre"), so that equal values of two kinds differ.
    value : identifying; never written.
    """
    return base64.b32encode(digest(key, f"{kind}|{plain(value)}".encode())).decode("ascii").lower()[:length]


def digest(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256."""
    return hmac.new(key, data, hashlib.sha256).digest()


def _created(path: Path) -> bytes:
    """A new key, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key = secrets.token_bytes(_BYTES)
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{_MARK}{key.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return key
