"""Each program of benchmarks/ runs in its smallest useful size; no ratio and no time is judged there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from missing import missing
from rabbit_server import MISSING, find_rabbit

FOLDER = Path(__file__).parents[2] / "benchmarks"
TASKS = FOLDER.parent / "migrator" / "tasks"
TIMEOUT_S = 280
#: Programs that a test of their own runs.
ELSEWHERE = {"rewrite_fuzz.py": "tests/codemods/test_fuzz.py", "runbook.py": "tests/acceptance/test_runbook.py"}


class Smallest(NamedTuple):
    """The smallest useful run of a program."""

    arguments: tuple[str, ...]
    #: What its output must have somewhere: the line of its table, or its last line.
    prints: str
    #: Whether it starts a RabbitMQ.
    rabbitmq: bool = False


PROGRAMS = {
    "bench_gap.py": Smallest(("--waiting", "20"), r"^ +20 back +\d"),
    "bench_help.py": Smallest(("--rounds", "1"), r"^migrator --help +\d"),
    "bench_parity.py": Smallest(("alpha-usual",), r"^worst=\d"),
    "bench_rewrite.py": Smallest(("--files", "20", "--rounds", "1"), r"^ +\d+\.\d+ x   the scan, time"),
    "bench_transfer.py": Smallest(
        ("--messages", "100", "--few", "50", "--rounds", "1", "--million", "--many", "1000"),
        r"^one by one +\d(.*\n)+ +1,000 messages: ",
    ),
    "chaos.py": Smallest(("--messages", "200", "--kills", "2", "--seed", "1"), r"^lost=0 doubled=0 changed=0 kills=4 "),
    "chaos_run.py": Smallest(
        ("--rounds", "1", "--faults", "1", "--messages", "40", "--seed", "1"), r"^lost=0 doubled=0 wrong=0 kills=\d+ "
    ),
    "double_death.py": Smallest(
        ("--deaths", "1", "--messages", "40", "--seed", "1", "--only", "rabbitmq"),
        r"^deaths=1 lost=0 doubled=0$",
        rabbitmq=True,
    ),
    "faults.py": Smallest(
        ("--payloads", "1000", "--messages", "6", "--every", "40", "--seed", "1"),
        r"^payloads=1000 .* missing=0 changed=0$(.*\n)+cuts=\d+ lost=0 doubled=0 changed=0 unbalanced=0$",
    ),
    "parity_alarms.py": Smallest(("--runs", "1", "alpha-usual"), r"^runs=1 alarms=0$"),
    "parity_mutation.py": Smallest(("clean-up: default days",), r"^faults=[1-9]\d* found=[1-9]\d* share="),
    "parity_sample.py": Smallest(("alpha-usual",), r"^runs=1 red=0$"),
    "rabbitmq.py": Smallest(
        ("--messages", "50", "--fuzz", "400", "--rounds", "1", "--few", "10", "--only", "rabbitmq"),
        r"^lost=0 doubled=0 peak_mib=\d",
        rabbitmq=True,
    ),
}


def test_every_program_is_run() -> None:
    programs = {file.name for file in FOLDER.glob("*.py") if "__main__" in file.read_text()}
    assert programs == PROGRAMS.keys() | ELSEWHERE.keys(), "give a new one its smallest size here"
    for name, test in ELSEWHERE.items():
        assert name in (FOLDER.parent / test).read_text(), f"{test} does not run {name}"


def test_every_seeded_fault_has_its_text_in_the_tasks() -> None:
    faults = tomllib.loads((FOLDER / "parity_faults.toml").read_text())["fault"]
    stale = [item["name"] for item in faults if item["find"] not in (TASKS / item["file"]).read_text()]
    assert not stale


@pytest.mark.acceptance
@pytest.mark.timeout(TIMEOUT_S + 20)
# One after the other beside all other tests: each starts processes of its own.
@pytest.mark.xdist_group("benchmarks")
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_runs_in_its_smallest_size(name: str) -> None:
    smallest = PROGRAMS[name]
    if smallest.rabbitmq and find_rabbit() is None:
        missing(MISSING)
    command = [sys.executable, str(FOLDER / name), *smallest.arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    said = f"{done.stdout}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, said
    assert re.search(smallest.prints, done.stdout, re.MULTILINE), said
