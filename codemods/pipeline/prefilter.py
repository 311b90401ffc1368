"""Which files are worth parsing, judged by their bytes.

A file that concerns the plan holds one of its words: names of tasks, dotted names of modules, names of schedule
entries. A module's last name alone (``tasks``, ``actors``) is too common for that; it counts where it is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_WORD = rb"(?<![A-Za-z0-9_])(?:%s)(?![A-Za-z0-9_])"
_IMPORTED = (
    rb"import\b[^\n#'\"]*?\b(?:%s)\b"  # from . import tasks; import a, tasks
    rb"|import\s*\([^)]*?\b(?:%s)\b"
    rb"|from[ \t]+\.[\w.]*?\b(?:%s)[ \t]+import\b"
    rb"|['\"]\.+(?:%s)['\"]"  # import_module(".tasks", package)
)


def prefilter(words: Iterable[str], leaves: Iterable[str] = (), parts: Iterable[str] = ()) -> Callable[[bytes], bool]:
    """Return a test of whether a file holds one of the words as a whole, imports one of the leaves, or has a part.

    Parts are names of libraries: what needs one of them is often called after it.
    Searching for plain words is many times faster than a pattern, which only confirms what they found.
    """
    libraries = [part.encode("utf-8") for part in parts]
    every, ends = sorted(words, key=len, reverse=True), sorted(leaves)
    plain, plain_ends = _shortest(every), _shortest(ends)
    whole = re.compile(_WORD % _choice(every))
    imported = re.compile(_IMPORTED.replace(b"%s", _choice(ends)))

    def worth(data: bytes) -> bool:
        if any(part in data for part in libraries):
            return True
        if any(word in data for word in plain) and whole.search(data):
            return True
        return any(word in data for word in plain_ends) and imported.search(data) is not None

    return worth


def reading(paths: Iterable[str]) -> Callable[[bytes], bool]:
    """Return a test of whether a file may import one of the names: it holds the module's name, and it or a star."""
    names = [
        (name.encode(), module.rpartition(".")[2].encode()) for module, _, name in (p.rpartition(".") for p in paths)
    ]

    def worth(data: bytes) -> bool:
        star = b"import *" in data
        return any((star or name in data) and (module in data or b"from ." in data) for name, module in names)

    return worth


def _choice(words: Iterable[str]) -> bytes:
    return b"|".join(re.escape(word.encode("utf-8")) for word in words)


def _shortest(words: Iterable[str]) -> list[bytes]:
    """Return the words that hold no other of them: a file with any of the words holds one of these."""
    kept: list[str] = []
    for word in sorted(words, key=len):
        if not any(part in word for part in kept):
            kept.append(word)
    return [word.encode("utf-8") for word in kept]
