"""Locks and rate limits that a task takes in its body: found in its code, because no option names them.

The names that the function and the project's own functions below it look up are followed, so a lock that is created
under a computed name is not found.
Source: ``dramatiq/rate_limits`` (key and limit are attributes), ``redis/lock.py``; the options of celery-once and
celery-singleton are attributes of the task.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

#: How many calls deep the project's functions are followed.
DEPTH = 3
#: Methods that take a lock, on whatever object they are called.
_TAKING = frozenset({"lock", "acquire_lock", "advisory_lock", "select_for_update", "pg_advisory_lock"})
#: Options of libraries that keep a task from running twice.
_OPTIONS = ("once", "unique_on", "lock_expiry", "raise_on_duplicate")
_SETTINGS = ("limit", "bucket", "window", "ttl", "timeout")


def locks(function: Callable[..., Any]) -> list[str]:
    """Return the locks that the function and the functions it calls take, as a sorted list of descriptions."""
    return sorted(set(_found(inspect.unwrap(function), DEPTH, set())))


def lock_options(task: Any) -> list[str]:
    """Return the options of a task by which a library locks it."""
    return [f"{name}={getattr(task, name)!r}" for name in _OPTIONS if getattr(task, name, None)]


def _found(function: Any, depth: int, seen: set[int]) -> Iterator[str]:
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    names = set(_names(function.__code__))
    known = {**function.__globals__, **_closure(function)}
    values = [known[name] for name in sorted(names) if name in known]
    for module in [value for value in values if isinstance(value, ModuleType)]:
        values += [vars(module)[name] for name in sorted(names) if name in vars(module)]
    yield from (f"{name}()" for name in sorted(names & _TAKING))
    for value in values:
        description = _description(value)
        if description:
            yield description
        elif depth and _is_project_function(value):
            yield from _found(getattr(value, "fn", value), depth - 1, seen)


def _description(value: Any) -> str:
    """Return the description of a lock or rate limiter, or nothing for any other value."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(value).__mro__}
    if kinds & {"dramatiq.rate_limits.rate_limiter.RateLimiter", "redis.lock.Lock", "redis.asyncio.lock.Lock"}:
        settings = ", ".join(f"{name}={getattr(value, name)}" for name in _SETTINGS if hasattr(value, name))
        return f"{type(value).__name__}({getattr(value, 'key', getattr(value, 'name', ''))}: {settings})"
    return ""


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _closure(function: FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or ())
    found = {}
    for name, cell in cells:
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def _is_project_function(value: Any) -> bool:
    """True for a function of the project, which is the current folder."""
    function = getattr(value, "fn", value)
    if not isinstance(function, FunctionType):
        return False
    return Path.cwd().resolve() in Path(function.__code__.co_filename).resolve().parents
