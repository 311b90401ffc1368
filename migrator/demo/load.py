"""Traffic during the migration: requests to the sample's own API, which enqueues messages."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field

import orjson

REQUEST_TIMEOUT_S = 5.0
PATHS = ("/api/assets/AAPL/update", "/api/prices/refresh", "/api/assets/BTC/update", "/api/news/refresh")


@dataclass(slots=True, kw_only=True)
class Load:
    """A thread that posts to the API until it is stopped, and stores every id in the answers."""

    port: int
    #: Requests per second.
    rate: float = 10.0
    ids: list[str] = field(default_factory=list)
    #: Requests without an answer, for example while the API is restarted.
    refused: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start sending."""
        self._thread = threading.Thread(target=self._run, name="demo-load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sending; wait for the current request."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(REQUEST_TIMEOUT_S + 1)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(1 / self.rate):
            try:
                self.ids.extend(self._post(PATHS[number % len(PATHS)]))
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                self.refused += 1
            number += 1

    def _post(self, path: str) -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_TIMEOUT_S)
        try:
            connection.request("POST", path, body=b"{}", headers={"Content-Type": "application/json"})
            response = connection.getresponse()
            body = response.read()
            if response.status >= 400:
                raise ValueError(response.status)
            return list(orjson.loads(body)["ids"])
        finally:
            connection.close()


def wait_until_answering(port: int, *, timeout_s: float = 30.0) -> bool:
    """Return True as soon as the API answers ``/healthz``, False after the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return True
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    return False
