"""Encoders of Dramatiq projects that have their own, named in the plan: ``[legacy.dramatiq] encoder = "pkg.mod:NAME"``.

They run in the project's interpreter (:mod:`migrator.agent.encoder`). An encoder that unpickles is always refused.

Source: dramatiq/encoder.py (``Encoder``: ``encode(dict) -> bytes``, ``decode(bytes) -> dict``).
"""

from __future__ import annotations

import os
import weakref
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from migrator.errors import UnreachableError, UsageError
from migrator.plan.interpreter import project_python
from migrator.plan.model import Endpoint, Plan
from migrator.project.agent_process import START_TIMEOUT_S, AgentProcess, start_agent
from migrator.wire.json_codec import UnreadableError, dumps, loads

#: Marks an original that is binary; Dramatiq's own JSON begins with a brace.
_PREFIX = "base64:"
_DRAIN = "drain these queues with the old workers before the cutover"
#: How long the encoder may take for one message.
MESSAGE_TIMEOUT_S = 30.0


class ProjectEncoder:
    """The project's encoder, in a process that ends with this object."""

    def __init__(self, plan: Plan, name: str) -> None:
        self.name = name
        self.logs = TemporaryDirectory(prefix="encoder-")
        self.agent, self.greeting = _started(plan, name, Path(self.logs.name) / "log")
        self._end = weakref.finalize(self, self.agent.stop)

    def encode(self, data: dict[str, Any]) -> bytes:
        """Return a message's bytes.

        Raises:
            UnreadableError: The encoder can't write it, whatever it raises.
        """
        return b64decode(self._ask({"encode": dumps(data).decode()})["raw"])

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return a message's fields.

        Raises:
            UnreadableError: The encoder can't read it, whatever it raises.
        """
        document: dict[str, Any] = loads(self._ask({"decode": b64encode(data).decode()})["document"].encode())
        return document

    def _ask(self, request: dict[str, str]) -> dict[str, Any]:
        answer = self.agent.ask(request, MESSAGE_TIMEOUT_S)
        if answer.get("gone"):
            raise UnreachableError(f"the project's encoder {self.name}", answer["broken"], found=self.agent.last_line())
        if "broken" in answer:
            raise UnreadableError(f"the project's encoder can't read it: {answer['broken']:.120}")
        return answer


def _started(plan: Plan, name: str, log_file: Path) -> tuple[AgentProcess, dict[str, Any]]:
    python = project_python(plan, os.environ)
    agent = start_agent(python, "encoder", (name,), folder=plan.source_root, environment=os.environ, log_file=log_file)
    try:
        agent.greet()
        return agent, agent.receive(START_TIMEOUT_S)
    except BaseException:
        agent.stop()
        raise


def load_encoder(plan: Plan, endpoint: Endpoint) -> ProjectEncoder | None:
    """Start the encoder named in the plan; None if there is none.

    Raises:
        UsageError: There is no such encoder, or it unpickles.
        UnreachableError: The project's interpreter does not run.
    """
    if not endpoint.encoder:
        return None
    where, remedy = "legacy.dramatiq.encoder", "name it as package.module:NAME, a class or an instance"
    encoder = ProjectEncoder(plan, endpoint.encoder)
    found = encoder.greeting
    if "broken" in found:
        raise UsageError(where, f"{endpoint.encoder!r} can't be imported", found=found["broken"], remedy=remedy)
    if found["unpickles"]:
        what, remedy = "an encoder that unpickles can run any code that a message contains", _DRAIN
        raise UsageError(where, what, found=endpoint.encoder, remedy=remedy)
    if not found["usable"]:
        what = "is not an encoder: it needs encode and decode"
        raise UsageError(where, what, found=endpoint.encoder, remedy=remedy)
    return encoder


def as_text(raw: bytes) -> str:
    """Return bytes of any kind as a text for our header."""
    return _PREFIX + b64encode(raw).decode()


def from_text(text: str) -> bytes:
    """Return the original that a header holds."""
    return b64decode(text[len(_PREFIX) :]) if text.startswith(_PREFIX) else text.encode()
