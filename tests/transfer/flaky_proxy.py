"""A TCP proxy that cuts connections on command: before a request arrives, or after, so that the reply is lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class FlakyProxy:
    """A proxy between a client and a server on the loopback interface."""

    target: int
    port: int = 0
    #: Cut when this many chunks from clients have been seen since the last cut; None never.
    cut_after: int | None = None
    #: False: the request is not forwarded. True: it is, and its reply is lost.
    lose_answer: bool = False
    #: Cuts still to come; None for no end.
    cuts_left: int | None = None
    cuts: int = 0
    _seen: int = 0
    _sockets: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, db: int = 0) -> str:
        """Return the URL of a database behind the proxy."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    def serve(self, listener: socket.socket) -> None:
        """Accept clients until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target), timeout=10)
            except OSError:
                return
            self._sockets += [client, server]
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 20):
                if self._cut_now():
                    if self.lose_answer:
                        # The reply is lost, but the server does its work.
                        client.shutdown(socket.SHUT_RDWR)
                        server.sendall(data)
                        server.recv(1 << 16)
                    break
                server.sendall(data)
        _close(client, server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 20):
                client.sendall(data)
        _close(client, server)

    def _cut_now(self) -> bool:
        with self._lock:
            self._seen += 1
            if self.cut_after is None or self._seen < self.cut_after or self.cuts_left == 0:
                return False
            self._seen = 0
            self.cuts += 1
            self.cuts_left = None if self.cuts_left is None else self.cuts_left - 1
            return True

    def close(self) -> None:
        """Cut every connection."""
        _close(*self._sockets)


@contextmanager
def flaky_proxy(target: int) -> Iterator[FlakyProxy]:
    """Run a proxy to a port for the length of a ``with`` block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = FlakyProxy(target=target, port=listener.getsockname()[1])
        threading.Thread(target=proxy.serve, args=(listener,), daemon=True).start()
        try:
            yield proxy
        finally:
            # A blocked accept survives a close: end it.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            proxy.close()


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            one.close()
