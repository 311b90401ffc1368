"""Cases that hang, end their process, write or return too much, or use the network: each loses only its own result."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil
import pytest
from shop_project import MISBEHAVE, add_case, check, copy_shop, misbehave_case

from checks.compare.report import ParityReport
from checks.runner import ParityOptions, parity_check
from migrator.events import Event
from migrator.report import Outcome
from migrator.state.proof import read_proof

#: The reason in the report for each case that breaks.
BROKEN = {
    "hang": "did not finish within 6 s",
    "exit": "the process ended (status 3)",
    "kill": "the process ended (status -9)",
    "network": "network access to 192.0.2.1:80",
    "unix": "network access to /tmp/a-live-broker.sock",
    "datagram": "network access to 192.0.2.1:8125",
    "unanswered": "the case has no answer to this request",
    "broken": "the legacy task itself is broken: ImportError",
}


# The module's fixture is slow: one worker runs all these tests.
pytestmark = pytest.mark.xdist_group("containment")


def _living_children() -> list[str]:
    """Return the command lines of our children; one that has just ended may be a zombie."""
    lines = []
    for child in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            lines.append(" ".join(child.cmdline()))
    return lines


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ParityReport:
    """One run over everything that can go wrong, and one case after all of it."""
    plan = copy_shop(tmp_path_factory.mktemp("parity"))
    for how in (*BROKEN, "huge", "many", "deep", "print"):
        misbehave_case(plan, how)
    call = {"system": "celery", "task": MISBEHAVE, "args": ["fill"]}
    add_case(plan, "misbehave-fill", call, legacy_ends="exception", unified_ends="exception")
    call = {"system": "celery", "task": MISBEHAVE, "args": ["fine"]}
    add_case(plan, "bad-initial-state", call, rows=[{"model": "shop.Nothing", "fields": {}}])
    add_case(plan, "zz-fine", call)
    return check(plan, tasks=("jobs.misbehave",), noise=False)


def mismatches(report: ParityReport, case: str) -> list[tuple[Outcome, str]]:
    return [(m.outcome, m.reason) for m in report.mismatches if m.case == case]


@pytest.mark.parametrize("how", BROKEN)
def test_a_task_that_breaks_is_never_equal(report: ParityReport, how: str) -> None:
    ((outcome, reason),) = mismatches(report, f"misbehave-{how}")
    assert outcome is Outcome.NOT_COMPARED
    assert BROKEN[how] in reason


@pytest.mark.parametrize("how", ["huge", "many", "deep", "print"])
def test_large_values_and_output_are_contained(report: ParityReport, how: str) -> None:
    assert mismatches(report, f"misbehave-{how}") == []


def test_an_endless_file_is_limited(report: ParityReport) -> None:
    # Without the limit the runs would end with a value, but the case expects an exception.
    assert mismatches(report, "misbehave-fill") == []


def test_an_initial_state_that_cannot_be_created_is_reported(report: ParityReport) -> None:
    ((outcome, reason),) = mismatches(report, "bad-initial-state")
    assert outcome is Outcome.NOT_COMPARED
    assert "the case's initial state can't be created" in reason


def test_the_next_case_is_not_affected(report: ParityReport) -> None:
    assert mismatches(report, "zz-fine") == []


def test_no_process_is_left_behind(report: ParityReport) -> None:
    assert not [line for line in _living_children() if "migrator-agent" in line]


def test_an_interrupted_run_ends_soon_and_leaves_nothing(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    for number in range(40):
        add_case(plan, f"fine-{number}", {"system": "celery", "task": MISBEHAVE, "args": [f"fine {number}"]})
    seen = []

    def interrupt(event: Event) -> None:
        seen.append(event)
        if event.done > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parity_check(plan, environ=os.environ, options=ParityOptions(), listener=interrupt)
    assert max(event.done for event in seen) < 40
    assert not [line for line in _living_children() if "parity-" in line]
    assert read_proof(plan) is None
