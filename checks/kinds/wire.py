"""How each type of argument arrives through either system's own encoder.

Source: Dramatiq's plain JSON refuses types that JSON doesn't have; kombu's JSON has datetime, Decimal, UUID and bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from checks.compare.experiment import Comparison
from checks.protocol import KindContext, pair


def compare(context: KindContext) -> Iterator[Comparison]:
    """Yield one comparison for each mapped task."""
    for mapping in context.plan.mappings():
        legacy = context.facts(mapping.system.value, mapping.name)
        yield pair("wire", mapping, legacy, context.facts("unified", mapping.unified))
