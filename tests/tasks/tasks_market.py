"""A market server for these tests: it answers quotes, and fails for chosen symbols."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Market:
    """What the server answers, and which requests it received."""

    url: str = ""
    #: symbol -> (status, headers, remaining times); -1: forever.
    failures: dict[str, list] = field(default_factory=dict)
    #: symbol -> how long the answer takes; clearing it releases waiting requests.
    delays_s: dict[str, float] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def fail(self, symbol: str, status: int = 500, *, times: int = -1, **headers: str) -> None:
        self.failures[symbol] = [status, {name.replace("_", "-"): text for name, text in headers.items()}, times]

    def reset(self) -> None:
        self.failures.clear()
        self.delays_s.clear()
        self.requests.clear()

    def answer(self, path: str) -> tuple[int, dict, dict]:
        self.requests.append(path.strip("/"))
        symbol = path.rpartition("/")[2]
        started = time.monotonic()
        while time.monotonic() - started < self.delays_s.get(symbol, 0):
            time.sleep(0.02)
        failure = self.failures.get(symbol)
        if failure and failure[2]:
            failure[2] -= 1
            return failure[0], failure[1], {}
        return 200, {}, {"price": 1 + len(symbol), "timestamp": datetime.now(UTC).isoformat()}


@contextmanager
def running_market() -> Iterator[Market]:
    market = Market()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = market.answer(self.path)
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.end_headers()
            try:
                self.wfile.write(json.dumps(body).encode())
            except OSError:  # the asking worker was killed
                return

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    market.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield market
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
