"""Environments of projects: another Python, other versions of every library, and nothing of ours.

Each is built once with pip, into a folder that git ignores, and found again by a hash of what it has to hold.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from missing import missing

FOLDER = Path(__file__).parents[1] / ".environments"
BUILD_TIMEOUT_S = 600
#: What is told of an environment, in this order.
SHOWN = ("Django", "celery", "kombu", "dramatiq", "django-dramatiq", "redis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What a project's environment has."""

    name: str
    python: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is built."""
        digest = hashlib.sha256(json.dumps([self.python, *self.requirements]).encode()).hexdigest()
        return FOLDER / f"{self.name}-{digest[:12]}"


OLDEST = Versions(
    name="oldest",
    python="3.9",
    requirements=(
        "Django~=4.2.0", "celery[redis]~=5.3.0", "kombu~=5.3.0", "dramatiq[redis]~=1.16.0", "redis~=5.0",
        "django-dramatiq~=0.14.0",
    ),
)  # fmt: skip
#: Nothing of it has the version of the tool's environment.
OTHER = Versions(
    name="other",
    python="3.10",
    requirements=(
        "Django~=5.1.0", "celery[redis]~=5.4.0", "kombu~=5.4.0", "dramatiq[redis]~=1.17.0", "django-dramatiq~=0.14.0",
    ),
)  # fmt: skip
MIDDLE = Versions(
    name="middle",
    python="3.11",
    requirements=("Django~=5.2.0", "celery[redis]~=5.5.0", "dramatiq[redis]~=2.0.0", "django-dramatiq~=0.15.0"),
)
NEWEST = Versions(
    name="newest",
    python="3.13",
    requirements=("Django~=6.0.0", "celery[redis]~=5.7.0", "dramatiq[redis]~=2.2", "redis~=8.0", "django-dramatiq"),
)
#: Of a project on RabbitMQ: no client of Redis.
RABBITMQ = Versions(
    name="rabbitmq",
    python="3.12",
    requirements=("Django~=5.2.0", "celery~=5.5.0", "dramatiq[rabbitmq]~=1.18.0"),
)


def environment(versions: Versions) -> Path:
    """Return the folder of an environment, built if it isn't there."""
    FOLDER.mkdir(exist_ok=True)
    whole = versions.folder / ".whole"
    with (FOLDER / f"{versions.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(versions.folder, ignore_errors=True)
            _run(interpreter(versions.python), "-m", "venv", str(versions.folder))
            pip = (str(versions.folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet")
            _run(*pip, "install", "--prefer-binary", *versions.requirements)
            whole.touch()
    return versions.folder


def interpreter(version: str) -> str:
    """Return a Python of that version which the machine has."""
    for candidate in _candidates(version):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return missing(f"there is no Python {version}: not on the PATH, and not of pyenv")


def installed(folder: Path) -> str:
    """Return the versions in an environment, on one line."""
    code = (
        "import sys; from importlib.metadata import version\n"
        f"print('Python', sys.version.split()[0], *(f', {{name}} {{version(name)}}' for name in {SHOWN!r}))"
    )
    done = subprocess.run([folder / "bin/python", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip().replace(" ,", ",")


def _candidates(version: str) -> Iterator[str]:
    roots = (os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv"))
    for root in roots:
        yield from (str(file) for file in sorted(Path(root or "/nowhere").glob(f"versions/{version}.*/bin/python")))
    if found := shutil.which(f"python{version}"):
        yield found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
