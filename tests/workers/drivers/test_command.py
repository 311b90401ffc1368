"""Real processes of the plan, recognised by pid and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import time_machine
from shop import Shop, eventually

from migrator.errors import RefusedError, UnreachableError, UsageError
from migrator.plan.model import Plan
from migrator.plan.processes import Process
from migrator.wire.message import Side
from migrator.workers import readiness
from migrator.workers.drivers import command, terminate
from migrator.workers.drivers.process_identity import descendants, identify, is_alive, wait_gone
from migrator.workers.drivers.process_record import read_record
from migrator.workers.readiness import wait_ready
from migrator.workers.start_stop import list_processes, start_side, stop_side


def process(shop: Shop, name: str, *arguments: str, **changes: object) -> Process:
    """A process of the shop's plan with another command."""
    found = command.process_named(shop.plan, name)
    return replace(found, command=("{python}", "-c", *arguments) if arguments else found.command, **changes)


def with_process(shop: Shop, changed: Process) -> Plan:
    """The shop's plan with a process that has another command."""
    others = (changed if each.name == changed.name else each for each in shop.plan.processes)
    return replace(shop.plan, processes=tuple(others))


def test_starting_twice_gives_the_same_process(shop: Shop) -> None:
    sleeper = process(shop, "old-web", "import time; time.sleep(60)", "{node}")
    first = command.start(shop.plan, sleeper, environ=shop.environ)
    assert command.start(shop.plan, sleeper, environ=shop.environ) == first
    assert first.alive
    command.stop(shop.plan, sleeper, environ=shop.environ)
    assert not first.alive
    second = command.start(shop.plan, sleeper, environ=shop.environ)
    assert second.pid != first.pid
    assert second.node != first.node


@pytest.mark.parametrize("wrong_s", [3600, -3600])
def test_the_age_of_a_process_does_not_depend_on_the_wall_clock(shop: Shop, wrong_s: int) -> None:
    sleeper = process(shop, "old-web", "import time; time.sleep(60)")
    began = time.monotonic()
    command.start(shop.plan, sleeper, environ=shop.environ)
    with time_machine.travel(time.time() + wrong_s, tick=True):
        plan = with_process(shop, sleeper)
        (found,) = (state for state in list_processes(plan, environ=shop.environ) if state.name == "old-web")
        assert 0 <= found.age_s < 60
        # It names no port, so it must have lived for a second.
        wait_ready(shop.plan, sleeper, environ=shop.environ, timeout_s=30)
    assert time.monotonic() - began >= readiness.SETTLE_S


def test_a_process_outlives_whoever_started_it(shop: Shop) -> None:
    code = (
        "import os, sys; from pathlib import Path; from migrator.plan.loader import load_plan\n"
        "from migrator.workers.drivers import command\n"
        "plan = load_plan(Path(sys.argv[1])); web = command.process_named(plan, 'old-web')\n"
        "record = command.start(plan, web, environ=os.environ)\n"
        "print(record.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shop.plan.file)],
        env=shop.environ, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    record = wait_ready(shop.plan, process(shop, "old-web"), environ=shop.environ)
    assert record.pid == int(done.stdout)


def test_another_process_with_the_same_pid_is_not_ours(shop: Shop) -> None:
    sleeper = process(shop, "old-web", "import time; time.sleep(60)")
    record = command.start(shop.plan, sleeper, environ=shop.environ)
    command.write_record(shop.plan, replace(record, start_ticks=record.start_ticks - 1))
    assert command.current(shop.plan, sleeper, environ=shop.environ) is None
    assert command.stop(shop.plan, sleeper, environ=shop.environ) < 1
    assert is_alive(record.identity), "a process with another start time got our signal"
    command.write_record(shop.plan, record)


def test_a_command_that_does_not_exist_says_so_and_leaves_no_record(shop: Shop) -> None:
    broken = replace(process(shop, "old-web"), command=("/no/such/program",))
    with pytest.raises(UnreachableError, match=r"old-web: did not start \(/no/such/program: can't be executed"):
        wait_ready(shop.plan, broken, environ=shop.environ, timeout_s=2) if command.start(
            shop.plan, broken, environ=shop.environ
        ) else None
    assert read_record(shop.plan, "old-web") is None


def test_a_process_that_ends_at_once_is_reported_with_the_end_of_its_output(shop: Shop) -> None:
    broken = process(shop, "old-web", "raise SystemExit('no key for redis://me:secret@host/0')")
    command.start(shop.plan, broken, environ=shop.environ)
    with pytest.raises(UnreachableError) as caught:
        wait_ready(shop.plan, broken, environ=shop.environ, timeout_s=5)
    assert "has ended" in str(caught.value)
    assert "no key for redis://***@host/0" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_process_that_ignores_the_signal_is_left_alone_after_a_bounded_wait(shop: Shop) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    stubborn = process(shop, "old-web", code, stop_timeout_s=0.5)
    record = command.start(shop.plan, stubborn, environ=shop.environ)
    eventually(lambda: "up" in command.output(record))
    with pytest.raises(UnreachableError, match=r"old-web: has not ended 0.5 s after SIGTERM \(still running: pid"):
        command.stop(shop.plan, stubborn, environ=shop.environ)
    assert record.alive, "nothing stronger than SIGTERM may be sent"
    # Another process can take its name meanwhile; the old one is still tracked.
    second = command.start(shop.plan, stubborn, environ=shop.environ)
    states = {state.pid: state.state for state in list_processes(with_process(shop, stubborn), environ=shop.environ)}
    assert states[second.pid] == "running"
    assert states[record.pid] == "stopping"


#: The first signal finds the process in the middle of writing, as Celery's beat on RabbitMQ; the second one ends it.
DEADLOCK = """
import signal, sys, threading, time
lock = threading.Lock()
def handle(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    lock.acquire()
signal.signal(signal.SIGTERM, handle)
with lock:
    print("writing", flush=True)
    while True:
        time.sleep(1)
"""


@pytest.mark.parametrize("shell", [False, True])
def test_sigterm_is_sent_again_to_a_beat_that_got_stuck_on_the_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, shell: bool
) -> None:
    """A shell in front of it ends at the first signal and leaves it behind."""
    monkeypatch.setattr(terminate, "BEAT_RESEND_S", 0.5)
    monkeypatch.setattr(terminate, "CHILD_GRACE_S", 0.2)
    monkeypatch.setattr(terminate, "CHILD_TIMEOUT_S", 20.0)
    beat = process(shop, "old-beat", DEADLOCK, stop_timeout_s=20.0)
    if shell:
        beat = replace(beat, command=("sh", "-c", '"$@"; true', "sh", *beat.command))
    record = command.start(shop.plan, beat, environ=shop.environ)
    eventually(lambda: "writing" in command.output(record))
    children = descendants(record.identity)
    assert bool(children) is shell
    command.stop(shop.plan, beat, environ=shop.environ)
    assert not record.alive
    assert not wait_gone(children, timeout_s=0)


def test_a_worker_that_does_not_end_gets_no_second_signal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminate, "BEAT_RESEND_S", 0.2)
    worker = process(shop, "old-celery", DEADLOCK, stop_timeout_s=1.0)
    record = command.start(shop.plan, worker, environ=shop.environ)
    eventually(lambda: "writing" in command.output(record))
    with pytest.raises(UnreachableError, match="after SIGTERM"):
        command.stop(shop.plan, worker, environ=shop.environ)
    assert record.alive


def test_a_child_of_another_user_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        identity = identify(child.pid)
        assert identity is not None
        monkeypatch.setattr(terminate, "CHILD_GRACE_S", 0.1)
        monkeypatch.setattr(signal, "pidfd_send_signal", forbidden)
        gone = replace(identity, start_ticks=0)
        with pytest.raises(
            RefusedError, match=rf"old-web: pid {child.pid}, its child, belongs to another user; run as"
        ):
            terminate.wait_stopped(process(shop, "old-web"), (gone, identity))
    finally:
        child.kill()
        child.wait(10)


def test_children_that_outlive_their_parent_are_stopped_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminate, "CHILD_GRACE_S", 0.2)
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        " print('up', flush=True); time.sleep(60)"
    )
    parent = process(shop, "old-web", code)
    record = command.start(shop.plan, parent, environ=shop.environ)
    children = eventually(lambda: descendants(record.identity))
    command.stop(shop.plan, parent, environ=shop.environ)
    assert not wait_gone(children, timeout_s=0)


def test_orphans_of_a_killed_parent_are_seen_and_can_be_stopped(shop: Shop) -> None:
    start_side(shop.plan, Side.LEGACY, environ=shop.environ, names=["old-dramatiq"])
    record = read_record(shop.plan, "old-dramatiq")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    wait_gone([record.identity], timeout_s=5)
    state = next(s for s in list_processes(shop.plan, environ=shop.environ) if s.name == "old-dramatiq")
    assert state.state == "orphaned"
    assert state.children
    stop_side(shop.plan, Side.LEGACY, environ=shop.environ, names=["old-dramatiq"])
    assert all(identify(pid) is None for pid in state.children)


def test_a_process_of_a_pidfile_is_adopted_unless_the_pid_was_reused(shop: Shop) -> None:
    foreign = process(shop, "old-web", pidfile="web.pid")
    file = shop.folder / "src" / "web.pid"
    line = [sys.executable, "web.py", "legacy", f"127.0.0.1:{shop.environ['SHOP_PORT']}"]
    web = subprocess.Popen(line, cwd=shop.folder / "src", env=shop.environ)
    try:
        eventually(lambda: "web.py" in Path(f"/proc/{web.pid}/cmdline").read_text())
        file.write_text(f"{web.pid}\n")
        record = command.current(shop.plan, foreign, environ=shop.environ)
        assert record is not None
        assert record.pid == web.pid
        command.record_file(shop.plan, "old-web").unlink()
        os.utime(file, (1, 1))
        with pytest.raises(RefusedError, match="the pid was reused by another process"):
            command.current(shop.plan, foreign, environ=shop.environ)
    finally:
        web.kill()
        web.wait(10)


def test_a_name_that_the_plan_does_not_have(shop: Shop) -> None:
    with pytest.raises(UsageError, match="process web: is not in the plan"):
        start_side(shop.plan, Side.LEGACY, environ=shop.environ, names=["web"])


def test_the_whole_legacy_side_starts_does_its_work_and_stops(shop: Shop) -> None:
    started = start_side(shop.plan, Side.LEGACY, environ=shop.environ)
    assert {state.state for state in started} == {"running"}
    with urllib.request.urlopen(f"http://127.0.0.1:{shop.environ['SHOP_PORT']}/7", timeout=5) as answer:
        assert answer.read() == b"legacy"
    shop.run("from jobs.old_dramatiq import mail_order; mail_order.send(8)")
    eventually(lambda: sorted(shop.done()) == ["celery pack 7", "dramatiq mail 8"])
    stopped = stop_side(shop.plan, Side.LEGACY, environ=shop.environ)
    assert {state.state for state in stopped} == {"stopped"}


def test_a_stop_that_was_decided_but_never_sent_is_sent_by_the_next_run(shop: Shop) -> None:
    sleeper = process(shop, "old-web", "import time; time.sleep(60)")
    record = command.start(shop.plan, sleeper, environ=shop.environ)
    command.mark_stopping(shop.plan, record, signalled=False)
    command.stop(shop.plan, sleeper, environ=shop.environ, timeout_s=5)
    assert not record.alive


def test_a_worker_that_is_stopping_already_does_not_get_a_second_signal(shop: Shop) -> None:
    code = (
        "import signal, time\n"
        "def stop(*_):\n    print('worker: Warm shutdown (MainProcess)', flush=True); count.append(1)\n"
        "    time.sleep(4.5); print(f'signals: {len(count)}', flush=True); raise SystemExit\n"
        "count = []; signal.signal(signal.SIGTERM, stop); print('up', flush=True); time.sleep(60)"
    )
    slow = process(shop, "old-web", code)
    record = command.start(shop.plan, slow, environ=shop.environ)
    eventually(lambda: "up" in command.output(record))
    os.kill(record.pid, signal.SIGTERM)
    command.mark_stopping(shop.plan, record, signalled=False)
    command.stop(shop.plan, slow, environ=shop.environ, timeout_s=10)
    assert "signals: 1" in command.output(record)


def test_workers_are_asked_through_their_own_broker_whatever_our_environment_says(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    environ = {key: value for key, value in shop.environ.items() if key != "CELERY_BROKER_URL"}
    start_side(shop.plan, Side.LEGACY, environ=environ, names=["old-celery"], timeout_s=20)


def test_a_worker_with_a_name_of_its_own_is_found_by_its_pid(shop: Shop) -> None:
    worker = command.process_named(shop.plan, "old-celery")
    worker = replace(worker, command=tuple(word.replace("{node}", "mail@%h") for word in worker.command))
    assert any("mail@%h" in word for word in worker.command)
    command.start(shop.plan, worker, environ=shop.environ)
    assert wait_ready(shop.plan, worker, environ=shop.environ, timeout_s=20).node.startswith("mail@")
    command.stop(shop.plan, worker, environ=shop.environ)
