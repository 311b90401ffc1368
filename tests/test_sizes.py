"""The limits of the shipped code, one test a rule: over a limit means split or delete."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("migrator", "codemods", "checks")
#: Folders of plugins, one file a plugin; a folder below one of them counts only where it is named here.
PLUGINS = (
    "codemods/rewrites",
    "checks/kinds",
    "migrator/steps",
    "migrator/steps/guards",
    "migrator/brokers/redis",
    "migrator/brokers/rabbitmq",
)
PLUGIN_LINES, MODULE_LINES = 200, 300
FUNCTION_LINES, CODEMOD_FUNCTION_LINES = 40, 60
PARAMETERS = 6
FORBIDDEN_NAMES = {"utils", "helpers", "common", "core", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> tuple[Path, ...]:
    return tuple(sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def written_by_hand() -> Iterator[Path]:
    """Yield every module that `makemigrations` did not write."""
    return (path for path in modules() if "migrations" not in path.parts)


def functions() -> Iterator[tuple[Path, Function]]:
    for path in modules():
        for node in ast.walk(parsed(path)):
            if isinstance(node, Function):
                yield path, node


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def listed(offenders: list[str]) -> str:
    return "\n" + "\n".join(offenders)


def test_there_is_something_to_measure() -> None:
    assert len(modules()) > 10
    for folder in PLUGINS:
        assert any(relative(path.parent) == folder for path in modules()), f"no module in {folder}"


def test_files_are_short_enough() -> None:
    offenders = []
    for path in written_by_hand():
        lines = len(path.read_text().splitlines())
        limit = PLUGIN_LINES if relative(path.parent) in PLUGINS else MODULE_LINES
        if lines > limit:
            offenders.append(f"{relative(path)}:{lines} has {lines} lines, at most {limit} are allowed")
    assert not offenders, listed(offenders)


def test_functions_are_short_enough() -> None:
    offenders = []
    for path, function in functions():
        limit = CODEMOD_FUNCTION_LINES if path.is_relative_to(ROOT / "codemods") else FUNCTION_LINES
        lines = (function.end_lineno or 0) - function.lineno + 1
        if lines > limit:
            offenders.append(f"{relative(path)}:{function.lineno} {function.name} has {lines} lines, limit {limit}")
    assert not offenders, listed(offenders)


def test_functions_take_few_parameters() -> None:
    offenders = []
    for path, function in functions():
        if path.is_relative_to(ROOT / "migrator/cli") and function.name.endswith("command"):
            continue  # Click gives a command one parameter an option
        given = function.args
        named = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        number = len([name for name in named if name not in ("self", "cls")])
        if number > PARAMETERS:
            offenders.append(f"{relative(path)}:{function.lineno} {function.name} takes {number}, limit {PARAMETERS}")
    assert not offenders, listed(offenders)


def test_module_names_say_something() -> None:
    offenders = []
    for path in modules():
        # A package's name is that of its folder.
        name = path.parent.name if path.stem == "__init__" else path.stem
        if name in FORBIDDEN_NAMES or (name == "base" and relative(path) != "migrator/tasks/base.py"):
            offenders.append(f"{relative(path)}:1 is called {name}")
    assert not offenders, listed(offenders)


def test_a_class_name_is_defined_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in written_by_hand():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{relative(path)}:{node.lineno}")
    offenders = [f"{name}: {', '.join(where)}" for name, where in sorted(places.items()) if len(where) > 1]
    assert not offenders, listed(offenders)


def test_modules_open_with_what_they_do() -> None:
    offenders = []
    for path in written_by_hand():
        is_management_package = "management" in path.parts and path.stem == "__init__"
        if path.read_text().strip() and not is_management_package and not ast.get_docstring(parsed(path)):
            offenders.append(f"{relative(path)}:1 has no docstring")
    assert not offenders, listed(offenders)


def test_only_the_command_line_prints() -> None:
    offenders = []
    for path in modules():
        if path.is_relative_to(ROOT / "migrator/cli"):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                offenders.append(f"{relative(path)}:{node.lineno} prints")
    assert not offenders, listed(offenders)
