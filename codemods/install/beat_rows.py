"""The data migration for the rows of django_celery_beat: where it goes, and with what content.

Only for projects whose settings install ``django_celery_beat``. It stands among the migrations of the unified app, so
that the cutover runs it and a rollback takes it back; migrations that exist are never touched. Its code is
``beat_rows.py.in``, with the plan's names written in.
Source: https://docs.djangoproject.com/en/5.2/topics/migrations/#data-migrations
"""

from __future__ import annotations

import ast
import pprint
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codemods.schedules.settings_scopes import settings_modules
from migrator.inventory.module_facts import ModuleFacts
from migrator.plan.model import Plan, TaskMapping
from migrator.wire.message import System

APP = "django_celery_beat"
#: High, so that a later migration of the unified app keeps its number.
FILE = "0900_legacy_periodic_tasks.py"
_TEMPLATE = Path(__file__).with_name("beat_rows.py.in")


def installs_beat_rows(plan: Plan) -> Path | None:
    """Return the settings file that installs django_celery_beat, if any: the plan's, or one that it imports from."""
    modules: dict[str, ModuleFacts] = {}
    for name in settings_modules(plan.source_root, plan.project.settings, modules):
        facts = modules[name]
        texts = (n.value for n in facts.nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
        if any(text == APP or text.startswith(f"{APP}.") for text in texts):
            return facts.file
    return None


def beat_rows_migration(plan: Plan, package_migrations: Sequence[str]) -> tuple[Path, bytes] | None:
    """Return the migration's file and content; None if no row can name a legacy task of this project.

    Args:
        plan: What becomes what.
        package_migrations: Names of the migrations that the unified app brings, in order.
    """
    mappings = [mapping for mapping in plan.mappings() if mapping.system is System.CELERY]
    retired = {task.name: task.reason for task in plan.retired if task.system is System.CELERY}
    if not (mappings or retired) or installs_beat_rows(plan) is None:
        return None
    values: dict[str, Any] = {
        "TASKS": {mapping.name: _forward(plan, mapping) for mapping in mappings if mapping.name != mapping.unified},
        "RETIRED": retired,
        "BACK": _back(plan, mappings),
        "ENTRIES": _entries(plan),
        "LEGACY_QUEUES": _legacy_queues(plan),
        "UNIFIED_QUEUES": list(plan.unified.queues),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in values.items():
        shown = pprint.pformat(value, width=112, sort_dicts=False)
        before, placeholder, after = text.partition(f"{name}: {type(value).__name__} = {value.__class__()!r}")
        assert placeholder, name
        text = f"{before}{name} = {shown}{after}"
    last = package_migrations[-1] if package_migrations else "__first__"
    wanted = [(plan.project.app_label, last), (APP, "__first__")]
    text = text.replace("    dependencies: list = []", f"    dependencies = {wanted!r}")
    return plan.folder / plan.project.install_to / "migrations" / FILE, text.encode("utf-8")


def _forward(plan: Plan, mapping: TaskMapping) -> tuple[str, list[str], list[tuple[str, str, str, Any]], str, str]:
    operations = [(o.kind.value, o.name, o.to, o.value) for o in mapping.operations]
    legacy = mapping.queue or _legacy_queues(plan)[0]
    return mapping.unified, list(mapping.parameters), operations, plan.queue_of(mapping.unified), legacy


def _back(plan: Plan, mappings: Sequence[TaskMapping]) -> dict[str, tuple[str, list[str]]]:
    """Return the legacy name for a native row: the primary task's, or that of the only Celery one; empty if unknown."""
    found = {}
    for task in plan.tasks:
        theirs = [mapping for mapping in mappings if mapping.unified == task.name]
        primary = [mapping for mapping in theirs if mapping.primary] or (theirs if len(theirs) == 1 else [])
        if not any(mapping.name == task.name for mapping in theirs):
            found[task.name] = (primary[0].name if primary else "", list(task.parameters))
    return found


def _entries(plan: Plan) -> dict[str, str]:
    """Entry names without their module: beat writes an entry of the source as a row of that name."""
    found = {name.partition(":")[2]: f"replaced by {e.name}" for e in plan.schedule for name in e.replaces}
    found |= {entry.name.partition(":")[2]: entry.reason for entry in plan.retired_schedule}
    return {name: why for name, why in found.items() if name not in {entry.name for entry in plan.schedule}}


def _legacy_queues(plan: Plan) -> list[str]:
    legacy = plan.endpoint(System.CELERY)
    return list(legacy.queues) if legacy else []
