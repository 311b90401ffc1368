"""Entries of the plan that stand nowhere, written into the dict that counts or as a setting of their own."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import libcst as cst

from codemods.calls.beat_entries import Item, crontab_name
from codemods.editing.context import FileContext
from codemods.plan.beat_places import AddedEntry
from codemods.schedules.schedule_text import entry_lines, literal


def add_entries(context: FileContext, node: cst.Dict, staying: Sequence[Item]) -> None:
    """Add the plan's missing entries to a dict, after those that stay."""
    newline = context.source.newline()
    outer = _indent(context, context.source.span(node)[0])
    if not staying:
        lines = [f"{outer}{line}" for line in added_lines(context, node)]
        context.result.edits.take(context.source.span(node), context.source.text)
        context.replace(node, newline.join(["{", *lines, f"{outer}}}"]))
        return
    last = staying[-1]
    start = context.source.span(last.holder.key if isinstance(last.holder, cst.DictElement) else last.holder)[0]
    own_line = not context.source.text[context.source.text.rfind(b"\n", 0, start) + 1 : start].strip()
    lines = added_lines(context, node)
    if own_line:
        indent = _indent(context, start)
        text = newline + newline.join(indent + line.removeprefix("    ") for line in lines)
    else:
        text = " " + " ".join(line.strip() for line in lines).replace("{ ", "{").replace(", }", "}")
    context.insert_after(last.value, f",{text.removesuffix(',')}")


def added_lines(context: FileContext, node: cst.CSTNode) -> list[str]:
    """Return the lines of the missing entries, four spaces deep."""
    added = context.index.beat.added
    crontab = crontab_name(context) if any(item.entry.crontab for item in added) else ""
    return [line for item in added for line in entry_lines(item.entry, crontab, _extras(context, item, node))]


def _extras(context: FileContext, item: AddedEntry, node: cst.CSTNode) -> dict[str, str]:
    """Return what the replaced entry said besides, its queue adapted."""
    found: dict[str, str] = {}
    for name, text in item.extras:
        if not text:
            context.leave(node, "SCHEDULE-COMPUTED", f"{item.entry.name}: write its {name} by hand")
            continue
        value = ast.literal_eval(text)
        found[name] = literal(
            _routed(context, item, value, node) if name == "options" and isinstance(value, dict) else value
        )
    return found


def _routed(context: FileContext, item: AddedEntry, options: dict[Any, Any], node: cst.CSTNode) -> dict[Any, Any]:
    index = context.index
    own = next((t.queue for t in index.targets.values() if t.unified == item.entry.task and t.queue), "")
    for key in {"queue", "routing_key"} & options.keys():
        if options[key] in index.unified_queues:
            continue
        if options[key] in index.legacy_queues:
            options[key] = own or index.unified_queue
        else:
            context.leave(node, "QUEUE-OPTION", str(options[key]))
    return options


def _indent(context: FileContext, offset: int) -> str:
    opening = context.source.text.rfind(b"\n", 0, offset) + 1
    line = context.source.text[opening:offset].decode("utf-8")
    return line[: len(line) - len(line.lstrip())]
