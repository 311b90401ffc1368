"""Run calls in child processes, one system per process, and survive whatever a call does to its process.

A variant is one system under one set of conditions (clock offset, hash seed, order). Its process is started with a
Redis-compatible server of its own, is given one call after another, and is replaced when it hangs or ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from checks.cases.load import Call, Case
from checks.configuration import Configuration, broker_environment
from checks.runs.through_broker import WorkerWithProducer, worker_arguments
from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.errors import UsageError
from migrator.plan.interpreter import PYTHON_VARIABLE, ProjectPython
from migrator.plan.model import Plan
from migrator.plan.processes import Role
from migrator.project.agent_process import START_TIMEOUT_S, AgentProcess, setup_error, start_agent
from migrator.project.commands import project_modules, with_configuration
from migrator.wire.message import Side, System
from migrator.workers.probe import application


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One system under one set of conditions."""

    name: str
    #: ``dramatiq``, ``celery`` or ``unified``.
    system: str
    clock_offset_s: float = 0.0
    hash_seed: int = 0
    backwards: bool = False
    #: Only import the modules in the bare environment; runs no call.
    bare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCall:
    """One call to one system, ready to be sent."""

    #: Unique within a variant.
    key: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What all variants share."""

    plan: Plan
    configuration: Configuration
    #: Folder that is removed after the run.
    scratch: Path
    #: Folder of the databases that processes begin with.
    templates: Path
    #: Folder for the output of the processes.
    logs: Path
    environ: Mapping[str, str]
    #: The plan's folder with the legacy source, which is another one where tasks were converted in place.
    legacy_folder: Path
    #: ``host:port`` of the fixture server; empty if none.
    upstream: str
    #: The project's interpreter.
    python: ProjectPython
    #: A fresh process for each call.
    isolate: bool = False
    #: URL of a PostgreSQL server for the processes' databases, and the prefix of their names; empty for SQLite files.
    database: str = ""
    database_prefix: str = ""
    #: Messages are run by workers of the project.
    through_broker: bool = False
    #: Set when the run is aborted: variants end after their current call.
    stopped: Event = field(default_factory=Event)

    def source_root(self, variant: Variant) -> Path:
        """Return the import root of a variant's side."""
        folder = self.plan.folder if variant.system == "unified" else self.legacy_folder
        return folder / self.plan.project.root

    def templates_of(self, variant: Variant) -> Path:
        """Return the databases that a variant's processes begin with: each source has migrations of its own."""
        shared = self.legacy_folder == self.plan.folder or variant.system == "unified"
        return self.templates if shared else self.templates.with_name(f"{self.templates.name}-legacy")


def run_document(variant: Variant, case: Case, call: Call) -> Mapping[str, Any]:
    """Return the document with which a process runs one call of a case."""
    unified = variant.system == "unified"
    mapping = call.mapping
    return {
        "id": str(uuid5(NAMESPACE_URL, f"parity:{case.name}")),
        "system": "celery" if unified else variant.system,
        "name": mapping.unified if unified else mapping.name,
        "path": call.unified_path if unified else mapping.path,
        "args": list(call.unified_args if unified else call.args),
        "kwargs": dict(call.unified_kwargs if unified else call.kwargs),
        "attempts": case.attempts,
        "clock": (case.clock_at + timedelta(seconds=variant.clock_offset_s)).isoformat(),
        "seed": case.seed,
        "initial_state": {
            "rows": list(case.initial_state.rows),
            "cache": list(case.initial_state.cache),
            "http": list(case.initial_state.http),
        },
    }


def run_variant(
    variant: Variant, runs: Sequence[PreparedCall], run_context: RunContext
) -> Iterator[tuple[PreparedCall, dict[str, Any]]]:
    """Yield each run with its observation, or with ``{"broken": reason}``.

    A call that hangs or ends its process loses only its own observation; the others go on in a new process.

    Raises:
        UnreachableError: The project's interpreter can't run the project.
    """
    waiting = list(reversed(runs) if variant.backwards else runs)
    while waiting and not run_context.stopped.is_set():
        with _agent(variant, run_context) as (agent, greeting):
            failed = setup_error(run_context.python, greeting, project_modules(run_context.plan))
            if failed and not variant.bare:
                raise failed
            if "broken" in greeting or variant.bare:
                for run in waiting:
                    yield run, greeting
                return
            while waiting and not run_context.stopped.is_set():
                run = waiting.pop(0)
                answer = agent.ask(run.document, run_context.configuration.case_timeout_s)
                yield run, {key: value for key, value in answer.items() if key != "gone"}
                if answer.get("gone") or run_context.isolate:
                    break


@contextmanager
def _agent(
    variant: Variant, run_context: RunContext
) -> Iterator[tuple[AgentProcess | WorkerWithProducer, dict[str, Any]]]:
    folder = run_context.scratch / f"{variant.name}-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    with embedded_server(folder=folder / "redis") as server:
        start = _start_with_worker if run_context.through_broker and not variant.bare else _start_alone
        agent, greet = start(variant, run_context, server, folder)
        try:
            yield agent, greet()
        finally:
            agent.stop()


def _start_alone(
    variant: Variant, run_context: RunContext, server: EmbeddedServer, folder: Path
) -> tuple[AgentProcess, Callable[[], dict[str, Any]]]:
    agent = start_agent(
        run_context.python,
        "serve",
        (),
        folder=run_context.source_root(variant),
        environment=_environment(variant, run_context, server, folder),
        log_file=run_context.logs / f"{variant.name}.log",
    )
    configuration = _agent_configuration(variant, run_context, server, folder)

    def greet() -> dict[str, Any]:
        if not agent.greet():
            what = "both sides run on this machine, on its files, and the interpreter does not see them"
            remedy = f"name one of this machine in {PYTHON_VARIABLE} or under [project]: python = …"
            raise UsageError(f"the project's interpreter ({run_context.python})", what, remedy=remedy)
        return agent.ask(configuration, START_TIMEOUT_S)

    return agent, greet


def _start_with_worker(
    variant: Variant, run_context: RunContext, server: EmbeddedServer, folder: Path
) -> tuple[WorkerWithProducer, Callable[[], dict[str, Any]]]:
    """Start the plan's worker, and a producer process that sends messages to it."""
    plan, environment = run_context.plan, _environment(variant, run_context, server, folder)
    node = f"parity-{variant.name}@localhost"
    arguments = worker_arguments(plan, variant.system, node=node, state=folder, environ=environment)
    (folder / "producer").mkdir()
    worker = start_agent(
        run_context.python,
        "worker",
        arguments,
        folder=run_context.source_root(variant),
        environment=environment,
        log_file=run_context.logs / f"{variant.name}-worker.log",
    )
    try:
        producer, _ = _start_alone(variant, run_context, server, folder / "producer")
    except BaseException:
        worker.stop()
        raise
    agents = WorkerWithProducer(worker=worker, producer=producer)
    to_worker = {**_agent_configuration(variant, run_context, server, folder), "modules": [], "worker": arguments}
    to_producer = _agent_configuration(variant, run_context, server, folder / "producer")
    return agents, lambda: agents.greet(to_worker, to_producer, START_TIMEOUT_S)


def _environment(variant: Variant, run_context: RunContext, server: EmbeddedServer, folder: Path) -> dict[str, str]:
    redis = server.url().rsplit("/", 1)[0]
    environment = {**run_context.environ, **broker_environment(run_context.plan, redis)}
    for name, value in run_context.configuration.environment.items():
        environment[name] = value.replace("{redis}", redis).replace("{scratch}", str(folder))
    bare = run_context.configuration.bare_environment if variant.bare else {}
    return {
        **with_configuration(run_context.plan, environment),
        **bare,
        "PYTHONHASHSEED": str(variant.hash_seed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": "UTC",
    }


def _application(variant: Variant, plan: Plan) -> str:
    """Return the Celery app that the first worker of a variant runs with, where the plan says it."""
    side = Side.UNIFIED if variant.system == "unified" else Side.LEGACY
    workers = plan.select(side=side, role=Role.WORKER)
    return next((application(item) for item in workers if item.system is not System.DRAMATIQ), "")


def _agent_configuration(
    variant: Variant, run_context: RunContext, server: EmbeddedServer, folder: Path
) -> Mapping[str, Any]:
    plan = run_context.plan
    environment = _environment(variant, run_context, server, folder)
    modules = [module for endpoint in plan.legacy if endpoint.system == variant.system for module in endpoint.modules]
    if variant.system == "unified":
        modules = sorted({task.path.rpartition(".")[0] for task in plan.tasks})
    upstream_ports = [int(run_context.upstream.rpartition(":")[2])] if run_context.upstream else []
    return {
        "source_root": str(run_context.source_root(variant)),
        "settings": plan.project.settings,
        "modules": modules,
        "application": _application(variant, plan),
        "scratch": str(folder),
        "templates": str(run_context.templates_of(variant)),
        "database": {"server": run_context.database, "prefix": run_context.database_prefix},
        "environment": {name: value for name, value in environment.items() if "{http}" in value},
        "upstream": run_context.upstream,
        "redis_port": server.port,
        "ports": [server.port, *upstream_ports],
    }
