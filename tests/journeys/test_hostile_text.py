"""Names, arguments and files that would act on a terminal or in a log if they were printed as they are."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
import redis
from small_projects import BILLS, MIGRATOR, Project, make_project

#: What a name of a message or a file may be made of.
CLIPBOARD = "\x1b]52;c;cm0gLXJm\x07"
EIGHT_BIT = "\x9b31mred"
HOSTILE = (
    "x[/b]",
    "[red]no price for [btc]",
    CLIPBOARD,
    EIGHT_BIT,
    "a\nbalance 0, done",
    "b\rbalance 0",
    "::error::stopped",
    "##[error]stopped",
    "\u202egnp.exe",
    "c\u2028next: migrator complete",
    "d\\",
    "e\x00f",
)
#: What must not be in any output; of the last ones, at the beginning of a line.
ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]"
    r"|(?m:^\s*(?:balance 0|::error::stopped|next: migrator complete))|##\["
)

COMMANDS = (
    ("inspect",),
    ("status",),
    ("transfer", "--dry-run"),
    ("transfer", "--find", CLIPBOARD),
    ("parity-check", "--capture", "--cases", "cases"),
    ("rewrite-imports", "--check"),
    ("rewrite-imports", "--diff"),
    ("rewrite-imports", "--check", "--format", "github"),
    ("rewrite-imports", "--check", "--format", "sarif"),
    ("rewrite-imports", "--check", CLIPBOARD),
    ("workers", "stop", CLIPBOARD),
    ("parity-check", CLIPBOARD),
    ("restore", f"none{CLIPBOARD}"),
    ("cutover", "--dry-run"),
    ("complete", "--dry-run"),
)


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    made = make_project(tmp_path, BILLS, environ={"BROKER": redis_url, "GITHUB_ACTIONS": "true"})
    with redis.Redis.from_url(redis_url) as server:
        for number, text in enumerate(HOSTILE):
            message = {
                "queue_name": "default",
                "actor_name": text,
                "args": [text],
                "kwargs": {text: text},
                "options": {},
                "message_id": f"{number}{text}",
                "message_timestamp": 1,
            }
            server.hset("dramatiq:default.msgs", message["message_id"], json.dumps(message))
            server.rpush("dramatiq:default", message["message_id"])
    return made


def hostile_files(folder: Path) -> None:
    """Write files whose names act, that hold leftovers and can't be parsed."""
    for text in HOSTILE:
        if "\x00" not in text and "/" not in text:
            (folder / "app" / f"{text}.py").write_text(
                f"from app.actors import bill\n\nbill.{'x' * 3}(1)  # {text!r}\n"
            )
            (folder / "app" / f"broken {text}.py").write_text("from app.actors import bill\nbill.send(\n")
    latin = Path(os.fsdecode(os.fsencode(folder / "app") + b"/caf\xe9.py"))
    latin.write_text("from app.actors import bill\n\nbill.send(1)\nbill.broker\n")


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words).encode("unicode_escape").decode())
def test_nothing_that_is_printed_acts(project: Project, words: tuple[str, ...]) -> None:
    hostile_files(project.folder)
    done = project.migrator(*words)
    for text in (done.stdout, done.stderr):
        assert not ACTING.search(text), repr(ACTING.search(text))
        assert "Traceback" not in text
    assert done.returncode in {0, 1, 2, 3, 4}, done.stderr
    if "--format" not in words:
        told = project.migrator(*words, "--format", "json")
        assert not ACTING.search(told.stdout), repr(ACTING.search(told.stdout))
        assert told.returncode == 2 if told.stdout == "" else json.loads(told.stdout), told.stderr


def test_a_terminal_is_not_acted_on(project: Project) -> None:
    """On a terminal, with colours of our own, and in the live view."""
    hostile_files(project.folder)
    for words in (["inspect"], ["transfer", "--dry-run"], ["rewrite-imports", "--diff"], ["cutover", "--dry-run"]):
        ours, theirs = pty.openpty()
        environ = {**os.environ, **project.environ, "TERM": "xterm", "COLUMNS": "200"}
        with subprocess.Popen(
            [str(MIGRATOR), *words], cwd=project.folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            shown = b""
            while True:
                try:
                    shown += os.read(ours, 65536)
                except OSError:
                    break
            process.wait(60)
        os.close(ours)
        text = shown.decode()
        assert "\x1b]52" not in text and EIGHT_BIT not in text and "\u202e" not in text, words
        assert "Traceback" not in text, text
    assert "[red]no price for [btc]" in text or words != ["inspect"]


def test_brackets_are_shown(project: Project) -> None:
    done = project.migrator("parity-check", "--capture", "--cases", "cases")
    for text in ("x[/b]", "[red]no price for [btc]", r"a\nbalance 0, done", r"\x1b]52;c;"):
        assert text in done.stdout, done.stdout
