"""A project's own worker, observed from within: ``start.py worker REQUESTS REPLIES LIBRARY …``.

The library's own command line runs here with the plan's arguments. A thread beside it makes the world of each case,
waits until the worker has dealt with the one message of that case, and answers with what was seen.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the worker until the parent has had enough of it."""
    requests, replies, library, *arguments = sys.argv[1:]
    if library == "dramatiq":
        from .dramatiq_worker import run
    else:
        from .celery_worker import run
    run((int(requests), int(replies)), arguments)
    return 0
