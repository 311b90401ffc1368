"""Rehearse a migration: cutover, rollback and cutover again, on a clone, scratch brokers and a scratch database.

The waiting messages are copied, and the copies are moved there and back, but none is ever run: a rehearsal must not
send mail a second time (:mod:`migrator.rehearsal.message_copies`). Only workers take part: schedulers and producers
would send messages of their own. Before anything is started, the project's own code is asked what it would connect
to; any broker and any database other than a scratch one is refused. Variables that name a broker's server, such as
that of a cache, or a database (:mod:`migrator.rehearsal.scratch_databases`) are pointed to the scratch one; others are
set by the plan's ``[rehearsal.environment]``. Whatever else a task could reach is reported.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from migrator.brokers.connect import has_rabbitmq, is_on_rabbitmq
from migrator.brokers.rabbitmq.declarations import read_declarations
from migrator.brokers.rabbitmq.management import URL_VARIABLE, Management
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.errors import RefusedError, UsageError
from migrator.events import Event, EventKind, Listener, ignore
from migrator.plan.interpreter import project_python
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.plan.placeholders import endpoint_url
from migrator.plan.processes import Role
from migrator.project.commands import git
from migrator.rehearsal.message_copies import CopyRun
from migrator.rehearsal.scratch_databases import ScratchDatabase, migrate, prove_scratch, scratch_databases
from migrator.rehearsal.scratch_environment import (
    ScratchEnvironment,
    build,
    environment,
    own_processes,
    require_scratch,
)
from migrator.runner.cutover import cutover, rollback
from migrator.runner.report import RunOutcome, RunReport
from migrator.snapshots.snapshot import write_snapshot
from migrator.state.snapshot_file import records, verify_snapshot
from migrator.state.state_folder import ensure_state_folder
from migrator.steps.protocol import RunOptions
from migrator.wire.message import Side
from migrator.workers.absent import REMEDY, absent_workers
from migrator.workers.start_stop import start_side

OptionsFor = Callable[[Plan, RunOptions], RunOptions]
#: Entries of the state folder that belong to the source and not to the running system.
SOURCE_STATE = ("rewrite.json", "undo", "proof.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalOptions:
    """Options of a rehearsal."""

    #: Folder to work in and keep; a temporary one if None.
    scratch: Path | None = None
    #: Copy the messages that wait now. On RabbitMQ that leaves a trace: they are marked as redelivered.
    waiting: bool = True
    #: Copy the messages of this snapshot instead.
    snapshot: Path | None = None
    #: URL of an empty virtual host to rehearse in; if empty, one is created on the real server.
    rabbitmq: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The result of a rehearsal."""

    #: Cutover, rollback, cutover; fewer if one failed.
    runs: tuple[RunReport, ...]
    #: Copies of waiting messages that took part.
    messages: int
    elapsed_s: float
    #: What the clone's processes could reach outside the scratch environment; no task ran that would have reached it.
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if all three succeeded."""
        return len(self.runs) == 3 and all(report.outcome is RunOutcome.DONE for report in self.runs)


def rehearse(
    plan: Plan,
    *,
    environ: Mapping[str, str],
    options_for: OptionsFor,
    chosen: RehearsalOptions | None = None,
    listener: Listener = ignore,
) -> Rehearsal:
    """Cut over, roll back and cut over again on scratch copies; return the three reports with their timings.

    Args:
        plan: The plan of the real system, which is only read.
        environ: Its environment.
        options_for: Adds the guards of a real run for the plan of the clone.
        chosen: The operator's options.
        listener: Told about the progress.

    Raises:
        RefusedError: The plan lacks a worker, the project would reach something that is not scratch, or there is no
            broker to rehearse on.
    """
    began, chosen = time.monotonic(), chosen or RehearsalOptions()
    if absent := absent_workers(plan):
        raise RefusedError(str(plan.file), f"the plan has no {' and no '.join(absent)}", remedy=REMEDY)
    with ExitStack() as stack:
        folder = chosen.scratch or Path(stack.enter_context(TemporaryDirectory(prefix="rehearsal-")))
        clone = _clone(plan, folder, environ)
        snapshot, messages, size_bytes = _copies(plan, folder, environ, chosen)
        copies = messages, size_bytes
        scratch = build(plan, folder, environ, rabbitmq=chosen.rabbitmq, copies=copies, stack=stack)
        clone, own, databases = _pointed_away(plan, clone, scratch, environ, stack)
        notes = (*_copying_notes(plan, environ, chosen), *scratch.notes)
        for text in notes:
            listener(Event(kind=EventKind.NOTE, step="rehearse", text=text))
        copy_run = CopyRun(plan=clone, environ=own, snapshot=snapshot, listener=listener)
        stack.callback(copy_run.end)
        options = replace(options_for(clone, RunOptions()), check_proof=options_for(plan, RunOptions()).check_proof)
        migrate(clone, databases, own)
        runs = _run_all(copy_run, options)
    return Rehearsal(runs=runs, messages=messages, elapsed_s=time.monotonic() - began, notes=notes)


def _pointed_away(
    plan: Plan, clone: Plan, scratch: ScratchEnvironment, environ: Mapping[str, str], stack: ExitStack
) -> tuple[Plan, dict[str, str], tuple[ScratchDatabase, ...]]:
    """Return the clone's plan with processes of the rehearsal, their environment, and its databases: nothing else.

    Raises:
        RefusedError: The project would still reach something that is not scratch.
    """
    own = environment(clone, scratch, environ)
    variables, databases = stack.enter_context(scratch_databases(plan, clone, scratch.folder, own, scratch.notes))
    own |= variables
    clone = replace(clone, processes=own_processes(clone, environ, own))
    scratch.notes += require_scratch(clone, own, scratch, databases)
    prove_scratch(clone, databases, own)
    return clone, own, databases


def _copies(
    plan: Plan, folder: Path, environ: Mapping[str, str], chosen: RehearsalOptions
) -> tuple[Path | None, int, int]:
    """Return the file with the messages to copy, how many they are and how many bytes."""
    file = chosen.snapshot
    if file is None:
        if not chosen.waiting:
            return None, 0, 0
        _require_classic(plan, environ)
        file = folder / "waiting.snapshot"
        write_snapshot(plan, environ=environ, file=file, leaves_marks=False)
    facts = verify_snapshot(file)
    if facts.plan != plan.name:
        remedy = "name one that was written for this plan"
        raise UsageError(str(file), f"the snapshot belongs to the plan {facts.plan!r}", remedy=remedy)
    parts = (part for record in records(file) for item in record.get("items", ()) for part in item)
    return file, facts.messages, sum(len(part) for part in parts)


def _require_classic(plan: Plan, environ: Mapping[str, str]) -> None:
    """Refuse to read quorum queues: each read counts as a delivery, and they limit the deliveries of a message."""
    url = environ.get(URL_VARIABLE, "")
    for endpoint in (*plan.legacy, plan.unified):
        if not is_on_rabbitmq(endpoint, environ):
            continue
        server = RabbitmqServer(endpoint_url(endpoint, environ))
        for declaration in read_declarations(server, Management(url) if url else None, endpoint):
            if declaration.arguments.get("x-queue-type", "classic") != "classic":
                raise RefusedError(
                    f"{server.where} {declaration.name}",
                    "copying counts as a delivery of each message, and the queue drops a message after too many",
                    found=str(declaration.arguments["x-queue-type"]),
                    remedy="rehearse with --no-waiting, or with the --snapshot of an earlier run",
                )


def _copying_notes(plan: Plan, environ: Mapping[str, str], chosen: RehearsalOptions) -> Iterator[str]:
    """Say what copying does to messages on RabbitMQ, and which it can't read there."""
    if chosen.waiting and chosen.snapshot is None and has_rabbitmq(plan, environ):
        yield (
            "the waiting messages on RabbitMQ were read and returned: they keep their order and are marked as "
            "redelivered; messages that workers hold are not among the copies"
        )


def _run_all(copy_run: CopyRun, options: RunOptions) -> tuple[RunReport, ...]:
    plan, environ = copy_run.plan, copy_run.environ
    converted = git(plan, "rev-parse", "HEAD", environ=environ)
    for name in SOURCE_STATE:
        _copy(plan.state_folder / name, plan.state_folder / f"before-{name}")
    start_side(plan, Side.LEGACY, environ=environ, listener=copy_run.listener)
    runs: list[RunReport] = []
    for command in (cutover, rollback, cutover):
        copy_run.overhead_s = 0.0
        report = command(plan, environ=environ, options=options, listener=copy_run.listen)
        downtime_s = None if report.downtime_s is None else max(0.0, round(report.downtime_s - copy_run.overhead_s, 3))
        runs.append(replace(report, downtime_s=downtime_s))
        if report.outcome is not RunOutcome.DONE:
            break
        if command is rollback:
            # The rollback has undone the rewrite; the second cutover needs it again.
            git(plan, "reset", "--hard", "--quiet", converted, environ=environ)
            for name in SOURCE_STATE:
                _copy(plan.state_folder / f"before-{name}", plan.state_folder / name)
    return tuple(runs)


def _clone(plan: Plan, folder: Path, environ: Mapping[str, str]) -> Plan:
    changed = git(plan, "status", "--porcelain", "--untracked-files=no", "--", ".", environ=environ)
    if changed:
        raise RefusedError("git", "the source is not committed", found=changed[:80], remedy="commit it first")
    top = Path(git(plan, "rev-parse", "--show-toplevel", environ=environ))
    git(plan, "clone", "--quiet", "--local", str(top), str(folder / "project"), environ=environ)
    clone = load_plan(folder / "project" / plan.file.resolve().relative_to(top))
    for name in ("user.name", "user.email"):
        git(clone, "config", name, git(plan, "config", name, environ=environ), environ=environ)
    ensure_state_folder(clone)
    for name in SOURCE_STATE:
        _copy(plan.state_folder / name, clone.state_folder / name)
    workers = tuple(process for process in clone.processes if process.role is Role.WORKER)
    # An environment in the project's folder is not in the clone.
    project = replace(clone.project, python=project_python(plan, environ).command)
    return replace(clone, processes=workers, project=project)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)
