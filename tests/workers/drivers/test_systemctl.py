"""Calls of systemctl and parsing of its output, with output recorded from a real one (252)."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import MigratorError, RefusedError, UnreachableError, UsageError
from migrator.plan.loader import load_plan
from migrator.plan.processes import Driver, Process, Role
from migrator.wire.message import Side
from migrator.workers.drivers import systemctl, systemd

DATA = Path(__file__).parents[1] / "data"
SHOP = Path(__file__).parents[2] / "steps/data/shop/migration.toml"
WORKER = Process(
    name="worker", side=Side.LEGACY, role=Role.WORKER, system=None, command=(), directory=".", environment={},
    stop_timeout_s=60, driver=Driver.SYSTEMD, unit="-worker@1.service", manager="system",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "main_pid", "stop_timeout_s", "kill_mode"),
    [
        ("inactive", "loaded, inactive (dead)", 0, 90, "mixed"),
        ("running", "loaded, active (running)", 3347, 90, "mixed"),
        ("stopping", "loaded, deactivating (stop-sigterm)", 3359, math.inf, "control-group"),
        ("restarting", "loaded, activating (auto-restart), result exit-code, exit status 1", 0, 20, "mixed"),
        ("broken", "loaded, activating (auto-restart), result exit-code, exit status 203", 0, 20, "mixed"),
        ("not-found", "not-found, inactive (dead)", 0, 90, "control-group"),
    ],
)
def test_recorded_answers(name: str, text: str, main_pid: int, stop_timeout_s: float, kill_mode: str) -> None:
    facts = systemctl.parse_show((DATA / f"systemctl-show-{name}.txt").read_text())
    assert (facts.text, facts.main_pid, facts.stop_timeout_s, facts.kill_mode) == (
        text,
        main_pid,
        stop_timeout_s,
        kill_mode,
    )
    assert facts.kill_signal == 15
    assert facts.sends_sigkill
    assert not facts.needs_reload


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1min 30s", 90), ("infinity", math.inf), ("10s", 10), ("500ms", 0.5), ("2h 1min", 7260), ("1.5s", 1.5), ("0", 0)],
)
def test_time_spans(text: str, seconds: float) -> None:
    assert systemctl.parse_span(text) == pytest.approx(seconds)


def test_a_call_is_an_argument_list_in_which_a_unit_can_be_no_option() -> None:
    assert systemctl.arguments(WORKER, "stop", "--no-block") == [
        "systemctl", "--system", "--no-pager", "--no-ask-password", "--full", "stop", "--no-block", "--",
        "-worker@1.service",
    ]  # fmt: skip
    assert systemctl.arguments(replace(WORKER, manager="user"), "show")[1] == "--user"
    assert "-worker@1.service" not in systemctl.arguments(WORKER, "list-unit-files")


@pytest.mark.parametrize(
    ("words", "kind", "what"),
    [
        ("Failed to connect to bus: Host is down", UnreachableError, "systemd does not answer"),
        (
            "System has not been booted with systemd as init system (PID 1). Can't operate.\n"
            "Failed to connect to bus: Host is down",
            UnreachableError,
            "systemd does not answer",
        ),
        ("Failed to connect to bus: No medium found", UnreachableError, "systemd does not answer"),
        ("Failed to connect to bus: Permission denied", RefusedError, "permission was denied"),
        # Not recorded: as polkit and D-Bus word it.
        ("Failed to stop web.service: Interactive authentication required.", RefusedError, "permission was denied"),
        ("Failed to stop web.service: Access denied", RefusedError, "permission was denied"),
        ("Failed to stop nope.service: Unit nope.service not loaded.", UsageError, "there is no such unit"),
        ("Failed to start nope.service: Unit nope.service not found.", UsageError, "there is no such unit"),
        ("Failed to start hidden.service: Unit hidden.service is masked.", UnreachableError, "failed"),
    ],
)
def test_error_output(words: str, kind: type[MigratorError], what: str) -> None:
    error = systemctl.failure(WORKER, ["systemctl", "stop"], words)
    assert type(error) is kind
    assert error.what == what
    assert "\n" not in error.found


def test_no_systemd_to_talk_to(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="systemctl: is not installed here"):
        systemctl.show(WORKER, environ={"PATH": str(tmp_path)})


@pytest.mark.parametrize("kind", ["forking", "oneshot"])
def test_a_unit_whose_main_process_is_guessed_is_refused(tmp_path: Path, kind: str) -> None:
    """`celery multi` is Type=forking; the answer is a recorded one with that type."""
    answer = tmp_path / "answer"
    answer.write_text((DATA / "systemctl-show-running.txt").read_text() + f"Type={kind}\n")
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\nexec /bin/cat {answer}\n")
    program.chmod(0o755)
    plan = load_plan(SHOP)
    for act in (systemd.current, systemd.start, systemd.signal_stop, systemd.misconfigurations):
        with pytest.raises(RefusedError, match=f"is of a type that is not supported .found: Type={kind}|Type={kind}"):
            act(plan, WORKER, environ={**os.environ, "PATH": str(tmp_path)})
    answer.write_text((DATA / "systemctl-show-running.txt").read_text() + "Type=simple\n")
    assert systemctl.show(WORKER, environ={**os.environ, "PATH": str(tmp_path)}).kind == "simple"
