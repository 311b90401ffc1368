"""What importing the task modules needs: legacy and unified modules are imported where nothing is configured.

The bare environment is defined in ``parity.toml`` under ``[bare_environment]``; without it there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from checks.compare.experiment import Comparison
from checks.protocol import KindContext
from migrator.report import Mismatch, Outcome
from migrator.wire.message import System


def compare(context: KindContext) -> Iterator[Comparison]:
    """Yield one comparison for each legacy system whose modules were imported in a bare environment."""
    unified = context.bare.get("unified")
    for system in (System.CELERY, System.DRAMATIQ):
        legacy, endpoint = context.bare.get(system.value), context.plan.endpoint(system)
        if unified is None or legacy is None or endpoint is None:
            continue
        case, modules = f"import:{system.value}", ", ".join(endpoint.modules)
        frame: dict[str, Any] = {
            "case": case,
            "task": context.plan.unified.modules[0] if context.plan.unified.modules else "tasks",
        }
        left, right = (result.get("broken", "imported") for result in (legacy, unified))
        found = Mismatch(
            system=system.value,
            path="import.without_configuration",
            outcome=Outcome.MISMATCHED,
            legacy=left,
            unified=right,
            **frame,
        )
        yield Comparison(
            title=f"importing {modules} where nothing is configured",
            kind="import",
            system=system.value,
            legacy_name=modules,
            mismatches=(found,) if left != right else (),
            **frame,
        )
