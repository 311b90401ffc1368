"""The plan (``migration.toml``): which legacy task becomes which unified task, and everything that follows.

One plan drives the source rewrite, the transfer of messages, the schedules and the parity cases.
:func:`migrator.plan.loader.load_plan` reads and validates it whole; values here are frozen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from migrator.plan.dismissals import Dismissal
from migrator.plan.leave import LeftQueue
from migrator.plan.processes import Process, Role
from migrator.wire.message import Side, System


class PriorityLevel(StrEnum):
    """Urgency of a unified task; the number on the wire depends on the broker."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class OperationKind(StrEnum):
    """How one argument changes."""

    RENAME = "rename"
    WRAP = "wrap"
    CONSTANT = "constant"
    DROP = "drop"


class MissedFirings(StrEnum):
    """What becomes of entries of the schedule that fell due while no scheduler ran."""

    #: The scheduler that starts runs each of them once.
    RUN = "run"
    #: They are listed, and not run.
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One change of a call's arguments, applied in the plan's order (:mod:`migrator.plan.arguments`)."""

    kind: OperationKind
    #: Legacy parameter name; for CONSTANT the unified one.
    name: str
    #: Unified parameter name, for RENAME and WRAP.
    to: str = ""
    #: For CONSTANT.
    value: Any = None
    #: For DROP: why the argument may be dropped.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMapping:
    """One legacy task and the unified task that replaces it."""

    system: System
    #: Actor name, or registered Celery task name.
    name: str
    #: Dotted import path of the function; its last part is the attribute.
    path: str
    #: Legacy positional order.
    parameters: tuple[str, ...]
    #: What is done to a call's arguments; a parameter that only has another position is renamed to itself.
    operations: tuple[Operation, ...]
    #: Name of the unified task.
    unified: str
    #: True for the mapping that a rollback uses for native messages.
    primary: bool
    #: As :attr:`PlannedTask.result_last`.
    result_last: bool = False
    #: The legacy queue that native messages go back to; empty for the endpoint's first one.
    queue: str = ""
    #: True if the source computes the name: it stands nowhere there, and others may have the same path.
    computed: bool = False
    #: Dramatiq: the actor's own age limit in milliseconds, which its messages don't have; None if it has none.
    max_age_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """One task of the unified module."""

    name: str
    path: str
    #: Positional order.
    parameters: tuple[str, ...]
    priority: PriorityLevel
    #: None where the task is never retried.
    max_retries: int | None
    replaces: tuple[TaskMapping, ...]
    #: True if a positional argument goes to the first parameter that no keyword names, as a result in Dramatiq does
    #: behind a step's own arguments (``migrator/tasks/result_last.py``).
    result_last: bool = False
    #: Its queue, one of the unified ones; empty for the first of them.
    queue: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredTask:
    """A legacy task without a successor, on purpose. Its messages are quarantined and listed."""

    system: System
    name: str
    path: str
    reason: str
    #: As in :class:`TaskMapping`.
    computed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntry:
    """One beat entry of the unified schedule."""

    name: str
    #: Unified task name.
    task: str
    #: Five crontab fields; empty when ``every_s`` is used.
    crontab: str
    #: Interval in seconds; None when ``crontab`` is used.
    every_s: float | None
    kwargs: Mapping[str, Any]
    #: Legacy entries that it replaces, as ``module:entry-name``.
    replaces: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredSchedule:
    """A legacy beat entry without a successor, on purpose."""

    #: ``module:entry-name``.
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One system's queues on one broker. ``url`` may hold ``${NAME:-default}``; see :func:`expand`."""

    side: Side
    system: System
    url: str
    queues: tuple[str, ...]
    #: Dramatiq's key prefix.
    namespace: str = "dramatiq"
    #: Dotted names of the modules that define the tasks.
    modules: tuple[str, ...] = ()
    #: Age limit in milliseconds that the legacy middleware enforces; None if none.
    max_age_ms: int | None = None
    #: Dramatiq: the project's own message encoder as ``package.module:NAME``; empty for Dramatiq's JSON.
    encoder: str = ""
    #: Celery on Redis: separator and steps of the priority lists.
    priority_separator: str = "\x06\x16"
    priority_steps: tuple[int, ...] = (0, 3, 6, 9)
    #: Celery on Redis: the transport option ``global_keyprefix``; for legacy endpoints only.
    key_prefix: str = ""
    #: Redis with Sentinels (``sentinel://``): the name of the master, Celery's transport option of this name.
    master_name: str = ""
    #: Celery on Redis: seconds after which an unacknowledged message is delivered again.
    visibility_timeout_s: float = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Where the code lies, relative to the plan's folder."""

    #: Import root of the Django project.
    root: str
    #: Dotted settings module.
    settings: str
    #: Argument list that runs ``manage.py``.
    manage: tuple[str, ...]
    #: Argument list that starts the project's interpreter; empty to find it (:mod:`migrator.plan.interpreter`).
    python: tuple[str, ...]
    #: Files that `complete` removes after a verified cutover.
    retire: tuple[str, ...]
    #: Package whose files are installed into the project, and the folder that receives them; empty if none.
    install_package: str
    install_to: str
    #: Django app label of the unified app, for ``migrate``; empty if it has no tables.
    app_label: str

    @property
    def own_app(self) -> bool:
        """True if a project with its own Celery app gets dead letters only, under a label of its own."""
        return bool(self.install_package and self.install_to) and self.app_label != "tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutover:
    """How the cutover is to be done."""

    #: Legacy aliases: unified workers also run late messages under legacy Celery names.
    legacy_aliases: bool = False
    #: Quiet period: seconds without such a message after which no more are expected.
    legacy_aliases_quiet_s: float = 24 * 3600.0
    missed_firings: MissedFirings = MissedFirings.RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A validated plan."""

    name: str
    #: The file it was read from; its folder is the root for every relative path.
    file: Path
    project: Project
    legacy: tuple[Endpoint, ...]
    unified: Endpoint
    tasks: tuple[PlannedTask, ...]
    retired: tuple[RetiredTask, ...]
    schedule: tuple[ScheduleEntry, ...]
    retired_schedule: tuple[RetiredSchedule, ...]
    processes: tuple[Process, ...]
    cutover: Cutover
    #: SHA-256 of the canonical form, environment references unexpanded.
    fingerprint: str
    #: Variables that a rehearsal sets; ``{redis}`` and ``{scratch}`` stand for its server and its folder.
    rehearsal: Mapping[str, str] = field(default_factory=dict)
    #: Patterns of the dotted modules whose legacy tasks the plan is about; those of others stay. Empty for all.
    scope: tuple[str, ...] = ()
    #: Findings of the rewrite that are dismissed.
    dismissals: tuple[Dismissal, ...] = ()
    #: Queues outside of the plan that are left alone.
    leaves: tuple[LeftQueue, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of the plan's file, absolute."""
        return self.file.resolve().parent

    @property
    def state_folder(self) -> Path:
        """Where journal, locks, snapshots, reports and proof lie; ignored by git."""
        return self.folder / ".migrator"

    @property
    def source_root(self) -> Path:
        """Import root of the Django project, absolute."""
        return self.folder / self.project.root

    def in_scope(self, path: str) -> bool:
        """Tell whether the plan is about the task of this dotted path; one that is outside of its scope stays."""
        return in_scope(self.scope, path)

    def names(self, system: System, name: str) -> bool:
        """Tell whether the plan maps or retires the legacy task of that name."""
        return self.mapping(system, name) is not None or self.retirement(system, name) is not None

    def mappings(self) -> Iterator[TaskMapping]:
        """Yield every legacy task that has a successor, in plan order."""
        for task in self.tasks:
            yield from task.replaces

    def mapping(self, system: System, name: str) -> TaskMapping | None:
        """Return the mapping of a legacy task, or None if it is retired or unknown."""
        return next((m for m in self.mappings() if m.system is system and m.name == name), None)

    def retirement(self, system: System, name: str) -> RetiredTask | None:
        """Return the retirement of a legacy task, or None."""
        return next((r for r in self.retired if r.system is system and r.name == name), None)

    def task(self, name: str) -> PlannedTask | None:
        """Return the unified task of that name, or None."""
        return next((task for task in self.tasks if task.name == name), None)

    def primary(self, unified: str) -> TaskMapping | None:
        """Return the legacy form for a native message, or None if it has none."""
        task = self.task(unified)
        return next((m for m in task.replaces if m.primary), None) if task else None

    def queue_of(self, unified: str) -> str:
        """Return the queue of a unified task."""
        task = self.task(unified)
        return task.queue if task and task.queue else self.unified.queues[0]

    def endpoint(self, system: System) -> Endpoint | None:
        """Return the legacy endpoint of a system, or None."""
        return next((endpoint for endpoint in self.legacy if endpoint.system is system), None)

    def select(self, *, side: Side, role: Role | None = None) -> tuple[Process, ...]:
        """Return the processes of one side, and of one role if given, in plan order."""
        return tuple(p for p in self.processes if p.side is side and role in (None, p.role))


def in_scope(scope: tuple[str, ...], path: str) -> bool:
    """Tell whether the module of a dotted path is one of those that a scope's patterns mean; without any, each is."""
    module = path.rpartition(".")[0]
    return not scope or any(fnmatchcase(module, pattern) for pattern in scope)
