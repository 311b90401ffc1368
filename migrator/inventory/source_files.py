"""Which Python files of a project are its own, and what they are called when imported.

Left out: hidden folders, virtual environments (a folder with ``pyvenv.cfg``, tracked or not), ``site-packages``,
``node_modules``, ``__pycache__``, and every symbolic link, so that a walk never leaves the given root.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_ENDINGS = frozenset({".py", ".pyi"})
_KEPT_BYTES = 64 << 20
_NEVER = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages", "__pypackages__"})


def files(root: Path) -> Iterator[Path]:
    """Yield every regular file below ``root`` that belongs to the project, sorted by path.

    Raises:
        OSError: A folder can't be read.
    """
    folders = [root]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        inner = []
        for entry in entries:
            if entry.is_symlink():
                continue
            if entry.is_dir():
                below = Path(entry.path)
                if not skipped(below):
                    inner.append(below)
            elif entry.is_file():
                yield Path(entry.path)
        folders.extend(reversed(inner))


def python_files(root: Path) -> Iterator[Path]:
    """Yield the Python files among :func:`files`."""
    return (file for file in files(root) if file.suffix in _ENDINGS)


@dataclass(slots=True)
class SourceFiles:
    """The files below a folder for the parts of one run: listed once, and read once as far as they fit into memory."""

    root: Path
    _listed: dict[Path, tuple[Path, ...]] = field(default_factory=dict)
    _data: dict[Path, bytes] = field(default_factory=dict)
    _room_bytes: int = _KEPT_BYTES

    def files(self, root: Path | None = None) -> tuple[Path, ...]:
        """Return what :func:`files` yields for a folder.

        Raises:
            OSError: A folder can't be read.
        """
        wanted = root or self.root
        if wanted not in self._listed:
            self._listed[wanted] = tuple(files(wanted))
        return self._listed[wanted]

    def python_files(self, root: Path | None = None) -> list[Path]:
        """Return the Python files among them."""
        return [file for file in self.files(root) if file.suffix in _ENDINGS]

    def read(self, file: Path) -> bytes:
        """Return what a file held when it was first read.

        Raises:
            OSError: It can't be read.
        """
        known = self._data.get(file)
        if known is not None:
            return known
        with io.FileIO(str(file)) as stream:
            data = stream.readall()
        if len(data) <= self._room_bytes:
            self._room_bytes -= len(data)
            self._data[file] = data
        return data


def skipped(folder: Path) -> bool:
    """Tell whether a folder is not the project's own: hidden, a virtual environment, a cache."""
    return folder.name.startswith(".") or folder.name in _NEVER or (folder / "pyvenv.cfg").exists()


def module_name(root: Path, file: Path) -> str:
    """Return the dotted name under which ``file`` is imported with ``root`` on the path; empty if it lies outside."""
    if not file.is_relative_to(root):
        return ""
    parts = list(file.relative_to(root).with_suffix("").parts)
    if parts and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def module_files(root: Path, module: str) -> tuple[Path, Path]:
    """Return the two files that a module may be, the inverse of :func:`module_name`; whether they are there or not."""
    base = root.joinpath(*module.split("."))
    return base.with_name(f"{base.name}.py"), base / "__init__.py"


def module_file(root: Path, module: str) -> Path | None:
    """Return the file of a module below ``root``; None if it isn't there."""
    return next((file for file in module_files(root, module) if file.is_file()), None) if module else None


def absolute(module: str, *, is_package: bool, level: int, target: str) -> str:
    """Return the absolute form of ``from <level dots><target> import`` seen in ``module``."""
    if level == 0:
        return target
    parts = module.split(".") if module else []
    keep = len(parts) - level + (1 if is_package else 0)
    prefix = parts[: max(keep, 0)]
    return ".".join([*prefix, *([target] if target else [])])
