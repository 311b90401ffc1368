"""``migrator init``: draft a plan; writes one file and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import Answer, finish, format_option, short_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.inventory.facts.project import ProjectFacts
    from migrator.inventory.scan import Inventory
    from migrator.inventory.staying import Staying


@click.command("init")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option(
    "--in-place",
    is_flag=True,
    help="Convert tasks where they are: each legacy task's own function becomes the unified task. The default.",
)
@click.option(
    "--into",
    default="",
    metavar="MODULE",
    help="Map each legacy task to the task of the same name in this unified module instead, such as tasks.unified.",
)
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="NAME",
    help="Only the tasks of this module, package or pattern (orders.*); all others stay as they are. Repeatable.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing migration.toml.")
@format_option
def command(path: Path, in_place: bool, into: str, modules: tuple[str, ...], force: bool, output_format: str) -> None:
    """Draft a migration.toml for an existing project.

    PATH is the folder for the plan, usually the root of the repository. Each task is mapped to itself, or with --into
    to one that you write before the rewrite. Each decision that is left to you is marked DECIDE.

    Example: migrator init --into tasks.unified .
    """
    from dataclasses import replace

    from migrator.errors import ExitCode, RefusedError, UsageError
    from migrator.inventory.draft_plan import import_root, module_of
    from migrator.inventory.scan import scan
    from migrator.plan.decisions import draft_decisions
    from migrator.plan.loader import load_plan

    folder = path.resolve()
    file = folder / "migration.toml"
    _require_one(in_place, into)
    if file.exists() and not force:
        raise RefusedError(str(file), "there is a plan already", remedy="edit it, or overwrite it with --force")
    root = import_root(folder)
    whole = scan(folder / root)
    if not whole.tasks:
        raise UsageError(str(folder), "no Dramatiq actor and no Celery task was found", remedy="give another folder")
    scope = _scope(whole, modules)
    inventory, left = _split(whole, scope)
    text, told = _draft(folder, root, inventory, scope, into)
    file.write_text(text, encoding="utf-8")
    load_plan(file, draft=True)
    decisions = draft_decisions(text)
    legacy = replace(inventory, tasks=tuple(task for task in inventory.tasks if module_of(task) != into))
    lines, data = _told(legacy, left if scope else None)
    lines[0] = f"wrote {file}: {lines[0]}"
    lines += [*told, *_outside(file, decisions), *_decisions(decisions)]
    data["decisions"] = [dict(zip(("line", "key", "text"), decision, strict=True)) for decision in decisions]
    data, steps = {"file": str(file), **data}, [f"edit {file}", "migrator rewrite-imports --diff"]
    finish(Answer(exit_code=ExitCode.CLEAN, lines=lines, data=data, next_steps=steps), output_format)


def _require_one(in_place: bool, into: str) -> None:
    from migrator.errors import UsageError

    if in_place and into:
        raise UsageError("init", "--in-place and --into can't be combined", remedy="give one of them")


def _told(inventory: Inventory, left: Staying | None) -> tuple[list[str], dict[str, Any]]:
    """Return what is in the plan and what stays, as lines and as data."""
    lines = [f"{len(inventory.tasks)} legacy tasks, {len(inventory.schedule)} schedule entries"]
    data: dict[str, Any] = {"tasks": len(inventory.tasks), "schedule": len(inventory.schedule)}
    if left is None:
        return lines, data
    lines.append(f"{len(left.tasks)} tasks and {len(left.schedule)} schedule entries of other modules stay")
    return lines, data | left.facts


def _split(inventory: Inventory, scope: tuple[str, ...]) -> tuple[Inventory, Staying]:
    """Return what the plan is about, and what stays."""
    from dataclasses import replace

    from migrator.inventory.staying import out_of_scope

    left = out_of_scope(inventory, scope)
    tasks = tuple(task for task in inventory.tasks if task not in left.tasks)
    schedule = tuple(entry for entry in inventory.schedule if entry not in left.schedule)
    return replace(inventory, tasks=tasks, schedule=schedule), left


def _scope(inventory: Inventory, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the patterns for the modules that were asked for; a package stands for its modules.

    Raises:
        UsageError: No task is in one of them.
    """
    import fnmatch

    from migrator.errors import UsageError, did_you_mean
    from migrator.inventory.draft_plan import module_of

    known = {module_of(task) for task in inventory.tasks}
    patterns = []
    for name in names:
        found = [pattern for pattern in (name, f"{name}.*") if fnmatch.filter(known, pattern)]
        if not found:
            remedy = did_you_mean(name, known) or f"tasks are in {', '.join(sorted(known))}"
            raise UsageError(f"--module {name}", "no legacy task is in such a module", remedy=remedy)
        patterns += found
    return tuple(dict.fromkeys(patterns))


def _outside(file: Path, decisions: list[tuple[int, str, str]]) -> list[str]:
    """Return what the brokers of a draft hold that it does not name, if they are known and answer."""
    import os

    from migrator.brokers.outside import outside_places, place_findings
    from migrator.errors import MigratorError
    from migrator.plan.loader import load_plan
    from migrator.render.text import finding_lines

    if any(key.endswith((".broker", "modules")) or ".queues" in key for _, key, _ in decisions):
        return []
    plan = load_plan(file, draft=True)
    try:
        return finding_lines(place_findings(plan, outside_places(plan, os.environ)), most=5)
    except MigratorError as problem:
        return [f"not seen whether other queues hold messages: {problem}"]


def _decisions(decisions: list[tuple[int, str, str]]) -> list[str]:
    """Return each open decision, and what they mean."""
    if not decisions:
        return ["no decision is left open; read the plan once"]
    told = f"{len(decisions)} decisions are left to you; every other command refuses the plan until they are made"
    return [*(f"line {line}: {path}: {value}" for line, path, value in decisions), told]


def _draft(folder: Path, root: str, inventory: Inventory, scope: tuple[str, ...], into: str) -> tuple[str, list[str]]:
    """Return the text of the plan, and what is to be said about processes."""
    from codemods.calls.scheduler_jobs import read_scheduler_jobs
    from migrator.inventory.chosen_programs import choose
    from migrator.inventory.clocks import clock_roles
    from migrator.inventory.deployment_files import find_programs
    from migrator.inventory.draft_plan import Subject, draft_plan
    from migrator.inventory.draft_processes import application
    from migrator.inventory.settings_module import choose_settings
    from migrator.plan.interpreter import interpreters

    programs, unread = find_programs(folder, clock_roles(folder / root, inventory))
    settings, candidates = choose_settings(folder, folder / root, programs)
    facts = _facts(folder / root, candidates)
    chosen, left = choose(programs)
    scheduler_jobs = read_scheduler_jobs(folder / root, {entry.file for entry in inventory.schedule})
    # Without an app, the rewrite writes one into the package of the settings.
    packages = {name.partition(".")[0] for name in candidates}
    app = application(chosen, inventory.applications) or (packages.pop() if len(packages) == 1 else "")
    app = app or "DECIDE: the Celery app"
    pythons = interpreters((folder, folder / root), os.environ)
    python = f"DECIDE: {' or '.join(pythons)}" if len(pythons) > 1 else ""
    subject = Subject(
        name=folder.name, root=root, settings=settings, scope=scope, folder=folder, app=app, python=python
    )
    text = draft_plan(subject, inventory, facts, processes=chosen, scheduler_jobs=scheduler_jobs, into=into)
    out = [(item.file, item.line, item.name, why) for item, why in left]
    out += [(item.file, item.line, item.name, item.why) for item in unread]
    again = [program for item in chosen for program in item.also]
    every = len(chosen) + sum(item not in again for item, _ in left) + len(unread)
    told = [f"{len(chosen)} of {every} processes in deployment files are in the plan"]
    told += [f"not in the plan as it stands: {short_path(file)}:{line}: {name}: {why}" for file, line, name, why in out]
    return text, told


def _facts(root: Path, settings: Sequence[str]) -> ProjectFacts:
    """Return what the source says besides tasks and schedules, and what Dramatiq's middleware does to every actor."""
    from dataclasses import replace

    from codemods.plan.policy import read_policy
    from migrator.inventory.facts.project import read_facts

    facts = read_facts(root, settings)
    policy = read_policy(facts.modules)
    if not policy.known:
        return facts
    return replace(facts, max_retries=policy.max_retries if policy.retries else None, max_age_ms=policy.max_age_ms)
