"""Which processes a project runs, as far as its deployment files say. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from migrator.inventory.deployment.ini_files import supervisor, systemd
from migrator.inventory.deployment.line_files import dockerfile, procfile, script
from migrator.inventory.deployment.program import Found, Program, UnreadProgram
from migrator.inventory.deployment.yaml_files import manifests, mentions
from migrator.inventory.source_files import files
from migrator.plan.processes import Role
from migrator.wire.message import System

_LARGEST_BYTES = 256 * 1024
_SHEBANG = "#!"
Reader = Callable[[Path, str], Iterator[Found]]


def find_programs(
    folder: Path, role: Callable[[str], Role | None] = lambda _: None
) -> tuple[tuple[Program, ...], tuple[UnreadProgram, ...]]:
    """Return the workers, schedulers and producers that deployment files below a folder name, and what can't be read.

    Args:
        folder: Where they are looked for.
        role: Tells the role of a command of the project's own; None for one that has nothing to do with messages.

    Raises:
        OSError: A folder or a file can't be read.
    """
    found: list[Found] = []
    for file, text, reader in _read(folder):
        found += reader(file, text) if reader is not None else ()
    programs = tuple(own for item in found if isinstance(item, Program) and (own := _with_role(item, role)))
    return programs, tuple(item for item in found if isinstance(item, UnreadProgram))


def _with_role(program: Program, role: Callable[[str], Role | None]) -> Program | None:
    found = role(program.started.own) if program.started.own else program.role
    if found is None or found is program.role:
        return program if found is not None else None
    system = System.DRAMATIQ if found is Role.SCHEDULER else None
    return replace(program, started=replace(program.started, role=found, system=system))


def deployment_texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield what may say how production runs: the files that are read for processes, and those of variables.

    Raises:
        OSError: A folder or a file can't be read.
    """
    for file, text, reader in _read(folder):
        variables = file.name.startswith(".env") or file.suffix == ".env"
        hidden = file.name.startswith(".") and not variables
        if variables or (not hidden and reader is not None and reader is not mentions):
            yield file, text


def _read(folder: Path) -> Iterator[tuple[Path, str, Reader | None]]:
    for file in files(folder):
        if not (file.suffix in _SUFFIXES or file.suffix in ("", ".env") or file.name.startswith(_NAMES)):
            continue
        if file.stat().st_size <= _LARGEST_BYTES:
            text = file.read_text(encoding="utf-8", errors="replace")
            yield file, text, _reader(file, text)


_NAMES = ("Procfile", "Dockerfile", ".env")
_SUFFIXES: dict[str, Reader] = {
    ".conf": supervisor,
    ".ini": supervisor,
    ".service": systemd,
    ".yml": manifests,
    ".yaml": manifests,
    ".sh": script,
    ".bash": script,
    **dict.fromkeys((".toml", ".json", ".tf", ".j2", ".tpl"), mentions),
}


def _reader(file: Path, text: str) -> Reader | None:
    """Return what reads a file of this name and beginning."""
    if file.name.startswith("Procfile"):
        return procfile
    if "Dockerfile" in file.name:
        return dockerfile
    if file.suffix == "":
        first = text[:80].partition("\n")[0]
        return script if first.startswith(_SHEBANG) and "sh" in first else None
    if file.suffix == ".toml" and re.search(r"^\[migration\]", text, re.MULTILINE):
        return None  # a plan names the processes of the files that are read
    reader = _SUFFIXES.get(file.suffix)
    return mentions if reader is supervisor and "[program:" not in text else reader
