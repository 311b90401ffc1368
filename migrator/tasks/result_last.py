"""A task that takes the result of the step before behind its own arguments, as an actor in a Dramatiq pipeline does.

A chain puts the result in front. Under this decorator a positional argument goes to the first parameter that no keyword
names, so a step whose own arguments are keywords leaves it the right one; any other call means what it always meant::

    @shared_task(name="shop.charge")
    @result_last
    def charge(currency, reservation): ...


    chain(reserve.s(ref), charge.s(currency="EUR"))

Source: celery/canvas.py (``Signature._merge`` puts the result first).
"""

from __future__ import annotations

from functools import wraps
from inspect import Parameter, signature
from typing import Any, Callable


def result_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give positional arguments to the parameters that no keyword names, in their order."""
    parameters = signature(function).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        free = [name for name in names if name not in kwargs]
        if len(args) <= len(free):
            args, kwargs = (), {**dict(zip(free, args)), **kwargs}
        return function(*args, **kwargs)

    return call
