"""A migration over two hosts: workers of both systems on each, cutover and rollback under load, counted elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fleet
import pytest
import redis
from second_host import second_host
from small_projects import MANAGE, Project, make_project
from waiting import wait_until

from migrator.embedded_redis import EmbeddedServer, find_server, free_port

BOOK = """\
import os
import time

import redis

book = redis.Redis.from_url(os.environ["BOOK"])


def note(ref):
    time.sleep(0.02)
    where = os.readlink("/proc/self/ns/net")
    book.rpush("runs", f"{ref} {where}")
    return ref
"""
ACTORS = """\
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from post.book import note

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))


@dramatiq.actor(max_retries=0)
def letter(ref):
    return note(ref)
"""
OLD = """\
import os

from celery import Celery

from post.book import note

app = Celery("old", broker=os.environ["BROKER"])
app.conf.task_acks_late = True


@app.task(name="post.parcel", max_retries=0)
def parcel(ref):
    return note(ref)
"""
UNIFIED = """\
import os

from celery import Celery

from post.book import note

app = Celery("unified", broker=os.environ["BROKER"])
app.conf.update(task_default_queue="unified", task_acks_late=True)


@app.task(name="unified.letter", max_retries=0, soft_time_limit=600, reject_on_worker_lost=True)
def letter(ref):
    return note(ref)


@app.task(name="unified.parcel", max_retries=0)
def parcel(ref):
    return note(ref)
"""
#: Sends until it is told to stop, by the code of its side; a line of the ledger is one message.
SENDER = """\
import itertools
import signal
import sys
import time

stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
if sys.argv[1] == "legacy":
    from post.actors import letter
    from post.old import parcel
    sends = {"letter": letter.send, "parcel": parcel.delay}
else:
    from post.unified import letter, parcel
    sends = {"letter": letter.delay, "parcel": parcel.delay}
start = time.time_ns()
with open(sys.argv[2], "a") as ledger:
    for number in itertools.count():
        for kind, send in sends.items():
            ref = f"{kind}-{sys.argv[1]}-{start}-{number}"
            send(ref)
            ledger.write(ref + "\\n")
            ledger.flush()
        if stopping:
            break
        time.sleep(0.05)
"""
PRODUCER = """\
[[process]]
name = "sender-{side}"
side = "{side}"
role = "producer"
command = ["{{python}}", "{send}", "{side}", "{sent}"]
environment = {{ PYTHONPATH = "{there}/{side}" }}

"""
REMOTE = """\
[[process]]
name = "{name}"
side = "{side}"
role = "worker"
system = "{system}"
driver = "external"
{rest}
start = ["ssh", "-F", "${{SSH_CONFIG}}", "second", "{python}", "{fleet}", "{there}", "up", "{{name}}", "{{replicas}}",
  "{{release}}", "{there}/{{release}}", "env", "BROKER=${{BROKER}}", "BOOK=${{BOOK}}", "{python}", {words}]
stop = ["ssh", "-F", "${{SSH_CONFIG}}", "second", "{python}", "{fleet}", "{there}", "down", "{{name}}"]
stop_timeout_s = 60
"""
LOCAL = """\
[[process]]
name = "{name}"
side = "{side}"
role = "worker"
system = "{system}"
command = ["{{python}}", {words}]
stop_timeout_s = 60
"""
PLAN = """\
[migration]
name = "post"

[project]
root = "."
settings = "post.settings"

[legacy.dramatiq]
broker = "${BROKER}"
queues = ["default"]
modules = ["post.actors"]

[legacy.celery]
broker = "${BROKER}"
queues = ["celery"]
modules = ["post.old"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "unified.letter"
path = "post.unified.letter"
parameters = ["ref"]
max_retries = 0

  [[task.replaces]]
  system = "dramatiq"
  name = "letter"
  path = "post.actors.letter"
  parameters = ["ref"]

[[task]]
name = "unified.parcel"
path = "post.unified.parcel"
parameters = ["ref"]
max_retries = 0

  [[task.replaces]]
  system = "celery"
  name = "post.parcel"
  path = "post.old.parcel"
  parameters = ["ref"]

"""
CASE = 'title = "{0}"\nkind = "usual"\n\n[[call]]\nsystem = "{1}"\ntask = "{2}"\nargs = ["x"]\n'
FILES = {
    ".gitignore": "__pycache__/\n.migrator/\n",
    "manage.py": MANAGE.format(settings="post.settings"),
    "post/__init__.py": "",
    "post/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n'
    'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}\n',
    "post/book.py": BOOK,
    "post/actors.py": ACTORS,
    "post/old.py": OLD,
    "post/unified.py": UNIFIED,
    "parity.toml": 'cases = "cases"\n\n[environment]\nBROKER = "{redis}/0"\nBOOK = "{redis}/1"\n',
    "cases/letter/case.toml": CASE.format("letter", "dramatiq", "letter"),
    "cases/parcel/case.toml": CASE.format("parcel", "celery", "post.parcel"),
}
CELERY = '"-m", "celery", "-A", "post.{}", "worker", "-Q", "{}", "--pool=threads", "-c", "2"'
WORK = {
    "dramatiq": ("legacy", "dramatiq", '"-m", "dramatiq", "post.actors", "-p", "1", "-t", "2"'),
    "celery": ("legacy", "celery", CELERY.format("old", "celery")),
    "unified": ("unified", "celery", CELERY.format("unified", "unified")),
}


def plan_text(there: Path) -> str:
    """Both hosts run a worker of each kind; those of the second one have a release of their own."""
    text = PLAN
    for kind, (side, system, words) in WORK.items():
        node = ', "-n", "{node}"' if system == "celery" else ""
        text += LOCAL.format(name=f"{kind}-here", side=side, system=system, words=words + node) + "\n"
        rest = f'release = "{side}"\n' + (f'nodes = "{kind}*@second"' if system == "celery" else "")
        node = f', "-n", "{kind}%i@second"' if system == "celery" else ""
        text += REMOTE.format(
            name=f"{kind}-there", side=side, system=system, words=words + node, rest=rest, there=there,
            python=sys.executable, fleet=fleet.__file__,
        ) + "\n"  # fmt: skip
    for side in ("legacy", "unified"):
        text += PRODUCER.format(side=side, send=there / "send.py", sent=there / "sent", there=there)
    return text


@contextmanager
def reachable_redis(folder: Path, address: str) -> Iterator[str]:
    arguments = ("--bind", address, "127.0.0.1", "--protected-mode", "no")
    server = EmbeddedServer(port=free_port(), folder=folder, binary=find_server(), arguments=arguments)
    server.start()
    try:
        yield f"redis://{address}:{server.port}"
    finally:
        server.stop()


@pytest.mark.journey
@pytest.mark.timeout(1500)
def test_two_hosts_there_and_back_under_load(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    there = tmp_path / "there"
    with second_host(tmp_path / "ssh") as second, reachable_redis(tmp_path / "redis", second.here) as url:
        environ = {"BROKER": f"{url}/0", "BOOK": f"{url}/1", "SSH_CONFIG": str(second.ssh_config)}
        project = make_project(tmp_path / "post", {**FILES, "migration.toml": plan_text(there)}, environ)
        project.git("config", "user.name", "tester")
        project.git("config", "user.email", "tester@example.org")
        for release in ("legacy", "unified"):
            shutil.copytree(project.folder / "post", there / release / "post")
        (there / "send.py").write_text(SENDER)
        try:
            migrate(project, tmp_path, record_property)
        finally:
            for side in ("legacy", "unified"):
                project.migrator("workers", "stop", side, "--yes")
            for file in there.glob("*.json"):
                for pid in fleet.living(file):
                    os.killpg(pid, signal.SIGKILL)


def done(project: Project, *words: str) -> str:
    ran = project.migrator(*words, timeout_s=400)
    assert ran.returncode == 0, f"{words}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def migrate(project: Project, folder: Path, record_property: pytest.RecordProperty) -> None:
    done(project, "rewrite-imports")
    project.commit()
    done(project, "parity-check", "--no-waiting")
    done(project, "workers", "start", "legacy", "--yes")
    with redis.Redis.from_url(project.environ["BOOK"], decode_responses=True, socket_timeout=5) as book:
        for command in ("cutover", "rollback"):
            worked_on_both_hosts(book)
            done(project, command, "--yes")
        worked_on_both_hosts(book)
        done(project, "workers", "stop", "legacy", "--yes", "--name", "sender-legacy")
        sent = (folder / "there/sent").read_text().split()
        wait_until(lambda: len(book.lrange("runs", 0, -1)) >= len(sent), timeout_s=60)
        time.sleep(2)
        counts = Counter(line.split()[0] for line in book.lrange("runs", 0, -1))
    assert not [ref for ref in sent if counts[ref] == 0], "lost"
    assert not [ref for ref, number in counts.items() if number > 1], "doubled"
    calls = (folder / "there/calls").read_text().split("\n")
    assert calls.count("celery-there 1 legacy") == calls.count("dramatiq-there 1 legacy") == 2
    assert calls.count("unified-there 1 unified") == 1
    record_property("journey", f"two hosts, there and back: {len(sent)} messages, 0 lost, 0 doubled")


def worked_on_both_hosts(book: redis.Redis) -> None:
    """Wait until some messages from now on have run on each of the hosts."""
    before = int(book.llen("runs"))

    def hosts() -> Counter[str]:
        return Counter(line.split()[1] for line in book.lrange("runs", before, -1))

    wait_until(lambda: len(hosts()) == 2 and min(hosts().values()) > 5, timeout_s=60, what=hosts)
