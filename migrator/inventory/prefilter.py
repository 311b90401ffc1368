"""Which files are worth parsing for the inventory: those that may declare a task, a schedule or an application.

A declaration names a library, or reads ``.task`` of an application: :func:`worth_parsing`. Or it uses what another
file of the project made of a library, an application or alias of a decorator or a base class: :func:`maker_names` gives
their names, and the other files are looked at once more for those.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping

from migrator.inventory.module_facts import ModuleFacts, resolve
from migrator.inventory.task_definitions import MAKERS

#: A library by name, or a place where schedules stand.
_WORDS = (
    b"celery",
    b"dramatiq",
    b"beat_schedule",
    b"BEAT_SCHEDULE",
    b"add_periodic_task",
    b"add_job",
    b"scheduled_job",
)
#: What an application declares tasks with, found as plain words first: that is many times faster.
_OF_APPLICATION = (b".task", b".Task")
_ATTRIBUTE = re.compile(rb"\.[tT]ask\b")


def worth_parsing(source: bytes) -> bool:
    """Tell whether a file may declare a task, a schedule or an application by itself."""
    if any(word in source for word in _WORDS):
        return True
    return any(word in source for word in _OF_APPLICATION) and _ATTRIBUTE.search(source) is not None


def maker_names(modules: Mapping[str, ModuleFacts], applications: frozenset[str]) -> frozenset[str]:
    """Return the names under which the project's own files offer what declares a task, base classes included."""
    classes: set[str] = set()
    while True:
        before = len(classes)
        for facts in modules.values():
            for node in facts.tree.body:
                if isinstance(node, ast.ClassDef):
                    bases = {resolve(modules, facts.dotted(base)) for base in node.bases}
                    if bases & (MAKERS | classes) or any(
                        _of_application(base, modules, applications) for base in bases
                    ):
                        classes.add(f"{facts.name}.{node.name}")
        if len(classes) == before:
            break
    found = {path.rpartition(".")[2] for path in classes | applications}
    for facts in modules.values():
        for name, dotted in facts.bindings.items():
            path = resolve(modules, dotted)
            if path in MAKERS | classes | applications or _of_application(path, modules, applications):
                found.add(name)
    return frozenset(found)


def _of_application(path: str, modules: Mapping[str, ModuleFacts], applications: frozenset[str]) -> bool:
    base, _, last = path.rpartition(".")
    return last in {"task", "Task"} and resolve(modules, base) in applications


def naming(names: Iterable[str]) -> Callable[[bytes], bool]:
    """Return what tells whether a file imports one of the names, or reads it as an attribute of a module."""
    plain = [name.encode() for name in sorted(names)]
    words = b"(?:" + b"|".join(re.escape(name) for name in plain) + rb")\b"
    listed = rb"import\b(?:[\w.,\s\\]*?|\s*\([^)]*?)\b" + words
    pattern = re.compile(rb"\." + words + b"|" + listed + rb"|import\s*\*")
    return lambda source: any(name in source for name in plain) and pattern.search(source) is not None
