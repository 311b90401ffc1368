"""Which middleware a project's Dramatiq broker has: it decides whether and how an actor is retried.

Read from the source: ``SomeBroker(…, middleware=[…])``, ``broker.add_middleware(…)``, and django_dramatiq's setting.
Source: ``dramatiq/middleware/__init__.py`` (the default list), ``retries.py``, ``time_limit.py``, ``age_limit.py``,
``dramatiq/results/middleware.py``, ``django_dramatiq/apps.py``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from migrator.inventory.module_facts import ModuleFacts

#: What declares an actor.
ACTORS = frozenset({"dramatiq.actor", "dramatiq.actor.actor"})
#: Middleware whose effect is written out, or that Celery has by itself.
COVERED = frozenset(
    {"AgeLimit", "TimeLimit", "Retries", "Callbacks", "Pipelines", "GroupCallbacks", "AsyncIO", "Results"}
    | {"DbConnectionsMiddleware", "PeriodiqMiddleware"}
)
_DEFAULTS = ("AgeLimit", "TimeLimit", "Retries")
_DEFAULT_MAX_RETRIES = 20
_DEFAULT_MIN_BACKOFF_MS = 15_000
_DEFAULT_MAX_BACKOFF_MS = 604_800_000
_DEFAULT_TIME_LIMIT_MS = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorDefaults:
    """What the configured middleware does to every actor; times in milliseconds."""

    #: False if no broker, or several that differ, or one that can't be read was found; see :attr:`why`.
    known: bool
    why: str = ""
    retries: bool = True
    #: None means without limit.
    max_retries: int | None = _DEFAULT_MAX_RETRIES
    min_backoff_ms: int = _DEFAULT_MIN_BACKOFF_MS
    max_backoff_ms: int = _DEFAULT_MAX_BACKOFF_MS
    #: None means no limit.
    time_limit_ms: int | None = _DEFAULT_TIME_LIMIT_MS
    max_age_ms: int | None = None
    #: True if results are stored unless an actor says otherwise.
    stores_results: bool = False


def read_policy(modules: Iterable[ModuleFacts]) -> ActorDefaults:
    """Return the policy of the one broker of a project."""
    found: set[ActorDefaults] = set()
    for facts in modules:
        added = list(_added(facts))
        found.update(_policy(facts, call, added) for call in _brokers(facts))
        found.update(_django(facts))
    if len(found) == 1:
        return found.pop()
    return ActorDefaults(known=False, why="no Dramatiq broker was found" if not found else "several brokers differ")


def _brokers(facts: ModuleFacts) -> Iterator[ast.Call]:
    for node in ast.walk(facts.tree):
        if isinstance(node, ast.Call):
            dotted = facts.dotted(node.func)
            if dotted.startswith("dramatiq.brokers.") and dotted.endswith("Broker"):
                yield node


def _added(facts: ModuleFacts) -> Iterator[ast.expr]:
    for node in ast.walk(facts.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_middleware":
            yield from node.args[:1]


def _policy(facts: ModuleFacts, call: ast.Call, added: list[ast.expr]) -> ActorDefaults:
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "middleware"), None)
    if given is None or (isinstance(given, ast.Constant) and given.value is None):
        items: list[ast.expr] = []
        names = list(_DEFAULTS)
    else:
        if isinstance(given, ast.Name):
            given = facts.values.get(given.id, given)
        if not isinstance(given, (ast.List, ast.Tuple)):
            return ActorDefaults(known=False, why="the broker's middleware is computed")
        items, names = list(given.elts), []
    return _from_items(facts, [*items, *added], names)


def _from_items(facts: ModuleFacts, items: list[ast.expr], names: list[str]) -> ActorDefaults:
    options: dict[str, dict[str, int | None]] = {name: {} for name in names}
    stores = False
    for item in items:
        if isinstance(item, ast.Call):
            values = _numbers(facts, item)
            if values is None and facts.dotted(item.func).rpartition(".")[2] in _DEFAULTS:
                return ActorDefaults(known=False, why="a middleware's options are computed")
            options[facts.dotted(item.func).rpartition(".")[2]] = values or {}
            stores |= any(k.arg == "store_results" and _is_true(k.value) for k in item.keywords)
        elif isinstance(item, (ast.Name, ast.Attribute)):
            options[facts.dotted(item).rpartition(".")[2]] = {}
        elif isinstance(item, ast.Constant) and isinstance(item.value, str):
            options[item.value.rpartition(".")[2]] = {}
        else:
            return ActorDefaults(known=False, why="the broker's middleware is computed")
    retries = options.get("Retries", {})
    limit = options.get("TimeLimit", {}).get("time_limit", _DEFAULT_TIME_LIMIT_MS) if "TimeLimit" in options else None
    return ActorDefaults(
        known=True,
        retries="Retries" in options,
        max_retries=retries.get("max_retries", _DEFAULT_MAX_RETRIES),
        min_backoff_ms=retries.get("min_backoff") or _DEFAULT_MIN_BACKOFF_MS,
        max_backoff_ms=retries.get("max_backoff") or _DEFAULT_MAX_BACKOFF_MS,
        time_limit_ms=limit,
        max_age_ms=options.get("AgeLimit", {}).get("max_age"),
        stores_results=stores,
    )


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _numbers(facts: ModuleFacts, call: ast.Call) -> dict[str, int | None] | None:
    found: dict[str, int | None] = {}
    for keyword in call.keywords:
        value = number(facts, keyword.value)
        if isinstance(keyword.value, ast.Constant) and keyword.value.value is None:
            found[keyword.arg or ""] = None
        elif value is None:
            return None
        else:
            found[keyword.arg or ""] = int(value)
    return found if not call.args else None


def number(facts: ModuleFacts, node: ast.expr) -> float | None:
    """Return the value of a number, a product or sum of numbers, or a module constant that holds one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.Name) and node.id in facts.values:
        return number(facts, facts.values[node.id]) if facts.values[node.id] is not node else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Add)):
        left, right = number(facts, node.left), number(facts, node.right)
        if left is not None and right is not None:
            return left * right if isinstance(node.op, ast.Mult) else left + right
    return None


def _django(facts: ModuleFacts) -> Iterator[ActorDefaults]:
    """django_dramatiq's setting names the middleware by path, without options; without the setting it has defaults."""
    values, apps = _settings(facts, "DRAMATIQ_BROKER"), _settings(facts, "INSTALLED_APPS")
    for value in values:
        if not isinstance(value, ast.Dict):
            continue
        given = {
            key.value: item
            for key, item in zip(value.keys, value.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }
        listed = given.get("MIDDLEWARE", ast.List([]))
        if isinstance(listed, (ast.List, ast.Tuple)):
            yield _from_items(facts, list(listed.elts), [])
    installed = [item for value in apps for item in getattr(value, "elts", ())]
    if not values and any(isinstance(item, ast.Constant) and item.value == "django_dramatiq" for item in installed):
        yield _from_items(facts, [], list(_DEFAULTS))


def _settings(facts: ModuleFacts, name: str) -> list[ast.expr]:
    """Return what a setting is given at the top of a module, or in its classes, as django-configurations has them."""
    if name in facts.values:
        return [facts.values[name]]
    bodies = [statement.body for statement in facts.tree.body if isinstance(statement, ast.ClassDef)]
    assigned = [statement for body in bodies for statement in body if isinstance(statement, ast.Assign)]
    return [s.value for s in assigned if any(isinstance(t, ast.Name) and t.id == name for t in s.targets)]
