"""Which rewrites there are: every module of :mod:`codemods` that defines ``REWRITE``, found by walking the folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from codemods.engine.context import FileContext, Use
from migrator.message import System

#: Rewrites one use of a task; raises LeaveError where it can't.
Handler = Callable[[FileContext, Use], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """One rewrite. Its name is its file's."""

    name: str
    #: Handlers by system and attribute; the attribute is "()" for a direct call and "" for a bare reference.
    methods: Mapping[tuple[System, str], Handler] = field(default_factory=dict)
    #: Runs over a whole file after the uses of tasks are decided.
    whole_file: Callable[[FileContext], None] | None = None
    #: True if it converts definitions: a first pass over the files that hold them runs these rewrites alone.
    defines: bool = False
    #: Runs after everything else in the file is decided: imports.
    last: bool = False


class DuplicateRewriteError(Exception):
    """Two rewrites have one name, or claim one method."""


@cache
def rewrites() -> tuple[Rewrite, ...]:
    """Return every rewrite, by name.

    Raises:
        DuplicateRewriteError: Two share a name.
    """
    import codemods

    found: dict[str, Rewrite] = {}
    for info in pkgutil.iter_modules(codemods.__path__):
        if info.ispkg:
            continue
        module = importlib.import_module(f"codemods.{info.name}")
        rewrite = getattr(module, "REWRITE", None)
        if rewrite is None:
            continue
        if rewrite.name in found or rewrite.name != info.name:
            raise DuplicateRewriteError(
                f"codemods/{info.name}.py: the name {rewrite.name!r} is not the file's or is taken"
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
