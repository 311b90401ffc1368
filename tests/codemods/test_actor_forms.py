"""Actors made by a call or a partial, what Celery has no option for, priorities, and callers of those that stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_place import HEAD, make_in_place

from codemods.report import Mode
from codemods.runner import rewrite
from migrator.plan.loader import load_plan

DEFAULT = (
    "autoretry_for=(Exception,), max_retries=20, retry_backoff=15, retry_backoff_max=604800, retry_jitter=False, "
    "soft_time_limit=600, time_limit=660, acks_late=True, reject_on_worker_lost=True, ignore_result=True"
)
FAST = DEFAULT.replace("max_retries=20", "max_retries=3")


def convert(folder: Path, source: str, names: str = "work", **others: str) -> tuple[str, set[str]]:
    plan = make_in_place(folder, {name: ["x"] for name in names.split()}, {"jobs.py": source, **others})
    report = rewrite(plan)
    assert not report.unparsable
    assert not rewrite(plan, mode=Mode.CHECK).changed
    text = (folder / "jobs.py").read_text()
    compile(text, "jobs.py", "exec")
    return text, {finding.code for finding in report.findings if not finding.where.startswith("broker.py")}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "import dramatiq\n\n\ndef f(x): ...\n\n\nwork = dramatiq.actor(f)  # kept\n",
            f'\n\ndef f(x): ...\n\n\nwork = shared_task(name="jobs.work", {DEFAULT})(f)  # kept\n',
        ),
        (
            "from dramatiq import actor\n\n\ndef work(x): ...\n\n\nwork = actor(work, max_retries=3)\nwork.send(1)\n",
            f'\n\ndef work(x): ...\n\n\nwork = shared_task(name="jobs.work", {FAST})(work)\nwork.delay(1)\n',
        ),
        (
            "from dramatiq import actor\n\n\ndef f(x): ...\n\n\nwork = actor(max_retries=3)(f)\n",
            f'\n\ndef f(x): ...\n\n\nwork = shared_task(name="jobs.work", {FAST})(f)\n',
        ),
        (
            "from functools import partial\n\nimport dramatiq\n\nTRIES = 3\nfast = partial(dramatiq.actor, "
            "max_retries=TRIES)\n\n\n@fast\ndef work(x): ...\n",
            f'\nTRIES = 3\n\n\n@shared_task(name="jobs.work", {FAST})\ndef work(x): ...\n',
        ),
        (
            "import functools\nimport dramatiq\nfast = functools.partial(dramatiq.actor, max_retries=1)\n"
            "print(functools)\n\n\n@fast(max_retries=3)\ndef work(x): ...\n",
            f'print(functools)\n\n\n@shared_task(name="jobs.work", {FAST})\ndef work(x): ...\n',
        ),
    ],
)
def test_calls_and_partials(tmp_path: Path, source: str, expected: str) -> None:
    text, codes = convert(tmp_path, source)
    assert codes == set()
    assert text.endswith(expected)
    assert "dramatiq" not in text
    assert "partial" not in text


def test_a_partial_that_another_file_reads_stays(tmp_path: Path) -> None:
    source = "from functools import partial\nimport dramatiq\nfast = partial(dramatiq.actor)\n@fast\ndef work(x): ...\n"
    text, _ = convert(tmp_path, source, **{"more.py": "from jobs import fast\n"})
    assert "fast = partial(dramatiq.actor)\n" in text
    assert '@shared_task(name="jobs.work"' in text


def test_what_celery_has_no_option_for_comes_in_a_base_class(tmp_path: Path) -> None:
    source = (
        "import dramatiq\n\n\ndef check(retries, error):\n    return retries < 2\n\n\n# above\n"
        '@dramatiq.actor(retry_when=check, on_failure="other")\ndef work(x): ...\n\n\n'
        "@dramatiq.actor\ndef other(x): ...\n"
    )
    text, codes = convert(tmp_path, source, "work other")
    assert codes == set()
    base, _, rest = text.partition("# above\n")
    assert "class FormerActor(Task):" in base
    assert "def retry(self" in base
    assert "def call_back(self" in base
    assert 'name="jobs.work", base=FormerActor, autoretry_for=(Exception,), max_retries=None,' in rest
    assert 'retry_when=staticmethod(check), failure_task="jobs.other")\ndef work' in rest
    assert f'@shared_task(name="jobs.other", {DEFAULT})' in rest


PRIORITIES = (
    "import dramatiq\n@dramatiq.actor(priority=10)\ndef work(x): ...\n@dramatiq.actor\ndef other(x): ...\n"
    "@dramatiq.actor(priority=-5)\ndef third(x): ...\n"
)


@pytest.mark.parametrize(
    ("url", "numbers"),
    [
        ("redis://localhost/0", {"work": 6, "other": 3, "third": 0}),
        ("${CELERY_BROKER_URL:-amqp://localhost//}", {"work": 3, "other": 6, "third": 9}),
    ],
)
def test_priorities_keep_their_order_on_the_unified_broker(
    tmp_path: Path, url: str, numbers: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    unified = HEAD.rindex("redis://localhost/0")
    monkeypatch.setattr("in_place.HEAD", HEAD[:unified] + url + HEAD[unified + len("redis://localhost/0") :])
    text, _ = convert(tmp_path, PRIORITIES, "work other third")
    for name, number in numbers.items():
        assert f'name="jobs.{name}", priority={number},' in text


def test_too_many_levels_of_priority_are_left(tmp_path: Path) -> None:
    actors = "".join(f"@dramatiq.actor(priority={n})\ndef w{n}(x): ...\n" for n in range(5))
    text, codes = convert(tmp_path, f"import dramatiq\n{actors}", "w0 w1 w2 w3 w4")
    assert text.count("@dramatiq.actor") == 5
    assert "ACTOR-OPTION" in codes


def test_callers_of_an_actor_that_stays_stay_too(tmp_path: Path) -> None:
    source = (
        "import dramatiq\n@dramatiq.actor(notify_shutdown=True)\ndef work(x):\n    work.send(x)\n"
        "@dramatiq.actor\ndef other(x):\n    work.send(x)\n"
    )
    caller = "from jobs import other, work\nwork.send(1)\nother.send(1)\n"
    text, codes = convert(tmp_path, source, "work other", **{"caller.py": caller})
    assert text.count("work.send(x)") == 2
    assert "def other" in text and '@shared_task(name="jobs.other"' in text
    assert (tmp_path / "caller.py").read_text() == "from jobs import other, work\nwork.send(1)\nother.delay(1)\n"
    assert {"ACTOR-OPTION", "LINKED"} <= codes


def test_a_send_in_a_module_that_keeps_its_actors_is_listed(tmp_path: Path) -> None:
    source = "import dramatiq\n@dramatiq.actor\ndef work(x):\n    work.send(x)\n"
    plan = make_in_place(tmp_path, {"work": ["x"]}, {"jobs.py": source})
    plan.file.write_text(plan.file.read_text().replace('name = "jobs.work"\npath = "jobs.work"', PATH))
    report = rewrite(load_plan(plan.file))
    assert (tmp_path / "jobs.py").read_text() == source
    assert "OWN-ACTOR" in {finding.code for finding in report.findings if finding.where == "jobs.py:4"}


PATH = 'name = "unified.work"\npath = "unified.work"'
