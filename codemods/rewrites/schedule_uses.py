"""Entries of a beat schedule that are read, changed or taken out by name elsewhere: those that the plan takes away.

Nothing is rewritten; after the rewrite such a line raises KeyError. ``pop("name", None)`` and assignments are no use.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.beat_mappings import is_schedule
from codemods.editing.context import FileContext
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of


def rewrite(context: FileContext) -> None:
    """List the uses of a file."""
    kept = context.index.beat.kept
    gone = {key.partition(":")[2] for key in context.index.schedule if key.partition(":")[2] != kept.get(key)}
    for string in context.tree.strings:
        name = text_of(string)
        if name not in gone:
            continue
        place = _use(context, string)
        if place is not None:
            context.leave(place, "SCHEDULE-USE", name or "")


def _use(context: FileContext, name: cst.CSTNode) -> cst.CSTNode | None:
    """Return the expression that asks a schedule for an entry; None if the string is something else."""
    parent = context.parent(name)
    above = context.parent(parent) if parent is not None else None
    if isinstance(parent, cst.Arg) and isinstance(above, cst.Call) and isinstance(above.func, cst.Attribute):
        taken = above.func.attr.value == "pop" and len(above.args) == 1 and above.args[0] is parent
        return above if taken and is_schedule(above.func.value) else None
    subscript = context.parent(above) if above is not None else None
    if not isinstance(subscript, cst.Subscript) or not is_schedule(subscript.value):
        return None
    return None if isinstance(context.parent(subscript), cst.AssignTarget) else subscript


REWRITE = Rewrite(name="schedule_uses", whole_file=rewrite)
