"""Requests to a web process, one after another, each with a reference of its own, until a file appears.

Usage: traffic.py BASE_URL LEDGER STOP_FILE INTERVAL_S PATH…

Each PATH has ``{ref}`` in it. A line of the ledger is one request: reference, path and status, 0 if the connection
broke in mid-request (then nobody knows what it has sent). A refused connection is tried again: the process is being
replaced.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S = 60.0


def main(arguments: list[str]) -> int:
    """Send until the stop file is there."""
    base, ledger, stop, interval_s, *paths = arguments
    with Path(ledger).open("a", encoding="utf-8") as book:
        for number in itertools.count():
            if Path(stop).exists():
                return 0
            path = paths[number % len(paths)]
            ref = f"load-{number}"
            status = request(base, path.replace("{ref}", ref))
            book.write(json.dumps({"ref": ref, "path": path, "status": status, "at": time.time()}) + "\n")
            book.flush()
            time.sleep(float(interval_s))
    return 0


def request(base: str, path: str) -> int:
    """Return the status of one request, 0 if the connection broke after it was made."""
    parts, deadline = urlsplit(base), time.monotonic() + TIMEOUT_S
    while True:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        try:
            connection.connect()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
            continue
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
