"""What the runbook shows is what the commands print today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "runbook.py"


@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_the_runbook_shows_what_the_commands_print() -> None:
    command = [sys.executable, str(PROGRAM), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, f"run `make docs` and read the difference:\n{done.stdout}{done.stderr}"
