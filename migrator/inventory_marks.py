"""Which files are worth parsing for the inventory: those that may declare a task, a schedule or an application.

A declaration names a library (`celery`, `dramatiq`, `periodiq`), or something that another file of the project made of
it: an application (``@app.task``), a base class, or an alias of a decorator. The first two are found by the words they
need; :func:`maker_names` gives the third, for which the other files are looked at once more.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping

from migrator.inventory_modules import ModuleFacts, resolve
from migrator.inventory_tasks import MAKERS

#: Found as they are.
_WORDS = (
    b"celery",
    b"Celery",
    b"dramatiq",
    b"periodiq",
    b"beat_schedule",
    b"BEAT_SCHEDULE",
    b"add_periodic_task",
    b"add_job",
    b"scheduled_job",
    b"GenericActor",
)
#: A word to find first, and what settles it; each pattern begins with that word, which makes it fast.
_SHAPES = (
    (b"actor", re.compile(rb"actor(?<![A-Za-z]actor)(?![a-z])")),
    (b"task", re.compile(rb"task(?<=[.@=(,\s]task)\s*(?:[(\r\n,)=]|$)")),
    (b"_task", re.compile(rb"_task\s*(?:[(\r\n]|$)")),
    (b"Task", re.compile(rb"Task\w*(?:\[[^\]]*\])?\s*[,)]")),
)


def worth_parsing(source: bytes) -> bool:
    """Tell whether a file may declare a task, a schedule or an application."""
    if any(word in source for word in _WORDS):
        return True
    return any(word in source and shape.search(source) for word, shape in _SHAPES)


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
    found = {path.rpartition(".")[2] for path in classes}
    for facts in modules.values():
        for name, dotted in facts.bindings.items():
            path = resolve(modules, dotted)
            if path in MAKERS or path in classes or _of_application(path, modules, applications):
                found.add(name)
    return frozenset(found)


def _of_application(path: str, modules: Mapping[str, ModuleFacts], applications: frozenset[str]) -> bool:
    base, _, last = path.rpartition(".")
    return last in {"task", "Task"} and resolve(modules, base) in applications


def naming(names: Iterable[str]) -> Callable[[bytes], bool]:
    """Return what tells whether a file imports, applies, inherits or calls one of the names."""
    plain = [name.encode() for name in sorted(names)]
    words = b"|".join(re.escape(name) for name in plain)
    pattern = re.compile(rb"(?:[@(,=\n]|import)\s*(?:[A-Za-z_][\w.]*\.)?(?:" + words + rb")\b")
    # Searching for plain words is many times faster than the pattern, which only settles what they found.
    return lambda source: any(name in source for name in plain) and pattern.search(source) is not None
