"""A server without persistence restarts between two commands: neither is done as if nothing were missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from small_projects import Project, make_project

from migrator.embedded_redis import EmbeddedServer, embedded_server

PARCELS = {
    "post/__init__.py": "",
    "post/settings.py": 'SECRET_KEY = "parcels"\nINSTALLED_APPS = []\n',
    "post/actors.py": """\
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))


@dramatiq.actor(queue_name="parcels")
def deliver(number):
    pass
""",
    "migration.toml": """\
[migration]
name = "parcels"

[project]
root = "."
settings = "post.settings"
install_package = "migrator.tasks"
install_to = "tasks"

[legacy.dramatiq]
broker = "${BROKER}"
queues = ["parcels"]
modules = ["post.actors"]

[unified]
broker = "${BROKER}"
queues = ["unified"]

[[task]]
name = "post.deliver"
path = "post.tasks.deliver"
parameters = ["number"]

  [[task.replaces]]
  system = "dramatiq"
  name = "deliver"
  path = "post.actors.deliver"
  parameters = ["number"]
""",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with embedded_server(folder=tmp_path / "server") as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, server: EmbeddedServer) -> Project:
    project = make_project(tmp_path / "parcels", PARCELS, {"BROKER": server.url()})
    done = project.run(sys.executable, "-c", "from post.actors import deliver\nfor n in range(5): deliver.send(n)")
    assert done.returncode == 0, done.stderr
    return project


def restart(server: EmbeddedServer) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("words", [("transfer", "--back"), ("transfer",)], ids=["back", "forward"])
def test_the_next_command_refuses_and_its_advice_brings_everything_back(
    project: Project, server: EmbeddedServer, words: tuple[str, ...]
) -> None:
    moved = project.migrator("transfer", "--yes")
    assert (moved.returncode, "moved 5" in moved.stdout) == (0, True), moved.stdout + moved.stderr
    assert "keeps nothing on disk" in moved.stderr
    restart(server)

    refused = project.migrator(*words, "--yes")
    assert refused.returncode == 4, refused.stdout + refused.stderr
    advice = re.search(r"`migrator (restore \S+ --replace)`", refused.stdout + refused.stderr)
    assert advice, refused.stderr

    restored = project.migrator(*advice[1].split(), "--yes")
    assert (restored.returncode, "restored 5" in restored.stdout) == (0, True), restored.stdout + restored.stderr
    again = project.migrator("transfer", "--yes")
    assert (again.returncode, "moved 5" in again.stdout) == (0, True), again.stdout + again.stderr
    back = project.migrator("transfer", "--back", "--yes")
    assert (back.returncode, "moved 5" in back.stdout) == (0, True), back.stdout + back.stderr


def test_an_operator_can_accept_it(project: Project, server: EmbeddedServer) -> None:
    assert project.migrator("transfer", "--yes").returncode == 0
    redis.Redis(port=server.port).flushall()
    assert project.migrator("transfer", "--yes").returncode == 4
    accepted = project.migrator("transfer", "--accept-forgotten", "--yes")
    assert (accepted.returncode, "moved 0" in accepted.stdout) == (0, True), accepted.stdout + accepted.stderr
    assert project.migrator("transfer", "--yes").returncode == 0
