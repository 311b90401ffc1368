"""Messages of Celery's own tasks: those that hold signatures, with the names of the unified tasks in them.

Source: celery/app/builtins.py (``celery.chord_unlock`` has the callback as its second argument; ``celery.accumulate``
and ``celery.backend_cleanup`` hold no signature); celery/canvas.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migrator.plan.model import TaskMapping
from migrator.translation.canvas_to_unified import CONTAINERS, renamed_embed, renamed_signature
from migrator.translation.renaming import MAPPED, Renaming, mapped_task, renamed_items
from migrator.wire.json_codec import dumps, loads
from migrator.wire.kombu_envelope import Envelope, body_bytes, expect, require_json
from migrator.wire.quarantined import Quarantined, QuarantineReason

_UNLOCK = "celery.chord_unlock"
#: Tasks that every worker of Celery has.
BUILT_IN = frozenset({*CONTAINERS, _UNLOCK, "celery.accumulate", "celery.backend_cleanup"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """A message's task on the other side, and its body."""

    task: str
    #: That of the task that is run by it; None if there is none, or are several.
    mapping: TaskMapping | None
    #: None if it stays as it is.
    body: bytes | Quarantined | None


def built_in_call(renaming: Renaming, name: str, envelope: Envelope) -> NewCall:
    """Return the call of one of Celery's own tasks with the new names."""
    require_json(envelope)
    args, kwargs, embed = loads(body_bytes(envelope))
    args, kwargs, embed = expect(args, list), expect(kwargs, dict), expect(embed, dict)
    inner = _inner(name, args, kwargs)
    mapping = renaming.find(inner) if inner else ""
    found = None if isinstance(mapping, str) else mapping
    changed = _renamed(renaming, name, args, kwargs)
    links = changed if isinstance(changed, str) else renamed_embed(renaming, embed)
    if isinstance(changed, str) or isinstance(links, str):
        unknown = inner and isinstance(mapping, str)
        reason = QuarantineReason.UNKNOWN_TASK if unknown else QuarantineReason.CANVAS
        return NewCall(task=name, mapping=None, body=Quarantined(reason, f"{name}: {links}", inner if unknown else ""))
    task, args, kwargs = changed
    return NewCall(task=task, mapping=found, body=dumps([args, kwargs, links]))


def _inner(name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    """Return the task that a call is about; empty if it is about none, or several."""
    return (
        mapped_task(kwargs) if name in MAPPED else mapped_task({"task": args[1]}) if _has_callback(name, args) else ""
    )


def _renamed(
    renaming: Renaming, name: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[str, list[Any], dict[str, Any]] | str:
    if name in MAPPED:
        mapped = renamed_items(renaming, name, kwargs)
        return mapped if isinstance(mapped, str) else (mapped[0], args, mapped[1])
    if _has_callback(name, args):
        callback = renamed_signature(renaming, args[1])
        return callback if isinstance(callback, str) else (name, [args[0], callback, *args[2:]], kwargs)
    for part in CONTAINERS.get(name, ()):
        if kwargs.get(part) is not None:
            renamed = renamed_signature(renaming, kwargs[part])
            if isinstance(renamed, str):
                return renamed
            kwargs = {**kwargs, part: renamed}
    return name, args, kwargs


def _has_callback(name: str, args: list[Any]) -> bool:
    return name == _UNLOCK and len(args) > 1
