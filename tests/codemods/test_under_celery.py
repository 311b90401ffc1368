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

app = Celery("host", broker=os.environ["BROKER"], backend=os.environ["BACKEND"], include=[os.environ["MODULE"]])
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
    counted = group([count_letters.message(text) for text in ("a", "bb")]).run()
    lengths = list(counted.get_results(block=True, timeout=20_000))
    return [lengths, piped.get_result(block=True, timeout=20_000), ignoring.get_result(block=True, timeout=20_000)]
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

BROKER = """
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, CurrentMessage

broker = RedisBroker(url=os.environ["BROKER"])
broker.add_middleware(AsyncIO())
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)
"""
NOTES = """
import os


def note(line):
    with open(os.environ["OUT"], "a") as out:
        out.write(line + "\\n")


def whisper(user):
    note(f"psst, {user}")
"""
#: Callbacks, a predicate for retries, and what is called when they are used up.
CALLBACKS = {
    "notes.py": NOTES,
    "broker.py": BROKER,
    "jobs.py": """
import dramatiq

from notes import note


def worth_another_try(retries, error):
    return isinstance(error, ConnectionError) and retries < 2


@dramatiq.actor
def succeeded(message, result):
    note(f"succeeded {message['args'][0]} {result}")


@dramatiq.actor
def failed(message, error):
    note(f"failed {message['args'][0]} {error['type']} {error['message']}")


@dramatiq.actor
def gave_up(message, outcome):
    note(f"gave up {message['args'][0]} after {outcome['retries']}")


@dramatiq.actor(
    on_success="succeeded", on_failure="failed", on_retry_exhausted="gave_up",
    retry_when=worth_another_try, min_backoff=1000, max_backoff=1000,
)
def fetch(url):
    note(f"fetch {url}")
    if url == "down":
        raise ConnectionError("nobody there")
    if url == "wrong":
        raise ValueError("no such thing")
    return len(url)
""",
    "main.py": """
from jobs import fetch


def main():
    for url in ("good", "down", "wrong"):
        fetch.send(url)
""",
}
CALLED_BACK = ["succeeded good 4", "fetch good", "fetch wrong", "failed wrong ValueError no such thing"]
CALLED_BACK += ["gave up wrong after 0", "gave up down after 2", *["fetch down"] * 3]
CALLED_BACK += ["failed down ConnectionError nobody there"] * 3

#: Classes with a common base, coroutines, a partial, a call, a module that sends its own tasks, a raised Retry, the
#: current message, and a dict of tasks that another file reads.
CLASSES = {
    "notes.py": NOTES,
    "broker.py": BROKER,
    "mailer/__init__.py": "",
    "mailer/tasks.py": """
import asyncio
from functools import partial

import dramatiq
from dramatiq import GenericActor
from dramatiq.middleware import CurrentMessage

import notes
from notes import note

careful = partial(dramatiq.actor, max_retries=1, min_backoff=1000, max_backoff=1000)


class Delivery(GenericActor):
    class Meta:
        abstract = True
        max_retries = 2
        min_backoff = 1000
        max_backoff = 1000

    def channel(self):
        raise NotImplementedError

    def perform(self, user):
        note(f"{self.channel()} to {user}")
        if user == "nobody":
            raise LookupError(user)


class Mail(Delivery):
    SIGNATURE = "yours"

    def channel(self):
        return "mail"


class Text(Delivery):
    def channel(self):
        return "text"

    def perform(self, user):
        super().perform(user)
        audit.send_with_options(args=(user,), kwargs={"level": "warning"}, delay=100)


@careful
async def audit(user, *, level="info"):
    await asyncio.sleep(0.01)
    note(f"audit {level} {user}")


def shout(user):
    note(f"{user.upper()}, {Mail.SIGNATURE}")


shout = dramatiq.actor(shout)
whisper = dramatiq.actor(notes.whisper, max_retries=0)


@dramatiq.actor(max_retries=2)
def knock(door):
    message = CurrentMessage.get_current_message()
    note(f"knock {message.args[0]} {message.options.get('retries', 0)} {len(message.message_id)}")
    try:
        raise LookupError(door)
    except LookupError as error:
        raise dramatiq.Retry("nobody", delay=200) from error


LOUD = {"shout": shout, "knock": knock, "whisper": whisper}
""",
    "main.py": """
from mailer import tasks
from mailer.tasks import LOUD, Mail


def main():
    Mail.send("ann")
    Mail.send("nobody")
    tasks.Text.send("bob")
    tasks.shout.send("eve")
    tasks.shout("carl")
    for task in LOUD.values():
        task.send("door")
""",
}
DELIVERED = ["mail to ann", "text to bob", "audit warning bob", "EVE, yours", "CARL, yours"] + ["mail to nobody"] * 3
DELIVERED += ["DOOR, yours", "psst, door", "knock door 0 36", "knock door 1 36", "knock door 2 36"]


def celery_command() -> list[str]:
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--pool", "solo", "--loglevel", "warning"]
    return [*command, "--without-gossip", "--without-mingle"]


def dramatiq_command(module: str) -> list[str]:
    return [sys.executable, "-m", "dramatiq", "broker", module, "--processes", "1", "--threads", "2"]


@contextmanager
def worker(folder: Path, command: list[str], environ: Mapping[str, str]) -> Iterator[None]:
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
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
    folder: Path,
    actors: Mapping[str, list[str]],
    files: Mapping[str, str],
    url: str,
    *,
    lines: int = 0,
    module: str = "",
) -> list[object]:
    """Convert the files, run their ``main`` beside a worker, and wait until so many lines were written."""
    module = module or "jobs"
    plan = make_in_place(folder, actors, {**files, "celery_app.py": CELERY_APP}, module=module)
    report = rewrite(plan)
    left = [str(finding) for finding in report.leftovers if not finding.where.startswith("broker.py")]
    assert left == []
    assert "dramatiq" not in (folder / "main.py").read_text()
    assert "dramatiq" not in (folder / (module.replace(".", "/") + ".py")).read_text()
    return run_main(folder, celery_command(), "celery_app", url, lines=lines, module=module)


def run_main(folder: Path, command: list[str], first: str, url: str, *, lines: int, module: str) -> list[object]:
    base = url.rsplit("/", 1)[0]
    own = {"BROKER": f"{base}/0", "BACKEND": f"{base}/1", "OUT": str(folder / "out"), "PYTHONPATH": str(folder)}
    environ = {**os.environ, **own, "MODULE": module}
    script = f"import {first}, json, main; print(json.dumps(main.main()))"
    with worker(folder, command, environ):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        deadline = time.monotonic() + 60
        while lines and written(folder).count("\n") < lines and time.monotonic() < deadline:
            time.sleep(0.1)
    assert done.returncode == 0, done.stderr + (folder / "worker.log").read_text()
    result: list[object] = json.loads(done.stdout)
    return result


def written(folder: Path) -> str:
    out = folder / "out"
    return out.read_text() if out.exists() else ""


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
    assert run(tmp_path, actors, COMPOSITION, redis_url) == [[1, 2], 6, 42]


@pytest.mark.acceptance
def test_async_actors(tmp_path: Path, redis_url: str) -> None:
    actors = {"send_welcome_email": ["user_id", "template"]}
    assert run(tmp_path, actors, ASYNC_MAIL, redis_url) == ["hello 7", "hi 8"]


APPS = {
    "callbacks": (
        CALLBACKS,
        {
            "succeeded": ["message", "result"],
            "failed": ["message", "error"],
            "gave_up": ["message", "outcome"],
            "fetch": ["url"],
        },
        "jobs",
        CALLED_BACK,
    ),
    "classes": (
        CLASSES,
        {
            "Mail": ["user"],
            "Text": ["user"],
            "audit": ["user", "level"],
            "shout": ["user"],
            "knock": ["door"],
            "whisper": ["user"],
        },
        "mailer.tasks",
        DELIVERED,
    ),
}


@pytest.mark.acceptance
@pytest.mark.parametrize("name", APPS)
def test_the_same_lines_under_dramatiq_and_converted_under_celery(tmp_path: Path, redis_url: str, name: str) -> None:
    files, actors, module, expected = APPS[name]
    legacy, converted = tmp_path / "legacy", tmp_path / "converted"
    make_in_place(legacy, actors, files, module=module)
    run_main(legacy, dramatiq_command(module), "broker", redis_url, lines=len(expected), module=module)
    run(converted, actors, files, redis_url, lines=len(expected), module=module)
    assert sorted(written(legacy).splitlines()) == sorted(expected)
    assert sorted(written(converted).splitlines()) == sorted(expected), (converted / "worker.log").read_text()
