"""Which rewrites there are: every module of :mod:`codemods.rewrites` that defines ``REWRITE``; the folder is walked."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from codemods.protocol import Handler, Rewrite
from migrator.wire.message import System


class DuplicateRewriteError(Exception):
    """Two rewrites have one name, or claim one method."""


@cache
def rewrites() -> tuple[Rewrite, ...]:
    """Return every rewrite, by name.

    Raises:
        DuplicateRewriteError: Two share a name.
    """
    from codemods import rewrites as folder

    found: dict[str, Rewrite] = {}
    for info in pkgutil.iter_modules(folder.__path__):
        if info.ispkg:
            continue
        module = importlib.import_module(f"codemods.rewrites.{info.name}")
        rewrite = getattr(module, "REWRITE", None)
        if rewrite is None:
            continue
        if rewrite.name in found or rewrite.name != info.name:
            raise DuplicateRewriteError(
                f"codemods/rewrites/{info.name}.py: the name {rewrite.name!r} is not the file's or is taken"
            )
        found[rewrite.name] = rewrite
    return tuple(found[name] for name in sorted(found))


def handlers(every: tuple[Rewrite, ...]) -> dict[tuple[System, str], tuple[str, Handler]]:
    """Return the handler of each method, with the name of its rewrite.

    Raises:
        DuplicateRewriteError: Two rewrites claim one method.
    """
    found: dict[tuple[System, str], tuple[str, Handler]] = {}
    for rewrite in every:
        for key, handler in rewrite.methods.items():
            if key in found:
                raise DuplicateRewriteError(f"{key[0].value} {key[1]}: claimed by {found[key][0]} and {rewrite.name}")
            found[key] = (rewrite.name, handler)
    return found
