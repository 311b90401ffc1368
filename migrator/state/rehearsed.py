"""Which plan and source a rehearsal succeeded with: ``.migrator/rehearsal.json``."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from migrator.plan.model import Plan
from migrator.state.proof import source_digest
from migrator.state.state_folder import ensure_state_folder


def note_rehearsal(plan: Plan) -> None:
    """Note that a rehearsal with this plan and this source has succeeded."""
    file = ensure_state_folder(plan) / "rehearsal.json"
    done_at = datetime.now(UTC).isoformat(timespec="seconds")
    fresh = file.with_suffix(".new")
    fresh.write_bytes(orjson.dumps({"plan": plan.fingerprint, "source": source_digest(plan), "done_at": done_at}))
    fresh.replace(file)


def rehearsed_at(plan: Plan) -> str:
    """Return when a rehearsal with this plan and this source succeeded; empty if none did."""
    try:
        found = orjson.loads((plan.state_folder / "rehearsal.json").read_bytes())
        same = (found["plan"], found["source"]) == (plan.fingerprint, source_digest(plan))
        return str(found["done_at"]) if same else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
