"""The loop of a control or candidate process: one JSON line in, one JSON line out, on pipes of its own.

Standard output belongs to the project and goes to a log file.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import orjson


def main() -> int:
    """Serve runs until the parent closes the pipe."""
    with os.fdopen(int(sys.argv[1]), "rb") as requests, os.fdopen(int(sys.argv[2]), "wb") as replies:
        configuration = orjson.loads(requests.readline())
        try:
            from .session import Session

            session = Session(configuration)
        except BaseException as error:  # noqa: BLE001 - any reason why the project does not start is the answer
            traceback.print_exc()
            _reply(replies, {"broken": f"the project can't be set up: {type(error).__name__}: {error}"})
            return 1
        _reply(replies, {"ready": True})
        for line in iter(requests.readline, b""):
            _reply(replies, _answer(session, orjson.loads(line)))
    return 0


def _answer(session: Any, run: dict[str, Any]) -> dict[str, Any]:
    try:
        observation: dict[str, Any] = session.run(run)
    except Exception as error:  # noqa: BLE001 - the parent reports it
        traceback.print_exc()
        return {"broken": f"{type(error).__name__}: {error}"}
    return observation


def _reply(replies: Any, document: dict[str, Any]) -> None:
    replies.write(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS) + b"\n")
    replies.flush()
