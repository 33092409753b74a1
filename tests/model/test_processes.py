"""Worker processes start from any main script, and do not run it again."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from model.processes import fresh_pool


def test_the_main_script_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Streamlit, where the main module is the page."""
    told = tmp_path / "ran"
    script = tmp_path / "page.py"
    script.write_text(f"open({str(told)!r}, 'w').close()\nraise RuntimeError('run again')\n")
    page = ModuleType("__main__")
    page.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", page)
    with fresh_pool(1, print, ()) as pool:
        assert pool.submit(abs, -3).result(30) == 3
    assert sys.modules["__main__"] is page
    assert not told.exists()
