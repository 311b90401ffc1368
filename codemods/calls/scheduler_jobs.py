"""When the jobs of a project's other schedulers run: APScheduler's, dramatiq-crontab's and periodiq's.

Used to draft a plan, so it needs none. Source: :mod:`codemods.schedules.job_triggers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import libcst as cst

from codemods.calls.actor_calls import declaration
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import argument
from codemods.plan.plan_index import PlanIndex
from codemods.resolve.name_resolution import Values, Where, text_of
from codemods.schedules.job_triggers import job_text, scheduling, trigger_text
from codemods.syntax.source import UnparsableError, read_source
from migrator.inventory.source_files import module_name


def read_scheduler_jobs(root: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return each job that can be read, as ``module:entry``, with the ``crontab = …`` or ``every_s = …`` it means."""
    found: dict[str, str] = {}
    for file in sorted(set(files)):
        try:
            source = read_source(file, file.read_bytes())
        except (UnparsableError, OSError):
            continue
        values = Values(source.tree, Where(module_name(root, file), file.stem == "__init__"))
        index = PlanIndex(root=root, targets={}, modules=frozenset())
        context = FileContext(source=source, index=index, values=values, shown=file.name)
        found |= {f"{values.where.module}:{entry}": text for entry, text in _jobs(context) if entry and text}
    return found


def _jobs(context: FileContext) -> Iterator[tuple[str, str]]:
    for call in context.tree.calls:
        if not isinstance(call.func, cst.Attribute) or call.func.attr.value not in {"add_job", "scheduled_job"}:
            continue
        named = argument(call, 99, "id")
        decorator = context.parent(call)
        function = context.parent(decorator) if isinstance(decorator, cst.Decorator) else None
        if isinstance(function, cst.FunctionDef):
            leaf, trigger = function.name.value, argument(call, 0, "trigger")
        else:
            job = argument(call, 0, "func")
            leaf, trigger = _sent(job.value if job is not None else None), argument(call, 1, "trigger")
        yield (text_of(named.value) if named is not None else None) or leaf, job_text(context, trigger, call.args)
    for node in context.tree.definitions:
        for decorator in node.decorators if isinstance(node, cst.FunctionDef) else ():
            if scheduling(context, getattr(decorator.decorator, "func", decorator.decorator)).startswith("dramatiq_"):
                yield node.name.value, trigger_text(context, decorator.decorator)
            elif (periodic := _periodic(context, decorator.decorator)) is not None:
                yield node.name.value, trigger_text(context, periodic)


def _sent(node: cst.BaseExpression | None) -> str:
    """Return the leaf of what a job sends: ``task`` of ``module.task.send``, or a function's own name."""
    if isinstance(node, cst.Attribute):
        node = node.value
        return node.attr.value if isinstance(node, cst.Attribute) else getattr(node, "value", "")
    if (text := text_of(node)) is not None:
        return text.rpartition(".")[0].replace(":", ".").rpartition(".")[2]
    return node.value if isinstance(node, cst.Name) else ""


def _periodic(context: FileContext, node: cst.BaseExpression) -> cst.BaseExpression | None:
    try:
        found = declaration(context, node)
    except LeaveError:
        return None
    return found.options.get("periodic") if found is not None else None
