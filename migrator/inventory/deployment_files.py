"""Which processes a project runs, as far as its deployment files say. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from migrator.inventory.deployment.ini_files import supervisor, systemd
from migrator.inventory.deployment.line_files import dockerfile, procfile, script
from migrator.inventory.deployment.program import Found, Program, UnreadProgram
from migrator.inventory.deployment.yaml_files import manifests, mentions
from migrator.inventory.source_files import files

_LARGEST_BYTES = 256 * 1024
_SHEBANG = "#!"
Reader = Callable[[Path, str], Iterator[Found]]


def find_programs(folder: Path) -> tuple[tuple[Program, ...], tuple[UnreadProgram, ...]]:
    """Return the workers, schedulers and producers that deployment files below a folder name, and what can't be read.

    Raises:
        OSError: A folder or a file can't be read.
    """
    found: list[Found] = []
    for file, text, reader in _read(folder):
        found += reader(file, text) if reader is not None else ()
    programs = tuple(item for item in found if isinstance(item, Program))
    return programs, tuple(item for item in found if isinstance(item, UnreadProgram))


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
