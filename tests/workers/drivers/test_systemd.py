"""Units of a real systemd: started and stopped only by it, recognised by pid and start time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from shop import Shop, eventually, in_child, options, orders_done, send_orders
from systemd_user import UserManager, running_systemd, shop_under_systemd, why_not

from migrator.errors import ExitCode, RefusedError, UnreachableError, UsageError
from migrator.plan.processes import Driver, Process, Role
from migrator.report import Severity
from migrator.runner import cutover
from migrator.runner.report import RunOutcome
from migrator.wire.message import System
from migrator.workers import processes
from migrator.workers.drivers import terminate
from migrator.workers.drivers.command import process_named
from migrator.workers.drivers.process_identity import descendants, is_alive, send_signal, wait_gone
from migrator.workers.readiness import wait_ready
from migrator.workers.start_stop import list_processes

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"no systemd of our own: {why_not()}")

SLEEP = "/bin/sleep 120"
#: Gets stuck on the first SIGTERM, as Celery's beat may on RabbitMQ; the second one ends it.
STUCK = "/bin/bash -c 'trap \\'trap - TERM; touch %t/told; wait\\' TERM; touch %t/up; sleep 600 & wait'"


@pytest.fixture(scope="module")
def manager() -> Iterator[UserManager]:
    units = {
        "web.service": {"ExecStart": SLEEP},
        "parent.service": {"ExecStart": "/bin/sh -c 'sleep 120 & exec sleep 119'", "KillMode": "process"},
        "crash.service": {"ExecStart": "/bin/false", "RestartSec": "30"},
        "broken.service": {"ExecStart": "/no/such/program"},
        "stubborn.service": {"ExecStart": "/bin/sh -c 'trap \"\" TERM; while true; do sleep 1; done'"},
        "stuck.service": {"ExecStart": STUCK, "TimeoutStopSec": "600"},
        "impatient.service": {"ExecStart": SLEEP, "TimeoutStopSec": "5"},
        "patient.service": {"ExecStart": SLEEP, "TimeoutStopSec": "infinity"},
        "group.service": {"ExecStart": SLEEP, "KillMode": "control-group"},
        "rude.service": {"ExecStart": SLEEP, "KillSignal": "SIGINT"},
    }
    with running_systemd(units) as running:
        (running.folder / "units/hidden.service").symlink_to("/dev/null")
        running.ctl("daemon-reload")
        yield running


@pytest.fixture
def site(shop: Shop, manager: UserManager) -> Shop:
    return replace(shop, environ={**shop.environ, **manager.environ})


def unit(shop: Shop, name: str, **changes: object) -> Process:
    """The shop's legacy producer, as a unit."""
    web = process_named(shop.plan, "old-web")
    given = {"driver": Driver.SYSTEMD, "unit": f"{name}.service", "manager": "user", "command": ()}
    return replace(web, **{**given, "stop_timeout_s": 20.0, **changes})


def test_start_stop_and_start_again(site: Shop, manager: UserManager) -> None:
    web = unit(site, "web")
    assert processes.current(site.plan, web, environ=site.environ) is None
    first = processes.start(site.plan, web, environ=site.environ)
    assert manager.ctl("show", "--property=MainPID", "web.service") == f"MainPID={first.pid}"
    assert processes.start(site.plan, web, environ=site.environ).pid == first.pid
    assert wait_ready(site.plan, web, environ=site.environ, timeout_s=5).pid == first.pid
    processes.stop(site.plan, web, environ=site.environ)
    assert not first.alive
    assert processes.stop(site.plan, web, environ=site.environ) < 1, "stopping twice is nothing"
    second = processes.start(site.plan, web, environ=site.environ)
    assert second.pid != first.pid
    processes.stop(site.plan, web, environ=site.environ)


def test_what_is_stopped_is_not_restarted_but_what_is_signalled_is(site: Shop, manager: UserManager) -> None:
    web = unit(site, "web")
    first = processes.start(site.plan, web, environ=site.environ)
    send_signal(first.identity, signal.SIGTERM)
    wait_gone([first.identity], timeout_s=5)
    second = eventually(lambda: processes.current(site.plan, web, environ=site.environ))
    assert second.pid != first.pid, "a raw signal is no way to stop it: Restart= brings it back"
    processes.stop(site.plan, web, environ=site.environ)
    time.sleep(1)
    assert processes.current(site.plan, web, environ=site.environ) is None
    assert manager.ctl("is-active", "web.service") == "inactive"


def test_children_left_behind_are_seen_beside_their_successor_and_stopped(site: Shop, manager: UserManager) -> None:
    parent = unit(site, "parent")
    first = processes.start(site.plan, parent, environ=site.environ)
    (child,) = eventually(lambda: descendants(first.identity))
    processes.current(site.plan, parent, environ=site.environ)
    send_signal(first.identity, signal.SIGKILL)
    wait_gone([first.identity], timeout_s=5)
    second = eventually(lambda: processes.current(site.plan, parent, environ=site.environ))
    plan = replace(site.plan, processes=(parent,))
    states = {state.state: state for state in list_processes(plan, environ=site.environ)}
    assert states["running"].pid == second.pid != first.pid
    assert states["orphaned"].children == (child.pid,)
    eventually(lambda: descendants(second.identity))
    processes.stop(site.plan, parent, environ=site.environ)
    assert not is_alive(child)


@pytest.mark.parametrize("name", ["crash", "broken"])
def test_a_unit_that_does_not_start(site: Shop, manager: UserManager, name: str) -> None:
    broken = unit(site, name)
    with pytest.raises(UnreachableError, match=r"old-web: .*systemd says|old-web: did not start") as caught:
        processes.start(site.plan, broken, environ=site.environ)
        wait_ready(site.plan, broken, environ=site.environ, timeout_s=5)
    assert "result exit-code" in str(caught.value)
    processes.stop(site.plan, broken, environ=site.environ)
    assert manager.ctl("show", "--property=SubState", f"{name}.service") != "SubState=auto-restart"


def test_the_wait_for_a_unit_that_ignores_the_signal_is_bounded(site: Shop, manager: UserManager) -> None:
    stubborn = unit(site, "stubborn", stop_timeout_s=0.5)
    record = processes.start(site.plan, stubborn, environ=site.environ)
    time.sleep(0.3)
    with pytest.raises(UnreachableError, match=r"old-web: has not ended 0.5 s after SIGTERM"):
        processes.stop(site.plan, stubborn, environ=site.environ)
    assert record.alive
    (state,) = list_processes(replace(site.plan, processes=(stubborn,)), environ=site.environ)
    assert state.state == "stopping"
    with pytest.raises(UnreachableError, match=r"old-web: is still stopping after 0.5 s"):
        processes.start(site.plan, stubborn, environ=site.environ)
    manager.ctl("kill", "--signal=SIGKILL", "stubborn.service")


def test_sigterm_is_sent_again_to_a_beat_that_got_stuck_and_it_stays_stopped(
    site: Shop, manager: UserManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminate, "BEAT_RESEND_S", 0.5)
    beat = unit(site, "stuck", role=Role.SCHEDULER, system=System.CELERY, stop_timeout_s=60.0)
    record = processes.start(site.plan, beat, environ=site.environ)
    eventually((manager.folder / "run/up").exists)
    processes.stop(site.plan, beat, environ=site.environ)
    assert (manager.folder / "run/told").exists(), "the first signal was systemd's"
    assert not record.alive
    time.sleep(1)
    assert processes.current(site.plan, beat, environ=site.environ) is None, "Restart=always must not bring it back"


def test_what_systemd_would_kill_is_not_stopped(site: Shop) -> None:
    impatient = unit(site, "impatient", role=Role.WORKER)
    record = processes.start(site.plan, impatient, environ=site.environ)
    with pytest.raises(RefusedError, match=r"would be killed 5 s after SIGTERM, the plan gives it 20 s"):
        processes.stop(site.plan, impatient, environ=site.environ)
    assert record.alive
    processes.stop(site.plan, replace(impatient, stop_timeout_s=5.0), environ=site.environ)


def test_what_is_dangerous_in_a_unit_is_found(site: Shop, manager: UserManager) -> None:
    def codes(name: str, **changes: object) -> dict[str, Severity]:
        found = processes.misconfigurations(site.plan, unit(site, name, **changes), environ=site.environ)
        return {finding.code: finding.severity for finding in found}

    assert codes("web") == codes("patient") == {}
    assert codes("impatient") == {"MANAGER-STOP-TIMEOUT": Severity.WARNING}, "no worker: no messages to lose"
    assert codes("impatient", role=Role.WORKER) == {"MANAGER-STOP-TIMEOUT": Severity.ERROR}
    assert codes("rude") == {}, "no worker: its own business"
    assert codes("rude", role=Role.WORKER) == {"MANAGER-STOP-SIGNAL": Severity.ERROR}
    assert codes("group", role=Role.WORKER, system=System.CELERY) == {"MANAGER-STOP-GROUP": Severity.WARNING}
    assert codes("group", role=Role.WORKER, system=System.DRAMATIQ) == {"MANAGER-STOP-GROUP": Severity.ERROR}
    patient = unit(site, "patient")
    processes.start(site.plan, patient, environ=site.environ)
    manager.write({"patient.service": {"ExecStart": SLEEP, "TimeoutStopSec": "60"}})
    assert codes("patient") == {"MANAGER-STALE-CONFIG": Severity.WARNING}
    processes.stop(site.plan, patient, environ=site.environ)


def test_an_unknown_and_a_masked_unit(site: Shop) -> None:
    with pytest.raises(UsageError, match=r"unit impatent.service: there is no such .*did you mean 'impatient.service'"):
        processes.start(site.plan, unit(site, "impatent"), environ=site.environ)
    with pytest.raises(RefusedError, match=r"can't be used \(LoadState=masked\); systemctl unmask hidden.service"):
        processes.start(site.plan, unit(site, "hidden"), environ=site.environ)


def test_a_manager_that_is_somebody_elses_or_gone(site: Shop, manager: UserManager) -> None:
    web = unit(site, "web")

    def as_somebody_else() -> object:
        os.setgid(65534)
        os.setuid(65534)
        return processes.current(site.plan, web, environ=site.environ)

    manager.folder.chmod(0o711)
    assert in_child(as_somebody_else) == ExitCode.REFUSED
    with pytest.raises(UnreachableError, match=r"systemd does not answer .*XDG_RUNTIME_DIR") as caught:
        processes.stop(site.plan, web, environ={**site.environ, "XDG_RUNTIME_DIR": "/nowhere"})
    assert caught.value.exit_code is ExitCode.UNREACHABLE


@pytest.mark.acceptance
def test_there_and_back_under_systemd(shop: Shop) -> None:
    with shop_under_systemd(shop) as (site, manager):
        legacy = ["old-dramatiq", "old-celery", "old-beat", "old-web"]
        manager.ctl("start", *legacy)
        for name in legacy:
            wait_ready(site.plan, process_named(site.plan, name), environ=site.environ)
        send_orders(site, 0, 20, later_s=900)
        there = cutover.cutover(site.plan, environ=site.environ, options=options())
        assert there.outcome is RunOutcome.DONE, there.failure or there.findings
        active = manager.ctl("is-active", *legacy, "new-worker", "new-beat", "new-web").split()
        assert active == ["inactive"] * 4 + ["active"] * 3
        eventually(lambda: len(orders_done(site)) == 15)
        back = cutover.rollback(site.plan, environ=site.environ, options=options())
        assert back.outcome is RunOutcome.DONE, back.failure
        active = manager.ctl("is-active", *legacy, "new-worker", "new-beat", "new-web").split()
        assert active == ["active"] * 4 + ["inactive"] * 3
        assert back.moved == there.moved
