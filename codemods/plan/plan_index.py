"""The plan as the rewrites query it: which dotted path is a legacy task, and what it becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from codemods.plan.beat_places import BeatPlaces, legacy_fates
from codemods.plan.policy import ActorDefaults
from migrator.inventory.source_files import module_name
from migrator.plan.model import Operation, OperationKind, Plan, RetiredTask, ScheduleEntry, TaskMapping, in_scope
from migrator.wire.message import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One legacy task as the source sees it."""

    system: System
    #: Name on the wire.
    name: str
    #: Dotted path of the legacy function.
    path: str
    parameters: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    #: Name of the unified task; empty if the task is retired.
    unified: str = ""
    unified_path: str = ""
    unified_parameters: tuple[str, ...] = ()
    #: The queue that the plan gives it; empty if it is retired.
    queue: str = ""
    #: As :attr:`~migrator.plan.model.PlannedTask.result_last`.
    result_last: bool = False
    #: True if it is mapped to itself and its definition is a Celery task already.
    converted: bool = False
    #: Names that a class-based actor offers beside those of every task.
    members: frozenset[str] = frozenset()
    #: True if its definition can't be converted: the callers of one that is mapped to itself stay too.
    stuck: bool = False
    #: True if it is replaced elsewhere, and others of its module are converted where they stand: the definition that is
    #: left behind becomes a plain function. And whether it is one already.
    left_behind: bool = False
    plain: bool = False
    #: Why it is retired.
    reason: str = ""

    @property
    def retired(self) -> bool:
        """True if there is no successor."""
        return not self.unified

    @property
    def in_place(self) -> bool:
        """True if the function itself is converted where it stands."""
        return self.path == self.unified_path

    @property
    def leaf(self) -> str:
        """The unified function's own name."""
        return self.unified_path.rpartition(".")[2]

    @property
    def only_keywords_change(self) -> bool:
        """True if every call by position stays as it is: arguments are renamed in place at most."""
        renamed = {o.name: o.to for o in self.operations if o.kind is OperationKind.RENAME}
        names = tuple(renamed.get(name, name) for name in self.parameters)
        plain = all(o.kind is OperationKind.RENAME for o in self.operations)
        return plain and names == self.unified_parameters[: len(names)]

    @property
    def positional(self) -> bool:
        """True if a legacy call's positions mean the same to the unified task."""
        return not self.operations and self.unified_parameters[: len(self.parameters)] == self.parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A list, tuple, set or dict at the top of a module that holds legacy tasks."""

    #: Dotted path of the name that it was first given.
    origin: str
    #: Key or position as Python writes it, and the dotted path of the item; ``?`` for one that is no task.
    items: tuple[tuple[str, str], ...]
    mapping: bool

    def paths(self, key: str = "") -> frozenset[str]:
        """Return what it may hold under a key; everything for an empty one."""
        chosen = [path for known, path in self.items if known == key]
        return frozenset(chosen or (path for _, path in self.items))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanIndex:
    """Everything about a plan that a rewrite of one file needs; crosses process borders."""

    #: Import root, absolute.
    root: Path
    targets: Mapping[str, Target]
    #: Dotted legacy modules: those that hold a target and those that the plan names.
    modules: frozenset[str]
    #: Dotted paths of legacy Celery applications.
    applications: frozenset[str] = frozenset()
    #: Dotted path of the unified Celery application; empty if none is installed.
    unified_application: str = ""
    #: Dotted name under which the project imports the app that is installed; empty if none is.
    installed_package: str = ""
    #: ``module.name`` of a re-export to the dotted path that it stands for.
    exports: Mapping[str, str] = field(default_factory=dict)
    #: ``module.name`` of a re-export to the name that it gets.
    renames: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    #: Legacy schedule entries that are removed, as ``module:entry``, with what becomes of them.
    schedule: Mapping[str, str] = field(default_factory=dict)
    #: Where the schedule and the other settings are edited.
    beat: BeatPlaces = field(default_factory=BeatPlaces)
    #: The unified schedule.
    entries: tuple[ScheduleEntry, ...] = ()
    legacy_queues: frozenset[str] = frozenset()
    unified_queue: str = ""
    unified_queues: frozenset[str] = frozenset()
    #: The plan's URL of the unified broker, references unexpanded.
    unified_broker: str = ""
    #: Seconds after which Redis delivers a message again that is not acknowledged.
    visibility_timeout_s: float = 3600
    #: True if the project needs a Celery app, because it has none.
    needs_app: bool = False
    #: The package of the settings; empty if they are in none.
    package: str = ""
    #: What the legacy broker's middleware does.
    policy: ActorDefaults = field(default_factory=lambda: ActorDefaults(known=False))
    #: Every priority that an actor of the project has, lowest first.
    priorities: tuple[int, ...] = (0,)
    #: ``redis`` or ``rabbitmq``: the broker of the unified messages; empty if that is computed.
    broker_kind: str = ""
    #: Dotted paths of the tasks of which a send stays somewhere, with its place: patches that observe it stay too.
    kept_sends: Mapping[str, str] = field(default_factory=dict)
    #: Dotted paths of partials and base classes that other files mention, and settings that they read.
    shared: frozenset[str] = frozenset()
    #: Dotted paths of constants by which other files name Celery tasks, with those names, and which of them stay.
    name_constants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    open_constants: frozenset[str] = frozenset()
    #: Settings modules that name an app of Dramatiq.
    dramatiq_apps: frozenset[str] = frozenset()
    #: Absolute paths of files that the cutover removes and that are not rewritten.
    retire: frozenset[Path] = frozenset()
    #: Dotted names of those files.
    retired_modules: frozenset[str] = frozenset()
    #: Dotted paths that the unified modules name: what their tasks may be made of.
    named_by_unified: frozenset[str] = frozenset()
    #: Top-level names of the legacy modules, for star imports.
    offered: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: Containers of tasks that modules offer, by dotted path.
    containers: Mapping[str, Container] = field(default_factory=dict)
    #: Origins of those that other files read, and of those that something in the project keeps as they are.
    read_containers: frozenset[str] = frozenset()
    open_containers: frozenset[str] = frozenset()
    #: For one file: modules that the plan's root has and a nearer folder too, with that folder.
    doubtful: Mapping[str, str] = field(default_factory=dict)
    #: Top-level packages that need Dramatiq though their names don't say so.
    needing_dramatiq: frozenset[str] = frozenset()
    #: False in a file of another Django project: what it has of Dramatiq is not listed.
    list_dramatiq: bool = True
    #: Patterns of the modules that the plan is about; empty for all.
    scope: tuple[str, ...] = ()
    #: Dotted paths of the legacy tasks that stay and of their re-exports, with the system of each.
    stays: Mapping[str, System] = field(default_factory=dict)
    #: True if a comment is to be written at each place that is left alone.
    mark: bool = False

    def resolve(self, dotted: str) -> str:
        """Follow the project's re-exports."""
        for _ in range(20):
            if dotted in self.targets:
                return dotted
            head, tail = dotted, ""
            while head and head not in self.exports:
                head, _, last = head.rpartition(".")
                tail = f".{last}{tail}"
            if not head or self.exports[head] == head:
                return dotted
            dotted = self.exports[head] + tail
        return dotted

    def target(self, dotted: str) -> Target | None:
        """Return the legacy task behind a dotted path, or None."""
        return self.targets.get(self.resolve(dotted))

    def keeps(self, system: System) -> bool:
        """True if tasks of a system stay, so that what they need stays too."""
        return system in self.stays.values()

    def is_about(self, module: str, *, dramatiq: bool) -> bool:
        """Tell whether uses of Dramatiq, or of what only actors can use, concern the plan and not just what stays."""
        if not self.keeps(System.DRAMATIQ) or in_scope(self.scope, f"{module}."):
            return True
        return not dramatiq and not any(path.rpartition(".")[0] == module for path in self.stays)

    def converts(self, module: str) -> bool:
        """Tell whether tasks of a module are converted where they stand, so that the module stays."""
        return any(target.in_place for path, target in self.targets.items() if path.rpartition(".")[0] == module)

    def named(self, name: str, system: System = System.CELERY) -> Target | None:
        """Return the legacy task with that name on the wire, or None."""
        return next((t for t in self.targets.values() if t.name == name and t.system is system), None)

    def words(self) -> frozenset[str]:
        """Return the words of which a file must hold one to be worth parsing."""
        found = {target.path.rpartition(".")[2] for target in self.targets.values()}
        found |= {module.rpartition(".")[2] for module in self.modules} - self.leaves()
        found |= set(self.modules)
        found |= {export.rpartition(".")[2] for export in self.exports}
        found |= {target.name for target in self.targets.values()}
        found |= {"send_with_options", "message_with_options", "migrator: ignore"}
        found |= {path.rpartition(".")[2] for path in self.stays}
        found |= {entry.partition(":")[2] for entry in self.schedule} | {"autodiscover_tasks"}
        return frozenset(word for word in found if word)

    def leaves(self) -> frozenset[str]:
        """Return the last names of legacy modules that are too common to be looked for as words."""
        last = {module.rpartition(".")[2] for module in self.modules if "." in module}
        return frozenset(name for name in last if "_" not in name)

    def with_converted(self, paths: frozenset[str]) -> PlanIndex:
        """Return the index with the targets that are Celery tasks already marked."""
        marked = {p: replace(t, converted=True) if p in paths else t for p, t in self.targets.items()}
        return replace(self, targets=marked)

    def with_stuck(self, paths: frozenset[str]) -> PlanIndex:
        """Return the index with the targets that stay actors marked."""
        marked = {p: replace(t, stuck=True) if p in paths else t for p, t in self.targets.items()}
        return replace(self, targets=marked)

    def with_exports(self, exports: Mapping[str, str], renames: Mapping[str, str]) -> PlanIndex:
        """Return the index with the project's re-exports added."""
        stays = {name: self.stays[path] for name, path in exports.items() if path in self.stays}
        found = {name: path for name, path in exports.items() if name not in stays}
        return replace(
            self,
            exports={**self.exports, **found},
            renames={**self.renames, **renames},
            stays={**self.stays, **stays},
        )


def index_plan(plan: Plan, *, applications: frozenset[str] = frozenset()) -> PlanIndex:
    """Return the index of a plan."""
    targets: dict[str, Target] = {}
    times = Counter([mapping.path for mapping in plan.mappings()] + [retired.path for retired in plan.retired])
    for mapping in plan.mappings():
        task = plan.task(mapping.unified)
        assert task is not None
        targets[_key(mapping, times)] = Target(
            system=mapping.system,
            name=mapping.name,
            path=mapping.path,
            parameters=mapping.parameters,
            operations=mapping.operations,
            unified=task.name,
            unified_path=task.path,
            unified_parameters=task.parameters,
            queue=plan.queue_of(task.name) if plan.unified.queues else "",
            result_last=task.result_last,
        )
    for retired in plan.retired:
        targets[_key(retired, times)] = Target(
            system=retired.system, name=retired.name, path=retired.path, reason=retired.reason
        )
    modules = {target.path.rpartition(".")[0] for target in targets.values()}
    modules |= {m for endpoint in plan.legacy for m in endpoint.modules if plan.in_scope(f"{m}.")}
    folder = plan.project.install_to
    installed = module_name(plan.source_root, plan.folder / folder / "celery.py") if folder else ""
    return PlanIndex(
        root=plan.source_root,
        targets=targets,
        modules=frozenset(modules),
        applications=frozenset(app for app in applications if app.rpartition(".")[0] in modules),
        unified_application=f"{installed}.app" if installed and not plan.project.own_app else "",
        installed_package=installed.removesuffix(".celery"),
        settings=plan.project.settings,
        scope=plan.scope,
        schedule=legacy_fates(plan),
        entries=plan.schedule,
        legacy_queues=frozenset(queue for endpoint in plan.legacy for queue in endpoint.queues),
        unified_queue=plan.unified.queues[0] if plan.unified.queues else "",
        unified_queues=frozenset(plan.unified.queues),
        unified_broker=plan.unified.url,
        visibility_timeout_s=plan.unified.visibility_timeout_s,
        package=plan.project.settings.partition(".")[0] if "." in plan.project.settings else "",
        retire=frozenset(plan.folder / path for path in plan.project.retire),
        retired_modules=frozenset(module_name(plan.source_root, plan.folder / path) for path in plan.project.retire),
    )


def _key(named: TaskMapping | RetiredTask, times: Mapping[str, int]) -> str:
    """Return the path by which the source names a task; several computed names of one path have none there."""
    return f"{named.path}[{named.name}]" if named.computed and times[named.path] > 1 else named.path
