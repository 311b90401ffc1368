"""A real systemd of the tests' own: a user manager with its own units, mounts and cgroup, ended by pid.

It needs root and a cgroup2 hierarchy. The manager sees a private mount of a cgroup of its own and nothing of the
machine's; its processes are ordinary ones of this machine.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from shop import Shop, eventually, git
from supervised import end_with_parent

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.plan.placeholders import fill
from migrator.plan.processes import Process

BINARY = Path("/lib/systemd/systemd")
HIERARCHIES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))

Units = Mapping[str, Mapping[str, str]]

START = """
echo $$ > "$1/cgroup.procs"
exec unshare --mount --cgroup --propagation private sh -c '
  mount -t cgroup2 none /sys/fs/cgroup
  mkdir -p /run/systemd
  mount -t tmpfs none /run/systemd
  mkdir /run/systemd/system
  exec "$0" --user --log-level=warning --log-target=console --unit=basic.target
' "$2"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserManager:
    folder: Path
    child: subprocess.Popen[bytes]

    @property
    def environ(self) -> dict[str, str]:
        units = f"{self.folder}/units:/usr/lib/systemd/user"
        return {"XDG_RUNTIME_DIR": str(self.folder / "run"), "SYSTEMD_UNIT_PATH": units}

    def ctl(self, *arguments: str) -> str:
        """Ask with systemctl itself, not with our driver."""
        done = subprocess.run(
            ["systemctl", "--user", "--no-pager", *arguments],
            env={**os.environ, **self.environ},
            capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return (done.stdout + done.stderr).strip()

    def write(self, units: Units) -> None:
        for name, settings in units.items():
            (self.folder / "units" / name).write_text(unit(settings))


def why_not() -> str:
    """Return why no systemd can be run here; empty if it can."""
    if os.getuid() != 0:
        return "needs root, for a cgroup of its own"
    if not BINARY.exists() or shutil.which("systemctl") is None:
        return "systemd is not installed"
    return "" if hierarchy() else "needs a cgroup2 hierarchy that can be written"


def hierarchy() -> Path | None:
    found = (
        path for path in HIERARCHIES if (path / "cgroup.procs").exists() and (path / "cgroup.controllers").exists()
    )
    return next((path for path in found if os.access(path / "cgroup.procs", os.W_OK)), None)


@contextmanager
def running_systemd(units: Units) -> Iterator[UserManager]:
    """Run a user manager that has these units."""
    folder = Path(tempfile.mkdtemp(prefix="sd-"))
    for name in ("run", "units", "home"):
        (folder / name).mkdir(mode=0o700)
    root = hierarchy()
    assert root is not None
    group = root / f"migrator-tests-{os.getpid()}-{folder.name}"
    group.mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "SYSTEMD_UNIT_PATH": f"{folder}/units:/usr/lib/systemd/user",
    }
    with (folder / "out").open("wb") as output:
        child = subprocess.Popen(
            ["sh", "-ec", START, "sh", str(group), str(BINARY)],
            env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call between fork and exec, no lock
        )  # fmt: skip
    manager = UserManager(folder=folder, child=child)
    manager.write(units)
    try:
        eventually(lambda: (folder / "run/systemd/private").exists() or child.poll() is not None)
        assert child.poll() is None, (folder / "out").read_text()
        eventually(lambda: manager.ctl("is-active", "basic.target") == "active")
        yield manager
    finally:
        end(child)
        # What a unit has left behind is ended with the cgroup, which is ours alone.
        (group / "cgroup.kill").write_text("1")
        eventually(lambda: "populated 0" in (group / "cgroup.events").read_text())
        for path in sorted(group.rglob("*/"), key=lambda each: len(each.parts), reverse=True):
            path.rmdir()
        group.rmdir()
        shutil.rmtree(folder, ignore_errors=True)


def end(child: subprocess.Popen[bytes]) -> None:
    """End the manager, which ends its units, by its pid."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(10)


def unit(settings: Mapping[str, str]) -> str:
    """Return a service's unit file; keys may be repeated as ``Environment:1``."""
    given = {"Restart": "always", "RestartSec": "0.1", "KillMode": "mixed", "TimeoutStopSec": "20", **settings}
    lines = [f"{key.partition(':')[0]}={value}" for key, value in given.items()]
    return "\n".join(["[Unit]", "StartLimitIntervalSec=0", "[Service]", *lines, ""])


def units_of(shop: Shop) -> dict[str, dict[str, str]]:
    """Return the shop's processes as units."""
    return {f"{process.name}.service": _unit(shop.plan, process, shop.environ) for process in shop.plan.processes}


def _unit(plan: Plan, process: Process, environ: Mapping[str, str]) -> dict[str, str]:
    where = f"process {process.name}"
    node = f"{process.name}@{os.uname().nodename}"
    command = [fill(plan, part, environ=environ, where=where, node=node) for part in process.command]
    own = {key: value for key, value in environ.items() if key.startswith(("SHOP_", "PYTHONDONT"))}
    return {
        "ExecStart": shlex.join(command).replace("%", "%%"),
        "WorkingDirectory": str(plan.folder / process.directory),
        "TimeoutStopSec": str(int(process.stop_timeout_s)),
        **{f"Environment:{number}": f'"{key}={value}"' for number, (key, value) in enumerate(own.items())},
    }


@contextmanager
def shop_under_systemd(shop: Shop) -> Iterator[tuple[Shop, UserManager]]:
    """Put the shop under a systemd of its own: every process of its plan becomes a unit."""
    with running_systemd(units_of(shop)) as manager:
        text = shop.plan.file.read_text()
        for process in shop.plan.processes:
            mark = f'[[process]]\nname = "{process.name}"\n'
            assert mark in text
            text = text.replace(mark, f'{mark}driver = "systemd"\nunit = "{process.name}.service"\nmanager = "user"\n')
        shop.plan.file.write_text(text)
        git(shop.folder, "commit", "-q", "-a", "-m", "Run under systemd")
        yield replace(shop, plan=load_plan(shop.plan.file), environ={**shop.environ, **manager.environ}), manager
