"""How this project runs its tests: a wait that ran out gets one more try, a wrong result none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Each of them fails at its first call only.
TESTS = """
import time
from shop import eventually

seen = set()

def first(name):
    fresh = name not in seen
    seen.add(name)
    return fresh

def test_deadline():
    assert time.monotonic() < time.monotonic() + (-1 if first("deadline") else 60)

def test_eventually():
    late = first("eventually")
    eventually(lambda: not late, timeout_s=0)

def test_blocked():
    if first("blocked"):
        time.sleep(60)

def test_wrong_result():
    assert ["a message"] == (["a message", "a message"] if first("wrong") else ["a message"])

def test_exception():
    if first("exception"):
        raise KeyError("a message")
"""


def test_only_a_wait_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*command, "--timeout", "2", "test_it.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert "2 failed, 3 passed, 3 rerun" in done.stdout, done.stdout
    assert "FAILED test_it.py::test_wrong_result" in done.stdout
    assert "FAILED test_it.py::test_exception" in done.stdout
    for name in ("deadline", "eventually", "blocked"):
        assert f"RERUN test_it.py::test_{name}" in done.stdout
