"""Whether calls bind: the plan's parameters are the function's; cases and waiting messages bind to the unified task.

Source: ``inspect.signature`` of the actor's function and of the task's ``run``, as each worker calls them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from checks.compare.experiment import Comparison
from checks.protocol import KindContext, pair
from migrator.plan.arguments import FURTHER, FURTHER_NAMED
from migrator.plan.model import TaskMapping


def compare(context: KindContext) -> Iterator[Comparison]:
    """Yield one comparison for each mapped task: the plan against the functions."""
    for mapping in context.plan.mappings():
        legacy = context.facts(mapping.system.value, mapping.name)
        unified = context.facts("unified", mapping.unified)
        if "broken" in legacy or "broken" in unified:
            yield pair("signature", mapping, legacy, unified)
            continue
        task = context.plan.task(mapping.unified)
        expected = {
            "legacy parameters": list(mapping.parameters),
            "unified parameters": list(task.parameters) if task else [],
            "calls that don't bind": [],
        }
        found = {
            "legacy parameters": [_written(item) for item in legacy["parameters"]],
            "unified parameters": [_written(item) for item in unified["parameters"]],
            "calls that don't bind": _unbound(context, mapping, unified["parameters"]),
        }
        yield pair("signature", mapping, {"signature": expected}, {"signature": found})


def _written(item: Mapping[str, Any]) -> str:
    """Return a parameter as a plan writes it."""
    return {"var positional": FURTHER, "var keyword": FURTHER_NAMED}.get(item["kind"]) or str(item["name"])


def _unbound(context: KindContext, mapping: TaskMapping, parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    signature = inspect.Signature([_parameter(item) for item in parameters])
    result = []
    for case in context.cases:
        for call in case.calls:
            if call.mapping != mapping:
                continue
            try:
                signature.bind(*call.unified_args, **call.unified_kwargs)
            except TypeError as error:
                result.append(f"{case.name}: {error}")
    if context.waiting is not None:
        result += context.waiting.unbound(mapping.system.value, mapping.name, signature)
    return result


def _parameter(item: Mapping[str, Any]) -> inspect.Parameter:
    kind = getattr(inspect.Parameter, item["kind"].replace(" ", "_").upper())
    default = inspect.Parameter.empty if item["default"] is None else item["default"]
    return inspect.Parameter(item["name"], kind, default=default)
