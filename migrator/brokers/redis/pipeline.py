"""Scripts sent to one server without waiting for each reply, so that server and translation work in parallel.

Replies come in the order of the requests. After any connection error the pipeline is unusable: what was in flight may
or may not have happened, and the caller reads the claims again to find out.

Source: redis-py (redis/connection.py: ``send_command``, ``read_response``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import redis

from migrator.brokers.redis.lua import counts_step, script
from migrator.brokers.redis.server import RedisServer

_SCRIPTS = ("claim_ids", "claim_list", "apply", "push", "note")

#: A list and the messages that are pushed to its head; the last one is served last.
Push = tuple[str, list[bytes]]


@dataclass(slots=True, eq=False)
class PendingReply:
    """The reply to one request in flight."""

    #: How many replies the server sends to it; the last one counts.
    answers: int = 1
    answer: Any = None
    done: bool = False
    #: A step that the server counts.
    is_step: bool = False


class RedisPipeline:
    """One connection to a server, for our scripts only.

    Args:
        server: The server.
    """

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        for name in _SCRIPTS:
            server.client.script_load(script(name)[1])
        self._connection = server.client.connection_pool.get_connection()
        self._waiting: deque[PendingReply] = deque()

    def send(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> PendingReply:
        """Send a script and return at once."""
        pending = self.ask("EVALSHA", script(name)[0], len(keys), *keys, *arguments)
        pending.is_step = counts_step(name)
        return pending

    def ask(self, *command: Any) -> PendingReply:
        """Send a command and return at once."""
        pending = PendingReply()
        self._connection.send_packed_command([packed([command])])
        self._waiting.append(pending)
        return pending

    def transact(
        self, pushes: Sequence[Push], name: str, keys: Sequence[Any], arguments: Sequence[Any]
    ) -> PendingReply:
        """Send messages to lists and then a script, as one transaction, and return at once.

        The server copies the arguments of a script, so messages pushed beside it cost the server half as much. The
        server does not undo a push because of what comes after it, so the script has to (``apply.lua``, ``note.lua``).
        The script is sent as text: a server that does not know its digest would push and then not run it.
        """
        if not pushes:
            return self.send(name, keys, arguments)
        commands: list[Sequence[Any]] = [["LPUSH", key, *messages] for key, messages in pushes]
        commands = [("MULTI",), *commands, ("EVAL", script(name)[1], len(keys), *keys, *arguments), ("EXEC",)]
        pending = PendingReply(answers=len(commands), is_step=counts_step(name))
        self._connection.send_packed_command([packed(commands)])
        self._waiting.append(pending)
        return pending

    def result(self, pending: PendingReply) -> Any:
        """Wait for the reply to a request.

        Raises:
            redis.RedisError: The script or the connection failed.
        """
        while not pending.done:
            oldest = self._waiting.popleft()
            for _ in range(oldest.answers):
                answer = self._connection.read_response()
            oldest.answer = answer if oldest.answers == 1 else _of_script(answer)
            oldest.done = True
            self.server.steps += oldest.is_step
        return pending.answer

    def close(self) -> None:
        """Drop the connection; replies that are still in flight are never read."""
        self._connection.disconnect()
        self.server.client.connection_pool.release(self._connection)


def _of_script(answers: list[Any]) -> Any:
    """Return the result of the script at the end of a transaction; its own error says more than that of a push."""
    for answer in reversed(answers):
        if isinstance(answer, redis.RedisError):
            raise answer
    return answers[-1]


@lru_cache(maxsize=4096)
def _head(length: int) -> bytes:
    """Return what precedes an argument on the wire, and ends the one before."""
    return b"\r\n$%d\r\n" % length


def packed(commands: Sequence[Sequence[Any]]) -> bytes:
    """Return commands as they go over the wire.

    The client's own packer (hiredis) grows its buffer in small steps: with arguments of more than a kilobyte it takes
    fifteen times as long as this, and most of the tool's time.
    """
    pieces: list[bytes] = []
    for command in commands:
        raws = [argument if type(argument) is bytes else str(argument).encode() for argument in command]
        pairs = [b""] * (2 * len(raws))
        pairs[::2] = map(_head, map(len, raws))
        pairs[1::2] = raws
        pieces += (b"*%d" % len(raws), *pairs, b"\r\n")
    return b"".join(pieces)
