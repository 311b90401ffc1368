"""What whole migrations have in common: a scratch repository, the command, traffic, the end of everything.

Nothing here knows the tool from inside: it is run as a command, and what tasks did is counted in the project's own
database.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from small_projects import Project
from waiting import wait_until

from migrator.embedded_redis import EmbeddedServer, find_server, free_port

#: In the environment of every process of a journey, so that none survives it.
MARK = "JOURNEY_MARK"
TRAFFIC = Path(__file__).with_name("traffic.py")


@dataclass(slots=True, kw_only=True)
class Journey:
    """A project on its way, and what was done with it."""

    project: Project
    folder: Path
    #: The project's own interpreter.
    interpreter: str = sys.executable
    #: The commands that ran, with exit code and seconds.
    steps: list[tuple[str, int, float]] = field(default_factory=list)
    #: Lines changed by hand so far.
    by_hand: int = 0

    def run(self, *words: str, codes: Sequence[int] = (0,), timeout_s: float = 300) -> str:
        """Run the installed ``migrator`` and return what it printed on stdout."""
        began = time.monotonic()
        done = self.project.migrator(*words, timeout_s=timeout_s)
        self.steps.append((" ".join(words), done.returncode, time.monotonic() - began))
        log = self.folder / f"{len(self.steps):02}-{words[0]}.log"
        log.write_text(f"$ migrator {' '.join(words)}\n{done.stdout}\n--- stderr\n{done.stderr}\n{done.returncode}\n")
        assert "Traceback" not in done.stdout + done.stderr, done.stdout[-3000:] + done.stderr[-6000:]
        assert done.returncode in codes, log.read_text()[-12_000:]
        return done.stdout

    def python(self, *words: str, timeout_s: float = 120) -> str:
        """Run the project's Python, such as ``manage.py test``."""
        done = self.project.run(self.interpreter, *words, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout

    def edit(self, patch: Path) -> None:
        """Apply a patch, as a person would edit, and count its lines: an edited line counts once, not as two."""
        self.project.git("apply", "--unidiff-zero", "--whitespace=nowarn", str(patch))
        self.by_hand += changed_lines(patch.read_text(encoding="utf-8"))

    def took_s(self, command: str) -> float:
        """Return how long the last run of a command took."""
        return next(seconds for words, _, seconds in reversed(self.steps) if words.split()[0] == command)


def changed_lines(patch: str) -> int:
    """Return how many lines a patch edits, adds or removes."""
    total, removed, added = 0, 0, 0
    for line in [*patch.splitlines(), "@@"]:
        if line.startswith(("---", "+++")):
            continue
        if line.startswith("-"):
            if added:
                total, removed, added = total + max(removed, added), 0, 0
            removed += 1
        elif line.startswith("+"):
            added += bool(line[1:].strip())
        else:
            total, removed, added = total + max(removed, added), 0, 0
    return total


@contextmanager
def open_journey(
    folder: Path, files: Path, environ: Mapping[str, str], *, environment: Path | None = None
) -> Iterator[Journey]:
    """Copy a project into a repository of its own; every process that it starts is ended afterwards, by pid.

    Args:
        environment: The project's own environment, which is active; by default it has that of the tool.
    """
    mark = uuid.uuid4().hex
    programs = environment / "bin" if environment is not None else Path(sys.executable).parent
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    if environment is not None:
        environ = {**environ, "VIRTUAL_ENV": str(environment)}
    project = Project(folder=folder / files.name, environ={**environ, MARK: mark, "PATH": path})
    logs = folder / "logs"
    logs.mkdir(parents=True)
    subprocess.run(["cp", "-r", str(files), str(project.folder)], check=True)
    project.git("init", "-q")
    project.git("config", "user.name", "Operator")
    project.git("config", "user.email", "operator@example.org")
    project.commit()
    try:
        yield Journey(project=project, folder=logs, interpreter=str(programs / "python"))
    finally:
        end_marked(mark)


@contextmanager
def redis_that_survives(folder: Path) -> Iterator[EmbeddedServer]:
    """Run a Redis with persistence, as production has it."""
    arguments = ("--appendonly", "yes")
    server = EmbeddedServer(port=free_port(), folder=folder / "redis", binary=find_server(), arguments=arguments)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Requests to a web process that go on while the project is migrated."""

    ledger: Path
    stop_file: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> list[dict[str, object]]:
        """End it after its last request, and return the ledger."""
        self.stop_file.touch()
        assert self.process.wait(90) == 0, "the traffic ended with an error"
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]


def start_traffic(journey: Journey, base: str, paths: Sequence[str], *, interval_s: float) -> Traffic:
    """Begin to send requests, each with a reference of its own; they end with the journey."""
    ledger, stop = journey.folder / "traffic.jsonl", journey.folder / "traffic.stop"
    words = [sys.executable, str(TRAFFIC), base, str(ledger), str(stop), str(interval_s), *paths]
    return Traffic(
        ledger=ledger, stop_file=stop, process=subprocess.Popen(words, env={**os.environ, **journey.project.environ})
    )


def end_marked(mark: str) -> None:
    """End every process that has the mark in its environment, by pid."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        alive = list(_marked(mark))
        for process in alive:
            _signal(process, number)
        psutil.wait_procs(alive, timeout=10)
    wait_until(lambda: not list(_marked(mark)), what="the processes of the journey to end", timeout_s=10)


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
