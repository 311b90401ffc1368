"""The Celery apps of a project: which of them are the unified ones, and what those are configured from.

Source: ``celery/app/base.py`` (``config_from_object``, ``conf``), ``celery/app/utils.py`` (``detect_settings``).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace

from codemods.plan.plan_index import PlanIndex
from codemods.schedules.settings_scopes import settings_modules
from migrator.inventory.applications import find_applications
from migrator.inventory.beat_entries import ScheduleDefinition
from migrator.inventory.module_facts import ModuleFacts, read_module, resolve
from migrator.inventory.source_files import SourceFiles, module_files
from migrator.plan.model import Plan

_WORDS = (b"beat_schedule", b"BEAT_SCHEDULE", b"add_periodic_task", b"config_from_object", b"Celery(")
_DJANGO = frozenset({"django.conf:settings", "django.conf.settings"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CeleryProject:
    """What is known of the project's Celery apps."""

    modules: Mapping[str, ModuleFacts]
    apps: frozenset[str]
    #: Apps that serve unified tasks; None if that can't be known.
    unified: frozenset[str] | None
    #: True if the unified app is a new one, which reads nothing but the Django settings.
    installed: bool
    #: Modules of the Django settings, and modules and classes that the unified app is configured from.
    settings: tuple[str, ...]
    sources: tuple[str, ...] = ()
    #: Prefix in the Django settings; None if the unified app doesn't read them.
    prefix: str | None = "CELERY"

    def ours(self, owner: str) -> bool:
        """True if an app may be the unified one."""
        dotted = resolve(self.modules, owner)
        return not self.installed and (dotted not in self.apps or self.unified is None or dotted in self.unified)

    def reads(self, entry: ScheduleDefinition) -> bool:
        """True if the unified beat may read an entry where it stands."""
        if entry.owner:
            return self.ours(entry.owner)
        return not self.installed or entry.name.partition(":")[0] in self.settings

    def surely_reads(self, entry: ScheduleDefinition) -> bool:
        """True if no other settings module has to be chosen for that."""
        module = entry.name.partition(":")[0]
        named = module in self.settings or any(f"{source}.".startswith(f"{module}.") for source in self.sources)
        return self.reads(entry) and (bool(entry.owner) or named)


def read_project(plan: Plan, index: PlanIndex, sources: SourceFiles) -> CeleryProject:
    """Read the files of a project that have to do with apps, settings and schedules."""
    modules: dict[str, ModuleFacts] = {}
    wanted = {task.path.rpartition(".")[0] for task in plan.tasks}
    root = plan.source_root
    always = {file for module in wanted for file in module_files(root, module)}
    for file in sources.python_files(root) if root.is_dir() else []:
        if "migrations" in file.parts[len(root.parts) : -1]:
            continue
        try:
            data = sources.read(file)
            if file in always or any(word in data for word in _WORDS):
                facts = read_module(root, file, data)
                modules[facts.name] = facts
        except (SyntaxError, ValueError, OSError):
            continue  # listed by the rewrite
    chain = settings_modules(plan.source_root, plan.project.settings, modules)
    going = {facts.name for facts in modules.values() if facts.file in index.retire}
    apps = frozenset(app for app in find_applications(modules).names if app.rpartition(".")[0] not in going)
    project = CeleryProject(
        modules=modules,
        apps=apps,
        unified=_unified_apps(plan, modules, apps),
        installed=bool(index.unified_application) or index.needs_app,
        settings=tuple(chain),
    )
    return project if project.installed else _with_sources(project)


def _unified_apps(plan: Plan, modules: Mapping[str, ModuleFacts], apps: frozenset[str]) -> frozenset[str] | None:
    """Return the apps by which unified tasks are declared; all of them for one that any app may take up."""
    found: set[str] = set()
    for task in plan.tasks:
        module, _, name = task.path.rpartition(".")
        facts = modules.get(module)
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        function = (
            next((s for s in facts.tree.body if isinstance(s, kinds) and s.name == name), None) if facts else None
        )
        if facts is None or function is None:
            return None
        dotted = [facts.dotted(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list]
        own = {resolve(modules, path.removesuffix(".task")) for path in dotted if path.endswith(".task")} & apps
        found |= own or apps
    return frozenset(found) or None


def _with_sources(project: CeleryProject) -> CeleryProject:
    """Return the project with what the unified apps are configured from."""
    sources: list[str] = []
    prefixes: list[str] = []
    for facts in project.modules.values():
        for node in facts.nodes:
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = facts.dotted(node.func.value)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            first = node.args[0] if node.args else given.get("obj" if node.func.attr == "config_from_object" else None)
            source = facts.text(first) or facts.dotted(first)
            if node.func.attr == "update" and not owner.endswith(".conf"):
                continue
            if node.func.attr not in {"config_from_object", "update"} or not project.ours(owner.removesuffix(".conf")):
                continue
            if source in _DJANGO:
                prefixes.append((facts.text(given.get("namespace")) or "").upper())
            elif source.startswith("django.conf.settings.") and project.settings:
                sources.append(source.replace("django.conf.settings", project.settings[0], 1))
            elif source:
                sources.append(resolve(project.modules, source.replace(":", ".")))
    prefix = prefixes[0] if prefixes else None if sources or project.unified else project.prefix
    return replace(project, sources=tuple(sources), prefix=prefix)
