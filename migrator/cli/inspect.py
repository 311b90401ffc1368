"""``migrator inspect``: the tasks, schedules and messages of a project; needs no plan and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migrator.cli.output import Answer, finish, format_option, short_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.inventory.deployment.program import Program, UnreadProgram
    from migrator.inventory.facts.project import ProjectFacts
    from migrator.inventory.scan import Inventory
    from migrator.wire.message import System


@click.command("inspect")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@format_option
def command(path: Path, output_format: str) -> None:
    """List the tasks, schedules and waiting messages of both legacy systems.

    Reads the source below PATH without importing it. If there is a plan, the waiting messages of its brokers are
    counted as well; no message is taken.

    Example: migrator inspect apps/backend/src
    """
    from migrator.cli.output import find_plan
    from migrator.errors import ExitCode
    from migrator.inventory.clocks import clock_roles
    from migrator.inventory.deployment_files import find_programs
    from migrator.inventory.draft_plan import import_root
    from migrator.inventory.scan import scan

    root = path.resolve() / import_root(path.resolve())
    found = scan(root)
    programs = find_programs(path.resolve(), clock_roles(root, found))
    plan_file = find_plan(path.resolve())
    waiting, problem = _waiting(plan_file) if plan_file.is_file() else ([], "not counted, there is no plan")
    next_steps = ["migrator rewrite-imports --diff"] if plan_file.is_file() else ["migrator init"]
    code = ExitCode.DIFFERENCES if found.unreadable or found.too_large else ExitCode.CLEAN
    lines, data = _described(found, waiting, problem)
    queues = _queues(_facts(path.resolve(), root, programs[0]), found)
    more, data["processes"], data["unread_processes"] = _processes(*programs, queues)
    lines[-1:-1] = [*more, *_stays(plan_file, found, data)]
    finish(Answer(exit_code=code, lines=lines, data=data, next_steps=next_steps), output_format)


def _described(
    found: Inventory, waiting: list[tuple[str, str, str, int]], problem: str
) -> tuple[list[str], dict[str, Any]]:
    """Return an inventory as lines and as data."""
    from migrator.render.text import table

    tasks = [
        (
            task.system.value,
            task.name or "(computed)",
            ", ".join(task.parameters if task.parameters or not task.open_ended else ("…",)),
            f"{short_path(task.file)}:{task.line}",
        )
        for task in found.tasks
    ]
    entries = [
        (entry.name, _sent(entry.task, found), f"{short_path(entry.file)}:{entry.line}") for entry in found.schedule
    ]
    lines = [
        *table("Legacy tasks", ["system", "name", "parameters", "where"], tasks),
        *table("Schedule entries", ["name", "task", "where"], entries),
        *(table("Waiting messages", ["system", "queue", "state", "#messages"], waiting) if waiting else ()),
        *(f"could not read {file}: {why}" for file, why in (*found.unreadable, *found.too_large)),
        *(
            f"{short_path(place.file)}:{place.line}: a task is made here, or may be, in a way that can't be followed "
            f"({place.path})"
            for place in found.unseen
        ),
        f"{found.files} Python files, {len(tasks)} tasks, {len(entries)} schedule entries"
        + (f"; waiting messages: {problem}" if problem else ""),
    ]
    data = {
        "files": found.files,
        "tasks": [dict(zip(("system", "name", "parameters", "where"), task, strict=True)) for task in tasks],
        "schedule": [dict(zip(("name", "task", "where"), entry, strict=True)) for entry in entries],
        "waiting": [dict(zip(("system", "queue", "state", "messages"), row, strict=True)) for row in waiting],
        "unseen": [{**place._asdict(), "file": str(place.file)} for place in found.unseen],
        "unreadable": [{"file": str(file), "why": why} for file, why in (*found.unreadable, *found.too_large)],
    }
    return lines, data


def _sent(task: str, found: Inventory) -> str:
    """Return the name of the task that a schedule entry sends, which may name its function."""
    if not task or any(known.name == task for known in found.tasks):
        return task or "(computed)"
    names = {known.name or "(computed)" for known in found.tasks if known.path.rpartition(".")[2] == task}
    return names.pop() if len(names) == 1 else f"{task} (no such task was found)"


def _facts(folder: Path, root: Path, programs: Sequence[Program]) -> ProjectFacts:
    from migrator.inventory.facts.project import read_facts
    from migrator.inventory.settings_module import choose_settings

    return read_facts(root, choose_settings(folder, root, programs).modules)


def _queues(facts: ProjectFacts, found: Inventory) -> dict[System, str]:
    """Return the queues of each system, as the source names them."""
    from migrator.inventory.draft_endpoints import used_queues
    from migrator.inventory.facts.task_options import task_options
    from migrator.wire.message import System

    queues = {}
    for system in System:
        tasks = [(task, task_options(task, facts.values)) for task in found.tasks if task.system is system]
        queues[system] = ", ".join(dict.fromkeys(used_queues(system, tasks, facts)))
    return queues


def _processes(
    programs: Sequence[Program], unread: Sequence[UnreadProgram], queues: Mapping[System, str]
) -> tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the processes in deployment files as lines and as data, and those that can't be read as data."""
    from migrator.plan.processes import Role
    from migrator.render.text import table

    columns = ("by", "name", "role", "system", "queues", "stop_timeout_s", "command", "doubt", "where")
    rows = [
        (
            program.manager.value,
            program.name,
            program.role.value,
            program.system.value if program.system else "",
            ", ".join(program.started.queues)
            or (queues[program.system] if program.role is Role.WORKER and program.system else ""),
            "" if program.stop_timeout_s is None else f"{program.stop_timeout_s:g}",
            " ".join(program.started.command),
            program.doubt,
            f"{short_path(program.file)}:{program.line}",
        )
        for program in programs
    ]
    lines = table("Processes in deployment files", list(columns), rows) if rows else []
    data = [{"name": item.name, "where": f"{short_path(item.file)}:{item.line}", "why": item.why} for item in unread]
    lines += [f"{item['where']}: process {item['name'] or 'of no name'} can't be read: {item['why']}" for item in data]
    return lines, [dict(zip(columns, row, strict=True)) for row in rows], data


def _stays(plan_file: Path, found: Inventory, data: dict[str, Any]) -> list[str]:
    """Return what the plan's scope leaves out, as a line, and add it to the data."""
    from migrator.errors import MigratorError
    from migrator.inventory.staying import staying
    from migrator.plan.loader import load_plan

    try:
        plan = load_plan(plan_file) if plan_file.is_file() else None
    except MigratorError:
        return []
    if plan is None or not plan.scope:
        return []
    left = staying(plan, found)
    data |= left.facts
    return [f"{len(left.tasks)} tasks and {len(left.schedule)} schedule entries stay: outside of the plan's scope"]


def _waiting(plan_file: Path) -> tuple[list[tuple[str, str, str, int]], str]:
    """Return the depths of the plan's legacy queues, and an error if they can't be read."""
    import os
    from contextlib import closing

    from migrator.brokers.connect import connect
    from migrator.brokers.outside import outside_places
    from migrator.errors import MigratorError
    from migrator.plan.loader import load_plan

    rows: list[tuple[str, str, str, int]] = []
    try:
        plan = load_plan(plan_file)
        for endpoint in plan.legacy:
            with closing(connect(endpoint, os.environ)) as broker:
                for (queue, state), number in broker.depths().items():
                    rows.append((endpoint.system.value, queue, state.value, number))
        for place in outside_places(plan, os.environ):
            rows.append(("outside", place.queue, place.kind.value, place.messages or 0))
    except MigratorError as error:
        return rows, str(error)
    return rows, ""
