"""A second host: a network namespace with an sshd of its own, reached over a pair of virtual cables."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from missing import missing
from waiting import wait_until

from migrator.embedded_redis import free_port

SSHD = "/usr/sbin/sshd"
NOT_INSTALLED = "NO SSHD: run `make setup-servers` (Debian: apt-get install openssh-server iproute2); NOT TESTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The second host, and this one as it is seen from there."""

    #: Address of this machine on the cable.
    here: str
    #: Configuration for `ssh -F`; the host is called ``second`` in it.
    ssh_config: Path


@contextmanager
def second_host(folder: Path) -> Iterator[Host]:
    """Make the host; its sshd ends with the block, and what it has started is ended by whoever started it.

    The test is skipped where namespaces of networks are not allowed.
    """
    if not Path(SSHD).exists() or shutil.which("ip") is None or shutil.which("ssh") is None:
        missing(NOT_INSTALLED)
    name = f"h{os.getpid() % 100_000}"
    net = f"10.{os.getpid() % 250}.{free_port() % 250}"
    here, there = f"{net}.1", f"{net}.2"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"NO NETWORK NAMESPACE: {error.stderr.strip()}; NOT TESTED")
    try:
        _ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _ip("addr", "add", f"{here}/24", "dev", f"{name}a")
        _ip("link", "set", f"{name}a", "up")
        for words in (("addr", "add", f"{there}/24", "dev", f"{name}b"), ("link", "set", f"{name}b", "up")):
            _ip("-n", name, *words)
        _ip("-n", name, "link", "set", "lo", "up")
        with _sshd(folder, name, there) as config:
            yield Host(here=here, ssh_config=config)
    finally:
        _ip("netns", "del", name)


@contextmanager
def _sshd(folder: Path, name: str, address: str) -> Iterator[Path]:
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True, timeout=30)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    server, client = folder / "sshd_config", folder / "ssh_config"
    server.write_text(
        f"Port 22\nListenAddress {address}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    client.write_text(
        f"Host second\n  HostName {address}\n  User root\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known\n  StrictHostKeyChecking accept-new\n  BatchMode yes\n"
        "  ConnectTimeout 10\n  LogLevel ERROR\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    log = (folder / "sshd.log").open("wb")
    daemon = subprocess.Popen(
        ["ip", "netns", "exec", name, SSHD, "-D", "-e", "-f", server], stdout=log, stderr=log, stdin=subprocess.DEVNULL
    )
    try:
        ask = ["ssh", "-F", str(client), "second", "true"]
        wait_until(
            lambda: subprocess.run(ask, capture_output=True, timeout=30, check=False).returncode == 0,
            what=(folder / "sshd.log").read_text,
            timeout_s=30,
        )
        yield client
    finally:
        daemon.terminate()
        daemon.wait(10)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30)
