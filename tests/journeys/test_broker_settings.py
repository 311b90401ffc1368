"""Projects name their brokers in many ways: parity and rehearsal lead each of them to scratch servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_environment import project_python
from small_projects import NAMESAKES, NAMESAKES_WORKERS, make_project

#: What the settings say, and what the plan says, of a server that doesn't exist.
FORMS = {
    "the beginning of the URL in one variable": (
        'BROKER = os.environ.get("STOCK_REDIS", "redis://redis.invalid:6379") + "/3"',
        "${STOCK_REDIS:-redis://redis.invalid:6379}/3",
    ),
    "host and port in two variables": (
        'BROKER = "redis://{}:{}/0".format(os.environ.get("R_HOST", "redis.invalid"), os.environ.get("R_PORT", 6379))',
        "redis://${R_HOST:-redis.invalid}:${R_PORT:-6379}/0",
    ),
    "literally": ('BROKER = "redis://:secret@redis.invalid:6379/5"', "redis://:secret@redis.invalid:6379/5"),
    "literally, RabbitMQ": (
        'BROKER = "amqp://user:secret@rabbit.invalid:5672/shop"',
        "amqp://user:secret@rabbit.invalid:5672/shop",
    ),
}


@pytest.mark.parametrize("through_broker", [False, True], ids=["alone", "through workers"])
@pytest.mark.parametrize("form", FORMS)
def test_parity_needs_no_word_about_the_broker(form: str, *, through_broker: bool, tmp_path: Path) -> None:
    setting, url = FORMS[form]
    files = {path: text for path, text in NAMESAKES.items() if path != "parity.toml"}
    files["parity.toml"] = 'cases = "cases"\n'
    old = 'BROKER = os.environ.get("BROKER", "redis://127.0.0.1:6379/0")'
    files["src/tasks/settings.py"] = files["src/tasks/settings.py"].replace(old, setting)
    plan = files["migration.toml"].replace("${BROKER:-redis://127.0.0.1:6379/0}", url)
    files["migration.toml"] = plan + (NAMESAKES_WORKERS if through_broker else "")
    if url.startswith("amqp"):
        actors = files["src/tasks/actors.py"].replace("redis import RedisBroker", "rabbitmq import RabbitmqBroker")
        files["src/tasks/actors.py"] = actors.replace("RedisBroker(", "RabbitmqBroker(")
    environ = {"MIGRATOR_PYTHON": str(project_python(tmp_path / "venv"))}
    project = make_project(tmp_path / "project", files, environ)
    options = ["--through-broker"] if through_broker else []
    done = project.migrator("parity-check", "--format", "json", *options)
    report = json.loads(done.stdout)["parity"]
    outcomes = {item["case"]: item["outcome"] for item in report["comparisons"]}
    assert (outcomes["quote"], outcomes["discount"]) == ("matched", "matched"), (report, done.stderr)
