"""Encoders of Dramatiq projects that have their own, named in the plan: ``[legacy.dramatiq] encoder = "pkg.mod:NAME"``.

Nothing of the project is imported unless the plan names an encoder. An encoder that unpickles is always refused.

Source: dramatiq/encoder.py (``Encoder``: ``encode(dict) -> bytes``, ``decode(bytes) -> dict``).
"""

from __future__ import annotations

import importlib
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Protocol

from migrator.errors import UsageError
from migrator.wire.json_codec import UnreadableError

#: Marks an original that is binary; Dramatiq's own JSON begins with a brace.
_PREFIX = "base64:"


class Encoder(Protocol):
    """What Dramatiq calls an encoder."""

    def encode(self, data: dict[str, Any]) -> bytes:
        """Return a message's bytes."""
        ...

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return a message's fields."""
        ...


def load_encoder(name: str, source_root: Path) -> Encoder | None:
    """Import the encoder named in the plan; None if there is none.

    Raises:
        UsageError: There is no such encoder, or it unpickles.
    """
    if not name:
        return None
    where, remedy = "legacy.dramatiq.encoder", "name it as package.module:NAME, a class or an instance"
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    if str(source_root) not in sys.path:
        sys.path.insert(0, str(source_root))
    try:
        found = getattr(importlib.import_module(module), attribute)
        encoder: Encoder = found() if isinstance(found, type) else found
    except Exception as error:
        raise UsageError(where, f"{name!r} can't be imported", found=repr(error), remedy=remedy) from error
    if any("pickle" in kind.__name__.lower() for kind in type(encoder).__mro__):
        what = "an encoder that unpickles can run any code that a message contains"
        raise UsageError(where, what, found=name, remedy="drain these queues with the old workers before the cutover")
    if not callable(getattr(encoder, "encode", None)) or not callable(getattr(encoder, "decode", None)):
        raise UsageError(where, "is not an encoder: it needs encode and decode", found=name, remedy=remedy)
    return encoder


def decoded(encoder: Encoder, raw: bytes) -> dict[str, Any]:
    """Return a message's fields.

    Raises:
        UnreadableError: The encoder can't read it, whatever it raises.
    """
    try:
        document = encoder.decode(raw)
    except Exception as error:  # noqa: BLE001 - the project's own code: any error means that it can't be read
        raise UnreadableError(f"the project's encoder can't read it: {error!r:.120}") from None
    if not isinstance(document, dict):
        raise UnreadableError(f"the project's encoder returns a {type(document).__name__}")
    return document


def as_text(raw: bytes) -> str:
    """Return bytes of any kind as a text for our header."""
    return _PREFIX + b64encode(raw).decode()


def from_text(text: str) -> bytes:
    """Return the original that a header holds."""
    return b64decode(text[len(_PREFIX) :]) if text.startswith(_PREFIX) else text.encode()
