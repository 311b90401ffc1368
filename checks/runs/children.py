"""Child processes of a variant: one JSON line in, one JSON line out, with a bound on every wait."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from migrator import agent

START = Path(agent.__file__).with_name("start.py")
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 5.0
#: Largest answer that is accepted from a child.
REPLY_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class AgentProcess:
    """A running child process."""

    process: subprocess.Popen[bytes]
    requests: Any
    replies: int
    buffer: bytearray = field(default_factory=bytearray)

    def ask(self, document: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one line and return the answer; a failure is an answer too, under ``broken``."""
        return self.send(document) or self.receive(timeout_s)

    def send(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Send one line; return the failure, or an empty answer."""
        try:
            self.requests.write(orjson.dumps(document) + b"\n")
            self.requests.flush()
        except OSError:
            return {"broken": self._ended(), "gone": True}
        return {}

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """Return the next line that the child writes."""
        deadline = time.monotonic() + timeout_s
        while (end := self.buffer.find(b"\n")) < 0:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self.replies], [], [], left_s)[0]:
                return {"broken": f"did not finish within {timeout_s:g} s and was stopped", "gone": True}
            chunk = os.read(self.replies, 1 << 20)
            if not chunk:
                return {"broken": self._ended(), "gone": True}
            self.buffer += chunk
            if len(self.buffer) > REPLY_LIMIT_BYTES:
                return {"broken": f"answered with more than {REPLY_LIMIT_BYTES} bytes", "gone": True}
        line, self.buffer = bytes(self.buffer[:end]), self.buffer[end + 1 :]
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def stop(self) -> None:
        """Stop the child and the processes that it started, by its process group."""
        with suppress(OSError):
            self.requests.close()
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_TIMEOUT_S)
        os.close(self.replies)

    def _ended(self) -> str:
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "the process closed its pipe"
        return f"the process ended (status {status})"


def start_child(
    module: str, arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log_file: Path
) -> AgentProcess:
    """Start a module of the agent with the numbers of its two pipes; see :mod:`migrator.agent.start`."""
    to_child, requests = os.pipe()
    replies, from_child = os.pipe()
    try:
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", str(START), module, str(to_child), str(from_child), *arguments],
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(to_child, from_child),
                start_new_session=True,
            )
    finally:
        os.close(to_child)
        os.close(from_child)
    return AgentProcess(process=process, requests=os.fdopen(requests, "wb"), replies=replies)
