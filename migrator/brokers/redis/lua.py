"""Our scripts, by name."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from migrator.brokers.redis.keys import STEPS


@cache
def script(name: str) -> tuple[str, str]:
    """Return digest and text of one of the scripts in ``scripts/``."""
    text = files("migrator.brokers.redis").joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), text


def counts_step(name: str) -> bool:
    """Say whether a script changes messages and counts that on the server."""
    return STEPS in script(name)[1]
