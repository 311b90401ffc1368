"""How this project runs its tests: a wait that ran out gets one more try, a wrong result none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import WaitTimeoutError, wait_until

ROOT = Path(__file__).parents[1]
#: Each of them fails at its first call only.
TESTS = """
import subprocess
import time
import pytest
from migrator.errors import UnreachableError
from shop import eventually
from waiting import wait_until

seen = set()

def first(name):
    fresh = name not in seen
    seen.add(name)
    return fresh

def test_waited():
    late = first("waited")
    wait_until(lambda: not late, timeout_s=0, what="a message")

def test_eventually():
    late = first("eventually")
    eventually(lambda: not late, timeout_s=0)

@pytest.fixture
def slow_server():
    late = first("set_up")
    wait_until(lambda: not late, timeout_s=0)

def test_set_up(slow_server):
    pass

def test_blocked():
    if first("blocked"):
        time.sleep(60)

def test_process():
    if first("process"):
        subprocess.run(["sleep", "60"], timeout=0.1, check=True)

def test_unreachable():
    if first("unreachable"):
        raise UnreachableError("the broker", "does not answer")

def test_wrong_result():
    assert ["a message"] == (["a message", "a message"] if first("wrong") else ["a message"])

def test_wrong_result_that_quotes():
    quoted = "WaitTimeoutError: Timeout: TimeoutExpired: UnreachableError: not within 5 s"
    assert quoted == ("" if first("quoted") else quoted)

def test_wrong_result_by_the_clock():
    assert time.monotonic() < (0 if first("clock") else float("inf"))

def test_nothing_raised():
    with pytest.raises(TimeoutError):
        if not first("nothing"):
            raise TimeoutError

def test_exception():
    if first("exception"):
        raise KeyError("a message")
"""


def test_only_a_wait_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    path = os.pathsep.join(map(str, (ROOT / "tests", ROOT)))
    done = subprocess.run(
        [*command, "--timeout", "2", "test_it.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    again = set(re.findall(r"^RERUN test_it\.py::test_(\w+)", done.stdout, re.MULTILINE))
    failed = set(re.findall(r"^FAILED test_it\.py::test_(\w+)", done.stdout, re.MULTILINE))
    assert again == {"waited", "eventually", "set_up", "blocked", "process", "unreachable"}, done.stdout
    assert failed == {
        "wrong_result", "wrong_result_that_quotes", "wrong_result_by_the_clock", "nothing_raised", "exception"
    }, done.stdout  # fmt: skip
    assert "5 failed, 6 passed, 6 rerun" in done.stdout, done.stdout


def test_a_wait_says_what_it_waited_for() -> None:
    assert wait_until(lambda: [1], timeout_s=0) == [1], "checked at least once"
    counts = iter(range(10))
    assert wait_until(lambda: next(counts) > 2 and "done", pause_s=0) == "done"
    with pytest.raises(WaitTimeoutError, match=r"^not within 0 s: the server$"):
        wait_until(lambda: None, timeout_s=0, what="the server")
    with pytest.raises(WaitTimeoutError, match=r"^not within 0\.01 s: \[2, 1\]$"):
        wait_until(lambda: None, timeout_s=0.01, what=lambda: [2, 1], pause_s=0.001)
    with pytest.raises(KeyError):
        wait_until(lambda: {}["key"], timeout_s=60)
