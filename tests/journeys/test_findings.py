"""What `rewrite-imports` lists is true, names its place, and can be dismissed by a person: then its exit code is 0."""

from __future__ import annotations

from pathlib import Path

from small_projects import MANAGE, Project, make_project

TASK = """
[[task]]
name = "{name}"
path = "{path}"
parameters = ["x"]

  [[task.replaces]]
  system = "{system}"
  name = "{legacy}"
  path = "{old}"
  parameters = ["x"]
"""
PLAN = """\
[migration]
name = "found"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "redis://127.0.0.1:1/0"
queues = ["default"]
modules = ["app.actors"]

[legacy.celery]
broker = "redis://127.0.0.1:1/1"
queues = ["celery"]
modules = ["app.jobs"]

[unified]
broker = "redis://127.0.0.1:1/1"
queues = ["celery"]
""" + "".join([
    TASK.format(name="app.ship", path="app.tasks.ship", system="dramatiq", legacy="ship", old="app.actors.ship"),
    TASK.format(name="app.bill", path="app.tasks.bill", system="celery", legacy="app.old_bill", old="app.jobs.bill"),
    TASK.format(
        name="app.report", path="app.jobs.report", system="celery", legacy="app.report", old="app.jobs.report"
    ),
])  # fmt: skip
FILES = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\nCELERY_TASK_DEFAULT_QUEUE = "celery"\n',
    "app/actors.py": """\
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Retries, TimeLimit

broker = RedisBroker(url="redis://127.0.0.1:1/0", middleware=[AgeLimit(), TimeLimit(), Retries()])
dramatiq.set_broker(broker)


@dramatiq.actor
def ship(x):
    return x
""",
    "app/jobs.py": """\
from celery import current_app, shared_task


@shared_task(name="app.old_bill")
def bill(x):
    return x


@shared_task(name="app.report")
def report(x):
    return x


JOBS = {"report": report, "by name": "app.report"}


def later(task=report):
    current_app.send_task("app.report", (1,))
    current_app.tasks["app.report"].delay(2)
    return [report.name, f"{report.__module__}.{report.__name__}", task.s(3), report]
""",
    "app/tasks.py": """\
from celery import shared_task


@shared_task(name="app.ship")
def ship(x):
    return x


@shared_task(name="app.bill")
def bill(x):
    return x
""",
    "app/views.py": """\
from app import jobs
from app.actors import ship
from app.jobs import bill, report


def view(request):
    ship.send(1)
    bill.delay(2)
    report.delay(3)
    return jobs.later(report)
""",
    "migration.toml": PLAN,
}
NOTES = "".join(f"{number}. see `app.old_bill`\n" for number in range(48))


def rewritten(folder: Path, **files: str) -> tuple[Project, list[str], int]:
    project = make_project(folder, {**FILES, **{name.replace("__", "."): text for name, text in files.items()}})
    done = project.migrator("rewrite-imports")
    assert not done.stderr, done.stderr
    return project, done.stdout.splitlines(), done.returncode


def test_only_what_is_true_is_listed_of_a_project_that_is_ready(tmp_path: Path) -> None:
    """The legacy definitions stay for the legacy workers; tasks that keep name and place are no findings at all."""
    project, lines, exit_code = rewritten(tmp_path / "project")
    assert exit_code == 0, lines
    listed = [line for line in lines if line.startswith(("error", "warning"))]
    assert {line.split()[1] for line in listed} == {"LEGACY-CODE"}, listed
    assert not any("jobs.py" in line for line in lines), lines
    assert [line.split()[2] for line in listed] == [f"app/actors.py:{line}:" for line in (5, 6, 9)], listed
    assert "ship.delay(1)" in (project.folder / "app/views.py").read_text()


def test_equal_findings_are_one_with_its_places(tmp_path: Path) -> None:
    _, lines, exit_code = rewritten(tmp_path / "project", NOTES__md=NOTES)
    assert exit_code == 0
    assert sum("TEXT-NAME" in line for line in lines) == 1, lines
    assert any("48 places" in line for line in lines)
    assert any(line.strip().startswith("NOTES.md:1,2,3,") for line in lines), lines


def test_a_leftover_that_the_plan_dismisses_is_none_and_a_stale_dismissal_is_told(tmp_path: Path) -> None:
    jobs = FILES["app/views.py"].replace("ship.send(1)", "ship.send_with_options(args=(1,), max_retries=3)")
    project, lines, exit_code = rewritten(tmp_path / "project", **{"app/views.py": jobs})
    assert exit_code == 1 and any("OPTION" in line and "app/views.py:7" in line for line in lines), lines
    plan = project.folder / "migration.toml"
    plan.write_text(
        PLAN
        + '\n[[dismiss]]\ncode = "OPTION"\npath = "app/views.py"\ntext = "max_retries=3"\nreason = "three are enough"\n'
    )
    done = project.migrator("rewrite-imports", "--check")
    assert done.returncode == 0, done.stdout
    plan.write_text(plan.read_text().replace("max_retries=3", "max_retries=4"))
    done = project.migrator("rewrite-imports", "--check")
    assert done.returncode == 1
    assert "UNUSED-IGNORE" in done.stdout and "migration.toml: dismiss[0]" in done.stdout, done.stdout
    plan.write_text(plan.read_text().replace('reason = "three are enough"', 'reason = " "'))
    assert project.migrator("rewrite-imports", "--check").returncode == 2


def test_a_pipeline_is_one_finding_and_an_encoder_says_what_it_could(tmp_path: Path) -> None:
    jobs = """\
import dramatiq

from app.actors import ship

dramatiq.set_encoder(dramatiq.PickleEncoder())
kinds = [ship.message]


def work(found):
    dramatiq.pipeline([
        ship.message(1),
        ship.message(2),
    ]).run()
"""
    _, lines, exit_code = rewritten(tmp_path / "project", **{"app/work.py": jobs})
    assert exit_code == 1
    encoder = next(line for line in lines if "ENCODER" in line)
    assert "store the results" in encoder and "app/work.py:5" in encoder, encoder
    assert any("PIPELINE-ARGUMENTS" in line and "app/work.py:12" in line for line in lines), lines
    assert not any("LINKED" in line for line in lines), lines
