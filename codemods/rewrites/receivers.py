"""Sends of Dramatiq whose receiver can't be resolved are listed, never guessed; so is what is read from their value.

Source: ``dramatiq/actor.py``: no other library has ``send_with_options`` or ``message_with_options``.
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext
from codemods.protocol import Rewrite
from codemods.uses.receivers import ONLY_DRAMATIQ

#: What is read from the value of a send.
_MESSAGES = frozenset({"message_id", "get_result"})


def rewrite(context: FileContext) -> None:
    """List what could not be resolved."""
    for attribute in context.tree.attributes:
        known = attribute.attr.value not in ONLY_DRAMATIQ or context.uses.of_attribute(attribute) is not None
        if not known and not _double(context, attribute) and not _stays(context, attribute):
            context.leave(attribute, "UNRESOLVED-RECEIVER", context.source.code(attribute))
    escaped = any(left.code == "RESULT-ESCAPES" for left in context.result.leftovers)
    if escaped or any(use.rewritten and use.attribute is not None and use.call is None for use in context.uses):
        for attribute in context.tree.attributes:
            if attribute.attr.value in _MESSAGES and not _double(context, attribute):
                code = context.source.code(attribute)
                context.leave(attribute, "MESSAGE-ATTRIBUTE", f"{code}: if it is the value of a send, it will raise")


def _stays(context: FileContext, attribute: cst.Attribute) -> bool:
    """True if the receiver can only be actors that stay."""
    return all(context.index.resolve(path) in context.index.stays for path in context.values.dotted(attribute.value))


def _double(context: FileContext, attribute: object) -> bool:
    """True for an attribute that another rewrite changed: the mock of a patched actor."""
    return context.result.edits.covers(context.source.span(attribute.attr))  # type: ignore[attr-defined]


REWRITE = Rewrite(name="receivers", whole_file=rewrite, last=True)
