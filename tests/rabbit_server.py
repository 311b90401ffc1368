"""A RabbitMQ node of the tests' own: its own name, ports, cookie and folders, on loopback, ended by pid."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import amqp
import pytest
from missing import missing
from waiting import wait_until

from migrator.embedded_redis import free_port

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
MISSING = "NO RABBITMQ SERVER: run `make setup-servers` (Debian: apt-get install rabbitmq-server); NOT TESTED"


@dataclass(kw_only=True)
class RabbitServer:
    """A running node."""

    folder: Path
    binary: Path
    port: int = field(default_factory=free_port)
    management_port: int = field(default_factory=free_port)
    distribution_port: int = field(default_factory=free_port)
    epmd_port: int = field(default_factory=free_port)
    _node: subprocess.Popen[bytes] | None = None
    _epmd: subprocess.Popen[bytes] | None = None

    def url(self, vhost: str = "/") -> str:
        """Return the AMQP URL of a virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost.replace('/', '%2F')}"

    def make_host(self, vhost: str) -> str:
        """Make an empty virtual host and return its URL."""
        self.manage("PUT", f"vhosts/{quote(vhost)}")
        self.manage("PUT", f"permissions/{quote(vhost)}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        return self.url(vhost)

    @property
    def management_url(self) -> str:
        """Return the URL of the management plugin."""
        return f"http://guest:guest@127.0.0.1:{self.management_port}"

    def manage(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the management plugin."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @property
    def pid(self) -> int:
        """Return the process id of the node itself: the start script replaces itself, or waits for it."""
        return int((self.folder / "pid").read_text())

    def start(self) -> None:
        """Start the node and wait until it takes connections."""
        self.folder.mkdir(parents=True, exist_ok=True)
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(os.urandom(16).hex())
            cookie.chmod(0o400)
        (self.folder / "plugins").write_text("[rabbitmq_management].\n")
        (self.folder / "rabbit.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n"
            "collect_statistics_interval = 200\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        environ = self._environ()
        log = (self.folder / "out.log").open("ab")
        with log:
            # Started by us first, so that the node finds it and starts none of its own.
            if self._epmd is None:
                self._epmd = subprocess.Popen(
                    [shutil.which("epmd") or "epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                self._wait_for_epmd()
            self._node = subprocess.Popen(
                [self.binary],
                env=environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the node and its port mapper, by pid; at once, for its data goes with the test."""
        self._end_node(signal.SIGKILL)
        epmd, self._epmd = self._epmd, None
        if epmd is not None:
            epmd.terminate()
            epmd.wait(STOP_TIMEOUT_S)

    def restart(self) -> None:
        """End the node in good order, as an operator does, and start it again."""
        self._end_node(signal.SIGTERM)
        self.start()

    def crash(self) -> None:
        """Kill the node as a power cut does; :meth:`start` brings it back."""
        self._end_node(signal.SIGKILL)

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on this node and return what it prints."""
        command = [str(self.binary.with_name("rabbitmqctl")), *arguments]
        done = subprocess.run(
            command, env=self._environ(), cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _end_node(self, how: signal.Signals) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        with suppress(OSError, ValueError):
            if how is signal.SIGKILL and self.pid != node.pid:
                os.kill(self.pid, how)
        node.send_signal(how)
        try:
            node.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait(STOP_TIMEOUT_S)

    def _environ(self) -> dict[str, str]:
        name = str(self.folder)
        return {
            "PATH": os.environ["PATH"],
            "HOME": name,
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": f"migrator{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": f"{name}/mnesia",
            "RABBITMQ_LOG_BASE": f"{name}/log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{name}/plugins",
            "RABBITMQ_PID_FILE": f"{name}/pid",
            "RABBITMQ_CONFIG_FILE": f"{name}/rabbit.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{name}/none",
        }

    def _wait_for_epmd(self) -> None:
        """Wait until it listens: a node that finds none starts one that nobody ends."""

        def listens() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self.epmd_port), timeout=5).close()
            except OSError:
                return False
            return True

        wait_until(listens, timeout_s=START_TIMEOUT_S, what="epmd to listen")

    def _wait_until_ready(self) -> None:
        node = self._node
        assert node is not None

        def output() -> str:
            return (self.folder / "out.log").read_text(errors="replace")[-3000:]

        def answers() -> bool:
            if node.poll() is not None:
                pytest.fail(f"RabbitMQ ended (status {node.poll()})\n{output()}")
            try:
                self.manage("GET", "overview")
                with amqp.Connection(host=f"127.0.0.1:{self.port}", login_method="PLAIN"):
                    return True
            except (amqp.AMQPError, OSError):
                return False

        wait_until(answers, timeout_s=START_TIMEOUT_S, what=lambda: f"RabbitMQ to answer\n{output()}", pause_s=0.1)


def find_rabbit() -> Path | None:
    """Return the server's own start script (Debian's wrapper wants to be root), or None."""
    for candidate in ("/usr/lib/rabbitmq/bin/rabbitmq-server", shutil.which("rabbitmq-server") or ""):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return None


@contextmanager
def rabbit_server(folder: Path) -> Iterator[RabbitServer]:
    """Run a node for the length of a ``with`` block. Without a server: a failure in CI, a loud skip elsewhere."""
    binary = find_rabbit()
    if binary is None:
        missing(MISSING)
    server = RabbitServer(folder=folder, binary=binary)
    server.start()
    try:
        yield server
    finally:
        server.stop()
