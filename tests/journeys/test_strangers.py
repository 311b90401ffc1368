"""Processes that only seem to be the plan's, and workers that seem to be dead: nothing is done to either."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from small_projects import MANAGE, Project, make_project
from waiting import wait_until

PARCELS = {
    ".gitignore": "__pycache__/\n.migrator/\n*.pid\n",
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "app/actors.py": """\
import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))


@dramatiq.actor(max_retries=0)
def pack(x, seconds=0):
    while seconds and not os.path.exists(os.environ["RUNS"] + ".go"):
        time.sleep(0.1)
    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{x}\\n")
""",
    "app/old.py": """\
import os
import time

from celery import Celery

app = Celery("old", broker=os.environ["BROKER"])


@app.task(name="app.weigh")
def weigh(x, seconds=0):
    while seconds and not os.path.exists(os.environ["RUNS"] + ".go"):
        time.sleep(0.1)
""",
    "app/tasks.py": """\
import os

from celery import Celery

app = Celery("app", broker=os.environ["BROKER"])
app.conf.task_default_queue = "unified"


@app.task(name="parcels.pack", max_retries=0)
def pack(x, seconds=0):
    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{x}\\n")


@app.task(name="parcels.weigh")
def weigh(x, seconds=0):
    return x
""",
    "migration.toml": """\
[migration]
name = "parcels"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "${BROKER}"
queues = ["default"]
modules = ["app.actors"]

[legacy.celery]
broker = "${BROKER}"
queues = ["celery"]
modules = ["app.old"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "parcels.pack"
path = "app.tasks.pack"
parameters = ["x", "seconds"]
max_retries = 0

  [[task.replaces]]
  system = "dramatiq"
  name = "pack"
  path = "app.actors.pack"
  parameters = ["x", "seconds"]

[[task]]
name = "parcels.weigh"
path = "app.tasks.weigh"
parameters = ["x", "seconds"]

  [[task.replaces]]
  system = "celery"
  name = "app.weigh"
  path = "app.old.weigh"
  parameters = ["x", "seconds"]

[[process]]
name = "actors"
side = "legacy"
role = "worker"
system = "dramatiq"
command = ["{python}", "-m", "dramatiq", "app.actors", "-p", "1", "-t", "1"]
stop_timeout_s = 20

[[process]]
name = "celery"
side = "legacy"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "app.old", "worker", "--pool=solo", "-Q", "celery", "-n", "{node}"]
pidfile = "celery.pid"
stop_timeout_s = 20

[[process]]
name = "unified"
side = "unified"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "app.tasks", "worker", "-Q", "unified", "--pool=threads", "-n", "{node}"]
stop_timeout_s = 20
""",
}


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Iterator[Project]:
    environ = {"BROKER": redis_url, "RUNS": str(tmp_path / "runs"), "PYTHONDONTWRITEBYTECODE": "1"}
    project = make_project(tmp_path / "parcels", PARCELS, environ)
    yield project
    for record in (project.folder / ".migrator/processes").glob("*.json"):
        read = json.loads(record.read_text())
        stat = Path(f"/proc/{read['pid']}/stat")
        if stat.exists() and int(stat.read_text().rpartition(")")[2].split()[19]) == read["start_ticks"]:
            for child in subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(read["pid"])], capture_output=True, text=True, check=False
            ).stdout.split():
                os.kill(int(child), signal.SIGKILL)
            os.kill(read["pid"], signal.SIGKILL)


@contextmanager
def running(project: Project, *words: str, folder: Path | None = None) -> Iterator[int]:
    """A process that somebody else runs; ends it afterwards. It must have lived through all that was done."""
    environ = {**os.environ, **project.environ}
    process = subprocess.Popen(
        words,
        cwd=folder or project.folder,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(words[0].encode()), timeout_s=5)
        yield process.pid
        assert process.poll() is None, "a stranger was ended"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def celery(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", *words)


def refused(project: Project, why: str, name: str = "celery") -> None:
    """The stop is refused with the reason, the preflight has it as a finding, and the list shows a stranger."""
    stop = project.migrator("workers", "stop", "legacy", "--yes", "--name", name)
    assert stop.returncode == 4, stop.stdout + stop.stderr
    assert why in stop.stderr and f"which is not {name} of the plan" in stop.stderr
    listed = project.migrator("workers", "list", "legacy", "--name", name)
    assert "stranger" in listed.stdout and why in " ".join(listed.stdout.split())
    looked = project.migrator("cutover", "--dry-run")
    assert "PROCESS-STRANGER" in looked.stdout, looked.stdout + looked.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("/usr/bin/sleep", "600"), "it runs `/usr/bin/sleep 600`"),
        (celery("-A", "app.old", "beat", "-s", "beat-state"), "beat"),
        (celery("-A", "app.tasks", "worker", "--pool=solo", "-Q", "celery"), "-A app.tasks worker"),
        (celery("-A", "app.old", "worker", "--pool=solo", "-Q", "other"), "-Q other"),
        ((sys.executable, "-m", "dramatiq", "app.actors", "-p", "1"), "-m dramatiq app.actors"),
    ],
)
def test_a_pidfile_that_names_another_program_is_a_finding_and_no_kill(
    project: Project, words: tuple[str, ...], why: str
) -> None:
    with running(project, *words) as pid:
        (project.folder / "celery.pid").write_text(f"{pid}\n")
        refused(project, why)


WORKER = celery("-A", "app.old", "worker", "--pool=solo", "-Q", "celery", "-n", "by-hand@%h")


def test_the_same_worker_of_another_checkout_is_a_stranger(project: Project, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    shutil.copytree(project.folder, staging)
    with running(project, *WORKER, folder=staging) as pid:
        (project.folder / "celery.pid").write_text(f"{pid}\n")
        refused(project, f"it runs in {staging}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has processes of other users")
def test_a_pidfile_of_one_user_that_names_a_process_of_another_is_no_proof(project: Project) -> None:
    with running(project, *WORKER) as pid:
        file = project.folder / "celery.pid"
        file.write_text(f"{pid}\n")
        os.chown(file, 65534, 65534)
        refused(project, "it belongs to user 0, the file to user 65534")


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace needs root")
def test_a_worker_in_a_container_is_not_signalled_by_its_pid_here(project: Project) -> None:
    done = subprocess.run(["unshare", "--fork", "--pid", "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NO PID NAMESPACE: {done.stderr.strip()}; NOT TESTED")
    with running(project, "/usr/bin/unshare", "--fork", "--pid", "--kill-child", *WORKER) as outer:
        children = Path(f"/proc/{outer}/task/{outer}/children")
        inner = int(wait_until(lambda: children.read_text().split(), timeout_s=10)[0])
        wait_until(lambda: b"celery" in Path(f"/proc/{inner}/cmdline").read_bytes(), timeout_s=10)
        (project.folder / "celery.pid").write_text(f"{inner}\n")
        refused(project, "another PID namespace")


def test_a_record_that_names_another_program_is_no_proof_either(project: Project) -> None:
    with running(project, "/usr/bin/sleep", "600") as pid:
        folder = project.folder / ".migrator/processes"
        folder.mkdir(parents=True)
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        record = {"name": "celery", "node": "", "pid": pid, "start_ticks": ticks, "boot_id": boot, "started_at": 1.0}
        (folder / "celery.json").write_text(json.dumps(record))
        try:
            refused(project, "it runs `/usr/bin/sleep 600`")
        finally:
            (folder / "celery.json").unlink()


def test_the_worker_that_the_pidfile_means_is_stopped_however_its_command_is_written(project: Project) -> None:
    written = (
        str(Path(sys.executable).with_name("celery")),
        "--app=app.old:app",
        "worker",
        "-P",
        "solo",
        "--queues=celery",
    )
    process = subprocess.Popen(written, cwd=project.folder, env={**os.environ, **project.environ})
    try:
        (project.folder / "celery.pid").write_text(f"{process.pid}\n")
        wait_until(lambda: b"worker" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), timeout_s=10)
        with redis.Redis.from_url(project.environ["BROKER"]) as client:
            wait_until(lambda: client.exists("_kombu.binding.celery"))
        stop = project.migrator("workers", "stop", "legacy", "--yes", "--name", "celery")
        assert stop.returncode == 0, stop.stderr
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)


def test_a_busy_solo_worker_is_named_as_that(project: Project) -> None:
    started = project.migrator("workers", "start", "legacy", "--yes", "--name", "celery")
    assert started.returncode == 0, started.stderr
    code = "from app.old import weigh; weigh.delay(1, seconds=1)"
    assert project.run(sys.executable, "-c", code).returncode == 0
    with redis.Redis.from_url(project.environ["BROKER"]) as client:
        wait_until(lambda: not client.llen("celery"))
    looked = project.migrator("cutover", "--dry-run")
    Path(project.environ["RUNS"] + ".go").touch()
    text = " ".join(looked.stdout.split())
    assert "WORKER-BUSY" in text and "runs a task in its only thread" in text
    assert "WORKER-SILENT" not in text and "WORKER-UNKNOWN" not in text
    assert project.migrator("workers", "stop", "legacy", "--yes", "--name", "celery").returncode == 0


#: The actors on a machine whose clock is behind: what a worker tells Redis is all that shows it.
BEHIND = """\
import os

from dramatiq.brokers import redis

right = redis.current_millis
redis.current_millis = lambda: right() - int(os.environ["BEHIND_S"]) * 1000

from app.actors import *
"""


@pytest.mark.parametrize("behind_s", [120, 86_400])
def test_a_worker_whose_heartbeat_moves_is_alive_whatever_its_clock_says(project: Project, behind_s: int) -> None:
    code = "from app.actors import pack; [pack.send(x, seconds=5 if x < 2 else 0) for x in range(6)]"
    assert project.run(sys.executable, "-c", code).returncode == 0
    elsewhere = project.folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "behind.py").write_text(BEHIND)
    words = (sys.executable, "-m", "dramatiq", "behind", "-p", "1", "-t", "2")
    environ = {**os.environ, **project.environ, "PYTHONPATH": str(project.folder), "BEHIND_S": str(behind_s)}
    worker = subprocess.Popen(words, cwd=elsewhere, env=environ)
    with redis.Redis.from_url(project.environ["BROKER"]) as client:
        try:
            wait_until(lambda: list(client.scan_iter("dramatiq:__acks__.*.default")))
            moved = project.migrator("transfer", "--take-claimed", "--yes")
            assert moved.returncode == 4, moved.stdout + moved.stderr
            assert "still alive" in moved.stderr
        finally:
            Path(project.environ["RUNS"] + ".go").touch()
            worker.terminate()
            worker.wait(20)
        runs = Path(project.environ["RUNS"]).read_text().split()
        assert len(set(runs)) == len(runs), "run twice"
        assert len(runs) + int(client.llen("dramatiq:default")) == 6
        assert client.llen("unified") == 0
