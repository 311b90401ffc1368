"""Which settings module production uses, as far as deployment files and entry points say.

What a worker's or a scheduler's own environment or ``--settings`` names goes before all else: entry points only set a
default. Where those that count differ, nothing is taken.
"""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from migrator.inventory.callables import loading
from migrator.inventory.deployment.program import Program
from migrator.inventory.deployment.settings_texts import VARIABLE, named_in
from migrator.inventory.deployment_files import deployment_texts
from migrator.inventory.module_facts import ModuleFacts, read_module
from migrator.inventory.source_files import module_file, python_files
from migrator.inventory.static_values import StaticValues, UnknownValueError
from migrator.plan.decisions import DECIDE
from migrator.plan.processes import Role

_ENTRY_POINTS = frozenset({"manage.py", "wsgi.py", "asgi.py", "celery.py", "celery_app.py"})


class Named(NamedTuple):
    """A settings module, or the expression that computes one, and where it is named."""

    name: str
    file: Path
    line: int
    #: The environment can't choose another one.
    fixed: bool = False


class ChosenSettings(NamedTuple):
    """The settings module of a project."""

    #: For the plan: its dotted name, or what is to be decided.
    text: str
    #: Those that it may be; none if no file says any.
    modules: tuple[str, ...]


def choose_settings(folder: Path, root: Path, programs: Sequence[Program]) -> ChosenSettings:
    """Return the settings module that production uses.

    Args:
        folder: Where deployment files are looked for.
        root: The import root.
        programs: The processes in deployment files.
    """
    entries = list(_entry_points(root))
    own = [*_of_processes(programs), *(item for item in entries if item.fixed)]
    found = _of_project(root, own) or _of_project(root, [*entries, *_in_texts(folder)])
    modules = tuple(dict.fromkeys(item.name for item in found if module_file(root, item.name)))
    names = {item.name for item in found}
    if not found:
        return ChosenSettings(f"{DECIDE}: no file names the settings module", ())
    if len(names) == 1 and _is_written_out(found[0].name):
        return ChosenSettings(found[0].name, (found[0].name,))
    said = {item.name: item for item in reversed(found)}.values()
    places = "; ".join(f"{_short(item.file, folder)}:{item.line} says {item.name}" for item in reversed(said))
    return ChosenSettings(f"{DECIDE}: which settings production uses: {places}", modules)


def _of_project(root: Path, found: Iterable[Named]) -> list[Named]:
    """Return those that are not of another project in the repository, as far as any is there."""
    every = list(found)
    return [item for item in every if module_file(root, item.name) or not _is_written_out(item.name)] or every


def _is_written_out(name: str) -> bool:
    return name.replace(".", "_").isidentifier()


def _of_processes(programs: Sequence[Program]) -> Iterator[Named]:
    for program in programs:
        given = next(named_in(f"{VARIABLE}={program.settings}"), None)
        if given is not None and program.role is not Role.PRODUCER:
            yield Named(given[1], program.file, program.line)


def _in_texts(folder: Path) -> Iterator[Named]:
    for file, text in deployment_texts(folder):
        if VARIABLE in text:
            yield from (Named(name, file, line) for line, name in named_in(text))


def _entry_points(root: Path) -> Iterator[Named]:
    """Yield what the files that start a process set, ``manage.py`` first."""
    files = [file for file in python_files(root) if file.name in _ENTRY_POINTS]
    modules: dict[str, ModuleFacts] = {}
    values = StaticValues(loading(root, modules), ())
    for file in sorted(files, key=lambda item: item != root / "manage.py"):
        source = file.read_bytes()
        if VARIABLE.encode() not in source:
            continue
        try:
            facts = read_module(root, file, source)
        except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
            continue
        for node in facts.nodes:
            value, fixed = _set_by(node)
            if value is not None:
                try:
                    name = str(values.of(facts, value))
                except UnknownValueError as error:
                    name = str(error)
                yield Named(name, file, value.lineno, fixed)


def _set_by(node: ast.AST) -> tuple[ast.expr | None, bool]:
    """Return what a statement or call gives the variable; and whether it does so in any environment."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setdefault":
        if len(node.args) == 2 and _is_variable(node.args[0]):
            return node.args[1], False
    elif isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Subscript):
        return (node.value, True) if _is_variable(target.slice) else (None, False)
    return None, False


def _is_variable(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == VARIABLE


def _short(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
