"""Which commands of a project start a scheduler of its own: they lead, by imports, to a file that adds jobs.

One whose jobs all are in the plan's schedule is a scheduler. One with others must go on without those, so it is a
producer: stopped at the cutover, and started again from the new source.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

from migrator.inventory.beat_entries import JOBS
from migrator.inventory.callables import Load, loading
from migrator.inventory.module_facts import ModuleFacts
from migrator.inventory.scan import Inventory
from migrator.inventory.source_files import absolute, module_name, python_files
from migrator.plan.processes import Role
from migrator.wire.message import System

#: Takes what a command line names, ``manage.py NAME``, a dotted module or the path of a script.
ClockRole = Callable[[str], Role | None]
_MOST = 300


def clock_roles(root: Path, inventory: Inventory) -> ClockRole:
    """Return what tells the role of a command of the project; None for one that sends no job."""
    actors = {task.path.rpartition(".")[2] for task in inventory.tasks if task.system is System.DRAMATIQ}
    added = [entry for entry in inventory.schedule if entry.added]
    homes = {entry.name.partition(":")[0] for entry in added}
    load = loading(root, {})
    known = sum(entry.task in actors for entry in added)
    whole = known == sum(_jobs(load(home)) for home in homes)

    def role(named: str) -> Role | None:
        started = next((name for name in _modules(root, named) if load(name) is not None), "")
        if not homes or not started or not _leads(started, homes, load):
            return None
        return Role.SCHEDULER if whole else Role.PRODUCER

    return role


def _jobs(facts: ModuleFacts | None) -> int:
    nodes = facts.nodes if facts is not None else ()
    return sum(isinstance(node, ast.Call) and getattr(node.func, "attr", "") in JOBS for node in nodes)


def _modules(root: Path, named: str) -> Iterator[str]:
    """Yield the modules that a command may start."""
    first, _, command = named.partition(" ")
    if command:
        for file in python_files(root):
            if file.stem == command and file.parts[-3:-1] == ("management", "commands"):
                yield module_name(root, file)
        return
    yield f"{first}.__main__"
    parts = first.removesuffix(".py").replace("/", ".").strip(".").split(".")
    yield from (".".join(parts[index:]) for index in range(len(parts)))


def _leads(start: str, homes: set[str], load: Load) -> bool:
    waiting, seen = [start], {start}
    for name in waiting:
        if name in homes:
            return True
        facts = load(name)
        for other in _imported(facts) if facts is not None and len(seen) < _MOST else ():
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return False


def _imported(facts: ModuleFacts) -> Iterator[str]:
    for node in facts.nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = facts.file.stem == "__init__"
            base = absolute(facts.name, is_package=package, level=node.level, target=node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
