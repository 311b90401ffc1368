"""Run calls in child processes, one system to a process, and survive whatever a call does to its process.

A lane is one system under one set of circumstances (clock offset, hash seed, order). Its process is started with a
Redis-compatible server of its own, is given one call after another, and is replaced when it hangs or ends.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from checks.cases import Call, Case
from checks.configuration import SCRATCH_DBS, Configuration
from migrator.plan import Plan
from migrator.servers import EmbeddedServer, embedded_server

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 5.0
#: Largest answer that is taken from a side.
REPLY_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One system under one set of circumstances."""

    name: str
    #: ``dramatiq``, ``celery`` or ``unified``.
    system: str
    clock_offset_s: float = 0.0
    hash_seed: int = 0
    backwards: bool = False
    #: Imported where nothing is configured, to see whether that works; runs nothing.
    bare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One call on one side, ready to be sent."""

    #: Unique within a lane.
    key: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every lane shares."""

    plan: Plan
    configuration: Configuration
    #: Folder that goes away with the run.
    scratch: Path
    #: Folder in which the sides' output is kept.
    logs: Path
    environ: Mapping[str, str]
    #: ``host:port`` of the fixture server; empty if none.
    upstream: str
    #: A fresh process for each call.
    isolate: bool = False
    #: Set when the run is given up: lanes end after the call that they are at.
    stopped: Event = field(default_factory=Event)


@dataclass(slots=True)
class Side:
    """A running child."""

    process: subprocess.Popen[bytes]
    requests: Any
    replies: int
    buffer: bytearray = field(default_factory=bytearray)

    def ask(self, document: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one line and return the answer; what went wrong is an answer too, under ``broken``."""
        try:
            self.requests.write(orjson.dumps(document) + b"\n")
            self.requests.flush()
        except OSError:
            return {"broken": self._ended(), "gone": True}
        return self.listen(timeout_s)

    def listen(self, timeout_s: float) -> dict[str, Any]:
        """Return the next line that the child writes."""
        deadline = time.monotonic() + timeout_s
        while (end := self.buffer.find(b"\n")) < 0:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self.replies], [], [], left_s)[0]:
                return {"broken": f"did not finish within {timeout_s:g} s and was cut off", "gone": True}
            chunk = os.read(self.replies, 1 << 20)
            if not chunk:
                return {"broken": self._ended(), "gone": True}
            self.buffer += chunk
            if len(self.buffer) > REPLY_LIMIT_BYTES:
                return {"broken": f"answered with more than {REPLY_LIMIT_BYTES} bytes", "gone": True}
        line, self.buffer = bytes(self.buffer[:end]), self.buffer[end + 1 :]
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def stop(self) -> None:
        """End the child and what it started, by its process group."""
        with suppress(OSError):
            self.requests.close()
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_TIMEOUT_S)
        os.close(self.replies)

    def _ended(self) -> str:
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"ended its process (status {status})"


def run_document(lane: Lane, case: Case, call: Call) -> Mapping[str, Any]:
    """Return what a side needs to know to run one call of a case."""
    unified = lane.system == "unified"
    mapping = call.mapping
    return {
        "id": str(uuid5(NAMESPACE_URL, f"parity:{case.name}")),
        "system": "celery" if unified else lane.system,
        "name": mapping.unified if unified else mapping.name,
        "path": call.unified_path if unified else mapping.path,
        "args": list(call.unified_args if unified else call.args),
        "kwargs": dict(call.unified_kwargs if unified else call.kwargs),
        "attempts": case.attempts,
        "clock": (case.clock_at + timedelta(seconds=lane.clock_offset_s)).isoformat(),
        "seed": case.seed,
        "world": {"rows": list(case.world.rows), "cache": list(case.world.cache), "http": list(case.world.http)},
    }


def run_lane(lane: Lane, runs: Sequence[Run], surroundings: Surroundings) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yield each run with its observation, or with ``{"broken": reason}``.

    A run that hangs or ends the process costs itself alone; the others go on in a new process.
    """
    waiting = list(reversed(runs) if lane.backwards else runs)
    while waiting and not surroundings.stopped.is_set():
        with _side(lane, surroundings) as (side, greeting):
            if "broken" in greeting or lane.bare:
                for run in waiting:
                    yield run, greeting
                return
            while waiting and not surroundings.stopped.is_set():
                run = waiting.pop(0)
                answer = side.ask(run.document, surroundings.configuration.case_timeout_s)
                yield run, {key: value for key, value in answer.items() if key != "gone"}
                if answer.get("gone") or surroundings.isolate:
                    break


@contextmanager
def _side(lane: Lane, surroundings: Surroundings) -> Iterator[tuple[Side, dict[str, Any]]]:
    folder = surroundings.scratch / f"{lane.name}-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    with embedded_server(folder=folder / "redis") as server:
        side = _start(lane, surroundings, server, folder)
        try:
            yield side, side.ask(_side_configuration(lane, surroundings, server, folder), START_TIMEOUT_S)
        finally:
            side.stop()


def _start(lane: Lane, surroundings: Surroundings, server: EmbeddedServer, folder: Path) -> Side:
    to_child, requests = os.pipe()
    replies, from_child = os.pipe()
    try:
        with (surroundings.logs / f"{lane.name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "checks.side", str(to_child), str(from_child)],
                cwd=surroundings.plan.source_root,
                env=_environment(lane, surroundings, server, folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(to_child, from_child),
                start_new_session=True,
            )
    finally:
        os.close(to_child)
        os.close(from_child)
    return Side(process=process, requests=os.fdopen(requests, "wb"), replies=replies)


def _environment(lane: Lane, surroundings: Surroundings, server: EmbeddedServer, folder: Path) -> dict[str, str]:
    environment = dict(surroundings.environ)
    for name, value in surroundings.configuration.environment.items():
        environment[name] = value.replace("{redis}", server.url().rsplit("/", 1)[0]).replace("{scratch}", str(folder))
    bare = surroundings.configuration.bare_environment if lane.bare else {}
    return {
        **environment,
        **bare,
        "PYTHONHASHSEED": str(lane.hash_seed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": "UTC",
    }


def _side_configuration(
    lane: Lane, surroundings: Surroundings, server: EmbeddedServer, folder: Path
) -> Mapping[str, Any]:
    plan = surroundings.plan
    environment = _environment(lane, surroundings, server, folder)
    modules = [module for endpoint in plan.legacy if endpoint.system == lane.system for module in endpoint.modules]
    if lane.system == "unified":
        modules = sorted({task.path.rpartition(".")[0] for task in plan.tasks})
    upstream_ports = [int(surroundings.upstream.rpartition(":")[2])] if surroundings.upstream else []
    return {
        "source_root": str(plan.source_root),
        "settings": plan.project.settings,
        "modules": modules,
        "scratch": str(folder),
        "templates": str(surroundings.scratch / "templates"),
        "environment": {name: value for name, value in environment.items() if "{http}" in value},
        "upstream": surroundings.upstream,
        "redis_port": server.port,
        "dbs": SCRATCH_DBS,
        "ports": [server.port, *upstream_ports],
    }
