"""Sends whose receiver can't be resolved, and whether they may send an actor.

``.send_with_options`` and ``.message_with_options`` are Dramatiq's alone. ``.send`` has many owners (signals, sockets,
mails, generators): it only counts where the receiver is a parameter or an unpacked value and no ``sender=`` is passed.
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext
from codemods.resolve.shared_items import UNKNOWN
from codemods.syntax.scopes import BindingKind

ONLY_DRAMATIQ = frozenset({"send_with_options", "message_with_options"})


def unknown_senders(context: FileContext) -> list[cst.Attribute]:
    """Return the attributes through which a handed-on actor might be sent in this file."""
    found = []
    for attribute in context.tree.attributes:
        name = attribute.attr.value
        if context.uses.of_attribute(attribute) or name not in ONLY_DRAMATIQ | {"send", "delay", "apply_async"}:
            continue
        if name in ONLY_DRAMATIQ or _loose(context, attribute):
            found.append(attribute)
    return found


def _loose(context: FileContext, attribute: cst.Attribute) -> bool:
    call = context.parent(attribute)
    if isinstance(call, cst.Call) and any(arg.keyword and arg.keyword.value == "sender" for arg in call.args):
        return False
    receiver = attribute.value
    if not isinstance(receiver, cst.Name):
        return False
    found = context.values.bindings(receiver)
    kinds = {BindingKind.PARAMETER, BindingKind.ITEM, BindingKind.OTHER}
    return any(b.kind in kinds for b in found) and UNKNOWN in context.values.dotted(receiver)
