"""The loop of a control or candidate process: one JSON line in, one JSON line out.

Standard output belongs to the project and goes to a log file.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

from .project_setup import failure


def main(pipe: Any, arguments: Sequence[str]) -> int:
    """Serve runs until the parent closes the pipe."""
    configuration = pipe.read()
    try:
        from .session import Session

        session = Session(configuration)
    except BaseException as error:  # noqa: BLE001 - any reason why the project does not start is the answer
        traceback.print_exc()
        pipe.write(failure(error))
        return 1
    pipe.write({"ready": True})
    for run in iter(pipe.read, None):
        pipe.write(_answer(session, run))
    return 0


def _answer(session: Any, run: dict[str, Any]) -> dict[str, Any]:
    try:
        observation: dict[str, Any] = session.run(run)
    except Exception as error:  # noqa: BLE001 - the parent reports it
        traceback.print_exc()
        return {"broken": failure(error)["broken"]}
    return observation
