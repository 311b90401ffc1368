"""Two machines and one run: the second may look, and go on only with the state folder of the first.

Two folders stand for two machines: what one has in ``.migrator``, the other has not. Where the name of the machine
counts, a command runs in a namespace with another one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis
from missing import missing
from rabbit_server import RabbitServer
from small_projects import MIGRATOR, Project, make_project
from test_life_cycle import LIFE
from waiting import wait_until

from migrator.brokers.connect import open_run_store
from migrator.brokers.run_record import RunOwner
from migrator.plan.loader import load_plan

#: What changes something, with what each needs for that.
CHANGES = (
    "cutover --yes",
    "cutover --dry-run",
    "rollback --yes",
    "complete --name life",
    "transfer --yes",
    "workers stop legacy --yes",
    "restore .gitignore --yes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Two of them: on the first, parity of the rewritten project is proved and its legacy worker runs."""

    first: Project
    second: Project

    def record(self) -> RunOwner | None:
        """Return what the broker says."""
        with closing(open_run_store(load_plan(self.first.folder / "migration.toml"), self.first.environ)) as store:
            return store.read()[0]

    def elsewhere(self, project: Project, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command on a machine with another name."""
        renamed = 'hostname elsewhere && exec "$@"'
        return project.run("unshare", "--uts", "sh", "-c", renamed, "sh", str(MIGRATOR), *words, timeout_s=150)

    def copy_state(self) -> None:
        """Copy the state folder of the first machine to the second."""
        shutil.rmtree(self.second.folder / ".migrator", ignore_errors=True)
        shutil.copytree(self.first.folder / ".migrator", self.second.folder / ".migrator")

    @contextmanager
    def paused_cutover(self) -> Iterator[subprocess.Popen[bytes]]:
        """Begin a cutover on the first machine that waits before it stops anything."""
        hold = self.first.folder.with_name("hold")
        hold.touch()
        words = [MIGRATOR, "cutover", "--yes", "--postpone-file", hold]
        with hold.with_name("cutover.log").open("wb") as log:
            environ = {**os.environ, **self.first.environ}
            process = subprocess.Popen(words, cwd=self.first.folder, env=environ, stdout=log, stderr=log)
        try:
            wait_until(lambda: (found := self.record()) is not None and found.lines > 2, timeout_s=90)
            yield process
        finally:
            process.kill()
            process.wait(30)


@contextmanager
def two_machines(folder: Path, url: str) -> Iterator[Machines]:
    environ: Mapping[str, str] = {"BROKER": url, "OPERATORS_TEST": str(folder)}
    first = make_project(folder / "first", LIFE, environ)
    assert first.migrator("rewrite-imports").returncode == 0
    first.git("config", "user.name", "tester")
    first.git("config", "user.email", "tester@example.org")
    first.commit()
    proved = first.migrator("parity-check", "--no-waiting")
    assert proved.returncode == 0, proved.stdout + proved.stderr
    subprocess.run(["git", "clone", "-q", first.folder, folder / "second"], check=True)
    second = Project(folder=folder / "second", environ=environ)
    second.git("config", "user.name", "tester")
    second.git("config", "user.email", "tester@example.org")
    try:
        started = first.migrator("workers", "start", "legacy", "--yes")
        assert started.returncode == 0, started.stdout + started.stderr
        yield Machines(first=first, second=second)
    finally:
        for process in [process for process in psutil.process_iter() if mark(process) == str(folder)]:
            process.kill()


def mark(process: psutil.Process) -> str:
    try:
        return process.environ().get("OPERATORS_TEST", "")
    except psutil.Error:
        return ""


def looks_and_is_refused(machines: Machines) -> None:
    record = machines.record()
    assert record is not None
    at = f"{socket.gethostname()}:{machines.first.folder / '.migrator'}"
    status = machines.second.migrator("status")
    assert f"by {record.who}; journal, proof and snapshots are at {at}" in status.stdout, status.stdout + status.stderr
    assert "next: on " in status.stdout
    for words in CHANGES:
        refused = machines.second.migrator(*words.split())
        assert refused.returncode == 4, (words, refused.stdout, refused.stderr)
        assert at in refused.stderr and record.who in refused.stderr, words
    assert not (machines.second.folder / ".migrator" / "journal.jsonl").exists()


def goes_on_with_a_copy(machines: Machines) -> None:
    """What was left by a run that was killed is taken over on the other machine, and only there goes on."""
    machines.copy_state()
    refused = machines.elsewhere(machines.second, "rollback", "--yes")
    assert refused.returncode == 4 and "--takeover" in refused.stderr, refused.stderr
    taken = machines.elsewhere(machines.second, "rollback", "--yes", "--takeover")
    assert taken.returncode == 0, taken.stdout + taken.stderr
    record = machines.record()
    assert record is not None and (record.host, record.state, record.under_way) == ("elsewhere", "rolled back", False)
    stale = machines.first.migrator("cutover", "--yes")
    assert stale.returncode == 4 and "this copy of the state folder is not the latest" in stale.stderr, stale.stderr


def require_namespaces() -> None:
    tried = subprocess.run(["unshare", "--uts", "hostname", "elsewhere"], capture_output=True, check=False)
    if tried.returncode:
        missing("this machine allows no namespace with another host name")


@pytest.mark.journey
@pytest.mark.timeout(300)
def test_a_run_is_one_machines_on_redis(tmp_path: Path, redis_url: str) -> None:
    require_namespaces()
    with two_machines(tmp_path, redis_url) as machines:
        with machines.paused_cutover() as process:
            looks_and_is_refused(machines)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        machines.copy_state()
        waits = machines.elsewhere(machines.second, "rollback", "--yes")
        assert waits.returncode == 4 and "somebody else is at this run" in waits.stderr, waits.stderr
        with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
            client.hset("tqm:run:life", "until", 0)  # as if half a minute had passed
        goes_on_with_a_copy(machines)


@pytest.mark.journey
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("rabbitmq")
def test_a_run_is_one_machines_on_rabbitmq(tmp_path: Path, rabbit: RabbitServer) -> None:
    require_namespaces()
    with two_machines(tmp_path, rabbit.make_host("operators")) as machines:
        with machines.paused_cutover() as process:
            looks_and_is_refused(machines)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        goes_on_with_a_copy(machines)


@pytest.mark.journey
@pytest.mark.timeout(300)
def test_a_run_that_was_paused_and_taken_over_does_nothing_more(tmp_path: Path, redis_url: str) -> None:
    require_namespaces()
    with two_machines(tmp_path, redis_url) as machines:
        with machines.paused_cutover() as process:
            process.send_signal(signal.SIGSTOP)
            machines.copy_state()
            (machines.second.folder / ".migrator" / "lock").unlink()
            with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
                client.hset("tqm:run:life", "until", 0)  # as if half a minute had passed
            taken = machines.elsewhere(machines.second, "rollback", "--yes", "--takeover")
            assert taken.returncode == 0, taken.stdout + taken.stderr
            (machines.first.folder.with_name("hold")).unlink()
            process.send_signal(signal.SIGCONT)
            assert process.wait(60) == 5
            told = machines.first.folder.with_name("cutover.log").read_text()
            assert "the run was taken over" in told and "on elsewhere" in told
        running = machines.first.run(sys.executable, "-c", "import psutil; print(len(psutil.pids()))")
        assert running.returncode == 0
        listed = machines.first.migrator("workers", "list")
        assert "old-worker" in listed.stdout and "running" in listed.stdout, listed.stdout


def test_a_run_of_one_machine_leaves_no_lease_behind(tmp_path: Path, redis_url: str) -> None:
    project = make_project(tmp_path, LIFE, {"BROKER": redis_url})
    refused = project.migrator("cutover", "--yes")
    assert refused.returncode == 4, refused.stdout
    with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
        assert not client.exists("tqm:run:life")
