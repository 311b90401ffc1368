"""Keep a run inside its sandbox: no network but the fixtures, bounded files and memory.

Source: PEP 578 audit events ``socket.connect``, ``socket.sendto`` and ``socket.getaddrinfo``; an exception in the hook
stops the call. A program that a run starts is not restricted.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from typing import Any

from .recorder import RECORDER

#: Largest file that a run may write.
FILE_LIMIT_BYTES = 64 * 1024 * 1024
#: Most address space that the process may take.
MEMORY_LIMIT_BYTES = 8 * 1024 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: A project may log to the system log; that changes nothing.
_LOG_SOCKETS = ("/dev/log", b"/dev/log", "/var/run/syslog", b"/var/run/syslog")


def limit_resources() -> None:
    """Bound the size of files and memory; a run that exceeds a limit gets an OSError or MemoryError."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for kind, limit in ((resource.RLIMIT_FSIZE, FILE_LIMIT_BYTES), (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES)):
        _, hard = resource.getrlimit(kind)
        # Some systems define a limit and don't let it be set; there it is not enforced.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def close_network(ports: frozenset[int]) -> None:
    """Allow connections to the given loopback ports and to nothing else, until this process ends."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto"):
            address = arguments[1]
            if isinstance(address, tuple):
                if address[0] not in _LOOPBACK or address[1] not in ports:
                    _refuse(f"{address[0]}:{address[1]}")
            elif isinstance(address, (str, bytes)) and address not in _LOG_SOCKETS:
                _refuse(str(address))
        elif event == "socket.getaddrinfo":
            host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
            if host is not None and host not in _LOOPBACK:
                _refuse(f"{host}:{arguments[1]}")

    sys.addaudithook(hook)


def _refuse(target: str) -> None:
    RECORDER.note("violations", f"network access to {target}, which is not a fixture of the case")
    raise ConnectionRefusedError(f"{target}: a parity case may only connect to its fixtures")
