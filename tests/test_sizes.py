"""The size limits of the shipped code: over a limit means split or delete."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("migrator", "codemods", "checks")
#: Folders of plugins, one file a plugin.
PLUGINS = ("migrator/brokers", "migrator/steps", "codemods", "checks/kinds")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "core", "misc"}


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_is_something_to_measure() -> None:
    assert len(modules()) > 10


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_file_is_short_enough(path: Path) -> None:
    limit = 200 if path.parent.relative_to(ROOT).as_posix() in PLUGINS else 300
    if "migrations" in path.parts:
        pytest.skip("written by makemigrations")
    assert len(path.read_text().splitlines()) <= limit


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    limit = 60 if relative(path).startswith("codemods/") else 40
    for function in functions(ast.parse(path.read_text())):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= limit, f"{relative(path)}:{function.lineno} {function.name} has {lines} lines"
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        parameters = [argument for argument in named if argument.arg not in ("self", "cls")]
        if relative(path).startswith("migrator/cli/") and function.name.endswith("command"):
            continue  # Click gives a command one parameter an option
        assert len(parameters) <= 6, f"{relative(path)}:{function.lineno} {function.name} takes {len(parameters)}"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_module_name_says_something(path: Path) -> None:
    assert path.stem not in FORBIDDEN_NAMES
    assert path.stem != "base" or relative(path) == "migrator/tasks/base.py"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_module_opens_with_what_it_does(path: Path) -> None:
    text = path.read_text()
    if not text.strip() or "migrations" in path.parts or ("management" in path.parts and path.stem == "__init__"):
        return
    assert ast.get_docstring(ast.parse(text)), f"{relative(path)} has no docstring"


def test_only_the_command_line_prints() -> None:
    for path in modules():
        if relative(path).startswith("migrator/cli/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{relative(path)}:{node.lineno} prints"
