"""What a task promises: name, queue, priority, retries, limits, age, results, acknowledgement, encoder, middleware.

Source: see :mod:`checks.side.describe`. The unified side is held against the plan as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from checks.experiment import Comparison
from checks.kinds import Context, pair


def compare(context: Context) -> Iterator[Comparison]:
    """Yield one comparison for each mapped task."""
    for mapping in context.plan.mappings():
        legacy = context.facts(mapping.system.value, mapping.name)
        yield pair("policy", mapping, legacy, context.facts("unified", mapping.unified))
