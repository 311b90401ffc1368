"""A password of a broker stands in nothing that is printed or written, however it is spelt."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from small_projects import BILLS, Project, make_project

PASSWORDS = ("pl4inPass", "sl/ash4", "at@sign4", "co:lon44", "ha#sh444", "per%cent4", "quest?ion4", "sp ace4'\"é")
COMMANDS = (
    ("inspect",),
    ("status", "--format", "json"),
    ("transfer", "--dry-run"),
    ("transfer", "--yes"),
    ("cutover", "--dry-run", "--format", "json"),
    ("transfer", "--back", "--yes"),
)


def project_with(folder: Path, url: str) -> Project:
    plan = BILLS["migration.toml"].replace("${BROKER}", url.replace("\\", "\\\\").replace('"', '\\"'), 1)
    return make_project(folder, {**BILLS, "migration.toml": plan}, environ={"BROKER": url})


def said_and_written(project: Project) -> str:
    """Run every command; return what they print, and what lies in the state folder."""
    text = ""
    for words in COMMANDS:
        done = project.migrator(*words)
        assert done.returncode in {0, 1, 2, 3, 4}, done.stderr
        text += done.stdout + done.stderr
    written = [file for file in (project.folder / ".migrator").rglob("*") if file.is_file()]
    return text + "".join(file.read_bytes().decode("utf-8", errors="replace") for file in written)


def spellings(password: str) -> set[str]:
    return {password, quote(password, safe=""), quote(password), json.dumps(password)[1:-1], repr(password)[1:-1]}


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_that_works_is_never_shown(tmp_path: Path, redis_url: str, password: str) -> None:
    with redis.Redis.from_url(redis_url) as server:
        server.execute_command("ACL", "SETUSER", "app", "reset", "on", f">{password}", "~*", "&*", "+@all")
        message = {"queue_name": "default", "actor_name": "bill", "args": [1], "kwargs": {}, "options": {},
                   "message_id": "a", "message_timestamp": 1}  # fmt: skip
        server.hset("dramatiq:default.msgs", "a", json.dumps(message))
        server.rpush("dramatiq:default", "a")
        place = redis_url.partition("://")[2]
        text = said_and_written(project_with(tmp_path, f"redis://app:{quote(password, safe='')}@{place}"))
        assert "1 moved" in text or "moved 1" in text, text
        assert server.lrange("dramatiq:default", 0, -1), "the message is not back"
    assert not [spelling for spelling in spellings(password) if spelling in text]


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_that_is_not_escaped_is_never_shown(tmp_path: Path, password: str) -> None:
    """The URL can't be read, or its server is not there."""
    text = said_and_written(project_with(tmp_path, f"redis://app:{password}@127.0.0.1:1/0"))
    assert not [spelling for spelling in spellings(password) if spelling in text], text
