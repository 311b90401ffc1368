"""The settings of the Celery app that the installation writes: its broker, and the modules of its tasks."""

from __future__ import annotations

from collections.abc import Sequence

from codemods.editing.context import FileContext
from codemods.schedules.schedule_text import quoted
from codemods.syntax.scopes import Binding
from migrator.plan.toml_table import REFERENCE


def app_settings(context: FileContext) -> list[str]:
    """Return the lines that the settings module lacks; none if the project has an app of its own."""
    if not context.index.needs_app:
        return []
    lines = []
    # Settings of django-dramatiq have become Celery's where they stand, if they could.
    written = "".join(edit.text for edit in context.result.edits) + " ".join(context.tree.module.bindings)
    if "CELERY_BROKER_URL" not in written:
        lines.append(f"CELERY_BROKER_URL = {environment_text(context, context.index.unified_broker)}")
    if "CELERY_IMPORTS" not in written:
        lines.append(f"CELERY_IMPORTS = [{task_modules(context)}]")
    return lines


def task_modules(context: FileContext) -> str:
    """Return the modules of the unified tasks, as the elements of a list."""
    modules = {t.unified_path.rpartition(".")[0] for t in context.index.targets.values() if t.unified_path}
    return ", ".join(map(quoted, sorted(modules)))


def environment_text(context: FileContext, text: str) -> str:
    """Return an expression for a text of the plan, with ``${NAME:-default}`` read from the environment."""
    parts = REFERENCE.split(text)
    if len(parts) == 1:
        return quoted(text)
    name = next((name for name, found in context.tree.module.bindings.items() if _is_os(context, found)), "")
    environ = f"{name}.environ" if name else context.local_import("os", "environ")
    values = [
        f"{environ}[{quoted(variable)}]" if default is None else f"{environ}.get({quoted(variable)}, {quoted(default)})"
        for variable, default in zip(parts[1::3], parts[2::3], strict=True)
    ]
    pieces = [quoted(parts[0])]
    for value, after in zip(values, parts[3::3], strict=True):
        pieces += [value, quoted(after)]
    return " + ".join(piece for piece in pieces if piece != '""')


def _is_os(context: FileContext, found: Sequence[Binding]) -> bool:
    return any(b.statement is not None and context.values.imported(b) == "os" for b in found)
