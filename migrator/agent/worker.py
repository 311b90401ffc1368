"""A project's own worker, observed from inside: ``start.py worker REQUESTS REPLIES LIBRARY …``.

The library's own command line runs here with the plan's arguments. A second thread creates the initial state of each
case, waits until the worker has processed the one message of that case, and answers with what was observed.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the worker until the parent closes the pipe."""
    requests, replies, library, *arguments = sys.argv[1:]
    if library == "dramatiq":
        from .dramatiq_worker import run
    else:
        from .celery_worker import run
    run((int(requests), int(replies)), arguments)
    return 0
