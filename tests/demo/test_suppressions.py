"""Ignore comments stand above their places, with the indentation of the place and a reason."""

from __future__ import annotations

from pathlib import Path

from migrator.demo.suppressions import dismiss
from migrator.report import Finding, Severity


def finding(code: str, where: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, where=where, what="is left")


def test_each_place_gets_a_comment_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    one()\n    two()\n")
    places = [finding("RETIRED-TASK", "a.py:2"), finding("COMPUTED-NAME", "a.py:3")]
    assert dismiss(tmp_path, places) == 2
    lines = (tmp_path / "a.py").read_text().splitlines()
    assert lines[1].startswith("    # migrator: ignore[RETIRED-TASK] these jobs go")
    assert lines[2] == "    one()"
    assert lines[3].startswith("    # migrator: ignore[COMPUTED-NAME] ")
    assert lines[4] == "    two()"


def test_a_place_nobody_decided_about_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one()\n")
    assert dismiss(tmp_path, [finding("STAR-IMPORT", "a.py:1")]) == 0
    assert (tmp_path / "a.py").read_text() == "one()\n"
