"""What a control or candidate process holds between runs, and one run from the initial state to an observation."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import django_setup
from .canonical import Frame, as_json, canonical
from .clock import frozen
from .guard import close_network, limit_resources
from .http_fixture import Answers, serve, wait_until_answered
from .recorder import RECORDER, attach_logs
from .scratch_broker import clear_memory, has_redis, use_scratch_server
from .seeding import seed_randomness
from .tables import DatabaseLocation

#: Largest observation that is sent back whole.
OBSERVATION_LIMIT_BYTES = 8 * 1024 * 1024
#: How long to wait for requests that a task left unanswered.
ANSWER_TIMEOUT_S = 0.25


class Session:
    """The project, set up once, with everything that a run needs."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self.configuration = configuration
        self.scratch = Path(configuration["scratch"])
        self.answers = Answers(upstream=configuration["upstream"])
        self.server, port = serve(self.answers)
        self.http_port = port
        for name, value in configuration["environment"].items():
            os.environ[name] = value.replace("{http}", f"http://127.0.0.1:{port}")
        limit_resources()
        ports = {port, *configuration["ports"]}
        RECORDER.active = True
        close_network(frozenset(ports))
        location = DatabaseLocation(
            scratch=self.scratch,
            templates=Path(configuration["templates"]),
            server=configuration["database"]["server"],
            prefix=configuration["database"]["prefix"],
        )
        self.databases = django_setup.set_up(configuration["settings"], location)
        for module in configuration["modules"]:
            importlib.import_module(module)
        self.application = _application(configuration["application"])
        use_scratch_server(configuration["redis_port"])
        attach_logs()
        self.inline_workers: dict[int, Any] = {}
        self.clients: dict[int, Any] = {}
        if RECORDER.violations:
            raise PermissionError(f"while it was imported: {RECORDER.violations[0]}")

    def run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Run one call from a fresh initial state and return its observation; or describe tasks, or only send."""
        if self.application is not None:
            # A shared task is one of the current app, which the run before may have changed.
            self.application.set_current()
        if "describe" in run:
            from .describe import describe

            return describe(run["describe"])
        if "send" in run:
            return self._send(run["send"])
        began = time.monotonic()
        clock = datetime.fromisoformat(run["clock"])
        target = _resolve(run["path"])
        with frozen(clock):
            self.prepare(run, clock)
            worker = self._inline_worker(target, run)
            started = time.monotonic()
            ended = worker.run(target, _call(run, clock))
            duration_s = time.monotonic() - started
            observation = self.observe(run, ended)
        return {**observation, "duration_s": duration_s, "run_s": time.monotonic() - began}

    def prepare(self, run: Mapping[str, Any], clock: datetime, *, preserved_keys: bytes | None = None) -> None:
        """Create the initial state of a run.

        Args:
            run: The run's document.
            clock: Its moment; the clock of the process is already set to it.
            preserved_keys: Prefix of the broker's keys that are not deleted.
        """
        RECORDER.stop()
        self._clear_broker(preserved_keys)
        self.databases.reset()
        django_setup.clear_caches_and_mail()
        self.answers.load(run["initial_state"]["http"])
        try:
            django_setup.fill(run["initial_state"]["rows"], run["initial_state"]["cache"], clock)
        except Exception as error:
            raise ValueError(f"the case's initial state can't be created: {type(error).__name__}: {error}") from error
        seed_randomness(run["seed"])
        self.databases.remember()

    def observe(self, run: Mapping[str, Any], ended: dict[str, Any]) -> dict[str, Any]:
        """Return everything that a run did, after waiting for what it left unfinished."""
        wait_until_answered(ANSWER_TIMEOUT_S)
        RECORDER.stop()
        return self._observe(run, ended)

    def _send(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Send the message of a run as a producer of the project does; a worker takes it from the queue."""
        clock, target = datetime.fromisoformat(run["clock"]), _resolve(run["path"])
        _check_name(target, run)
        with frozen(clock):
            if run["system"] == "dramatiq":
                from .dramatiq_run import send
            else:
                from .celery_run import send
            return {"sent_to": send(target, _call(run, clock))}

    def _clear_broker(self, preserved: bytes | None) -> None:
        """Delete every key of this process's own server, except those that a running worker needs."""
        if not has_redis():
            clear_memory()
            return
        import redis

        port = self.configuration["redis_port"]
        if not self.clients:
            self.clients[0] = redis.Redis(port=port)
        for name in self.clients[0].info("keyspace"):
            database = int(name[2:])
            if database not in self.clients:
                self.clients[database] = redis.Redis(port=port, db=database)
            client = self.clients[database]
            keys = [key for key in client.scan_iter(count=1000) if preserved is None or not key.startswith(preserved)]
            if keys:
                client.unlink(*keys)

    def _inline_worker(self, target: Any, run: Mapping[str, Any]) -> Any:
        if run["system"] == "dramatiq":
            from .dramatiq_run import InlineDramatiqWorker

            owner, kind = target.broker, InlineDramatiqWorker
        else:
            from .celery_run import InlineCeleryWorker

            owner, kind = target.app, InlineCeleryWorker  # type: ignore[assignment]
        _check_name(target, run)
        if id(owner) not in self.inline_workers:
            self.inline_workers[id(owner)] = kind(owner)
        return self.inline_workers[id(owner)]

    def _observe(self, run: Mapping[str, Any], ended: Any) -> dict[str, Any]:
        clock = datetime.fromisoformat(run["clock"])
        names = (
            (run["id"], "<message-id>"),
            (run["path"], "<task>"),
            (run["name"], "<task>"),
            (f"127.0.0.1:{self.http_port}", "<fixture>"),
            (f"127.0.0.1:{self.configuration['redis_port']}", "<broker>"),
        )
        given = django_setup.relative_moments([run["initial_state"], run["args"], run["kwargs"]], clock)
        frame = Frame(clock=clock.timestamp(), names=names, moments=given)
        exception = ended.pop("exception", None)
        effects = {
            **ended,
            "exception": None if exception is None else {"type": type(exception).__name__, "message": str(exception)},
            "rows": self.databases.changes(),
            "cache": RECORDER.cache,
            "http": RECORDER.http,
            "mail": django_setup.sent_mail(),
            "logs": RECORDER.logs,
            "violations": RECORDER.violations,
        }
        # Task names are kept: they are the subject of these.
        named = {"messages": RECORDER.messages, "dead_letters": RECORDER.dead_letters}
        result: dict[str, Any] = canonical(effects, frame) | canonical(named, replace(frame, names=names[:1]))
        size = len(as_json(result))
        if size > OBSERVATION_LIMIT_BYTES:
            raise ValueError(f"the observation takes {size} bytes, more than {OBSERVATION_LIMIT_BYTES}")
        return result


def _application(name: str) -> Any:
    """Return the Celery app that the plan's worker names; without one the app that is current after the imports."""
    if "celery" not in sys.modules:
        return None
    from celery import current_app
    from celery.app.utils import find_app

    return find_app(name) if name else current_app._get_current_object()


def _resolve(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _call(run: Mapping[str, Any], clock: datetime) -> dict[str, Any]:
    """Return the run with the moments of its arguments filled in."""
    filled = {name: django_setup.moments(run[name], clock) for name in ("args", "kwargs")}
    return {**run, **filled}


def _check_name(target: Any, run: Mapping[str, Any]) -> None:
    name = target.actor_name if run["system"] == "dramatiq" else target.name
    if name != run["name"]:
        raise LookupError(f"{run['path']} is registered as {name!r}, the plan says {run['name']!r}")
