"""What a rewrite is: one file of :mod:`codemods.rewrites`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from codemods.editing.context import FileContext, Use
from migrator.wire.message import System

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
