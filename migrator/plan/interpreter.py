"""The project's interpreter: where everything runs that imports the project.

The tool has an environment of its own. What runs the project is said by the operator or the plan, or is found: an
active environment, a virtual environment in the project's folder, the interpreter of a process of the plan.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import UsageError
from migrator.plan.model import Plan

#: Names the interpreter on a machine where what the plan says does not hold, as an argument list in one line.
PYTHON_VARIABLE = "MIGRATOR_PYTHON"
#: Of virtualenv, venv, Poetry, uv and Pipenv.
_FOLDERS = (".venv", "venv")
KEY = "[project] python"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPython:
    """The project's interpreter."""

    #: Argument list that starts it.
    command: tuple[str, ...]
    #: Where that is from.
    source: str

    def __str__(self) -> str:
        return shlex.join(self.command)


def project_python(plan: Plan, environ: Mapping[str, str]) -> ProjectPython:
    """Return the project's interpreter.

    Raises:
        UsageError: Two are found, and nothing says which it is.
    """
    if environ.get(PYTHON_VARIABLE):
        return ProjectPython(command=tuple(shlex.split(environ[PYTHON_VARIABLE])), source=PYTHON_VARIABLE)
    if plan.project.python:
        return ProjectPython(command=_in_folder(plan, plan.project.python), source=f"the plan's {KEY}")
    found = interpreters((plan.folder, plan.source_root), environ, _in_commands(plan))
    if not found:
        own = "the tool's own, because there is no active environment, no .venv, and none in a command of the plan"
        return ProjectPython(command=(sys.executable,), source=own)
    if len(found) > 1:
        raise UsageError(
            str(plan.file),
            "the project's interpreter is not clear",
            found="; ".join(f"{python} ({source})" for python, source in found.items()),
            remedy=f'write one of them under [project]: python = ["{next(iter(found))}"]',
        )
    ((python, source),) = found.items()
    return ProjectPython(command=(python,), source=source)


def interpreters(
    folders: Iterable[Path], environ: Mapping[str, str], further: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """Return the interpreters that are found, each environment's once, with the first place that names it.

    Args:
        folders: Of the project.
        environ: May name an active environment.
        further: Others, with where they are from.
    """
    found: dict[str, tuple[str, str]] = {}
    for python, source in (*_at_hand(folders, environ), *further):
        found.setdefault(os.path.realpath(Path(python).parents[1]), (python, source))
    return dict(found.values())


def _at_hand(folders: Iterable[Path], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    active = environ.get("VIRTUAL_ENV", "")
    if active and os.path.realpath(active) != os.path.realpath(sys.prefix):
        yield from _in_environment(Path(active), "the active environment")
    for folder in dict.fromkeys(folders):
        for name in _FOLDERS:
            yield from _in_environment(folder / name, f"{name} in the project")


def _in_commands(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the interpreters of the environments whose programs the plan's commands name by their path."""
    for process in plan.processes:
        word = process.command[0] if process.command else ""
        program, source = plan.folder / process.directory / word, f"the command of the process {process.name}"
        if "/" in word and program.name.startswith("python") and program.is_file():
            yield str(program), source
        elif "/" in word and program.parent.name == "bin":
            yield from _in_environment(program.parents[1], source)


def _in_environment(folder: Path, source: str) -> Iterator[tuple[str, str]]:
    python = Path(os.path.abspath(folder)) / "bin" / "python"  # noqa: PTH100 - links of an environment are kept
    if python.is_file() and (folder / "pyvenv.cfg").is_file():
        yield str(python), source


def _in_folder(plan: Plan, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command with a path in it that is relative to the plan's folder as an absolute one."""
    program, *rest = command
    return (str(plan.folder / program) if "/" in program else program, *rest)
