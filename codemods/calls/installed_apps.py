"""The apps of Dramatiq among ``INSTALLED_APPS``, in whatever list of the settings module they stand.

Source: https://docs.djangoproject.com/en/5.2/ref/settings/#installed-apps
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext
from codemods.editing.sequences import remove_items
from codemods.resolve.name_resolution import text_of

_APPS = frozenset({"django_dramatiq", "django_periodiq", "dramatiq_crontab"})


def take_out_apps(context: FileContext, *, settings: bool) -> bool:
    """Take the apps of Dramatiq out of every list of this file; False if some may be installed from elsewhere.

    Args:
        context: The file's.
        settings: Whether it has settings of Dramatiq, which such an app would read.
    """
    elements = app_elements(context)
    placed = {element.value for element, _ in elements}
    named = [node for node in context.tree.strings if _is_app(text_of(node)) and node not in placed]
    bindings = context.tree.module.bindings.get("INSTALLED_APPS", [])
    if named or not all(b.value is not None and _is_written_out(context, b.value) for b in bindings):
        return False
    if (
        not bindings
        and settings
        and any(isinstance(i, cst.ImportFrom) and isinstance(i.names, cst.ImportStar) for i in context.tree.imports)
    ):
        return False
    for holder in {id(holder): holder for _, holder in elements}.values():
        going = [element for element, other in elements if other is holder]
        staying = [element for element in holder.elements if element not in going]
        if isinstance(holder, cst.Tuple) and len(staying) == 1:
            context.replace(holder, f"({context.source.code(staying[0].value)},)")
        else:
            remove_items(context, holder.elements, going)
    return True


def app_elements(context: FileContext) -> list[tuple[cst.Element, cst.List | cst.Tuple]]:
    """Return the elements of lists and tuples that name an app of Dramatiq."""
    found = []
    for node in context.tree.strings:
        element = context.parent(node)
        holder = context.parent(element) if isinstance(element, cst.Element) else None
        if _is_app(text_of(node)) and isinstance(element, cst.Element) and isinstance(holder, (cst.List, cst.Tuple)):
            found.append((element, holder))
    return found


def _is_app(text: str | None) -> bool:
    return text is not None and (text in _APPS or text.partition(".apps.")[0] in _APPS)


def _is_written_out(context: FileContext, node: cst.BaseExpression, depth: int = 0) -> bool:
    """True if every item of a list stands in this file."""
    if isinstance(node, (cst.List, cst.Tuple)):
        parts = [e.value for e in node.elements if isinstance(e, cst.StarredElement)]
        plain = all(text_of(e.value) is not None for e in node.elements if isinstance(e, cst.Element))
        return plain and all(_is_written_out(context, part, depth + 1) for part in parts)
    if isinstance(node, cst.BinaryOperation):
        return _is_written_out(context, node.left, depth + 1) and _is_written_out(context, node.right, depth + 1)
    if not isinstance(node, cst.Name) or depth > 5:
        return False
    found = context.values.bindings(node)
    return bool(found) and all(b.value is not None and _is_written_out(context, b.value, depth + 1) for b in found)
