"""What the runbook shows is what the commands print today."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from runbook import RUNBOOK, filled, printed


@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_the_runbook_shows_what_the_commands_print(tmp_path: Path) -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    assert text == filled(text, printed(tmp_path)), "run `make docs` and read the difference"
