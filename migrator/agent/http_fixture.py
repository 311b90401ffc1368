"""HTTP services as a case sees them: answers of the case, then a fixture server; every request is recorded.

The server listens on a loopback port of its own; the project reads its base URL from the environment.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .recorder import RECORDER

#: Longest delay of a case's answer.
HANG_LIMIT_S = 60.0
UPSTREAM_TIMEOUT_S = 30.0
#: Status of a request that was not answered before the run ended.
UNANSWERED = "unanswered"
_HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"})


@dataclass
class Answers:
    """The answers of the current case and how often each was used."""

    #: ``host:port`` of the fixture server; empty if there is none.
    upstream: str = ""
    rules: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, rules: list[dict[str, Any]]) -> None:
        """Load a case's answers, none of them used."""
        with self.lock:
            self.rules = [dict(rule) for rule in rules]

    def pick(self, method: str, target: str) -> Mapping[str, Any] | None:
        """Return the first answer that matches and is not used up, or None."""
        with self.lock:
            for rule in self.rules:
                if rule["method"] and rule["method"] != method:
                    continue
                if rule["contains"] not in target or rule["times"] == 0:
                    continue
                if rule["times"] is not None:
                    rule["times"] -= 1
                return rule
        return None


def wait_until_answered(timeout_s: float) -> None:
    """Wait, for a bounded time, until every request of this run is answered: a task may leave some behind."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(entry["status"] == UNANSWERED for entry in list(RECORDER.http)):
        time.sleep(0.002)


def serve(answers: Answers) -> tuple[ThreadingHTTPServer, int]:
    """Start the server in a thread and return it with its port."""

    class Handler(_Handler):
        pass

    Handler.answers = answers
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True, name="fixture").start()
    return server, int(server.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    answers: Answers
    #: A connection to the fixture server, as long as the project keeps its own open.
    onward: http.client.HTTPConnection | None = None
    protocol_version = "HTTP/1.1"
    # Small answers are sent at once; with Nagle's algorithm each would wait for an acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET  # noqa: N815 - as above

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: requests are recorded."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        # Recorded on arrival, so that it belongs to the run that sent it; the status is set before the answer is sent.
        entry: dict[str, Any] = {"method": self.command, "path": parts.path, "query": query, "status": UNANSWERED}
        if body:
            entry["body"] = body
        RECORDER.note("http", entry)
        rule = self.answers.pick(self.command, self.path)
        if rule is not None:
            self._by_rule(rule, entry)
        elif self.answers.upstream:
            self._forward(body, entry)
        else:
            RECORDER.note("violations", f"{self.command} {self.path}: the case has no answer to this request")
            self._send(599, {}, b"no answer in the case", entry)

    def _by_rule(self, rule: Mapping[str, Any], entry: dict[str, Any]) -> None:
        if rule["hang_s"]:
            time.sleep(min(rule["hang_s"], HANG_LIMIT_S))
        if rule["drop"]:
            entry["status"] = "dropped"
            self.close_connection = True
            return
        headers = {"Content-Type": "application/json", **rule["headers"]}
        self._send(rule["status"], headers, rule["body"].encode(), entry)

    def _forward(self, body: bytes, entry: dict[str, Any]) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS}
        if self.onward is None:
            self.onward = http.client.HTTPConnection(self.answers.upstream, timeout=UPSTREAM_TIMEOUT_S)
        try:
            self.onward.request(self.command, self.path, body or None, headers)
            answer = self.onward.getresponse()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_HEADERS}
            self._send(answer.status, headers, answer.read(), entry)
        except (OSError, http.client.HTTPException):
            entry["status"] = "dropped"
            self.close_connection = True
            self.onward.close()

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, entry: dict[str, Any]) -> None:
        entry["status"] = status
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)
        except OSError:
            # The client has closed the connection.
            self.close_connection = True
