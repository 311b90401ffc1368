"""Who else schedules, or works, without the plan's knowledge?

Two schedulers send every periodic task twice, and one that nobody stops goes on sending legacy messages. Looked at:
the processes of this machine that run in the project, pidfiles of beat, the lock of redbeat, and the source, where
APScheduler, periodiq and dramatiq-crontab live inside processes that look like others.

Source: celery/bin/beat.py (`celerybeat.pid`), redbeat/schedulers.py (`redbeat::lock`, `redbeat::schedule`),
periodiq (`periodiq MODULE`), dramatiq_crontab (`manage.py crontab`), django_apscheduler (`manage.py runapscheduler`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from migrator.brokers.redis.heartbeats import connection
from migrator.errors import MigratorError
from migrator.inventory.source_files import python_files
from migrator.plan.model import Plan
from migrator.plan.processes import Role
from migrator.report import Finding, Report
from migrator.steps.protocol import Context, error, findings_report, warning
from migrator.wire.message import Side
from migrator.workers.drivers.process_record import living
from migrator.workers.schedule_store import embeds_beat
from migrator.workers.start_stop import ProcessState, list_processes

REDBEAT_LOCK, REDBEAT_SCHEDULE = "redbeat::lock", "redbeat::schedule"
PIDFILE = "celerybeat.pid"
#: Subcommands of `manage.py` that schedule.
COMMANDS = {"crontab": "dramatiq-crontab", "runapscheduler": "APScheduler"}
_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+(apscheduler|periodiq|dramatiq_crontab)\b", re.MULTILINE)
_STOP = "stop it, or add it to the plan as a [[process]] with its pidfile"


def guard(context: Context) -> Report:
    """Return every scheduler and idle worker that the plan does not name."""
    states = list_processes(context.plan, environ=context.environ)
    known = {record.pid for record in living(context.plan)}
    known |= {pid for state in states for pid in (state.pid, *state.children) if pid}
    findings = [*_in_plan(context.plan), *_running(context.plan, known), *_pidfiles(context.plan, known)]
    findings += [*_redbeat(context, states), *_in_source(context.plan)]
    return findings_report("schedulers", findings, checked=max(1, len(states)))


def kind_of(command: Sequence[str]) -> str:
    """Return what a command line runs that sends or takes messages: a word for a person, empty if nothing known."""
    # Celery may have renamed its process: then all of it is one text, such as `[celery beat] …`.
    parts = command[0].replace("[", " ").replace("]", " ").split() if len(command) == 1 else command
    words = [Path(part).name for part in parts if part]
    if "celery" in words[:4]:
        after = words[words.index("celery") + 1 :]
        if "beat" in after:
            return "celery beat"
        return "celery worker with beat" if "worker" in after and embeds_beat(after) else ""
    if "periodiq" in words[:3]:
        return "periodiq"
    if "dramatiq" in words[:3]:
        return "dramatiq"
    if any(word in ("manage.py", "django-admin") for word in words[:3]):
        return next((COMMANDS[word] for word in words[:4] if word in COMMANDS), "")
    return ""


def _in_plan(plan: Plan) -> Iterator[Finding]:
    embedding = [process for process in plan.processes if embeds_beat(process.command)]
    unified = plan.select(side=Side.UNIFIED, role=Role.SCHEDULER)
    unified += tuple(process for process in embedding if process.side is Side.UNIFIED)
    if len(unified) > 1:
        names = ", ".join(process.name for process in unified)
        remedy = "leave one of them, or -B out of the worker"
        yield error("SCHEDULER-TWICE", names, "each would send every periodic task", remedy=remedy)
    for process in embedding:
        if process.side is Side.LEGACY:
            what = "has a beat inside, which sends until the worker itself is stopped"
            yield warning("SCHEDULER-EMBEDDED", f"process {process.name}", what, found="-B in its command")


def _running(plan: Plan, known: set[int]) -> Iterator[Finding]:
    for process in psutil.process_iter():
        if process.pid in known:
            continue
        try:
            kind = kind_of(process.cmdline())
            here = kind and Path(process.cwd()).is_relative_to(plan.folder)
            parent = process.ppid()
        except (psutil.Error, OSError):
            # Gone meanwhile, a zombie, or somebody else's.
            continue
        if not here or parent in known:
            continue
        what = f"is {'a ' if kind == 'dramatiq' else ''}{kind} of this project and no process of the plan"
        code = "WORKER-UNKNOWN" if kind == "dramatiq" else "SCHEDULER-UNKNOWN"
        found = error(code, f"pid {process.pid}", what, remedy=_STOP)
        if _family_head(process, plan):
            yield found


def _family_head(process: psutil.Process, plan: Plan) -> bool:
    """True unless the parent is of the same kind: children are named by their head."""
    try:
        parent = process.parent()
        return parent is None or kind_of(parent.cmdline()) != kind_of(process.cmdline())
    except (psutil.Error, OSError):
        return True


def _pidfiles(plan: Plan, known: set[int]) -> Iterator[Finding]:
    folders = {plan.source_root, *(plan.folder / process.directory for process in plan.processes)}
    for folder in sorted(folders):
        try:
            pid = int((folder / PIDFILE).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if pid not in known and "beat" in _kind_of_pid(pid):
            yield error("SCHEDULER-UNKNOWN", str(folder / PIDFILE), f"names pid {pid}, which lives", remedy=_STOP)


def _kind_of_pid(pid: int) -> str:
    try:
        return kind_of(psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return ""


def _redbeat(context: Context, states: Iterable[ProcessState]) -> Iterator[Finding]:
    ours = any(state.role is Role.SCHEDULER and state.state == "running" for state in states)
    seen: set[str] = set()
    for endpoint in (*context.plan.legacy, context.plan.unified):
        if endpoint.url in seen:
            continue
        seen.add(endpoint.url)
        where = f"{endpoint.side.value}.{endpoint.system.value}"
        try:
            with connection(endpoint, context.environ) as client:
                locked = bool(client is not None and client.exists(REDBEAT_LOCK))
                rows = int(str(client.zcard(REDBEAT_SCHEDULE))) if client is not None else 0
        except MigratorError:
            # The guard of the brokers reports a server that does not answer.
            continue
        if locked and not ours:
            what, found = "somebody holds the lock of redbeat, so a beat runs somewhere", REDBEAT_LOCK
            yield error("SCHEDULER-UNKNOWN", where, what, found=found, remedy="stop it, on whatever machine it runs")
        if rows:
            what = "redbeat keeps a schedule here, which the rewrite does not reach"
            remedy = "see that no entry names a legacy task"
            yield warning(
                "SCHEDULE-IN-REDIS", where, what, found=f"{rows} entries in {REDBEAT_SCHEDULE}", remedy=remedy
            )


def _in_source(plan: Plan) -> Iterator[Finding]:
    retired = {plan.folder / file for file in plan.project.retire}
    for file in python_files(plan.source_root):
        if file in retired:
            continue
        try:
            found = _IMPORT.search(file.read_bytes())
        except OSError:
            continue
        if found is not None:
            line = file.read_bytes()[: found.start(1)].count(b"\n") + 1
            yield warning(
                "SCHEDULER-IN-SOURCE",
                f"{file.relative_to(plan.folder)}:{line}",
                f"{found[1].decode()} schedules in every process that runs this",
                remedy="let beat send these: [[schedule]] in the plan; or stop that process at the cutover",
            )
