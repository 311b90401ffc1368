"""Places that make a task, or may make one, and that can't be followed: they are listed, never passed over.

A call of what makes a task that is given something computed; ``@x.task``, ``@x.actor`` and ``class A(x.Task)`` where it
can't be told what ``x`` is. Other libraries' decorators of these names are left out.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from migrator.inventory.callables import Load, attribute, project_class
from migrator.inventory.class_tasks import is_task_class, registration
from migrator.inventory.declarations import TaskMakers, declaration
from migrator.inventory.module_facts import Function, ModuleFacts, resolve, statements
from migrator.inventory.task_definitions import applied, of_decorators

#: Code of such a place; an ignore comment with it, and with a reason, says that it makes no task.
UNSEEN = "PLAN-UNSEEN-TASK"
_IGNORE = re.compile(rb"#\s*migrator:\s*ignore\[[^\]]*\b" + UNSEEN.encode() + rb"\b[^\]]*\]\s*\S")
_ATTRIBUTES = frozenset({"task", "actor"})
#: Libraries that have a decorator or base class of such a name themselves.
_OTHERS = frozenset({
    *("airflow", "arq", "background_task", "conductor", "crewai", "dagster", "dbos", "django_q", "fabric", "faust"),
    *("flyte", "flytekit", "gevent", "hatchet_sdk", "huey", "inspect_ai", "invoke", "kedro", "langgraph", "locust"),
    *("luigi", "metaflow", "nox", "prefect", "procrastinate", "pykka", "pytest", "ray", "robocorp", "rocketry", "rq"),
    *("saq", "taskiq", "tasktiger", "temporalio", "trio", "twisted", "uwsgidecorators", "xoscar", "zappa"),
})  # fmt: skip


class Unfollowed(NamedTuple):
    """A place that makes a task, or may make one, and that can't be followed."""

    file: Path
    line: int
    #: Dotted path of the function or class, as a plan names it; of the module, if there is none.
    path: str


def unseen(facts: ModuleFacts, makers: TaskMakers, seen: Collection[int], load: Load) -> Iterator[Unfollowed]:
    """Yield the places where a task is or may be made in a way that can't be followed.

    Args:
        facts: A file.
        makers: What makes a task in the project.
        seen: Lines of the tasks that were found in this file.
        load: Parses files that are not read yet.
    """
    inside = of_decorators(facts, makers)
    decorators = {id(item) for node in facts.nodes if isinstance(node, Function) for item in node.decorator_list}
    for node in facts.nodes:
        if id(node) in inside:
            continue
        if isinstance(node, ast.Call) and id(node) not in decorators and node.lineno not in seen:
            if applied(node, facts, makers) or _registers_unknown(node, facts, makers, load):
                yield Unfollowed(facts.file, node.lineno, facts.name)
        elif isinstance(node, Function):
            if any(_doubtful(item, facts, makers, load) for item in node.decorator_list):
                yield Unfollowed(facts.file, node.lineno, f"{facts.name}.{node.name}")
        elif isinstance(node, ast.ClassDef) and any(_own(item, "run") for item in node.body):
            bases = (base for base in node.bases if isinstance(base, ast.Attribute) and base.attr == "Task")
            if any(
                not is_task_class(b, facts, makers) and _unknown(b.value, "Task", facts, makers, load) for b in bases
            ):
                yield Unfollowed(facts.file, node.lineno, f"{facts.name}.{node.name}")


def dismissed(place: Unfollowed, source: bytes) -> bool:
    """Tell whether an ignore comment stands on the line of a place, or above it and its decorators."""
    lines = source.splitlines()
    at = min(place.line, len(lines)) - 1
    while at >= 0 and not _IGNORE.search(lines[at]):
        at -= 1
        if at >= 0 and not lines[at].lstrip().startswith((b"@", b"#")):
            return False
    return at >= 0


def own_decorators(makers: TaskMakers) -> frozenset[Unfollowed]:
    """Return where the project defines decorators that make tasks; one that no task is found to use is not followed."""
    return frozenset(Unfollowed(*item.place) for item in makers.decorators.values())


def _registers_unknown(call: ast.Call, facts: ModuleFacts, makers: TaskMakers, load: Load) -> bool:
    """Tell whether a call registers a class as a task whose definition can't be found."""
    given = registration(call, facts, makers)
    if given is None:
        return False
    found = project_class(facts, given, load)
    return found is None or (found[0].name != facts.name and not any(_own(item, "run") for item in found[1].body))


def _own(item: ast.stmt, name: str) -> bool:
    return isinstance(item, Function) and item.name == name


def _doubtful(decorator: ast.expr, facts: ModuleFacts, makers: TaskMakers, load: Load) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if not isinstance(target, ast.Attribute) or target.attr not in _ATTRIBUTES:
        return False
    if declaration(decorator, facts, makers) is not None:
        return False
    return _unknown(target.value, target.attr, facts, makers, load)


def _unknown(receiver: ast.expr, name: str, facts: ModuleFacts, makers: TaskMakers, load: Load) -> bool:
    """Tell whether it can't be told what an expression is whose attribute is used as a decorator or base class."""
    dotted = resolve(makers.modules, facts.dotted(receiver))
    owner, _, leaf = dotted.rpartition(".")
    cls = makers.applications.objects.get(dotted, dotted)
    if not dotted:
        made = receiver.func if isinstance(receiver, ast.Call) else None
        return made is None or _unknown(made, name, facts, makers, load)
    home = load(owner)
    if home is None or owner != facts.name:
        module = load(dotted)
        if module is not None:
            return name not in module.defined and name not in module.values
    if dotted.split(".")[0] in _OTHERS or dotted.split(".")[0] in sys.stdlib_module_names:
        return False
    found = _class_named(cls, facts, load)
    if found is not None:
        return attribute(found[0], found[1], name, load) is None and _unknown_base(found, name, makers, load)
    if home is None:
        return True
    given = [value for item in statements(home) for value in _given(item.node, leaf)]
    return not given or any(_made_elsewhere(value, name, home, makers, load) for value in given)


def _given(node: ast.stmt, name: str) -> list[ast.expr | None]:
    """Return what a statement assigns to a variable."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [node.value for target in targets if isinstance(target, ast.Name) and target.id == name]


def _made_elsewhere(value: ast.expr | None, name: str, home: ModuleFacts, makers: TaskMakers, load: Load) -> bool:
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return False
    return not isinstance(value, ast.Call) or _unknown(value.func, name, home, makers, load)


def _class_named(dotted: str, facts: ModuleFacts, load: Load) -> tuple[ModuleFacts, ast.ClassDef] | None:
    owner, _, name = dotted.rpartition(".")
    home = facts if owner == facts.name else load(owner)
    found = home.defined.get(name) if home is not None else None
    return (home, found) if home is not None and isinstance(found, ast.ClassDef) else None


def _unknown_base(found: tuple[ModuleFacts, ast.ClassDef], name: str, makers: TaskMakers, load: Load) -> bool:
    return any(_unknown(base, name, found[0], makers, load) for base in found[1].bases)
