"""Report which paths below a folder the project's settings name; the arguments are the settings and the folder.

The answer is pairs of a setting and a path that stays inside of the folder when links
are followed, and that is a database or isn't there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .project_setup import use_settings

#: What a worker only reads.
_READ = frozenset({"STATIC_ROOT", "STATICFILES_DIRS", "TEMPLATES", "LOCALE_PATHS", "FIXTURE_DIRS"})


def answer(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Import the settings and look at them."""
    use_settings(arguments[0])
    from django.conf import settings

    folder = Path(arguments[1]).resolve()
    return sorted({(name, str(path)) for name, path in _named(settings) if _is_own(name, path, folder)})


def _named(settings: Any) -> Iterator[tuple[str, Path]]:
    for name in dir(settings):
        if name.isupper() and name not in _READ:
            yield from ((name, path) for path in _paths(getattr(settings, name)))


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, Path) or (isinstance(value, str) and value.startswith("/")):
        yield Path(value)


def _is_own(name: str, path: Path, folder: Path) -> bool:
    """Tell whether what is written there would stay in the folder."""
    try:
        inside = folder in path.resolve().parents
    except (OSError, ValueError):
        return False
    return inside and (name == "DATABASES" or not path.exists())
