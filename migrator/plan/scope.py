"""The scope of a plan: the modules whose legacy tasks it is about. Tasks of other modules stay as they are."""

from __future__ import annotations

from migrator.plan.model import Plan
from migrator.plan.toml_table import Problems, TomlTable


def read_scope(table: TomlTable) -> tuple[str, ...]:
    """Read ``[scope]``."""
    modules = table.texts("modules")
    if not modules:
        table.problem("modules", "is empty", "name modules, such as orders.*, or leave [scope] out: then all are meant")
    table.close()
    return modules


def check_scope(plan: Plan, text: str, problems: Problems) -> None:
    """Report every task of the plan that its own scope leaves out, with its line."""
    if plan.scope and plan.cutover.legacy_aliases:
        hint = "unified workers would also take what is for tasks that stay; `migrator transfer --follow` leaves it"
        problems.add("cutover.legacy_aliases", "does not go with [scope]", hint)
    lines = text.splitlines()
    for kind, system, name, path in (
        *(("task", m.system, m.name, m.path) for m in plan.mappings()),
        *(("retired", r.system, r.name, r.path) for r in plan.retired),
    ):
        if not plan.in_scope(path):
            quoted = (f'"{path}"', f"'{path}'", f'"{name}"', f"'{name}'")
            line = next((number for word in quoted for number, given in enumerate(lines, 1) if word in given), 0)
            hint = f"its module is not among {', '.join(plan.scope)}: take it out, or add the module to [scope]"
            where = f"{kind} {system.value}:{name}" + (f", line {line}" if line else "")
            problems.add(where, "is outside of the plan's scope", hint)
