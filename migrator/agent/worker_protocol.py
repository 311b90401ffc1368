"""The protocol between the parent process and an agent inside the project's own worker."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from .clock import freeze, unfreeze
from .project_setup import failure
from .recorder import attach_logs

#: Prefix of kombu's routing tables, which a running worker declares only once.
PRESERVED_KEYS = b"_kombu.binding."


class Agent(Protocol):
    """The observer inside the worker: lets one message through and records how it ends."""

    finished: threading.Event
    #: How the message ended, and why it could not be observed.
    ended: dict[str, Any]
    broken: str
    started_at: float
    finished_at: float

    def expect(self, message_id: str, seed: int) -> None:
        """Let the next message of this id through, once, and no other."""

    def queues(self) -> list[str]:
        """Return the queues that the worker reads."""

    def finish_background_work(self) -> None:
        """Wait, for a bounded time, for what the task left running."""


class Hook:
    """The pipes to the parent process, and the session that runs need."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        configuration = pipe.read()
        self.command = " ".join(configuration["worker"])
        try:
            from .session import Session

            self.session = Session(configuration)
        except BaseException as error:
            traceback.print_exc()
            self.pipe.write(failure(error))
            raise
        self.run: Mapping[str, Any] = {}

    def serve(self, agent: Agent) -> None:
        """Answer the parent from a thread, until it closes the pipe; then this process ends."""
        threading.Thread(target=self._serve, args=(agent,), name="parity", daemon=True).start()

    def _serve(self, agent: Agent) -> None:
        self.pipe.write({"ready": True})
        for request in iter(self.pipe.read, None):
            try:
                preparing = "prepare" in request
                answer = self._prepare(request["prepare"], agent) if preparing else self._observe(request, agent)
            except Exception as error:  # noqa: BLE001 - the parent reports it
                traceback.print_exc()
                answer = {"broken": failure(error)["broken"]}
                unfreeze()
            self.pipe.write(answer)
        os._exit(0)

    def _prepare(self, run: Mapping[str, Any], agent: Agent) -> dict[str, Any]:
        self.began = time.monotonic()
        self.run, clock = run, datetime.fromisoformat(run["clock"])
        freeze(clock)
        self.session.prepare(run, clock, preserved_keys=PRESERVED_KEYS)
        # A worker configures logging again; a handler that is attached already is not added twice.
        attach_logs()
        agent.expect(run["id"], run["seed"])
        return {"prepared": True}

    def _observe(self, request: Mapping[str, Any], agent: Agent) -> dict[str, Any]:
        queue, timeout_s = request["observe"]["sent_to"], request["observe"]["timeout_s"]
        queues = agent.queues()
        if queue not in queues:
            unfreeze()
            names = ", ".join(sorted(queues)) or "none"
            return {"broken": f"the message went to queue {queue!r}, which `{self.command}` does not read ({names})"}
        if not agent.finished.wait(timeout_s):
            what = "did not finish" if agent.started_at else "the worker did not take the message"
            return {"broken": f"{what} within {timeout_s:g} s and was stopped", "gone": True}
        if agent.broken:
            unfreeze()
            return {"broken": agent.broken}
        agent.finish_background_work()
        observation = self.session.observe(self.run, agent.ended)
        unfreeze()
        spent = {"duration_s": agent.finished_at - agent.started_at, "run_s": time.monotonic() - self.began}
        return {**observation, **spent}
