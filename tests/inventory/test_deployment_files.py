"""Command lines as deployment files have them: what they start, and what is no worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.inventory.deployment.shell_lines import in_text
from migrator.inventory.deployment_files import find_programs


def seen(text: str) -> list[str]:
    found = []
    for line in in_text(text):
        if line.started is None:
            found.append(f"? {line.why}")
            continue
        started = line.started
        if started.own:
            continue  # what it does is not known from the line
        system = started.system.value if started.system else ""
        parts = [started.role.value, system, ",".join(started.queues), str(started.concurrency or "")]
        found.append(" ".join(part for part in parts if part))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("celery -A x worker", "worker celery"),
        ("/venv/bin/celery --app=x worker -Q a,b --concurrency=3", "worker celery a,b 3"),
        ("celery -A x worker -Qa -c2", "worker celery a 2"),
        ("celery -A x worker --autoscale=10,3", "worker celery 10"),
        ("celery worker -A x", "worker celery"),
        ("celery -A beat worker -B", "worker celery"),
        ("celery -A worker beat", "scheduler celery"),
        ("python3.12 -m celery -A x beat -S django", "scheduler celery"),
        ("dramatiq app:broker", "worker dramatiq"),
        ("python -O -m dramatiq app -p 3 -t 2 -Q a b -v", "worker dramatiq a,b 6"),
        ("python manage.py rundramatiq --processes=2 --threads=4 --queues a", "worker dramatiq a 8"),
        ("./manage.py rundramatiq -p 2", "worker dramatiq 16"),
        ("python src/manage.py rundramatiq", "worker dramatiq"),
        ("python -m django rundramatiq", "worker dramatiq"),
        ("django-admin rundramatiq -Q a", "worker dramatiq a"),
        ("poetry run python manage.py rundramatiq", "worker dramatiq"),
        ("uv run --frozen --group prod celery -A x worker", "worker celery"),
        ("pipenv run celery -A x worker", "worker celery"),
        ("env -u C A=b celery -A x worker", "worker celery"),
        ("A=b C='d e' celery -A x worker", "worker celery"),
        ("newrelic-admin run-program celery -A x worker", "worker celery"),
        ("ddtrace-run honcho run celery -A x worker", "worker celery"),
        ("nice -n 5 timeout -k 5 30 celery -A x worker", "worker celery"),
        ("watchmedo auto-restart -p '*.py' -- celery -A x worker", "worker celery"),
        ("./wait-for-it.sh db:5432 -- celery -A x worker", "worker celery"),
        ("/entrypoint.sh celery -A x worker", "worker celery"),
        ("sh -c 'cd /app && exec celery -A x worker'", "worker celery"),
        ("gosu app bash -lc 'celery -A x worker 2>&1 | tee log'", "worker celery"),
        ("python manage.py migrate && exec celery -A x worker", "worker celery"),
        ("if [ -n x ]; then celery -A x worker; fi", "worker celery"),
        ("celery -A x worker -c $(nproc)", "worker celery"),
        ("periodiq app", "scheduler dramatiq"),
        ("/venv/bin/python3 /venv/bin/periodiq -v app", "scheduler dramatiq"),
        ("/venv/bin/python3 /venv/bin/gunicorn x.wsgi", "producer"),
        ("python manage.py crontab", "scheduler dramatiq"),
        ("gunicorn x.wsgi", "producer"),
        ("python manage.py runserver", "producer"),
        ("foo celery -A x worker", "? starts a worker by 'foo', which is not known"),
        (
            "watchfiles celery.__main__.main --args '-A x worker'",
            "? starts a worker by 'watchfiles', which is not known",
        ),
        ("su - app -c 'celery -A x worker'", "? starts a worker by 'su', which is not known"),
        ("$CMD", "? what it runs is a variable: $CMD"),
        ("${WORKER:-celery} -A x worker", "? what it runs is a variable: ${WORKER:-celery}"),
    ],
)
def test_what_a_line_starts(text: str, expected: str) -> None:
    assert seen(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "echo start celery worker",
        "pip install celery dramatiq",
        "pkill -f 'celery worker'",
        "celery -A worker inspect ping",
        "celery -A x flower",
        "supervisorctl restart celery worker",
        "python worker.py celery",
        "python -c 'import celery' worker",
        "python manage.py migrate",
        "honcho start worker",
        "dramatiq-lint src",
        "memcached -m 64",
        "'unclosed celery worker",
        "",
    ],
)
def test_what_is_no_worker(text: str) -> None:
    assert seen(text) == []


def test_two_of_one_line_are_both_seen() -> None:
    assert seen("celery -A x worker & celery -A x beat") == ["worker celery", "scheduler celery"]


COMPOSE = """\
x-app: &app
  image: shop
  working_dir: /app
  environment: &env
    REDIS: redis://redis:6379
    DEBUG: false
    PASSED:
services:
  web:
    <<: *app
    command: gunicorn shop.wsgi
  actors:
    <<: *app
    command: ["python", "manage.py", "rundramatiq", "-p", "3", "-t", "2", "-Q", "images"]
    stop_grace_period: 2m
  celery:
    <<: *app
    entrypoint: /entrypoint.sh
    command: celery -A shop worker -l $$LEVEL -n ${NODE:?}
    environment:
      <<: *env
      EXTRA: "1"
  slow:
    extends: celery
    environment: ["A=b", "PASSED"]
    command: celery -A shop worker -Q slow
  any:
    command: $CMD
  redis:
    image: redis
"""
MANIFEST = """\
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: actors
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 600
      containers:
        - name: main
          command: ["dramatiq"]
          args: ["shop.tasks", "-p", "2", "-t", "4"]
          env:
            - {name: MODE, value: "on"}
            - {name: SECRET, valueFrom: {secretKeyRef: {name: a, key: b}}}
        - name: exporter
          image: exporter
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: beat}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
            - name: beat
              command: ["sh", "-c", "exec celery -A shop beat"]
"""
TEMPLATE = """\
kind: Deployment
{{- if .Values.worker }}
spec:
  command: ["celery", "-A", "shop", "worker"]
{{- end }}
"""


def test_containers_are_read_with_their_environment_and_line(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(COMPOSE)
    programs, unread = find_programs(tmp_path)
    found = {item.name: item for item in programs}
    assert list(found) == ["web", "actors", "celery", "slow"]
    actors = found["actors"]
    assert (actors.started.concurrency, actors.started.queues, actors.stop_timeout_s) == (6, ("images",), 120)
    assert (actors.directory, actors.environment) == ("/app", {"REDIS": "redis://redis:6379", "DEBUG": "false"})
    assert COMPOSE.splitlines()[actors.line - 1].strip().startswith('command: ["python", "manage.py"')
    assert found["celery"].environment["EXTRA"] == "1"
    assert found["celery"].started.command[-3:] == ("$LEVEL", "-n", "${NODE}")
    assert (found["slow"].environment, found["slow"].started.queues) == ({"A": "b"}, ("slow",))
    (variable,) = unread
    assert (variable.name, COMPOSE.splitlines()[variable.line - 1].strip()) == ("any", "command: $CMD")


def test_manifests_of_several_documents_are_read(tmp_path: Path) -> None:
    (tmp_path / "k8s.yaml").write_text(MANIFEST)
    programs, unread = find_programs(tmp_path)
    actors, beat = programs
    assert (actors.name, actors.started.concurrency, actors.stop_timeout_s) == ("actors-main", 8, 600)
    assert actors.environment == {"MODE": "on"}
    assert (beat.name, beat.role.value) == ("beat", "scheduler")
    assert [MANIFEST.splitlines()[item.line - 1].strip()[:9] for item in programs] == ["command: ", "command: "]
    assert not unread


def test_what_can_not_be_read_is_listed_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "worker.yaml").write_text(TEMPLATE)
    (tmp_path / "fly.toml").write_text('[processes]\nworker = "celery -A shop worker"\n')
    (tmp_path / "settings.yaml").write_text("loggers: [celery, dramatiq]\n# celery worker\n")
    programs, unread = find_programs(tmp_path)
    assert not programs
    assert [(item.file.name, item.line) for item in unread] == [("fly.toml", 2), ("worker.yaml", 4)]


def test_scripts_are_read_and_entrypoints_that_pass_on_are_not_workers(tmp_path: Path) -> None:
    (tmp_path / "start").write_text("#!/bin/sh\nset -e\ncd src\nexec celery -A shop \\\n  worker -c 4\n")
    (tmp_path / "entrypoint.sh").write_text('#!/bin/bash\npython manage.py migrate\nexec "$@"\n')
    (tmp_path / "Dockerfile").write_text('FROM python\nCMD ["dramatiq", "shop.tasks"]\n')
    programs, unread = find_programs(tmp_path)
    assert not unread
    assert [(item.name, item.line, item.directory) for item in programs if item.file.name == "start"] == [
        ("start", 4, "src")
    ]
    assert {item.manager.value for item in programs} == {"script", "dockerfile"}


@pytest.mark.parametrize("controlled", [True, False])
def test_a_supervisor_that_nobody_can_talk_to_is_not_drafted(tmp_path: Path, *, controlled: bool) -> None:
    control = "[unix_http_server]\nfile=s\n[rpcinterface:supervisor]\nx=y\n" if controlled else ""
    text = f"[supervisord]\nnodaemon=true\n{control}[program:worker]\ncommand=celery -A shop worker\n"
    (tmp_path / "supervisord.conf").write_text(text)
    ((program,), unread) = find_programs(tmp_path)
    assert unread == ()
    assert bool(program.doubt) is not controlled
    (tmp_path / "supervisord.conf").write_text("[program:worker]\ncommand=celery -A shop worker\n")
    assert find_programs(tmp_path)[0][0].doubt == "", "a part of a configuration says nothing of the rest"


def test_a_plan_is_no_deployment_file(tmp_path: Path) -> None:
    (tmp_path / "migration.toml").write_text('[migration]\nname = "x"\n[[process]]\ncommand = ["celery", "worker"]\n')
    assert find_programs(tmp_path) == ((), ())
