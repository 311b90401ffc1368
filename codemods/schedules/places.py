"""Decide where the schedule of the unified beat is edited: only where that beat reads it.

An assignment to ``app.conf`` wins over what the app was configured from, and a settings module over those that it
imports. So a legacy entry is rewritten where it stands if the unified app reads that place, and taken out elsewhere;
what then stands nowhere goes into the dict that wins, or into the settings if nothing wins over them. Where that can't
be known, nothing is taken out.
Source: ``celery/app/base.py`` (``conf``, ``config_from_object``), ``celery/app/utils.py`` (``Settings``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from codemods.plan.beat_places import AddedEntry, BeatPlaces, SettingsPlace
from codemods.plan.plan_index import PlanIndex
from codemods.schedules.celery_project import CeleryProject, read_project
from codemods.schedules.settings_scopes import SettingsScope, bound, settings_scopes
from migrator.inventory.beat_entries import ScheduleDefinition, is_schedule_setting, owner_of, schedule_entries
from migrator.inventory.module_facts import ModuleFacts, resolve
from migrator.inventory.source_files import SourceFiles
from migrator.plan.model import Plan


def decide_places(plan: Plan, index: PlanIndex, sources: SourceFiles) -> PlanIndex:
    """Return the index with the places, and without the legacy entries that stay because nothing replaces them."""
    project = read_project(plan, index, sources)
    scopes = settings_scopes([project.modules[name] for name in project.settings])
    prefix = project.prefix or ""
    base = BeatPlaces(
        settings=project.settings,
        schedule_setting=f"{prefix}_BEAT_SCHEDULE" if prefix else "CELERYBEAT_SCHEDULE",
        queue_setting=f"{prefix}_TASK_DEFAULT_QUEUE" if prefix else "CELERY_DEFAULT_QUEUE",
        routes_setting=f"{prefix}_TASK_ROUTES" if prefix else "CELERY_ROUTES",
        apps=_place(bound(scopes, "INSTALLED_APPS")),
    )
    fallback = _fallback(scopes, prefix or "CELERY")
    base = replace(base, queue=_place(bound(scopes, base.queue_setting) or fallback))
    base = replace(base, routes=_place(bound(scopes, base.routes_setting) or fallback))
    entries = [entry for facts in project.modules.values() for entry in schedule_entries(facts) if entry.beat]
    kept, covered = _kept(plan, project, [entry for entry in entries if entry.file not in index.retire])
    added = tuple(_added(entry.name, plan, entries) for entry in plan.schedule if entry.name not in covered)
    places = replace(base, kept=kept, added=added)
    if added:
        places = _with_home(project, places, scopes, fallback)
    schedule = index.schedule
    if places.home is None:
        lost = {f"replaced by {item.entry.name}" for item in added}
        schedule = {name: fate for name, fate in schedule.items() if fate not in lost or name in kept}
    return replace(index, beat=places, schedule=schedule)


def _kept(plan: Plan, project: CeleryProject, entries: list[ScheduleDefinition]) -> tuple[dict[str, str], set[str]]:
    """Return the entries that are rewritten where they stand, and the plan's entries that stand somewhere then."""
    successors = {name: entry.name for entry in plan.schedule for name in entry.replaces}
    own = {(entry.name, entry.task) for entry in plan.schedule}
    kept: dict[str, str] = {}
    covered: set[str] = set()
    there: set[tuple[str, str]] = set()
    for entry in entries:
        module, _, name = entry.name.partition(":")
        if (name, entry.task) in own and project.reads(entry):
            there.add((module, name))
            kept |= {entry.name: name} if successors.get(entry.name) == name else {}
            covered |= {name} if project.surely_reads(entry) else set()
    for entry in entries:
        module = entry.name.partition(":")[0]
        successor = successors.get(entry.name)
        if successor is None or not project.reads(entry) or (module, successor) in there:
            continue
        there.add((module, successor))
        kept[entry.name] = successor
        covered |= {successor} if project.surely_reads(entry) else set()
    return kept, covered


def _added(name: str, plan: Plan, entries: list[ScheduleDefinition]) -> AddedEntry:
    entry = next(entry for entry in plan.schedule if entry.name == name)
    extras = next((e.extras for e in entries if e.name in entry.replaces and e.extras), ())
    return AddedEntry(entry=entry, extras=extras)


def _with_home(
    project: CeleryProject, places: BeatPlaces, scopes: list[SettingsScope], fallback: SettingsScope | None
) -> BeatPlaces:
    """Return the places with the one that gets the added entries."""
    winning = [(facts, value) for facts in project.modules.values() for value in _winning(project, facts, places)]
    if len(winning) > 1:
        files = ", ".join(sorted(f"{facts.name}:{value.lineno}" for facts, value in winning))
        return replace(places, problem=f"beat_schedule is assigned at several places ({files})", problem_at=files)
    if winning:
        return _in_literal(places, SettingsPlace(module=winning[0][0].name), winning[0][0], winning[0][1])
    if project.prefix is None:
        return _in_source(project, places)
    found = bound(scopes, places.schedule_setting)
    if found is None and fallback is None:
        return replace(places, problem="the settings module, which should get the schedule, is not in the project")
    if found is None:
        assert fallback is not None
        return replace(places, home=_place(fallback))
    values = found.values[places.schedule_setting]
    if len(values) != 1:
        what = f"{places.schedule_setting} is set in several ways"
        return replace(places, problem=what, problem_at=found.facts.name)
    place = _place(found)
    assert place is not None
    return _in_literal(places, place, found.facts, values[0])


def _in_source(project: CeleryProject, places: BeatPlaces) -> BeatPlaces:
    """Return the places for an app that is configured from a module, a class or a dict of its own."""
    places = replace(places, schedule_setting="beat_schedule")
    for source in project.sources:
        module, _, name = source.rpartition(".")
        holder, owner = (source, "") if source in project.modules else (module, name)
        chain = project.settings if holder in project.settings else (holder,)
        scopes = settings_scopes([project.modules[item] for item in chain if item in project.modules])
        for scope in scopes:
            value = scope.values.get(owner, [None])[-1]
            if scope.owner == owner:
                values = scope.values.get("beat_schedule", [])
                place = SettingsPlace(module=scope.facts.name, owner=owner)
                return _in_literal(places, place, scope.facts, values[-1]) if values else replace(places, home=place)
            if isinstance(value, ast.Dict):
                named = [v for k, v in zip(value.keys, value.values, strict=True) if is_schedule_setting(_text(k))]
                if named:
                    return _in_literal(places, SettingsPlace(module=scope.facts.name), scope.facts, named[-1])
    return replace(places, problem="the unified app reads no settings that can be edited")


def _text(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _in_literal(places: BeatPlaces, place: SettingsPlace, facts: ModuleFacts, value: ast.expr) -> BeatPlaces:
    """Return the places with a dict that is written out as the home."""
    for _ in range(5):
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
            value = value.right
        elif isinstance(value, ast.Name) and value.id in facts.values:
            value = facts.values[value.id]
    if not isinstance(value, ast.Dict):
        what = f"{places.schedule_setting} is no literal"
        return replace(places, problem=what, problem_at=f"{facts.name}:{value.lineno}")
    return replace(places, home=place, line=value.lineno)


def _winning(project: CeleryProject, facts: ModuleFacts, places: BeatPlaces) -> Iterator[ast.expr]:
    """Yield the schedules that are assigned to the ``conf`` of a unified app and stay there."""
    kept = {entry.line for entry in schedule_entries(facts) if entry.beat and entry.name in places.kept}
    for node in facts.nodes:
        for owner, given in _assigned_to_conf(facts, node):
            value = facts.values.get(given.id, given) if isinstance(given, ast.Name) else given
            stays = not kept.isdisjoint(range(value.lineno, (value.end_lineno or value.lineno) + 1))
            # A dict whose entries all go is removed; what is not a dict can't be told from one that stays.
            stays = stays or not isinstance(value, ast.Dict) or not value.keys
            at_home = resolve(project.modules, owner).rpartition(".")[0] == facts.name
            if project.ours(owner) and stays and (at_home or kept):
                yield value


def _assigned_to_conf(facts: ModuleFacts, node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the schedules that a statement or call assigns to a ``conf``, each with the app's dotted name."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            named = target.attr if isinstance(target, ast.Attribute) else None
            if isinstance(target, ast.Subscript):
                named = facts.text(target.slice)
            if is_schedule_setting(named) and (owner := owner_of(facts, target)):
                yield owner, node.value
    elif isinstance(node, ast.Call):
        made = facts.dotted(node.func).rpartition(".")[2]
        owner = facts.name + ".?" if made == "Celery" else ""
        if isinstance(node.func, ast.Attribute) and made == "update":
            owner = owner_of(facts, node.func.value)
        if owner:
            given = [(k.arg, k.value) for k in node.keywords]
            for argument in node.args:
                if isinstance(argument, ast.Dict):
                    given += [(facts.text(k), v) for k, v in zip(argument.keys, argument.values, strict=True)]
            yield from ((owner, value) for name, value in given if is_schedule_setting(name))


def _fallback(scopes: list[SettingsScope], prefix: str) -> SettingsScope | None:
    """Return where a new setting goes: to Celery's others, or beside the installed apps, deepest first."""
    for wanted in (f"{prefix}_", "INSTALLED_APPS"):
        found = [scope for scope in scopes if any(name.startswith(wanted) for name in scope.values)]
        if found:
            return found[-1]
    return scopes[0] if scopes else None


def _place(scope: SettingsScope | None) -> SettingsPlace | None:
    return SettingsPlace(module=scope.facts.name, owner=scope.owner) if scope is not None else None
