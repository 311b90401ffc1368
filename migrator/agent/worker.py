"""A project's own worker, observed from inside; the first argument is the library, the others are its own.

The library's own command line runs here with the plan's arguments. A second thread creates the initial state of each
case, waits until the worker has processed the one message of that case, and answers with what was observed.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

from .project_setup import failure


def main(pipe: Any, arguments: Sequence[str]) -> int:
    """Run the worker until the parent closes the pipe."""
    library, *rest = arguments
    try:
        if library == "dramatiq":
            from .dramatiq_worker import run
        else:
            from .celery_worker import run
    except ImportError as error:
        traceback.print_exc()
        pipe.write(failure(error))
        return 1
    run(pipe, rest)
    return 0
