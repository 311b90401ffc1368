"""Class-based actors that become Celery tasks, and those that stay because something about them has no equal."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_place import make_in_place

from codemods.report import Mode
from codemods.runner import rewrite

DEFAULT = (
    "autoretry_for=(Exception,), max_retries=20, retry_backoff=15, retry_backoff_max=604800, retry_jitter=False, "
    "soft_time_limit=600, time_limit=660, acks_late=True, reject_on_worker_lost=True, ignore_result=True"
)


def convert(folder: Path, source: str, **others: str) -> tuple[str, set[str]]:
    names = [name for name in ("Work", "Other") if f"class {name}(" in source]
    plan = make_in_place(folder, {name: ["x"] for name in names}, {"jobs.py": source, **others})
    report = rewrite(plan)
    assert not report.unparsable
    assert not rewrite(plan, mode=Mode.CHECK).changed
    text = (folder / "jobs.py").read_text()
    compile(text, "jobs.py", "exec")
    return text, {finding.code for finding in report.findings if not finding.where.startswith("broker.py")}


def test_a_class_keeps_its_methods_and_its_meta_becomes_options(tmp_path: Path) -> None:
    source = '''\
from dramatiq import GenericActor


class Work(GenericActor):
    """Doc."""

    class Meta:
        queue_name = "slow"
        max_retries = 2

    STEP = 3

    def perform(self, x):
        if x:
            self.send(x - self.STEP)


Work.send(1)
print(Work.STEP)
'''
    expected = '''\
from celery import Task, shared_task


class Work(Task):
    """Doc."""

    STEP = 3

    def perform(self, x):
        if x:
            self.delay(x - self.STEP)


Work = shared_task(name="jobs.Work", base=Work, bind=True, queue="slow", autoretry_for=(Exception,), max_retries=2, \
retry_backoff=15, retry_backoff_max=604800, retry_jitter=False, soft_time_limit=600, time_limit=660, \
acks_late=True, reject_on_worker_lost=True, ignore_result=True)(Work.perform)


Work.delay(1)
print(Work.STEP)
'''
    assert convert(tmp_path, source) == (expected, set())


def test_an_abstract_base_comes_along_with_its_meta(tmp_path: Path) -> None:
    source = (
        "import dramatiq\n\n\nclass Base(dramatiq.GenericActor):\n    class Meta:\n        abstract = True\n"
        "        max_retries = 0\n\n    def perform(self, x):\n        return x\n\n\n"
        "class Work(Base):\n    pass\n\n\nclass Other(Base):\n    class Meta:\n        store_results = True\n"
    )
    text, codes = convert(tmp_path, source)
    assert codes == set()
    assert "dramatiq" not in text
    assert "class Base(Task):\n    def perform(self, x):" in text
    assert 'Work = shared_task(name="jobs.Work", base=Work, bind=True, max_retries=0, ' in text
    # Only the nearest Meta counts, and only what it sets itself.
    assert "class Other(Base):\n    pass\n" in text
    assert f'name="jobs.Other", base=Other, bind=True, {DEFAULT.replace("result=True", "result=False")})' in text


BODY = "    def perform(self, x):\n        return x\n"


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("class Work(GenericActor):\n    name = 'x'\n" + BODY, {"ACTOR-ATTRIBUTE"}),
        ("class Work(GenericActor):\n    def perform(self, x):\n        self.logger.info(x)\n", {"ACTOR-ATTRIBUTE"}),
        ("class Work(GenericActor):\n    async def perform(self, x):\n        return x\n", {"ACTOR-OPTION"}),
        ("class Work(GenericActor):\n    pass\n", {"ACTOR-OPTION"}),
        ("@register\nclass Work(GenericActor):\n" + BODY, {"ACTOR-OPTION"}),
        ("class Work(GenericActor):\n    class Meta:\n        actor = mine\n\n" + BODY, {"ACTOR-OPTION"}),
        ("class Work(GenericActor):\n    class Meta:\n        a, b = 1, 2\n\n" + BODY, {"ACTOR-OPTION"}),
        ("class Work(GenericActor):\n    class Meta:\n        queue_name = 'other'\n\n" + BODY, {"QUEUE-OPTION"}),
    ],
)
def test_stays_where_it_means_something_else(tmp_path: Path, source: str, codes: set[str]) -> None:
    whole = "from dramatiq import GenericActor\n" + source
    caller = "from jobs import Work\nWork.send(1)\n"
    text, found = convert(tmp_path, whole, **{"caller.py": caller})
    assert text == whole
    assert codes <= found
    assert "LINKED" in found
    assert (tmp_path / "caller.py").read_text() == caller


def test_a_base_that_other_files_share_stays(tmp_path: Path) -> None:
    source = (
        "from dramatiq import GenericActor\nclass Base(GenericActor):\n    class Meta:\n        abstract = True\n"
        "class Work(Base):\n" + BODY
    )
    text, found = convert(tmp_path, source, **{"more.py": "from jobs import Base\nclass Far(Base):\n" + BODY})
    assert text == source
    assert "ACTOR-OPTION" in found


def test_a_base_of_another_file_keeps_its_classes_and_their_callers(tmp_path: Path) -> None:
    base = "from dramatiq import GenericActor\nclass Base(GenericActor):\n    class Meta:\n        abstract = True\n"
    source, caller = "from bases import Base\nclass Work(Base):\n" + BODY, "from jobs import Work\nWork.send(1)\n"
    text, found = convert(tmp_path, source, **{"bases.py": base, "caller.py": caller})
    assert text == source
    assert (tmp_path / "caller.py").read_text() == caller
    assert {"ACTOR-OPTION", "LINKED"} <= found


def test_a_class_that_is_no_actor_stays(tmp_path: Path) -> None:
    source = "class Work(GenericActor):\n" + BODY
    text, _ = convert(tmp_path, "class GenericActor: ...\n" + source)
    assert text == "class GenericActor: ...\n" + source
