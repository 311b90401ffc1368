"""Small Dramatiq projects in the shapes of its guide and cookbook, converted and run by a real Celery worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_place import make_in_place

from codemods.runner import rewrite

CELERY_APP = """
import os

from celery import Celery

app = Celery("host", broker=os.environ["BROKER"], backend=os.environ["BACKEND"], include=["jobs"])
app.conf.task_default_queue = "unified"
app.conf.broker_connection_retry_on_startup = True
app.set_current()
"""

COUNT_WORDS = {
    "jobs.py": """
import os
import sys

import dramatiq


def note(line):
    with open(os.environ["OUT"], "a") as out:
        out.write(line + "\\n")


@dramatiq.actor
def count_words(url):
    note(f"There are {len(url.split('/'))} words at {url!r}.")


@dramatiq.actor(max_retries=2, min_backoff=1000, max_backoff=1000, store_results=True)
def flaky(key):
    marker = os.environ["OUT"] + key
    if not os.path.exists(marker):
        open(marker, "w").close()
        raise OSError("not yet")
    note("at last")
    return key


@dramatiq.actor(throws=ValueError)
def refuses():
    note("refused once")
    raise ValueError("never again")
""",
    "main.py": """
from jobs import count_words, flaky, refuses


def main():
    count_words.send("http://example.com")
    count_words.send_with_options(args=("a/b/c",), delay=300)
    refuses.send()
    message = flaky.send("x")
    return [message.get_result(block=True, timeout=20_000), len(message.message_id) > 10]
""",
}

COMPOSITION = {
    "jobs.py": """
import dramatiq


@dramatiq.actor(store_results=True)
def get_uri_contents(uri):
    return uri * 3


@dramatiq.actor(store_results=True)
def count_letters(text):
    return len(text)


@dramatiq.actor(store_results=True)
def constant():
    return 42
""",
    "main.py": """
import dramatiq
from dramatiq import group, pipeline

from jobs import constant, count_letters, get_uri_contents


def main():
    piped = pipeline([get_uri_contents.message("ab"), count_letters.message()]).run()
    ignoring = (get_uri_contents.message("ab") | constant.message_with_options(pipe_ignore=True)).run()
    group([count_letters.message(text) for text in ("a", "bb")]).run()
    return [piped.get_result(block=True, timeout=20_000), ignoring.get_result(block=True, timeout=20_000)]
""",
}

ASYNC_MAIL = {
    "jobs.py": """
import asyncio

import dramatiq


@dramatiq.actor(store_results=True, time_limit=20_000)
async def send_welcome_email(user_id, *, template="hello"):
    await asyncio.sleep(0.01)
    return f"{template} {user_id}"
""",
    "main.py": """
import jobs as j

SENDERS = {"welcome": j.send_welcome_email}


def main():
    first = SENDERS["welcome"].send(7)
    second = j.send_welcome_email.send_with_options(args=(8,), kwargs={"template": "hi"}, delay=200)
    return [first.get_result(block=True, timeout=20_000), second.get_result(block=True, timeout=20_000)]
""",
}


@contextmanager
def worker(folder: Path, environ: Mapping[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--pool", "solo", "--loglevel", "warning"]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle"], cwd=folder, env=environ, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=5)


def run(
    folder: Path, actors: Mapping[str, list[str]], files: Mapping[str, str], url: str, *, lines: int = 0
) -> list[object]:
    """Convert the files, run their ``main`` beside a worker, and wait until so many lines were written."""
    plan = make_in_place(folder, actors, {**files, "celery_app.py": CELERY_APP})
    report = rewrite(plan)
    left = [str(finding) for finding in report.leftovers if not finding.where.startswith("broker.py")]
    assert left == []
    assert "dramatiq" not in (folder / "main.py").read_text() + (folder / "jobs.py").read_text()
    base = url.rsplit("/", 1)[0]
    own = {"BROKER": f"{base}/0", "BACKEND": f"{base}/1", "OUT": str(folder / "out"), "PYTHONPATH": str(folder)}
    environ = {**os.environ, **own}
    script = "import celery_app, json, main; print(json.dumps(main.main()))"
    with worker(folder, environ):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        deadline = time.monotonic() + 30
        while lines and (folder / "out").read_text().count("\n") < lines and time.monotonic() < deadline:
            time.sleep(0.1)
    assert done.returncode == 0, done.stderr + (folder / "worker.log").read_text()
    result: list[object] = json.loads(done.stdout)
    return result


@pytest.mark.acceptance
def test_the_guides_count_words(tmp_path: Path, redis_url: str) -> None:
    actors = {"count_words": ["url"], "flaky": ["key"], "refuses": []}
    assert run(tmp_path, actors, COUNT_WORDS, redis_url, lines=4) == ["x", True]
    assert sorted((tmp_path / "out").read_text().splitlines()) == [
        "There are 3 words at 'a/b/c'.",
        "There are 3 words at 'http://example.com'.",
        "at last",
        "refused once",
    ]


@pytest.mark.acceptance
def test_the_cookbooks_composition(tmp_path: Path, redis_url: str) -> None:
    actors = {"get_uri_contents": ["uri"], "count_letters": ["text"], "constant": []}
    assert run(tmp_path, actors, COMPOSITION, redis_url) == [6, 42]


@pytest.mark.acceptance
def test_async_actors(tmp_path: Path, redis_url: str) -> None:
    actors = {"send_welcome_email": ["user_id", "template"]}
    assert run(tmp_path, actors, ASYNC_MAIL, redis_url) == ["hello 7", "hi 8"]
