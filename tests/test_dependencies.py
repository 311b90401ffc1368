"""What the packages import is what pyproject.toml declares, and the reverse."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("migrator", "codemods", "checks")
#: These run in the project's interpreter, with the project's packages.
ELSEWHERE = (ROOT / "migrator" / "agent", ROOT / "migrator" / "tasks")
#: pytest brings itself, psycopg is an extra that is asked for where it is missing.
OPTIONAL = {"pytest", "psycopg"}
#: Imported by the agent as long as that runs with the tool's packages.
AGENT = {"time-machine"}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {normalized(re.split(r"[\[~<>=!; ]", line)[0]) for line in document["project"]["dependencies"]}


def imports() -> Iterator[tuple[str, Path]]:
    """Yield the first part of each imported name, also of one that is only looked up, with the file."""
    for file in (file for package in OURS for file in sorted((ROOT / package).rglob("*.py"))):
        if any(folder in file.parents for folder in ELSEWHERE):
            continue
        for node in ast.walk(ast.parse(file.read_bytes())):
            match node:
                case ast.Import(names=names):
                    yield from ((alias.name.partition(".")[0], file) for alias in names)
                case ast.ImportFrom(module=str(module), level=0):
                    yield module.partition(".")[0], file
                case ast.Call(func=ast.Name(id="find_spec"), args=[ast.Constant(value=str(name))]):
                    yield name.partition(".")[0], file


def distributions() -> dict[str, Path]:
    """Return the distributions of everything that is imported, each with one of the files."""
    known = packages_distributions()
    found = {name: file for name, file in imports() if name not in sys.stdlib_module_names and name not in OURS}
    return {normalized(known[name][0]): file for name, file in found.items() if name not in OPTIONAL}


def test_what_is_imported_is_declared() -> None:
    found = distributions()
    assert len(found) > 10
    absent = {name: str(file.relative_to(ROOT)) for name, file in found.items() if name not in declared()}
    assert not absent, "add them to the dependencies"


def test_what_is_declared_is_imported() -> None:
    assert declared() - AGENT - set(distributions()) == set(), "take them out of the dependencies"
