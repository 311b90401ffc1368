"""Which processes a project runs, as far as its deployment files say: supervisor, systemd, Procfile. Nothing is run.

Source: supervisord.org/configuration.html ([program:x], [group:x]), systemd.service(5), the Procfile format.
"""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from migrator.inventory.source_files import files
from migrator.plan.command_line import CHANGE
from migrator.plan.processes import Driver, Role
from migrator.wire.message import System

#: Servers of requests, which send messages as they do.
_SERVERS = ("gunicorn", "uvicorn", "daphne", "hypercorn", "waitress-serve", "runserver", "uwsgi")
_SUFFIXES = (".conf", ".ini", ".service")
_LARGEST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process that somebody runs, from a deployment file."""

    driver: Driver
    #: ``group:program``, the unit, or the name in a Procfile.
    name: str
    role: Role
    #: None for a producer.
    system: System | None
    command: tuple[str, ...]
    #: As the file says it; empty if it does not.
    directory: str
    #: Seconds from SIGTERM to SIGKILL; None if the file does not say.
    stop_timeout_s: float | None
    #: Why it can't be driven as it is; empty if it can.
    doubt: str
    file: Path


def find_programs(folder: Path) -> tuple[Program, ...]:
    """Return the workers, schedulers and producers that deployment files below a folder name, file by file."""
    found: list[Program] = []
    for file in files(folder):
        ours = file.name == "Procfile" or file.suffix in _SUFFIXES
        if ours and file.stat().st_size <= _LARGEST_BYTES:
            found += _read(file, file.read_text(encoding="utf-8", errors="replace"))
    return tuple(found)


def kind_of(command: tuple[str, ...]) -> tuple[Role, System | None] | None:
    """Return what a command line does with messages; None if nothing that is known."""
    words = [Path(word).name for word in command]
    if "celery" in words:
        after = words[words.index("celery") + 1 :]
        if "beat" in after:
            return Role.SCHEDULER, System.CELERY
        return (Role.WORKER, System.CELERY) if "worker" in after or "multi" in after else None
    if "dramatiq" in words:
        return Role.WORKER, System.DRAMATIQ
    if "periodiq" in words or "crontab" in words[:3]:
        return Role.SCHEDULER, System.DRAMATIQ
    return (Role.PRODUCER, None) if any(word in _SERVERS for word in words[:4]) else None


def _read(file: Path, text: str) -> Iterator[Program]:
    if file.name == "Procfile":
        return _procfile(file, text)
    if file.suffix == ".service":
        return _systemd(file, text)
    return _supervisor(file, text) if "[program:" in text else iter(())


def _supervisor(file: Path, text: str) -> Iterator[Program]:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;",))
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    groups = {
        name.strip(): section.partition(":")[2]
        for section in parser.sections()
        if section.startswith("group:")
        for name in parser.get(section, "programs", fallback="").split(",")
    }
    for section in parser.sections():
        name = section.partition(":")[2]
        if not section.startswith("program:"):
            continue
        given = dict(parser.items(section))
        program = _program(Driver.SUPERVISOR, name, given.get("command", "").replace("%%", "%"), file)
        if program is not None:
            full = f"{groups[name]}:{name}" if name in groups else name
            several = given.get("numprocs", "1") != "1"
            doubt = "several processes of one program: give each its own" if several else program.doubt
            stop_s = _seconds(given.get("stopwaitsecs", "10"))
            yield replace(program, name=full, doubt=doubt, stop_timeout_s=stop_s, directory=given.get("directory", ""))


def _systemd(file: Path, text: str) -> Iterator[Program]:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text.replace("\\\n", " "))
    except configparser.Error:
        return
    given = dict(parser.items("Service")) if parser.has_section("Service") else {}
    program = _program(Driver.SYSTEMD, file.name, given.get("ExecStart", "").lstrip("-@:+!"), file)
    if program is None:
        return
    kind = given.get("Type", "simple")
    doubt = f"Type={kind} is not supported: run it in the foreground" if kind in ("forking", "oneshot") else ""
    doubt = doubt or ("a template: name one instance of it" if "@." in file.name else program.doubt)
    stop_s = _seconds(given.get("TimeoutStopSec", "90"))
    yield replace(program, doubt=doubt, stop_timeout_s=stop_s, directory=given.get("WorkingDirectory", ""))


def _procfile(file: Path, text: str) -> Iterator[Program]:
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        if not colon or name.strip().startswith("#"):
            continue
        change = CHANGE.match(rest)
        program = _program(Driver.COMMAND, name.strip(), rest[change.end() :] if change else rest, file)
        if program is not None:
            yield replace(program, directory=change["folder"] if change else "")


def _program(driver: Driver, name: str, line: str, file: Path) -> Program | None:
    try:
        words = tuple(shlex.split(line))
    except ValueError:
        return None
    kind = kind_of(words)
    if kind is None:
        return None
    doubt = "`celery multi` puts itself into the background: run `celery worker`" if "multi" in words else ""
    return Program(
        driver=driver,
        name=name,
        role=kind[0],
        system=kind[1],
        command=words,
        directory="",
        stop_timeout_s=None,
        doubt=doubt,
        file=file,
    )


def _seconds(text: str) -> float | None:
    """Return a plain number of seconds, also with a unit of seconds or minutes; None for anything else."""
    number = text.strip().removesuffix("min").removesuffix("s").strip()
    try:
        return float(number) * (60 if "min" in text else 1)
    except ValueError:
        return None
