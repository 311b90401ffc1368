"""Processes of the agent in the project's interpreter: one JSON line in, one JSON line out, with a bound on every wait.

Nothing of the tool is put on that interpreter's path, and the tool's environment is not passed on. The protocol is
described in :mod:`migrator.agent.start`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from migrator import agent
from migrator.agent.start import PROTOCOL
from migrator.errors import UnreachableError, UsageError
from migrator.plan.interpreter import KEY, ProjectPython
from migrator.redaction import redact

AGENT = Path(agent.__file__).parent
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 5.0
#: Largest answer that is accepted from an agent.
REPLY_LIMIT_BYTES = 64 * 1024 * 1024
#: So much of a log is read for its last line.
_TAIL_BYTES = 4096
#: Marks the process in a list of processes; all else comes through the pipe. Any Python reads its first lines.
MARK = "migrator-agent"
_BOOT = """\
import sys
if sys.version_info < (3, 9): sys.exit("Python %d.%d is older than 3.9" % sys.version_info[:2])
sys.path[:] = [entry for entry in sys.path if entry]
import json, os
hello = json.loads(os.fdopen(0, "rb", 0, closefd=False).readline())
exec(hello["start"])
main(hello)
"""


@dataclass(slots=True)
class AgentProcess:
    """A running agent."""

    python: ProjectPython
    process: subprocess.Popen[bytes]
    #: Where its output goes, and how long that was before.
    log_file: Path
    log_offset: int
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
        """Return the next line that the agent writes."""
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
        if not line.startswith(b"{"):
            # A program that starts the interpreter, such as that of a container, said something.
            return self.receive(timeout_s)
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def greet(self) -> bool:
        """Read its first line, and send it what it lacks; tell whether it sees the files of this machine.

        Raises:
            UnreachableError: It is no interpreter that can run the agent.
        """
        answer = self.receive(START_TIMEOUT_S)
        if answer.get("protocol") != PROTOCOL:
            last = self.last_line()
            ended = answer.get("broken") or f"speaks protocol {answer.get('protocol')}, not {PROTOCOL}"
            raise unusable(self.python, "does not run the agent", f"{ended}: {last}" if last else ended)
        if not answer["local"]:
            self.send({"sources": {file.stem: file.read_text(encoding="utf-8") for file in AGENT.glob("*.py")}})
        return bool(answer["local"])

    def last_line(self) -> str:
        """Return the last line of its output, without secrets."""
        with self.log_file.open("rb") as log:
            log.seek(max(self.log_offset, self.log_file.stat().st_size - _TAIL_BYTES))
            lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return redact(lines[-1]) if lines else ""

    def stop(self) -> None:
        """Stop the agent and the processes that it started, by its process group."""
        with suppress(OSError):
            self.requests.close()
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_TIMEOUT_S)
        with suppress(OSError):
            os.close(self.replies)

    def _ended(self) -> str:
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "the process closed its pipe"
        return f"the process ended (status {status})"


def start_agent(
    python: ProjectPython,
    module: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log_file: Path,
) -> AgentProcess:
    """Start a module of the agent in a folder of the project; it has not answered yet.

    Raises:
        UsageError: There is no such folder.
        UnreachableError: The interpreter can't be executed.
    """
    if not folder.is_dir():
        raise UsageError(str(folder), "there is no such folder", remedy="correct `[project] root`")
    with log_file.open("ab") as log:
        try:
            process = subprocess.Popen(
                [*python.command, "-c", _BOOT, MARK, module],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise unusable(python, "can't be executed", error.strerror or str(error)) from error
        offset = log.tell()
    assert process.stdin is not None
    assert process.stdout is not None
    replies = os.dup(process.stdout.fileno())
    process.stdout.close()
    started = AgentProcess(python, process, log_file, offset, process.stdin, replies)
    started.send(_hello(module, arguments, folder))
    return started


def _hello(module: str, arguments: Sequence[str], folder: Path) -> Mapping[str, Any]:
    return {
        "protocol": PROTOCOL,
        "start": (AGENT / "start.py").read_text(encoding="utf-8"),
        "agent": str(AGENT),
        "folder": str(folder),
        "module": module,
        "arguments": list(arguments),
    }


def unusable(python: ProjectPython, what: str, found: str) -> UnreachableError:
    """Return the error for an interpreter that is not the project's, or is broken."""
    where, remedy = f"the project's interpreter ({python}, {python.source})", f"is this the right one? set `{KEY}`"
    return UnreachableError(where, what, found=found, remedy=remedy)


def setup_error(python: ProjectPython, answer: Mapping[str, Any], own: Sequence[str]) -> UnreachableError | None:
    """Return the error for an answer by which the interpreter can't run the project at all; None for any other.

    Args:
        own: Dotted names of modules of the project, which no environment has.
    """
    missing = answer.get("missing", "")
    if missing and missing not in {name.partition(".")[0] for name in own}:
        return unusable(python, f"has no `{missing}`", redact(answer["broken"]))
    if answer.get("setup"):
        what = "the project's settings or apps can't be loaded"
        return UnreachableError(str(python), what, found=redact(answer["broken"]), remedy="correct that first")
    return None
