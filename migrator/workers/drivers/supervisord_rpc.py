"""Talk to a running supervisord: XML-RPC over its Unix socket or a local port, every call bounded.

Only the standard library: the tool need not be installed in supervisord's environment.

Source: supervisor/rpcinterface.py and supervisor/xmlrpc.py (methods, fault codes), supervisor/states.py.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from migrator.errors import MigratorError, RefusedError, UnreachableError, UsageError
from migrator.plan.placeholders import expand
from migrator.plan.processes import Process
from migrator.redaction import redact

CALL_TIMEOUT_S = 5.0

UNKNOWN_METHOD, SHUTDOWN_STATE, BAD_NAME, ALREADY_STARTED, NOT_RUNNING = 1, 6, 10, 60, 70


class FaultError(MigratorError):
    """supervisord has understood the call and refused it; ``code`` is its reason."""

    def __init__(self, where: str, code: int, text: str) -> None:
        super().__init__(where, "supervisord refused", found=text)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisord:
    """One open connection to a supervisord."""

    #: Its URL for messages, without a password.
    where: str
    proxy: xmlrpc.client.ServerProxy

    def call(self, method: str, *arguments: Any) -> Any:
        """Call ``supervisor.<method>``.

        Raises:
            FaultError: supervisord refuses.
            UnreachableError: It does not answer, or is shutting down.
            RefusedError: We may not talk to it.
        """
        try:
            return getattr(self.proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise self._fault(method, fault) from fault
        except xmlrpc.client.ProtocolError as error:
            raise self._protocol(error) from error
        except PermissionError as error:
            raise RefusedError(
                self.where,
                "we may not talk to it",
                found=error.strerror or "",
                remedy="run as a user with access, or set `chmod` and `chown` in [unix_http_server]",
            ) from error
        except (OSError, http.client.HTTPException, ExpatError, xmlrpc.client.ResponseError) as error:
            raise UnreachableError(
                self.where,
                "does not answer",
                found=str(error) or type(error).__name__,
                remedy="start supervisord, or correct `manager` in the plan",
            ) from error

    def _fault(self, method: str, fault: xmlrpc.client.Fault) -> MigratorError:
        code = int(fault.faultCode)
        if code == UNKNOWN_METHOD:
            remedy = "add [rpcinterface:supervisor] to its configuration"
            return UsageError(self.where, f"does not know `{method}`", found=str(fault.faultString), remedy=remedy)
        if code == SHUTDOWN_STATE:
            return UnreachableError(self.where, "is shutting down", remedy="start it again, then run the same command")
        return FaultError(self.where, code, str(fault.faultString))

    def _protocol(self, error: xmlrpc.client.ProtocolError) -> MigratorError:
        found = f"HTTP {error.errcode} {error.errmsg}"
        if error.errcode in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            remedy = "give `manager` in the plan its name and password, as http://${NAME}:${PASSWORD}@…"
            return RefusedError(self.where, "user name and password are refused", found=found, remedy=remedy)
        remedy = "is it supervisord? correct `manager` in the plan"
        return UnreachableError(self.where, "does not speak XML-RPC", found=found, remedy=remedy)


@contextmanager
def supervisord(process: Process, environ: Mapping[str, str]) -> Iterator[Supervisord]:
    """Open a connection to the supervisord of a process.

    Raises:
        UsageError: The plan's URL is invalid, or that of another machine, whose pids mean nothing here.
    """
    key = f"process {process.name}: manager"
    url = expand(process.manager, environ, where=key)
    parts = urlsplit(url)
    credentials, _, host = parts.netloc.rpartition("@")
    path = ""
    if parts.scheme == "unix" and parts.path and not host:
        path, host = parts.path, "localhost"
    elif parts.scheme != "http" or not _is_local(parts.hostname or ""):
        raise UsageError(
            key,
            "needs the Unix socket or a local port of supervisord: a pid of another machine means nothing here",
            found=redact(url),
            remedy="unix:///run/supervisor.sock or http://127.0.0.1:9001",
        )
    address = f"http://{credentials}@{host}/RPC2" if credentials else f"http://{host}/RPC2"
    with xmlrpc.client.ServerProxy(address, transport=_Transport(path)) as proxy:
        yield Supervisord(where=f"supervisord at {redact(url)}", proxy=proxy)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket if it has a path, else over TCP; bounded either way."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Return a connection; called by the library for every request."""
        address, self._extra_headers, _ = self.get_host_info(host)
        if self._path:
            return _UnixConnection(self._path)
        return http.client.HTTPConnection(address, timeout=CALL_TIMEOUT_S)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(CALL_TIMEOUT_S)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self.sock = connection
