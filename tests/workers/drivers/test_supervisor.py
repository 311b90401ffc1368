"""Programs of a real supervisord: started and stopped only by it, recognised by pid and start time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from xmlrpc.server import SimpleXMLRPCServer

import pytest
from shop import Shop, eventually, in_child
from supervised import Supervised, end, running_supervisord, script

from migrator.embedded_redis import free_port
from migrator.errors import ExitCode, RefusedError, UnreachableError, UsageError
from migrator.plan.processes import Driver, Process, Role
from migrator.report import Severity
from migrator.wire.message import System
from migrator.workers import processes
from migrator.workers.drivers import supervisord_rpc, terminate
from migrator.workers.drivers.command import process_named
from migrator.workers.drivers.process_identity import descendants, is_alive, send_signal, wait_gone
from migrator.workers.drivers.process_record import read_record
from migrator.workers.readiness import wait_ready
from migrator.workers.start_stop import list_processes

SLEEPER = "import time; time.sleep(120)"
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'])\n"
#: Gets stuck on the first SIGTERM, as Celery's beat may on RabbitMQ; the second one ends it.
STUCK = (
    "import signal, threading, time\nlock = threading.Lock(); lock.acquire()\n"
    "def stuck(*_): signal.signal(signal.SIGTERM, signal.SIG_DFL); lock.acquire()\n"
    "signal.signal(signal.SIGTERM, stuck); print('up', flush=True)\n"
)
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    folder = tmp_path_factory.mktemp("programs")
    sleeper = script(folder, "sleeper", SLEEPER)
    programs = {
        "sleeper": {"command": sleeper, "autostart": "true"},
        "parent": {"command": script(folder, "parent", PARENT + SLEEPER)},
        "stubborn": {"command": script(folder, "stubborn", STUBBORN + SLEEPER), "startsecs": "0", "stopwaitsecs": "3"},
        "stuck": {"command": script(folder, "stuck", STUCK + SLEEPER), "stopwaitsecs": "600"},
        "crasher": {"command": script(folder, "crasher", "raise SystemExit('no key for redis://me:secret@host/0')")},
        "missing": {"command": "/no/such/program"},
        "impatient": {"command": sleeper, "stopwaitsecs": "5"},
        "rude": {"command": sleeper, "stopsignal": "INT", "stopasgroup": "true"},
        "member": {"command": sleeper},
        "group:shop": {"programs": "member"},
    }
    with running_supervisord(programs, os.environ) as running:
        yield running


def program(shop: Shop, supervised: Supervised, name: str, **changes: object) -> Process:
    """The shop's legacy producer, as a program of supervisord."""
    web = process_named(shop.plan, "old-web")
    given = {"driver": Driver.SUPERVISOR, "program": name, "manager": supervised.url, "command": ()}
    return replace(web, **{**given, "stop_timeout_s": 20.0, **changes})


def planned(shop: Shop, process: Process) -> Shop:
    """The shop with this one process."""
    return replace(shop, plan=replace(shop.plan, processes=(process,)))


def test_start_stop_and_start_again(shop: Shop, supervised: Supervised) -> None:
    member = program(shop, supervised, "shop:member")
    assert processes.current(shop.plan, member, environ=shop.environ) is None
    first = processes.start(shop.plan, member, environ=shop.environ)
    assert first.alive
    assert processes.start(shop.plan, member, environ=shop.environ).pid == first.pid
    assert wait_ready(shop.plan, member, environ=shop.environ, timeout_s=5).pid == first.pid
    processes.stop(shop.plan, member, environ=shop.environ)
    assert not first.alive
    assert processes.current(shop.plan, member, environ=shop.environ) is None
    assert processes.stop(shop.plan, member, environ=shop.environ) < 1, "stopping twice is nothing"
    second = processes.start(shop.plan, member, environ=shop.environ)
    assert second.pid != first.pid
    processes.stop(shop.plan, member, environ=shop.environ)


def test_a_program_that_is_already_running_is_taken_over(shop: Shop, supervised: Supervised) -> None:
    sleeper = program(shop, supervised, "sleeper")
    record = eventually(lambda: processes.current(shop.plan, sleeper, environ=shop.environ))
    assert record.pid == int(supervised.ctl("pid", "sleeper"))
    assert abs(record.started_at - time.time()) < 120
    (state,) = list_processes(planned(shop, sleeper).plan, environ=shop.environ)
    assert (state.state, state.pid) == ("running", record.pid)


def test_what_is_stopped_is_not_restarted_but_what_is_signalled_is(shop: Shop, supervised: Supervised) -> None:
    sleeper = program(shop, supervised, "parent")
    first = processes.start(shop.plan, sleeper, environ=shop.environ)
    send_signal(first.identity, signal.SIGTERM)
    wait_gone([first.identity], timeout_s=5)
    second = eventually(lambda: processes.current(shop.plan, sleeper, environ=shop.environ))
    assert second.pid != first.pid, "a raw signal is no way to stop it: autorestart brings it back"
    processes.stop(shop.plan, sleeper, environ=shop.environ)
    time.sleep(2.5)
    assert processes.current(shop.plan, sleeper, environ=shop.environ) is None
    assert supervised.state("parent") == "STOPPED"


def test_a_program_that_has_just_crashed_is_stopped_for_good(shop: Shop, supervised: Supervised) -> None:
    sleeper = program(shop, supervised, "parent")
    record = processes.start(shop.plan, sleeper, environ=shop.environ)
    eventually(lambda: supervised.state("parent") == "RUNNING")
    send_signal(record.identity, signal.SIGKILL)
    wait_gone([record.identity], timeout_s=5)
    processes.stop(shop.plan, sleeper, environ=shop.environ)
    time.sleep(2.5)
    assert processes.current(shop.plan, sleeper, environ=shop.environ) is None


def test_children_left_behind_are_seen_beside_their_successor_and_stopped(shop: Shop, supervised: Supervised) -> None:
    parent = program(shop, supervised, "parent")
    first = processes.start(shop.plan, parent, environ=shop.environ)
    (child,) = eventually(lambda: descendants(first.identity))
    processes.current(shop.plan, parent, environ=shop.environ)
    send_signal(first.identity, signal.SIGKILL)
    wait_gone([first.identity], timeout_s=5)
    second = eventually(lambda: processes.current(shop.plan, parent, environ=shop.environ))
    assert second.pid != first.pid
    states = {s.state: s for s in list_processes(planned(shop, parent).plan, environ=shop.environ)}
    assert states["running"].pid == second.pid
    assert states["orphaned"].children == (child.pid,)
    (heir,) = eventually(lambda: descendants(second.identity))
    assert child in processes.signal_stop(shop.plan, parent, environ=shop.environ)
    told = read_record(shop.plan, "old-web")
    assert told is not None
    assert (child.pid, child.start_ticks) in told.orphans_told, "a child of Dramatiq takes a second signal for at once"
    wait_gone([second.identity], timeout_s=5)
    processes.stop(shop.plan, parent, environ=shop.environ)
    assert not is_alive(child)
    assert not is_alive(heir), "it lost its parent after the others were signalled"


def test_a_program_that_ends_at_once_is_reported_with_supervisords_text_and_its_own(
    shop: Shop, supervised: Supervised
) -> None:
    crasher = program(shop, supervised, "crasher")
    with pytest.raises(UnreachableError) as caught:
        processes.start(shop.plan, crasher, environ=shop.environ)
        wait_ready(shop.plan, crasher, environ=shop.environ, timeout_s=10)
    assert "supervisord says BACKOFF: Exited too quickly" in str(caught.value)
    assert "secret" not in str(caught.value)
    # It would be tried again: stopping it ends that too.
    processes.stop(shop.plan, crasher, environ=shop.environ)
    assert supervised.state("crasher") in ("STOPPED", "FATAL")


def test_a_program_that_does_not_exist_on_disk(shop: Shop, supervised: Supervised) -> None:
    with pytest.raises(UnreachableError, match=r"old-web: did not start \(supervisord says .*can't find command"):
        processes.start(shop.plan, program(shop, supervised, "missing"), environ=shop.environ)


def test_an_unknown_program_offers_the_nearest(shop: Shop, supervised: Supervised) -> None:
    with pytest.raises(UsageError, match=r"program sleper: .* has no such program .*did you mean 'sleeper'\?"):
        processes.current(shop.plan, program(shop, supervised, "sleper"), environ=shop.environ)


def test_a_program_that_ignores_the_signal_is_left_to_supervisord_after_a_bounded_wait(
    shop: Shop, supervised: Supervised
) -> None:
    stubborn = program(shop, supervised, "stubborn", stop_timeout_s=0.5)
    record = processes.start(shop.plan, stubborn, environ=shop.environ)
    eventually(lambda: "up" in supervised.ctl("tail", "stubborn"))
    with pytest.raises(UnreachableError, match=r"old-web: has not ended 0.5 s after SIGTERM"):
        processes.stop(shop.plan, stubborn, environ=shop.environ)
    assert record.alive
    (state,) = list_processes(planned(shop, stubborn).plan, environ=shop.environ)
    assert state.state == "stopping"
    with pytest.raises(UnreachableError, match=r"old-web: is still stopping after 0.5 s"):
        processes.start(shop.plan, stubborn, environ=shop.environ)


def test_sigterm_is_sent_again_to_a_beat_that_got_stuck_and_it_stays_stopped(
    shop: Shop, supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminate, "BEAT_RESEND_S", 0.5)
    beat = program(shop, supervised, "stuck", role=Role.SCHEDULER, system=System.CELERY, stop_timeout_s=60.0)
    record = processes.start(shop.plan, beat, environ=shop.environ)
    eventually(lambda: "up" in supervised.ctl("tail", "stuck"))
    processes.stop(shop.plan, beat, environ=shop.environ)
    assert not record.alive
    eventually(lambda: supervised.state("stuck") == "STOPPED")


def test_it_refuses_to_stop_what_supervisord_would_kill(shop: Shop, supervised: Supervised) -> None:
    impatient = program(shop, supervised, "impatient", role=Role.WORKER)
    record = processes.start(shop.plan, impatient, environ=shop.environ)
    with pytest.raises(RefusedError, match=r"be killed 5 s after SIGTERM, the plan gives it 20 s \(stopwaitsecs=5"):
        processes.stop(shop.plan, impatient, environ=shop.environ)
    assert record.alive
    processes.stop(shop.plan, replace(impatient, stop_timeout_s=5.0), environ=shop.environ)


def test_what_is_dangerous_in_the_configuration_is_found(shop: Shop, supervised: Supervised) -> None:
    def codes(name: str, **changes: object) -> dict[str, Severity]:
        found = processes.misconfigurations(shop.plan, program(shop, supervised, name, **changes), environ=shop.environ)
        return {finding.code: finding.severity for finding in found}

    worker = process_named(shop.plan, "old-celery")
    assert codes("shop:member") == {}
    assert codes("sleeper") == {"MANAGER-AUTOSTART": Severity.WARNING}
    assert codes("impatient") == {"MANAGER-STOP-TIMEOUT": Severity.WARNING}, "no worker: no messages to lose"
    assert codes("impatient", role=Role.WORKER) == {"MANAGER-STOP-TIMEOUT": Severity.ERROR}
    assert codes("rude", role=worker.role, system=System.CELERY) == {
        "MANAGER-STOP-SIGNAL": Severity.ERROR,
        "MANAGER-STOP-GROUP": Severity.WARNING,
    }
    assert codes("rude", role=worker.role, system=System.DRAMATIQ)["MANAGER-STOP-GROUP"] is Severity.ERROR
    assert processes.misconfigurations(shop.plan, worker, environ=shop.environ) == ()


def test_a_program_that_has_left_the_configuration_while_it_runs(shop: Shop) -> None:
    with running_supervisord({"one": {"command": "/bin/sleep 60"}}, os.environ) as supervised:
        one = program(shop, supervised, "one")
        processes.start(shop.plan, one, environ=shop.environ)
        file = supervised.folder / "supervisord.conf"
        file.write_text(file.read_text().replace("[program:one]", "[program:two]"))
        supervised.ctl("reread")
        (finding,) = processes.misconfigurations(shop.plan, one, environ=shop.environ)
        assert finding.code == "MANAGER-STALE-CONFIG"


def test_a_supervisord_that_is_down(shop: Shop) -> None:
    with running_supervisord({"one": {"command": "/bin/sleep 60"}}, os.environ) as supervised:
        one = program(shop, supervised, "one")
        record = processes.start(shop.plan, one, environ=shop.environ)
        supervised.child.kill()
        supervised.child.wait(10)
        for act in (processes.current, processes.start, processes.stop, processes.misconfigurations):
            with pytest.raises(UnreachableError) as caught:
                act(shop.plan, one, environ=shop.environ)
            assert caught.value.exit_code is ExitCode.UNREACHABLE
        assert str(caught.value) == (
            f"supervisord at {supervised.url}: does not answer ([Errno 111] Connection refused); "
            "start supervisord, or correct `manager` in the plan"
        )
        assert record.alive, "what it ran is left alone"
        send_signal(record.identity, signal.SIGKILL)
        wait_gone([record.identity], timeout_s=5)
    gone = replace(one, manager="unix:///nowhere/sv.sock")
    with pytest.raises(UnreachableError, match="No such file or directory"):
        processes.current(shop.plan, gone, environ=shop.environ)


def test_over_a_local_port_with_a_password(shop: Shop) -> None:
    port = free_port()
    with running_supervisord({"one": {"command": "/bin/sleep 60"}}, os.environ, inet=f"127.0.0.1:{port}") as supervised:
        one = program(shop, supervised, "one", manager=f"http://operator:${{SV_PASSWORD}}@127.0.0.1:{port}")
        with pytest.raises(RefusedError, match=r"http://\*\*\*@127.*user name and password are refused \(HTTP 401"):
            processes.start(shop.plan, one, environ={**shop.environ, "SV_PASSWORD": "wr0ng"})
        right = {**shop.environ, "SV_PASSWORD": "s3cret"}
        assert processes.start(shop.plan, one, environ=right).alive
        processes.stop(shop.plan, one, environ=right)
        end(supervised.child)
        with pytest.raises(UnreachableError) as caught:
            processes.current(shop.plan, one, environ=right)
        assert "s3cret" not in str(caught.value)


def test_a_socket_that_belongs_to_somebody_else(shop: Shop, supervised: Supervised) -> None:
    sleeper = program(shop, supervised, "sleeper")

    def as_somebody_else() -> object:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        return processes.current(shop.plan, sleeper, environ=shop.environ)

    file = supervised.folder / "sv.sock"
    before = file.stat().st_mode
    file.chmod(0)
    try:
        assert in_child(as_somebody_else) == ExitCode.REFUSED
    finally:
        file.chmod(before)


@pytest.mark.parametrize("url", ["http://example.org:9001", "https://127.0.0.1:9001", "unix:", "/run/sv.sock"])
def test_a_supervisord_elsewhere_is_refused_because_its_pids_mean_nothing_here(shop: Shop, url: str) -> None:
    web = replace(process_named(shop.plan, "old-web"), driver=Driver.SUPERVISOR, program="web", manager=url)
    with pytest.raises(UsageError, match="process old-web: manager: needs the Unix socket or a local port"):
        processes.current(shop.plan, web, environ=shop.environ)


def test_a_process_that_is_not_a_child_of_the_supervisord_that_names_it(shop: Shop) -> None:
    """Like a socket mounted from a container: the pids belong to another namespace."""
    sleeper = subprocess.Popen([sys.executable, "-c", SLEEPER])
    with SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as server:
        facts = {"statename": "RUNNING", "pid": sleeper.pid, "spawnerr": "", "description": "", "now": 0, "stop": 0}
        facts |= {"stdout_logfile": "", "stderr_logfile": ""}
        server.register_function(lambda name: facts, "supervisor.getProcessInfo")
        server.register_function(lambda: 1, "supervisor.getPID")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        web = replace(process_named(shop.plan, "old-web"), driver=Driver.SUPERVISOR, program="web", manager=url)
        try:
            with pytest.raises(RefusedError, match=r"is not a child of supervisord here \(its parent is pid"):
                processes.stop(shop.plan, web, environ=shop.environ)
            assert sleeper.poll() is None
        finally:
            server.shutdown()
            sleeper.kill()
            sleeper.wait(10)


def test_something_else_that_listens_there(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        web = replace(process_named(shop.plan, "old-web"), driver=Driver.SUPERVISOR, program="web", manager=url)
        monkeypatch.setattr(supervisord_rpc, "CALL_TIMEOUT_S", 0.3)
        with pytest.raises(UnreachableError, match=r"does not answer \(timed out\)"):
            processes.current(shop.plan, web, environ=shop.environ)
