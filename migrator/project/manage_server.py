"""A ``manage.py`` that has imported the project before its commands are needed: no worker runs tasks while they run.

It is only faster than a ``manage.py`` per command, never required: when it is gone, the caller starts ``manage.py``
itself. Its commands have to be repeatable, because it is unknown what a command has done if its answer did not arrive.

Source: django/core/management/commands/shell.py (``--command`` leaves standard input alone).
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from migrator.errors import UnreachableError
from migrator.plan.model import Plan
from migrator.plan.placeholders import fill_words

_ANSWER = b"migrator-answer "
_END_TIMEOUT_S = 5.0


@dataclass(slots=True)
class ManageServer:
    """The process, and its output that was not read yet."""

    process: subprocess.Popen[bytes]
    unread: bytes = field(default=b"")

    def call(self, arguments: tuple[str, ...], *, limit_s: float) -> tuple[int, str, str] | None:
        """Run a command and return its status, output and errors; None if the process is gone.

        Raises:
            UnreachableError: It takes longer than ``limit_s`` seconds; the process was killed.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(orjson.dumps(arguments) + b"\n")
            self.process.stdin.flush()
        except OSError:
            return None
        answer = self._answer(time.monotonic() + limit_s)
        if answer is None:
            return None
        document = orjson.loads(answer)
        return int(document["code"]), str(document["output"]), str(document["errors"])

    def _answer(self, end: float) -> bytes | None:
        assert self.process.stdout is not None
        while True:
            *lines, self.unread = self.unread.split(b"\n")
            for number, line in enumerate(lines):
                if line.startswith(_ANSWER):
                    self.unread = b"\n".join([*lines[number + 1 :], self.unread])
                    return line.removeprefix(_ANSWER)
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                self.process.kill()
                raise UnreachableError(
                    "manage.py",
                    "has not answered in time",
                    remedy="run the same command again; check what the database is doing",
                )
            read = os.read(self.process.stdout.fileno(), 65536)
            if not read:
                return None
            self.unread += read


@contextmanager
def running_manage_server(plan: Plan, environ: Mapping[str, str]) -> Iterator[ManageServer | None]:
    """Start one, and end it on exit; None if it can't be executed. It imports while the caller continues."""
    command = fill_words(plan, plan.project.manage, environ=environ, where="project.manage")
    loop = Path(__file__).parents[1].joinpath("agent", "manage_loop.py").read_text(encoding="utf-8")
    try:
        process = subprocess.Popen(
            [*command, "shell", "--command", loop],
            cwd=plan.source_root,
            env={**environ, "DJANGO_SETTINGS_MODULE": plan.project.settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError:
        yield None
        return
    try:
        yield ManageServer(process=process)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close its input, which ends it; its output is read until then, so that it can still write."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(timeout=_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=_END_TIMEOUT_S)
    process.stdout.close()
