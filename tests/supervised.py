"""A real supervisord of the tests' own: own configuration, own socket, ended by pid."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from shop import Shop, eventually, git

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.plan.placeholders import fill
from migrator.plan.processes import Process

#: Source: prctl(2).
PR_SET_PDEATHSIG = 1

Programs = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    folder: Path
    child: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/sv.sock"

    def ctl(self, *arguments: str) -> str:
        """Ask with supervisor's own command, which knows nothing of our driver."""
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.folder / "supervisord.conf")]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )
        return done.stdout + done.stderr

    def state(self, program: str) -> str:
        return self.ctl("status", program).split()[1]


@contextmanager
def running_supervisord(programs: Programs, environ: Mapping[str, str], *, inet: str = "") -> Iterator[Supervised]:
    """Run supervisord with these programs; its socket lies in a short folder, because paths of sockets are short."""
    folder = Path(tempfile.mkdtemp(prefix="sv-"))
    (folder / "supervisord.conf").write_text(configuration(folder, programs, inet=inet))
    with (folder / "supervisord.out").open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(folder / "supervisord.conf")],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call between fork and exec, no lock
        )
    supervised = Supervised(folder=folder, child=child)
    try:
        eventually(lambda: (folder / "sv.sock").exists() or child.poll() is not None)
        assert child.poll() is None, (folder / "supervisord.out").read_text()
        yield supervised
    finally:
        end(child)
        shutil.rmtree(folder, ignore_errors=True)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies: a killed test run leaves nothing behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end(child: subprocess.Popen[bytes]) -> None:
    """End supervisord, which ends its programs, by its pid."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(40)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(10)


def configuration(folder: Path, programs: Programs, *, inet: str = "") -> str:
    sections = {
        "unix_http_server": {"file": f"{folder}/sv.sock", "chmod": "0700"},
        "supervisord": {
            "logfile": f"{folder}/supervisord.log",
            "pidfile": f"{folder}/supervisord.pid",
            "childlogdir": str(folder),
        },
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
        "supervisorctl": {"serverurl": f"unix://{folder}/sv.sock"},
    }
    if inet:
        sections["inet_http_server"] = {"port": inet, "username": "operator", "password": "s3cret"}
    for name, settings in programs.items():
        kind = "" if ":" in name else "program:"
        given = {"autostart": "false", "autorestart": "true", "stopwaitsecs": "20"} if kind else {}
        sections[f"{kind}{name}"] = {**given, **settings}
    lines = []
    for name, settings in sections.items():
        lines += [f"[{name}]", *(f"{key}={value}" for key, value in settings.items()), ""]
    return "\n".join(lines)


def script(folder: Path, name: str, code: str) -> str:
    """Write a program and return the command that runs it, as supervisord's configuration wants it."""
    file = folder / f"{name}.py"
    file.write_text(code)
    return shlex.join([sys.executable, str(file)])


def programs_of(shop: Shop) -> dict[str, dict[str, str]]:
    """Return the shop's processes as programs of supervisord."""
    return {process.name: _program(shop.plan, process, shop.environ) for process in shop.plan.processes}


def _program(plan: Plan, process: Process, environ: Mapping[str, str]) -> dict[str, str]:
    where = f"process {process.name}"
    node = f"{process.name}@{os.uname().nodename}"
    command = [fill(plan, part, environ=environ, where=where, node=node) for part in process.command]
    return {
        "command": shlex.join(command).replace("%", "%%"),
        "directory": str(plan.folder / process.directory),
        "stopwaitsecs": str(int(process.stop_timeout_s)),
    }


@contextmanager
def supervised_shop(
    shop: Shop, changed: Callable[[dict[str, dict[str, str]]], None] = lambda programs: None
) -> Iterator[tuple[Shop, Supervised]]:
    """Put the shop under a supervisord of its own: every process of its plan becomes a program."""
    programs = programs_of(shop)
    changed(programs)
    with running_supervisord(programs, shop.environ) as supervised:
        text = shop.plan.file.read_text()
        for process in shop.plan.processes:
            mark = f'[[process]]\nname = "{process.name}"\n'
            assert mark in text
            driver = f'driver = "supervisor"\nprogram = "{process.name}"\nmanager = "{supervised.url}"\n'
            text = text.replace(mark, mark + driver)
        shop.plan.file.write_text(text)
        git(shop.folder, "commit", "-q", "-a", "-m", "Run under supervisord")
        yield replace(shop, plan=load_plan(shop.plan.file)), supervised
