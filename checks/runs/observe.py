"""Run every variant, two at a time, and collect the observations."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.cases.load import Case
from checks.compare.experiment import CLOCK_OFFSET_S
from checks.configuration import Configuration, fixture_command
from checks.protocol import KindContext
from checks.runs.run import PreparedCall, RunContext, Variant, run_document, run_variant
from checks.runs.scratch_server import scratch_databases
from checks.waiting_messages import Waiting
from migrator.embedded_redis import port_file_server
from migrator.events import Event, EventKind, Listener
from migrator.plan.interpreter import ProjectPython, project_python
from migrator.plan.model import Plan
from migrator.project.legacy_tree import legacy_folder
from migrator.state.state_folder import ensure_state_folder
from migrator.wire.message import System

#: Variables that a child needs to find its interpreter and libraries; no others are passed on.
PASSED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
HASH_SEED_AGAIN = 4711
#: Key of the call that describes tasks instead of running one.
DESCRIPTION = "@description"

Seen = dict[str, dict[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variations:
    """Conditions that must not matter: the second run of each system has another clock, hash seed and order."""

    hash_seed: int = 0
    hash_seed_again: int = HASH_SEED_AGAIN
    clock_offset_s: float = CLOCK_OFFSET_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to run."""

    plan: Plan
    cases: tuple[Case, ...]
    configuration: Configuration
    noise: bool
    isolate: bool
    #: True for all cases: tasks are then also described, and modules imported in a bare environment.
    whole: bool
    #: Only these systems (``dramatiq``, ``celery``, ``unified``); empty for all that have a case.
    systems: tuple[str, ...] = ()
    #: Messages are run by workers of the project instead of being taken from the queue by the agent.
    through_broker: bool = False
    #: URL of a PostgreSQL server on which each process gets databases of its own; empty for SQLite files.
    database: str = ""
    variations: Variations = field(default_factory=Variations)
    #: Folder of migrated databases to reuse in further runs; None to create them each time.
    templates: Path | None = None


def observe(request: Request, *, environ: Mapping[str, str], processes: int, listener: Listener) -> Seen:
    """Return observations by variant and key.

    Raises:
        UnreachableError: The fixture server or a scratch broker does not start.
    """
    work = [(variant, runs_for(variant, request)) for variant in variants_for(request)]
    total = sum(len(runs) for _, runs in work)
    seen: Seen = {variant.name: {} for variant, _ in work}
    with _run_context(request, environ) as run_context:

        def collect(variant: Variant, runs: Sequence[PreparedCall]) -> None:
            for run, answer in run_variant(variant, runs, run_context):
                seen[variant.name][run.key] = answer
                done = sum(map(len, seen.values()))
                listener(Event(kind=EventKind.PROGRESS, step="parity", text=variant.name, done=done, total=total))

        with ThreadPoolExecutor(max_workers=max(1, processes)) as pool:
            futures = [pool.submit(collect, variant, runs) for variant, runs in work]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                # Interrupted, or a variant failed: the others end after their current call.
                run_context.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return seen


def context(request: Request, seen: Seen, waiting: Waiting | None = None) -> KindContext:
    """Return the context of the kinds of parity that run no case."""
    return KindContext(
        plan=request.plan,
        cases=request.cases,
        waiting=waiting,
        described={name: answers[DESCRIPTION] for name, answers in seen.items() if DESCRIPTION in answers},
        bare={name.removesuffix("-bare"): next(iter(seen[name].values())) for name in seen if name.endswith("-bare")},
    )


def variants_for(request: Request) -> list[Variant]:
    """Return the required variants, in the order in which they are started."""
    if not request.cases:
        return []
    called = {call.mapping.system.value for case in request.cases for call in case.calls}
    if request.whole:
        called |= {mapping.system.value for mapping in request.plan.mappings()}
    systems = [name for name in ("unified", *sorted(called)) if not request.systems or name in request.systems]
    variations = request.variations
    variants = [Variant(name=system, system=system, hash_seed=variations.hash_seed) for system in systems]
    if request.noise:
        variants += [
            Variant(
                name=f"{system}-again",
                system=system,
                clock_offset_s=variations.clock_offset_s,
                hash_seed=variations.hash_seed_again,
                backwards=True,
            )
            for system in systems
        ]
    if request.whole and request.configuration.bare_environment:
        variants += [Variant(name=f"{system}-bare", system=system, bare=True) for system in systems]
    return variants


def runs_for(variant: Variant, request: Request) -> list[PreparedCall]:
    """Return the calls of a variant in case order; the key names case and legacy task."""
    if variant.bare:
        return [PreparedCall(key="import", document={})]
    runs = [
        PreparedCall(
            key=f"{case.name}|{call.mapping.system.value}|{call.mapping.name}",
            document=run_document(variant, case, call),
        )
        for case in request.cases
        for call in case.calls
        if variant.system in ("unified", call.mapping.system.value)
    ]
    if request.whole and variant.name == variant.system:
        runs.append(PreparedCall(key=DESCRIPTION, document={"describe": _to_describe(variant, request.plan)}))
    return runs


@contextmanager
def _run_context(request: Request, environ: Mapping[str, str]) -> Iterator[RunContext]:
    logs = ensure_state_folder(request.plan) / "reports" / "parity-logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    python = project_python(request.plan, environ)
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        with (
            fixture_server(request.configuration, python, folder) as upstream,
            scratch_databases(request.database) as prefix,
        ):
            yield RunContext(
                plan=request.plan,
                configuration=request.configuration,
                scratch=folder,
                templates=request.templates or folder / "templates",
                logs=logs,
                environ={name: environ[name] for name in PASSED_VARIABLES if name in environ},
                legacy_folder=legacy_folder(request.plan, environ=environ),
                upstream=upstream,
                python=python,
                isolate=request.isolate,
                through_broker=request.through_broker,
                database=request.database,
                database_prefix=prefix,
            )


def _to_describe(variant: Variant, plan: Plan) -> Mapping[str, Any]:
    if variant.system == "unified":
        tasks = [{"system": "celery", "name": task.name, "path": task.path} for task in plan.tasks]
        return {"tasks": tasks, "schedules": []}
    mappings = [mapping for mapping in plan.mappings() if mapping.system.value == variant.system]
    tasks = [{"system": variant.system, "name": mapping.name, "path": mapping.path} for mapping in mappings]
    endpoint = plan.endpoint(System.CELERY)
    return {"tasks": tasks, "schedules": list(endpoint.modules) if endpoint and variant.system == "celery" else []}


@contextmanager
def fixture_server(configuration: Configuration, python: ProjectPython, scratch: Path) -> Iterator[str]:
    """Run the project's fixture server, if it has one, and yield its ``host:port``."""
    if not configuration.upstream:
        yield ""
        return
    port_file = scratch / "fixture.port"
    command = fixture_command(configuration, python, port_file=port_file)
    with port_file_server(command, port_file=port_file) as port:
        yield f"127.0.0.1:{port}"
