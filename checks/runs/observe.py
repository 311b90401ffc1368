"""Run every lane, two at a time, and collect what was seen."""

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
from checks.runs.scratch_server import room_on
from checks.waiting_messages import Waiting
from migrator.embedded_redis import port_file_server
from migrator.events import Event, EventKind, Listener
from migrator.plan.model import Plan
from migrator.state.state_folder import ensure_state_folder
from migrator.wire.message import System

#: Variables that a child needs to find its interpreter and libraries; nothing else of the caller's gets through.
PASSED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
HASH_SEED_AGAIN = 4711
#: Key of the run that describes tasks instead of running one.
DESCRIPTION = "@description"

Seen = dict[str, dict[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variations:
    """What must make no difference; the second run of each side has another clock, hash seed and order."""

    hash_seed: int = 0
    hash_seed_again: int = HASH_SEED_AGAIN
    clock_offset_s: float = CLOCK_OFFSET_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be seen."""

    plan: Plan
    cases: tuple[Case, ...]
    configuration: Configuration
    noise: bool
    isolate: bool
    #: All cases: then tasks are described and modules imported in a bare environment, too.
    whole: bool
    #: Only these systems (``dramatiq``, ``celery``, ``unified``); empty for all that have a case.
    systems: tuple[str, ...] = ()
    #: Messages go through workers of the project instead of being taken from the queue by the tool.
    through_broker: bool = False
    #: URL of a PostgreSQL server on which each side gets databases of its own; empty for SQLite files.
    database: str = ""
    variations: Variations = field(default_factory=Variations)
    #: Where databases as the migrations leave them are kept for further runs; None to make them anew.
    templates: Path | None = None


def observe(asked: Request, *, environ: Mapping[str, str], processes: int, listener: Listener) -> Seen:
    """Return observations by lane and key.

    Raises:
        UnreachableError: The fixture server or a scratch broker does not come up.
    """
    work = [(variant, runs_for(variant, asked)) for variant in variants_for(asked)]
    total = sum(len(runs) for _, runs in work)
    seen: Seen = {variant.name: {} for variant, _ in work}
    with _run_context(asked, environ) as run_context:

        def follow(variant: Variant, runs: Sequence[PreparedCall]) -> None:
            for run, answer in run_variant(variant, runs, run_context):
                seen[variant.name][run.key] = answer
                done = sum(map(len, seen.values()))
                listener(Event(kind=EventKind.PROGRESS, step="parity", text=variant.name, done=done, total=total))

        with ThreadPoolExecutor(max_workers=max(1, processes)) as pool:
            futures = [pool.submit(follow, variant, runs) for variant, runs in work]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                # Interrupted, or a lane failed: the others end after the call that they are at.
                run_context.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return seen


def context(asked: Request, seen: Seen, waiting: Waiting | None = None) -> KindContext:
    """Return what the kinds of parity that run nothing look at."""
    return KindContext(
        plan=asked.plan,
        cases=asked.cases,
        waiting=waiting,
        described={name: answers[DESCRIPTION] for name, answers in seen.items() if DESCRIPTION in answers},
        bare={name.removesuffix("-bare"): next(iter(seen[name].values())) for name in seen if name.endswith("-bare")},
    )


def variants_for(asked: Request) -> list[Variant]:
    """Return the lanes that are needed, in the order in which they are started."""
    if not asked.cases:
        return []
    called = {call.mapping.system.value for case in asked.cases for call in case.calls}
    if asked.whole:
        called |= {mapping.system.value for mapping in asked.plan.mappings()}
    systems = [name for name in ("unified", *sorted(called)) if not asked.systems or name in asked.systems]
    around = asked.variations
    variants = [Variant(name=system, system=system, hash_seed=around.hash_seed) for system in systems]
    if asked.noise:
        variants += [
            Variant(
                name=f"{system}-again",
                system=system,
                clock_offset_s=around.clock_offset_s,
                hash_seed=around.hash_seed_again,
                backwards=True,
            )
            for system in systems
        ]
    if asked.whole and asked.configuration.bare_environment:
        variants += [Variant(name=f"{system}-bare", system=system, bare=True) for system in systems]
    return variants


def runs_for(variant: Variant, asked: Request) -> list[PreparedCall]:
    """Return the calls of a lane in case order; the key says which case and legacy task asks."""
    if variant.bare:
        return [PreparedCall(key="import", document={})]
    runs = [
        PreparedCall(
            key=f"{case.name}|{call.mapping.system.value}|{call.mapping.name}",
            document=run_document(variant, case, call),
        )
        for case in asked.cases
        for call in case.calls
        if variant.system in ("unified", call.mapping.system.value)
    ]
    if asked.whole and variant.name == variant.system:
        runs.append(PreparedCall(key=DESCRIPTION, document={"describe": _to_describe(variant, asked.plan)}))
    return runs


@contextmanager
def _run_context(asked: Request, environ: Mapping[str, str]) -> Iterator[RunContext]:
    logs = ensure_state_folder(asked.plan) / "reports" / "parity-logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        with fixture_server(asked.configuration, folder) as where, room_on(asked.database) as prefix:
            yield RunContext(
                plan=asked.plan,
                configuration=asked.configuration,
                scratch=folder,
                templates=asked.templates or folder / "templates",
                logs=logs,
                environ={name: environ[name] for name in PASSED_VARIABLES if name in environ},
                upstream=where,
                isolate=asked.isolate,
                through_broker=asked.through_broker,
                database=asked.database,
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
def fixture_server(configuration: Configuration, scratch: Path) -> Iterator[str]:
    """Run the project's fixture server, if it has one, and yield its ``host:port``."""
    if not configuration.upstream:
        yield ""
        return
    port_file = scratch / "fixture.port"
    command = fixture_command(configuration, port_file=port_file)
    with port_file_server(command, port_file=port_file) as port:
        yield f"127.0.0.1:{port}"
