"""Ignore comments are written above their lines, with the same indentation and a reason."""

from __future__ import annotations

from pathlib import Path

from migrator.demo.suppressions import suppress_leftovers
from migrator.report import Finding, Severity


def finding(code: str, where: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, where=where, what="is a leftover")


def test_each_leftover_gets_its_own_comment(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    one()\n    two()\n")
    leftovers = [finding("RETIRED-TASK", "a.py:2"), finding("COMPUTED-NAME", "a.py:3")]
    assert suppress_leftovers(tmp_path, leftovers) == 2
    lines = (tmp_path / "a.py").read_text().splitlines()
    assert lines[1].startswith("    # migrator: ignore[RETIRED-TASK] these jobs are removed")
    assert lines[2] == "    one()"
    assert lines[3].startswith("    # migrator: ignore[COMPUTED-NAME] ")
    assert lines[4] == "    two()"


def test_a_leftover_without_a_reason_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one()\n")
    assert suppress_leftovers(tmp_path, [finding("STAR-IMPORT", "a.py:1")]) == 0
    assert (tmp_path / "a.py").read_text() == "one()\n"
