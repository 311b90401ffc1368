"""How each type of argument arrives through either system's own encoder.

Source: Dramatiq's plain JSON refuses types that JSON doesn't have; kombu's JSON has datetime, Decimal, UUID and bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from checks.compare.experiment import Comparison
from checks.protocol import KindContext, pair


def compare(context: KindContext) -> Iterator[Comparison]:
    """Yield one comparison for each mapped task."""
    for mapping in context.plan.mappings():
        legacy, unified = context.facts(mapping.system.value, mapping.name), context.facts("unified", mapping.unified)
        if "broken" not in legacy and "broken" not in unified:
            legacy = {**legacy, "wire": {**legacy["wire"], **_only_unified(legacy["wire"], unified["wire"])}}
        yield pair("wire", mapping, legacy, unified)


def _only_unified(legacy: Mapping[str, str], unified: Mapping[str, str]) -> dict[str, str]:
    """Return what the legacy encoder refuses: no message has it, so whatever the unified one does is no difference."""
    return {kind: unified[kind] for kind, found in legacy.items() if found.startswith("refused")}
