"""A transfer in a process of its own, in the middle of which something happens."""

from __future__ import annotations

import os
import select
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rabbit_scene import RabbitScene

from migrator.events import Event
from migrator.transfer.options import TransferOptions, TransferReport
from migrator.transfer.transfer import transfer

#: How long a run may take until it moves something.
BEGIN_WITHIN_S = 60.0


@contextmanager
def begun_run(
    scene: RabbitScene, options: TransferOptions, *, accepts: Callable[[TransferReport], bool] = lambda report: True
) -> Iterator[int]:
    """Give the process id of a transfer that has moved something; the caller waits for its end.

    Its exit status is 0, or 3 if it does not accept the report, or 4 after an error.
    """
    begun, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 4
        try:

            def listen(event: Event) -> None:
                if event.done:
                    os.write(told, b".")

            code = 0 if accepts(transfer(scene.plan, environ=scene.environ, options=options, listener=listen)) else 3
        except Exception:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    os.close(told)
    try:
        ready: list[Any] = select.select([begun], [], [], BEGIN_WITHIN_S)[0]
        assert ready, f"nothing moved within {BEGIN_WITHIN_S:g} s"
        assert os.read(begun, 1) == b".", "it ended before anything was moved"
        yield pid
    finally:
        os.close(begun)
