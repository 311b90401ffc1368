"""Buffers between py-amqp and its socket instead of single frames: fewer system calls for each message.

py-amqp reads a frame in three calls and sends each message by a call of its own, which was about a third of a
transfer's time. Here frames are cut out of what one read returned, and published messages are buffered until a command
follows that the server has to answer, or until there are many.

py-amqp waits for an answer as long as anything arrives. A server that accepts nothing because it is short of memory
still sends its heartbeats, so they don't count here: a wait during which only heartbeats arrive times out.

Source: amqp/transport.py (``read_frame``), amqp/method_framing.py (``frame_writer``), amqp/connection.py: both are
looked up on the connection at each call.
"""

from __future__ import annotations

import time
from ssl import SSLWantReadError, SSLWantWriteError
from struct import Struct
from typing import Any

from amqp import spec
from amqp.exceptions import UnexpectedFrame

_READ_BYTES = 131_072
_SEND_FROM_BYTES = 131_072
_METHOD, _HEADER, _BODY, _HEARTBEAT, _FRAME_END = 1, 2, 3, 8, 0xCE
_BASIC = spec.Basic.Publish[0]
#: How a socket with a timeout of its own (SO_RCVTIMEO, SO_SNDTIMEO), or of Python's, reports that it has timed out.
_WAITING = (TimeoutError, BlockingIOError, SSLWantReadError, SSLWantWriteError)
_frame = Struct(">BHI")
_signature = Struct(">HH")
_content = Struct(">HHQ")
_END = bytes([_FRAME_END])


def buffered(connection: Any, *, answer_within_s: float) -> Any:
    """Make an open connection read and send in buffers, and return it.

    Args:
        connection: The connection.
        answer_within_s: How long to wait while only heartbeats arrive.
    """
    reader = _Reader(connection.transport, answer_within_s)
    connection.transport.read_frame = reader.read_frame
    connection.frame_writer = _Writer(connection).write
    return connection


class _Reader:
    """Cuts frames out of what the socket returns."""

    def __init__(self, transport: Any, answer_within_s: float) -> None:
        self._transport = transport
        self._answer_within_s = answer_within_s
        self._data: bytes = bytes(transport._read_buffer)
        self._at = 0

    def read_frame(self) -> tuple[int, int, bytes]:
        """Return type, channel and content of the next frame that is not a heartbeat.

        Raises:
            TimeoutError: It is incomplete; what arrived is kept for the next call.
            OSError: The connection is gone.
        """
        frame = self._next_frame()
        if frame[0] == _HEARTBEAT:
            deadline = time.monotonic() + self._answer_within_s
            while (frame := self._next_frame())[0] == _HEARTBEAT:
                if time.monotonic() > deadline:
                    raise TimeoutError("the server sent nothing but heartbeats")
        return frame

    def _next_frame(self) -> tuple[int, int, bytes]:
        self._need(7)
        kind, channel, size = _frame.unpack_from(self._data, self._at)
        self._need(size + 8)
        start = self._at + 7
        end = start + size
        if self._data[end] != _FRAME_END:
            raise UnexpectedFrame(f"a frame ends with {self._data[end]:#04x}")
        self._at = end + 1
        return kind, channel, self._data[start:end]

    def _need(self, number: int) -> None:
        """Read until this many bytes are there."""
        while (there := len(self._data) - self._at) < number:
            try:
                more = self._transport.sock.recv(max(_READ_BYTES, number - there))
            except _WAITING as error:
                raise TimeoutError("the server sent nothing in time") from error
            except OSError:
                self._transport.connected = False
                raise
            if not more:
                self._transport.connected = False
                raise OSError("the server closed the connection")
            self._data = self._data[self._at :] + more
            self._at = 0


class _Writer:
    """Buffers published messages and sends them together."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, kind: int, channel: int, method: tuple[int, int] | None, args: Any, content: Any = None) -> None:
        """Send one frame, or those of a message; only published messages may stay in the buffer.

        Raises:
            TimeoutError: The server accepts nothing.
            OSError: The connection is gone.
        """
        given = args.encode() if isinstance(args, str) else bytes(args or b"")
        payload = _signature.pack(*method) + given if method else b""
        if content is None:
            self._add(kind, channel, payload)
        else:
            self._add_message(channel, payload, content)
        self._connection.bytes_sent += 1
        if method != spec.Basic.Publish or self._size >= _SEND_FROM_BYTES:
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            try:
                self._connection.transport.write(data)
            except _WAITING as error:
                raise TimeoutError("the server accepted nothing in time") from error

    def _add_message(self, channel: int, method: bytes, content: Any) -> None:
        body = content.body
        if isinstance(body, str):
            body = body.encode(content.properties.setdefault("content_encoding", "utf-8"))
        # What can't be encoded raises here, before any part of it is in the buffer.
        header = _content.pack(_BASIC, 0, len(body)) + content._serialize_properties()
        self._add(_METHOD, channel, method)
        self._add(_HEADER, channel, header)
        most = self._connection.frame_max - 8
        for start in range(0, len(body), most):
            self._add(_BODY, channel, bytes(body[start : start + most]))

    def _add(self, kind: int, channel: int, payload: bytes) -> None:
        self._parts += (_frame.pack(kind, channel, len(payload)), payload, _END)
        self._size += len(payload) + 8
