"""What a side's process holds between runs, and one run from an empty world to an observation."""

from __future__ import annotations

import importlib
import os
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import time_machine

from checks.canonical import Frame, canonical
from checks.side import django_world
from checks.side.guard import close_network, limit_resources
from checks.side.http_fixture import Answers, serve, settle
from checks.side.recorder import RECORDER, attach_logs

#: Largest observation that is sent back whole.
OBSERVATION_LIMIT_BYTES = 8 * 1024 * 1024
#: How long requests that a task left behind are waited for.
SETTLE_TIMEOUT_S = 0.25


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
        os.chdir(configuration["source_root"])
        sys.path.insert(0, configuration["source_root"])
        RECORDER.active = True
        close_network(frozenset(ports))
        self.databases = django_world.set_up(configuration["settings"], self.scratch, Path(configuration["templates"]))
        for module in configuration["modules"]:
            importlib.import_module(module)
        attach_logs()
        self.sides: dict[int, Any] = {}
        self.clients: list[Any] = []
        if RECORDER.violations:
            raise PermissionError(f"while it was imported: {RECORDER.violations[0]}")

    def run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Run one call in a fresh world and return its observation, JSON-safe; or describe tasks."""
        if "describe" in run:
            from checks.side.describe import describe

            return describe(run["describe"])
        began = time.monotonic()
        clock = datetime.fromisoformat(run["clock"])
        target = _resolve(run["path"])
        with time_machine.travel(clock, tick=False):
            before = self._prepare(run, clock)
            call = {**run, "args": django_world.moments(run["args"], clock)}
            call["kwargs"] = django_world.moments(run["kwargs"], clock)
            side = self._side(target, run)
            started = time.monotonic()
            ended = side.run(target, call)
            duration_s = time.monotonic() - started
            settle(SETTLE_TIMEOUT_S)
            RECORDER.stop()
            observation = self._observe(run, ended, before)
        return {**observation, "duration_s": duration_s, "run_s": time.monotonic() - began}

    def _prepare(self, run: Mapping[str, Any], clock: datetime) -> Any:
        RECORDER.stop()
        self._clear_broker()
        self.databases.reset()
        django_world.clear_outside()
        self.answers.load(run["world"]["http"])
        try:
            django_world.fill(run["world"]["rows"], run["world"]["cache"], clock)
        except Exception as error:
            raise ValueError(f"the case's world can't be made: {type(error).__name__}: {error}") from error
        random.seed(run["seed"])
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(run["seed"])
        return self.databases.snapshot()

    def _clear_broker(self) -> None:
        """Delete every key of the server that was started for this process alone."""
        import redis

        if not self.clients:
            port = self.configuration["redis_port"]
            self.clients = [redis.Redis(port=port, db=db) for db in range(self.configuration["dbs"])]
        for client in self.clients:
            keys = list(client.scan_iter(count=1000))
            if keys:
                client.unlink(*keys)

    def _side(self, target: Any, run: Mapping[str, Any]) -> Any:
        if run["system"] == "dramatiq":
            from checks.side.dramatiq_run import ActorSide

            owner, kind = target.broker, ActorSide
        else:
            from checks.side.celery_run import TaskSide

            owner, kind = target.app, TaskSide  # type: ignore[assignment]
        _check_name(target, run)
        if id(owner) not in self.sides:
            self.sides[id(owner)] = kind(owner)
        return self.sides[id(owner)]

    def _observe(self, run: Mapping[str, Any], ended: Any, before: Any) -> dict[str, Any]:
        import orjson

        clock = datetime.fromisoformat(run["clock"])
        names = (
            (run["id"], "<message-id>"),
            (run["path"], "<task>"),
            (run["name"], "<task>"),
            (f"127.0.0.1:{self.http_port}", "<fixture>"),
            (f"127.0.0.1:{self.configuration['redis_port']}", "<broker>"),
        )
        given = django_world.relative_moments([run["world"], run["args"], run["kwargs"]], clock)
        frame = Frame(clock=clock.timestamp(), names=names, moments=given)
        exception = ended.pop("exception", None)
        told = {
            **ended,
            "exception": None if exception is None else {"type": type(exception).__name__, "message": str(exception)},
            "rows": self.databases.changes(before),
            "cache": RECORDER.cache,
            "http": RECORDER.http,
            "mail": django_world.sent_mail(),
            "logs": RECORDER.logs,
            "violations": RECORDER.violations,
        }
        # Names of tasks are what these are about, so they stay.
        named = {"messages": RECORDER.messages, "dead_letters": RECORDER.dead_letters}
        result: dict[str, Any] = canonical(told, frame) | canonical(named, replace(frame, names=names[:1]))
        size = len(orjson.dumps(result))
        if size > OBSERVATION_LIMIT_BYTES:
            raise ValueError(f"the observation takes {size} bytes, more than {OBSERVATION_LIMIT_BYTES}")
        return result


def _resolve(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _check_name(target: Any, run: Mapping[str, Any]) -> None:
    name = target.actor_name if run["system"] == "dramatiq" else target.name
    if name != run["name"]:
        raise LookupError(f"{run['path']} is registered as {name!r}, the plan says {run['name']!r}")
