"""Moments in texts are recognised in every Python that projects run, in whatever form they are written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from environments import interpreter

from migrator import agent

CODE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("canonical", sys.argv[1])
canonical = importlib.util.module_from_spec(spec)
sys.modules["canonical"] = canonical
spec.loader.exec_module(canonical)
frame = canonical.Frame(clock=1709209800.5)
for text in sys.stdin.read().splitlines():
    print(canonical.canonical(f"at {text}.", frame))
"""
CLOCK = (
    "2024-02-29T12:30:00Z", "2024-02-29T12:30:00.5Z", "2024-02-29 12:30:00.500000+00:00", "2024-02-29T14:30:00.5+0200",
    "2024-02-29T07:00:00.123-05:30", "2024-02-29T12:30Z",
)  # fmt: skip
NAIVE = ("2024-02-29T12:30:00", "2024-02-29 12:30:00.1234", "2024-02-29 12:30")
OTHER = ("2024-02-29T13:30:00Z", "2024-02-31T12:30:00Z", "2024-02-29T12:99:00Z", "2024-02-29")


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.13"])
def test_moments_at_the_clock(version: str) -> None:
    file = Path(agent.__file__).with_name("canonical.py")
    done = subprocess.run(
        [interpreter(version), "-c", CODE, str(file)],
        input="\n".join((*CLOCK, *NAIVE, *OTHER)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        *["at <clock>."] * len(CLOCK),
        *["at <clock, naive>."] * len(NAIVE),
        *[f"at {text}." for text in OTHER],
    ]
