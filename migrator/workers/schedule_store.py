"""What a beat of the plan remembers: where it is kept, and how it is read and written.

The project's own interpreter does it (:mod:`migrator.agent.schedule_store`), with the app, the folder and the variables
that the plan gives the process; of a process that a manager runs, the command that runs is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import psutil

from migrator.errors import MigratorError
from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.project.commands import ask_agent
from migrator.wire.message import Side, System
from migrator.workers.drivers.command import arguments, environment
from migrator.workers.probe import option
from migrator.workers.processes import current

#: Kinds of a store.
FILE, ROWS, UNKNOWN = "file", "rows", "unknown"
_SETTINGS = "DJANGO_SETTINGS_MODULE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStore:
    """Where one beat remembers what it has sent."""

    process: str
    #: ``file``, ``rows``, ``other`` (a scheduler of another library) or ``unknown``.
    kind: str
    #: What its command names with ``-A``.
    app: str = ""
    #: Folder that it imports the project from.
    folder: str = ""
    #: Absolute, for the kind ``file``.
    file: str = ""
    scheduler: str = ""
    timezone: str | None = None
    utc: bool = True
    #: Entries of its ``beat_schedule`` with their tasks.
    schedule: Mapping[str, str] = field(default_factory=dict)
    #: Why it is unknown.
    problem: str = ""

    def facts(self) -> dict[str, Any]:
        """Return it as it goes into the journal."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What was found in a store, or written into it."""

    #: Last run and number of runs by entry, for a file.
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Rows of django_celery_beat; None where the project has none.
    rows: Sequence[Mapping[str, Any]] | None = None
    #: Entries that are due by what was written.
    due: tuple[str, ...] = ()
    #: Rows that were left as they are, as sentences.
    kept: tuple[str, ...] = ()


def is_beat(process: Process) -> bool:
    """True for a process that runs a beat, as far as the plan says."""
    if process.role is Role.WORKER:
        return embeds_beat(process.command)
    celery = process.side is Side.UNIFIED or process.system is System.CELERY
    return process.role is Role.SCHEDULER and celery and ("beat" in process.command or not process.command)


def embeds_beat(command: Iterable[str]) -> bool:
    """True for the command of a worker that runs a beat of its own."""
    return any(word in ("-B", "--beat") for word in command)


def beat_process(plan: Plan) -> Process | None:
    """Return the process that runs the unified beat: a scheduler, or a worker with one inside."""
    schedulers = plan.select(side=Side.UNIFIED, role=Role.SCHEDULER)
    embedding = (process for process in plan.select(side=Side.UNIFIED) if embeds_beat(process.command))
    return next(iter((*schedulers, *embedding)), None)


def legacy_beats(plan: Plan) -> tuple[Process, ...]:
    """Return the legacy processes that run a beat."""
    return tuple(process for process in plan.select(side=Side.LEGACY) if is_beat(process))


def locate(plan: Plan, process: Process, *, environ: Mapping[str, str]) -> tuple[ScheduleStore, Remembered]:
    """Return where a beat remembers what it has sent, and the rows of the project.

    The store is of the kind ``unknown``, with the problem, if the beat's app can't be asked.
    """
    command: Sequence[str] = arguments(plan, process, environ=environ)
    cwd = plan.folder / process.directory
    running = current(plan, process, environ=environ)
    if running is not None:
        with suppress(psutil.Error):
            seen = psutil.Process(running.pid)
            cwd, command = Path(seen.cwd()), command or seen.cmdline()
    app = option(command, "-A", "--app")
    folder = plan.folder / process.directory / option(command, "--workdir", "--workdir") if process.command else cwd
    store = ScheduleStore(process=process.name, kind=UNKNOWN, app=app, folder=str(folder))
    if not app:
        return replace(store, problem="its command names no app"), Remembered()
    given = {
        "scheduler": option(command, "-S", "--scheduler"),
        "file": option(command, "-s", "--schedule") or option(command, "-s", "--schedule-filename"),
    }
    try:
        found = _ask(plan, process, store, {"locate": given}, environ=environ)
    except MigratorError as failure:
        return replace(store, problem=f"{failure.what} ({failure.found})"), Remembered()
    remembered = Remembered(rows=found.pop("rows"))
    found["file"] = str(cwd / found["file"]) if found["kind"] == FILE else ""
    return replace(store, **found), remembered


def read(plan: Plan, store: ScheduleStore | None, *, environ: Mapping[str, str]) -> Remembered:
    """Return what a beat that does not run remembers, and the rows of the project.

    Raises:
        MigratorError: The project can't be imported, or the file can't be read.
    """
    request = {"read": store.file} if store is not None and store.kind == FILE else {}
    return _remembered(_ask(plan, _process(plan, store), store, request, environ=environ, with_app=False))


def write(
    plan: Plan, store: ScheduleStore | None, change: Mapping[str, Any], *, environ: Mapping[str, str], with_app: bool
) -> Remembered:
    """Write last runs, and change rows; may be repeated.

    Args:
        plan: The plan.
        store: Whose last runs; None if only rows are changed.
        change: ``states``, ``rows``, ``delete`` and ``skip`` of the agent's request.
        environ: For the project.
        with_app: The app of the store says what is due by now, and what rows it would make.

    Raises:
        MigratorError: The project can't be imported, or it can't be written.
    """
    whose = store or ScheduleStore(process="", kind=UNKNOWN)
    about = {"kind": whose.kind, "file": whose.file, "timezone": whose.timezone, "utc": whose.utc}
    request = {"write": {"states": {}, "rows": [], "delete": [], "skip": False, **about, **change}}
    process = _process(plan, store)
    return _remembered(_ask(plan, process, store, request, environ=environ, with_app=with_app))


def _remembered(answer: Mapping[str, Any]) -> Remembered:
    return Remembered(
        entries=answer.get("entries", {}),
        rows=answer["rows"],
        due=tuple(answer.get("due", ())),
        kept=tuple(answer.get("kept", ())),
    )


def _process(plan: Plan, store: ScheduleStore | None) -> Process | None:
    return next((p for p in plan.processes if store is not None and p.name == store.process), None)


def _ask(
    plan: Plan,
    process: Process | None,
    store: ScheduleStore | None,
    request: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    with_app: bool = True,
) -> Any:
    own = environment(plan, process, environ=environ) if process is not None else dict(environ)
    settings = own[_SETTINGS] if process is not None and _SETTINGS in process.environment else plan.project.settings
    folder = Path(store.folder) if store is not None and store.folder else plan.source_root
    words = (settings, store.app if store is not None and with_app else "", orjson.dumps(request).decode())
    return ask_agent(plan, "schedule_store", *words, folder=folder, environ=own)
