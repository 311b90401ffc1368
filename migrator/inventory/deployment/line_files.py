"""Processes of files that hold command lines: Procfiles, shell scripts and Dockerfiles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from migrator.inventory.deployment.program import Found, Manager, Program, UnreadProgram
from migrator.inventory.deployment.shell_lines import CommandLine, in_text, in_words
from migrator.plan.processes import Role

_PROCESS = re.compile(r"\s*(?P<name>[\w-]+)\s*:(?P<line>.*)")
_EXPORT = re.compile(r"\s*export\s+(?P<name>[A-Za-z_]\w*)=(?P<value>\"[^\"]*\"|'[^']*'|\S*)\s*")
_PORT = re.compile(r"\$PORT\b|\$\{PORT\}")
_INSTRUCTION = re.compile(r"\s*(?P<kind>CMD|ENTRYPOINT)\s+(?P<line>.*)", re.IGNORECASE | re.DOTALL)


def procfile(file: Path, text: str) -> Iterator[Found]:
    """Yield the processes of a Procfile; foreman and honcho give each another PORT, unless there is one."""
    port = 5000
    for number, line in enumerate(text.splitlines(), 1):
        if (match := _PROCESS.match(line)) and not line.lstrip().startswith("#"):
            command = _PORT.sub(f"${{PORT:-{port}}}", match["line"])
            port += 100
            yield from programs(in_text(command), Manager.PROCFILE, match["name"], file, number)


def script(file: Path, text: str) -> Iterator[Found]:
    """Yield the workers and schedulers that a shell script starts."""
    directory = ""
    exported: dict[str, str] = {}
    for number, line in _joined(text):
        for found in programs(in_text(line), Manager.SCRIPT, file.stem, file, number):
            variable = isinstance(found, UnreadProgram) and "variable" in found.why
            if isinstance(found, UnreadProgram) and not variable:
                yield found
            elif isinstance(found, Program) and (found.role is not Role.PRODUCER or found.started.own):
                environment = {**exported, **found.environment}
                yield replace(found, directory=found.directory or directory, environment=environment)
        if (given := _EXPORT.fullmatch(line)) and not re.search(r"\$\(|`", given["value"]):
            exported[given["name"]] = given["value"].strip("\"'")
        if change := re.fullmatch(r"\s*cd\s+([\w./-]+)\s*", line):
            directory = change[1]


def dockerfile(file: Path, text: str) -> Iterator[Found]:
    """Yield what a Dockerfile's CMD and ENTRYPOINT start."""
    for number, line in _joined(text):
        match = _INSTRUCTION.fullmatch(line)
        if match is None:
            continue
        try:
            words = json.loads(match["line"]) if match["line"].lstrip().startswith("[") else None
        except ValueError:
            words = None
        lines = in_words([str(word) for word in words]) if isinstance(words, list) else in_text(match["line"])
        yield from programs(lines, Manager.DOCKERFILE, file.parent.name, file, number)


def programs(lines: Iterator[CommandLine], manager: Manager, name: str, file: Path, number: int) -> Iterator[Found]:
    """Yield what command lines of one place start."""
    for line in lines:
        if line.started is None:
            yield UnreadProgram(name=name, file=file, line=number, why=line.why)
            continue
        doubt = ""
        if "multi" in line.started.options:
            doubt = "`celery multi` puts itself into the background: run `celery worker`"
        elif any("$(" in word or "`" in word for word in line.started.command):
            doubt = "a part of its command is what another command prints: write its result"
        yield Program(
            manager=manager,
            name=name,
            started=line.started,
            file=file,
            line=number,
            directory=line.directory,
            environment=line.started.environment,
            doubt=doubt,
        )


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their number, continued ones as one; comments are left out."""
    begun, number = "", 0
    for index, line in enumerate(text.splitlines(), 1):
        if not begun:
            number = index
        if line.lstrip().startswith("#"):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        yield number, begun + line
        begun = ""
    if begun:
        yield number, begun
