"""Cases captured from messages in real brokers: real arguments, no secrets, no message is taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest
from celery import Celery
from dramatiq.brokers.redis import RedisBroker
from shop_project import RESTOCK, RESTOCK_ACTOR, check, copy_shop

from checks.cases.capture import capture
from checks.cases.load import CaseKind, load_cases
from migrator.brokers.connect import connect
from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.plan.model import Plan


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with embedded_server(folder=tmp_path_factory.mktemp("capture")) as running:
        send(running)
        yield running


def send(server: EmbeddedServer) -> None:
    """Enqueue through both libraries, as the project's producers do."""
    app = Celery(broker=server.url(), set_as_current=False)
    app.send_task(RESTOCK, ("apple",), {"amount": 3})
    app.send_task(RESTOCK, ("pear",), {"amount": 5})
    app.send_task(RESTOCK, ("plum",), countdown=3600)
    app.send_task(RESTOCK, (None,))
    app.send_task(RESTOCK, ("me@example.com",), {"amount": 1})
    app.send_task(RESTOCK, (), {"colour": "red"})
    app.send_task("jobs.old_celery.forget")
    broker = RedisBroker(url=server.url())
    for name in ("nut", "redis://user:secret@host/0"):
        broker.enqueue(
            dramatiq.Message(queue_name="default", actor_name=RESTOCK_ACTOR, args=(name,), kwargs={}, options={})
        )
    broker.close()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return copy_shop(tmp_path)


def environ(server: EmbeddedServer) -> dict[str, str]:
    return {"SHOP_BROKER_URL": server.url()}


def test_each_shape_becomes_a_case_once(plan: Plan, server: EmbeddedServer) -> None:
    folder = plan.folder / "cases"
    report = capture(plan, environ=environ(server), folder=folder)
    assert report.seen == 9
    assert report.by_task == {
        "celery:jobs.old_celery.forget": 1,
        f"celery:{RESTOCK}": 6,
        f"dramatiq:{RESTOCK_ACTOR}": 2,
    }
    cases = load_cases(folder, plan)
    assert {case.kind for case in cases.cases} == {CaseKind.CAPTURED}
    # Shapes: with and without amount, a name or null; one actor's call.
    assert len(report.written) == len(cases.cases) == 4
    assert capture(plan, environ=environ(server), folder=folder).written == ()


def test_a_message_that_does_not_fit_is_reported(plan: Plan, server: EmbeddedServer) -> None:
    (finding,) = capture(plan, environ=environ(server), folder=plan.folder / "cases").findings
    assert finding.code == "PARITY-MESSAGE-UNFIT"
    assert "colour" in str(finding)


def test_secrets_are_not_written(plan: Plan, server: EmbeddedServer) -> None:
    folder = plan.folder / "cases"
    capture(plan, environ=environ(server), folder=folder)
    text = "".join(file.read_text() for file in folder.rglob("*.*"))
    assert "secret" not in text and "example.com" not in text


def test_nothing_is_taken_from_the_brokers(plan: Plan, server: EmbeddedServer) -> None:
    def contents() -> list[tuple[str, bytes]]:
        found = []
        for endpoint in plan.legacy:
            broker = connect(endpoint, environ(server))
            found += [(message.copy_id, message.raw) for message in broker.scan()]
            broker.close()
        return sorted(found)

    before = contents()
    capture(plan, environ=environ(server), folder=plan.folder / "cases")
    assert contents() == before and len(before) == 9


def test_captured_cases_run(plan: Plan, server: EmbeddedServer) -> None:
    report = capture(plan, environ=environ(server), folder=plan.folder / "cases", per_task=1)
    run = check(plan, names=("captured-*",), noise=False)
    captured = [item for item in run.comparisons if item.kind == CaseKind.CAPTURED.value]
    assert len(captured) == len(report.written) == 2
    # No answers were written for them yet, which is reported.
    assert all("no answer to this request" in item.mismatches[0].reason for item in captured)
