"""Which files are worth parsing for the inventory: those that may declare a task, a schedule or an application.

A declaration names a library, or reads ``.task`` of an application: :func:`worth_parsing`. Or it uses what another
file of the project made of a library, an application or alias of a decorator or a base class: :func:`maker_names` gives
their names, and the other files are looked at once more for those.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable

from migrator.inventory.declarations import MAKERS, TaskMakers, declaration
from migrator.inventory.module_facts import resolve

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
_OF_APPLICATION = (b".task", b".Task", b".actor")
_ATTRIBUTE = re.compile(rb"\.(?:[tT]ask|actor)\b")


def worth_parsing(source: bytes) -> bool:
    """Tell whether a file may declare a task, a schedule or an application by itself."""
    if any(word in source for word in _WORDS):
        return True
    return any(word in source for word in _OF_APPLICATION) and _ATTRIBUTE.search(source) is not None


def maker_names(makers: TaskMakers) -> frozenset[str]:
    """Return the names under which the project's own files offer what declares a task, base classes included."""
    modules, applications = makers.modules, makers.applications
    classes = {path for path, bases in applications.bases.items() if _makes_tasks(bases, makers)}
    while grown := {path for path, bases in applications.bases.items() if classes.intersection(bases)} - classes:
        classes |= grown
    offered = {*classes, *applications.names, *applications.classes, *applications.functions, *makers.decorators}
    found = {path.rpartition(".")[2] for path in offered if path.rpartition(".")[0] in modules}
    found |= {place.rpartition(".")[2] for place, cls in applications.objects.items() if _has_one(cls, makers)}
    for facts in modules.values():
        for name, dotted in facts.bindings.items():
            path = resolve(modules, dotted)
            if path in MAKERS or path in offered or _of_application(path, makers):
                found.add(name)
        for name, value in facts.values.items():
            if isinstance(value, ast.Call) and declaration(ast.Name(name), facts, makers):
                found.add(name)
    return frozenset(found)


def _makes_tasks(bases: Iterable[str], makers: TaskMakers) -> bool:
    return any(base in MAKERS or _of_application(base, makers) for base in bases)


def _has_one(cls: str, makers: TaskMakers) -> bool:
    kept = {*makers.applications.names, *makers.decorators}
    return any(name.startswith(f"{cls}.") for name in kept)


def _of_application(path: str, makers: TaskMakers) -> bool:
    base, _, last = path.rpartition(".")
    return last in {"task", "Task"} and resolve(makers.modules, base) in makers.applications.names


def naming(names: Iterable[str]) -> Callable[[bytes], bool]:
    """Return what tells whether a file imports one of the names, or reads it as an attribute of a module."""
    plain = [name.encode() for name in sorted(names)]
    words = b"(?:" + b"|".join(re.escape(name) for name in plain) + rb")\b"
    listed = rb"import\b(?:[\w.,\s\\]*?|\s*\([^)]*?)\b" + words
    pattern = re.compile(rb"\." + words + b"|" + listed + rb"|import\s*\*")
    return lambda source: any(name in source for name in plain) and pattern.search(source) is not None
