"""Processes of supervisor's and systemd's files.

Source: supervisord.org/configuration.html ([program:x], [group:x]), systemd.service(5).
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from migrator.inventory.deployment.line_files import programs
from migrator.inventory.deployment.program import Found, Manager, Program, UnreadProgram
from migrator.inventory.deployment.shell_lines import in_text

_UNITS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600}
#: ``A="b",C=d`` of supervisor; ``Environment="A=b" C=d`` of systemd.
_PAIR = re.compile(r"""([A-Za-z_]\w*)\s*=\s*("[^"]*"|'[^']*'|[^,]*)""")
_ENVIRONMENT = re.compile(r"^Environment=(.*)$", re.MULTILINE)
_WORD = re.compile(r"""\"[^"]*\"|'[^']*'|\S+""")
_SPAN = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(sorted(_UNITS, key=len, reverse=True))})?")


def supervisor(file: Path, text: str) -> Iterator[Found]:
    """Yield the programs of a supervisor configuration."""
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;",))
    try:
        parser.read_string(text)
    except configparser.Error as error:
        yield UnreadProgram(name="", file=file, line=getattr(error, "lineno", 1), why=str(error).splitlines()[0])
        return
    groups = {
        name.strip(): section.partition(":")[2]
        for section in parser.sections()
        if section.startswith("group:")
        for name in parser.get(section, "programs", fallback="").split(",")
    }
    doubt = _unreachable(parser)
    for section in parser.sections():
        name = section.partition(":")[2]
        if not section.startswith("program:"):
            continue
        given = dict(parser.items(section))
        line = in_text(given.get("command", "").replace("%%", "%"))
        for found in programs(line, Manager.SUPERVISOR, name, file, _line(text, f"[{section}]")):
            if isinstance(found, UnreadProgram):
                yield found
                continue
            stop_s = seconds(given.get("stopwaitsecs", "10"))
            program = replace(found, stop_timeout_s=stop_s, directory=given.get("directory", ""), doubt=doubt)
            variables = _assigned(_PAIR.findall(given.get("environment", "")))
            program = replace(program, environment={**variables, **program.environment})
            yield from _instances(program, given, groups.get(name, ""))


def _unreachable(parser: configparser.RawConfigParser) -> str:
    """Return why nobody can talk to the supervisor that a whole configuration starts; a part of one says nothing."""
    sections = parser.sections()
    answers = "rpcinterface:supervisor" in sections and {"unix_http_server", "inet_http_server"} & set(sections)
    if "supervisord" not in sections or answers or parser.has_section("include"):
        return ""
    return "supervisor can't be told to start or stop it: [unix_http_server] and [rpcinterface:supervisor] are missing"


def _instances(program: Program, given: Mapping[str, str], group: str) -> Iterator[Program]:
    """Yield each process of a program by the name that supervisor knows it by."""
    several, start = (_whole(given.get(key, ""), default) for key, default in (("numprocs", 1), ("numprocs_start", 0)))
    pattern = given.get("process_name", "%(program_name)s")
    group = group or (program.name if several > 1 else "")
    names = []
    for number in range(start, start + several):
        values = {"program_name": program.name, "process_num": number, "group_name": group}
        try:
            names.append(pattern % values)
        except (KeyError, TypeError, ValueError):
            break
    if len(set(names)) < several:
        doubt = "several processes of one program: give each its own" if several > 1 else "its name is computed"
        yield replace(program, name=f"{group}:{program.name}" if group else program.name, doubt=doubt)
        return
    for name in names:
        yield replace(program, name=f"{group}:{name}" if group else name)


def _whole(text: str, default: int) -> int:
    return int(text) if text.strip().isdigit() else default


def systemd(file: Path, text: str) -> Iterator[Found]:
    """Yield the process of a unit."""
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text.replace("\\\n", " "))
    except configparser.Error as error:
        yield UnreadProgram(name=file.name, file=file, line=getattr(error, "lineno", 1), why=str(error).splitlines()[0])
        return
    given = dict(parser.items("Service")) if parser.has_section("Service") else {}
    lines = in_text(given.get("ExecStart", "").lstrip("-@:+!"))
    for found in programs(lines, Manager.SYSTEMD, file.name, file, _line(text, "ExecStart")):
        if isinstance(found, UnreadProgram):
            yield found
            continue
        kind = given.get("Type", "simple")
        doubt = f"Type={kind} is not supported: run it in the foreground" if kind in ("forking", "oneshot") else ""
        doubt = doubt or ("a template: name one instance of it" if "@." in file.name else found.doubt)
        stop_s = seconds(given.get("TimeoutStopSec", "90"))
        # A unit may have several, of which the parser keeps the last.
        words = [pair for line in _ENVIRONMENT.findall(text) for pair in _WORD.findall(line)]
        variables = _assigned(word.strip("\"'").partition("=")[::2] for word in words)
        program = replace(found, doubt=doubt, stop_timeout_s=stop_s, directory=given.get("WorkingDirectory", ""))
        yield replace(program, environment={**variables, **program.environment})


def _assigned(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs if name}


def _line(text: str, start: str) -> int:
    """Return the line that begins with a text."""
    return next((number for number, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith(start)), 1)


def seconds(text: str) -> float | None:
    """Return a span such as ``90``, ``1min 30s`` or ``1m30s`` in seconds; None for anything else."""
    parts = _SPAN.findall(text)
    if "".join(number + unit for number, unit in parts) != re.sub(r"\s", "", text) or not parts:
        return None
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
