"""A short run of ``benchmarks/rewrite_fuzz.py``: other people's code with legacy names at random places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_other_peoples_code_is_rewritten_or_listed_and_nothing_else_changes() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "rewrite_fuzz.py"
    command = [sys.executable, str(script), "--files", "24", "--seed", "3", "--packages", "celery", "kombu", "rich"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[2]) > 10, done.stdout
