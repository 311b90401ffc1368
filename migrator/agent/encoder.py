"""Read and write messages with the project's own encoder of Dramatiq; the argument is its ``package.module:NAME``.

An encoder that unpickles is refused. What JSON can't carry unchanged is told, never converted.
"""

from __future__ import annotations

import importlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from .project_setup import failure


def main(pipe: Any, arguments: Sequence[str]) -> int:
    """Answer until the parent closes the pipe."""
    module, _, attribute = arguments[0].partition(":") if ":" in arguments[0] else arguments[0].rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
        encoder = found() if isinstance(found, type) else found
    except Exception as error:  # noqa: BLE001 - the project's own code: any error is the answer
        pipe.write(failure(error))
        return 1
    unpickles = any("pickle" in kind.__name__.lower() for kind in type(encoder).__mro__)
    usable = all(callable(getattr(encoder, name, None)) for name in ("encode", "decode"))
    pipe.write({"unpickles": unpickles, "usable": usable})
    for request in iter(pipe.read, None):
        try:
            pipe.write(_answer(encoder, request))
        except Exception as error:  # noqa: BLE001 - as above: it can't read or write this message
            pipe.write({"broken": repr(error)})
    return 0


def _answer(encoder: Any, request: Mapping[str, str]) -> Mapping[str, str]:
    if "encode" in request:
        return {"raw": b64encode(encoder.encode(json.loads(request["encode"]))).decode()}
    document = encoder.decode(b64decode(request["decode"]))
    if not isinstance(document, dict):
        raise TypeError(f"returns a {type(document).__name__}")
    return {"document": json.dumps(document, allow_nan=False)}
