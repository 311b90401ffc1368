"""Dead letters: exact, never raising, never lost, never doubled."""

from __future__ import annotations

import json
import logging
import math
import threading
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client

from migrator.tasks import dead_letter, spool
from migrator.tasks.celery import app
from migrator.tasks.dead_letter import Delivery, Kept, import_spooled, send_to_dead_letter
from migrator.tasks.models import TaskFailure
from migrator.tasks.replay import CannotReplayError, resolve_failure, retry_failure


@pytest.fixture
def no_table() -> Any:
    """A database without the table behaves like one that is down."""
    with connection.schema_editor() as editor:
        editor.alter_db_table(TaskFailure, "tasks_taskfailure", "tasks_taskfailure_away")
    done = []

    def back() -> None:
        if not done:
            done.append(True)
            with connection.schema_editor() as editor:
                editor.alter_db_table(TaskFailure, "tasks_taskfailure_away", "tasks_taskfailure")

    yield back
    back()


def queued() -> list[dict[str, Any]]:
    import redis

    with redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=5) as client:
        lists = ["unified", *(f"unified\x06\x16{step}" for step in (3, 6, 9))]
        return [json.loads(raw) for name in lists for raw in client.lrange(name, 0, -1)]


def test_the_documented_call() -> None:
    """The four documented arguments are enough; the traceback is the one being handled."""
    try:
        raise ValueError("no such thing")
    except ValueError as error:
        assert send_to_dead_letter("tasks.fetch_news", [1], {"a": 2}, error) is Kept.DATABASE
    row = TaskFailure.objects.get()
    assert (row.task_name, row.args, row.kwargs) == ("tasks.fetch_news", "[1]", '{"a": 2}')
    assert row.exception == "ValueError: no such thing"
    assert "raise ValueError" in row.traceback
    assert (row.status, row.replayable) == ("open", True)


@pytest.mark.parametrize(
    "value",
    [
        2**70, -(10**40), 1e22, 1.0, 0.1 + 0.2, 5e-324, -0.0, math.inf, True, None, "", "\x00", "\ud800", "é\u2028",
        [], {}, {"nested": [{"": None}]}, Decimal("1.10"), b"\x00\xff", b"text", date(2026, 1, 2),
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), uuid.UUID(int=7),
    ],
    ids=repr,
)  # fmt: skip
def test_arguments_come_back_exactly(value: Any) -> None:
    send_to_dead_letter("tasks.x", [value], {"k": value}, "reason")
    args, kwargs = TaskFailure.objects.get().arguments
    assert (args, kwargs) == ([value], {"k": value})
    assert type(args[0]) is type(value)
    assert repr(args[0]) == repr(value)


def test_nan_comes_back() -> None:
    send_to_dead_letter("tasks.x", [math.nan], {}, "reason")
    assert math.isnan(TaskFailure.objects.get().arguments[0][0])


def test_what_json_cannot_represent_is_readable_and_refused() -> None:
    send_to_dead_letter("tasks.x", [{1, }, 5], {"f": object}, "reason")  # fmt: skip
    row = TaskFailure.objects.get()
    assert json.loads(row.args) == [{"__repr__": "{1}"}, 5]
    assert not row.replayable
    with pytest.raises(CannotReplayError, match="could not be kept exactly"):
        retry_failure(row.pk)
    row.refresh_from_db()
    assert row.status == "open"
    assert queued() == []


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_never_raises(no_table: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Arguments and exceptions that can't even be printed, no database, and a spool that is a file."""
    loop: list[Any] = []
    loop.append(loop)
    no_table()
    assert send_to_dead_letter("tasks.x", [Hostile()], {"l": loop, "n": 10**5000}, "reason") is Kept.DATABASE
    assert not TaskFailure.objects.get().replayable
    assert send_to_dead_letter("tasks.x", [], {}, Hostile()) is Kept.LOG


def test_last_resort_is_the_log(no_table: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    with caplog.at_level(logging.CRITICAL):
        assert send_to_dead_letter("tasks.x", [1], {"a": 2}, "reason") is Kept.LOG
    assert '"task_name": "tasks.x"' in caplog.text
    assert '"args": "[1]"' in caplog.text


def test_text_that_databases_refuse() -> None:
    """NUL and lone surrogates in names and texts, and names longer than the column."""
    kept = send_to_dead_letter("t\x00" * 300, [], {}, "bad \x00 \ud800", delivery=Delivery(task_id="i" * 400))
    assert kept is Kept.DATABASE
    row = TaskFailure.objects.get()
    assert row.exception == "bad \\x00 \\ud800"
    assert len(row.task_id) == len(row.task_name) == 255


def test_same_failure_twice_is_one_row() -> None:
    for _ in range(2):
        send_to_dead_letter("tasks.x", [1], {}, "reason", delivery=Delivery(task_id="a", attempts=6))
    assert TaskFailure.objects.count() == 1
    send_to_dead_letter("tasks.x", [2], {}, "reason", delivery=Delivery(task_id="a", attempts=6))
    send_to_dead_letter("tasks.x", [1], {}, "reason", delivery=Delivery(task_id="b", attempts=6))
    assert TaskFailure.objects.count() == 3
    for _ in range(2):
        send_to_dead_letter("tasks.x", [1], {}, "no id: two calls")
    assert TaskFailure.objects.count() == 5
    for copy, body in (("one", "x"), ("two", "x"), ("two", "y"), ("two", "y")):
        delivery = Delivery(task_id="c", attempts=1, copy_id=copy, raw={"body": body})
        send_to_dead_letter("tasks.x", [], {}, "copies with the same id", delivery=delivery)
    assert TaskFailure.objects.count() == 8


def test_numbers_that_no_column_holds() -> None:
    delivery = Delivery(task_id="n", attempts=2**40, priority=-(2**40))
    assert send_to_dead_letter("tasks.x", [], {}, "reason", delivery=delivery) is Kept.DATABASE
    row = TaskFailure.objects.get()
    assert (row.attempts, row.priority) == (None, None)


def test_spooled_and_imported_once(no_table: Any, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    for number in range(3):
        delivery = Delivery(task_id=f"id-{number}", attempts=4, queue="unified", priority=5, headers={"x-tqm": "1"})
        assert send_to_dead_letter("tasks.x", [number, 2**70], {}, "reason", delivery=delivery) is Kept.SPOOL
    files = sorted((tmp_path / "spool").iterdir())
    assert len(files) == 3
    assert import_spooled().left == 3
    no_table()
    copies = {file: file.read_bytes() for file in files}
    assert import_spooled().imported == 3
    assert list((tmp_path / "spool").iterdir()) == []
    for file, content in copies.items():  # as if the process had died between row and unlink
        file.write_bytes(content)
    report = import_spooled()
    assert (report.imported, report.already_known, report.left) == (0, 3, 0)
    assert TaskFailure.objects.count() == 3
    row = TaskFailure.objects.get(task_id="id-1")
    assert row.arguments == ([1, 2**70], {})
    assert before <= row.failed_at <= datetime.now(UTC)
    assert (row.attempts, row.queue, row.priority, json.loads(row.headers)) == (4, "unified", 5, {"x-tqm": "1"})


def test_next_dead_letter_imports_the_spool(no_table: Any) -> None:
    send_to_dead_letter("tasks.x", [1], {}, "while down")
    no_table()
    send_to_dead_letter("tasks.x", [2], {}, "up again")
    assert TaskFailure.objects.count() == 2
    assert spool.pending() == []


def test_two_importers_leave_one_row_each(no_table: Any) -> None:
    for number in range(20):
        send_to_dead_letter("tasks.x", [number], {}, "reason")
    no_table()
    reports: list[dead_letter.ImportReport] = []

    def run() -> None:
        reports.append(import_spooled())
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    import_spooled()
    assert TaskFailure.objects.count() == 20
    assert sum(report.imported for report in reports) <= 20
    assert spool.pending() == []


def test_unreadable_spool_file_stops_nothing(no_table: Any, tmp_path: Path) -> None:
    send_to_dead_letter("tasks.x", [1], {}, "reason")
    no_table()
    (tmp_path / "spool" / "broken.json").write_text("{")
    (tmp_path / "spool" / "other.json").write_text('{"key": "no uuid", "failed_at": "2026-01-01T00:00:00+00:00"}')
    (tmp_path / "spool" / "later.json").write_text('{"key": "no uuid", "from_a_later_version": 1}')
    send_to_dead_letter("tasks.x", [2], {}, "reason")
    report = import_spooled()
    assert (report.imported, report.left, len(report.unreadable)) == (0, 0, 3)
    assert TaskFailure.objects.count() == 2
    assert len(list((tmp_path / "spool").iterdir())) == 3


def test_draft_of_a_process_that_died_is_not_a_record(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / ".half.draft").write_text('{"key": ')
    assert import_spooled() == dead_letter.ImportReport()


def test_stale_connection_is_replaced() -> None:
    """The server has closed the connection in between: the row goes to the database anyway."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connection to lose")
    pid = connection.cursor().execute("SELECT pg_backend_pid()").fetchone()[0]
    other = connections.create_connection("default")
    other.cursor().execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    assert send_to_dead_letter("tasks.x", [], {}, "reason") is Kept.DATABASE


def test_retry_sends_exactly_the_call() -> None:
    delivery = Delivery(task_id="old", queue="other", priority=3, attempts=6, headers={"x-tqm": "kept"})
    send_to_dead_letter("tasks.fetch_news", [2**70], {"limit": 3}, "reason", delivery=delivery)
    row = TaskFailure.objects.get()
    new_id = retry_failure(row.pk)
    row.refresh_from_db()
    import base64

    import redis

    with redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=5) as client:
        (raw,) = client.lrange("other\x06\x163", 0, -1)
    message = json.loads(raw)
    assert json.loads(base64.b64decode(message["body"]))[:2] == [[2**70], {"limit": 3}]
    headers = message["headers"]
    assert (headers["id"], headers["task"], headers["retries"]) == (new_id, "tasks.fetch_news", 0)
    assert headers["x-tqm"] == "kept"
    assert (row.status, row.retry_task_id) == ("retried", new_id)
    assert row.resolved_at is not None
    with pytest.raises(CannotReplayError, match="sent again"):
        retry_failure(row.pk)


def test_broker_down_leaves_the_row_open() -> None:
    send_to_dead_letter("tasks.fetch_news", [], {}, "reason")
    row = TaskFailure.objects.get()
    url = app.conf.broker_url
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    app.amqp._producer_pool = app._pool = None
    try:
        with pytest.raises(Exception, match=r"(?i)connect|refused"):
            retry_failure(row.pk)
    finally:
        app.conf.broker_url = url
        app.amqp._producer_pool = app._pool = None
    row.refresh_from_db()
    assert (row.status, row.retry_task_id, row.resolved_at) == ("open", "", None)


def test_two_operators_send_one_call() -> None:
    send_to_dead_letter("tasks.fetch_news", [], {}, "reason")
    row = TaskFailure.objects.get()
    outcomes: list[str] = []

    def run() -> None:
        try:
            outcomes.append(retry_failure(row.pk))
        except CannotReplayError:
            outcomes.append("refused")
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes).count("refused") == 3
    assert len(queued()) == 1


def test_inside_a_transaction_the_row_belongs_to_it() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        send_to_dead_letter("tasks.x", [], {}, "reason")
        raise ZeroDivisionError
    assert TaskFailure.objects.count() == 0


def test_admin_lists_retries_and_resolves() -> None:
    from django.contrib.auth.models import User

    User.objects.all().delete()
    browser = Client()
    browser.force_login(User.objects.create_superuser("op", password="x"))
    for number in range(3):
        send_to_dead_letter("tasks.fetch_news", [number], {}, "reason <b>")
    page = browser.get("/admin/tasks/taskfailure/?status__exact=open")
    assert page.status_code == 200
    assert "reason &lt;b&gt;" in page.content.decode()
    first, second, third = TaskFailure.objects.order_by("pk").values_list("pk", flat=True)
    assert browser.get(f"/admin/tasks/taskfailure/{first}/change/").status_code == 200
    assert browser.get("/admin/tasks/taskfailure/add/").status_code == 403
    answer = browser.post(
        "/admin/tasks/taskfailure/", {"action": "send_again", "_selected_action": [first, second]}, follow=True
    )
    assert "2 sent again" in answer.content.decode()
    browser.post("/admin/tasks/taskfailure/", {"action": "mark_resolved", "_selected_action": [third]})
    statuses = dict(TaskFailure.objects.values_list("pk", "status"))
    assert statuses == {first: "retried", second: "retried", third: "resolved"}
    assert TaskFailure.objects.get(pk=third).note == "by op"
    assert len(queued()) == 2


def as_exported(row: dict[str, Any]) -> dict[str, Any]:
    """A row as in a JSON file of Django: times in milliseconds."""
    moments = {
        name: value.replace(microsecond=value.microsecond // 1000 * 1000)
        for name, value in row.items()
        if isinstance(value, datetime)
    }
    return {**row, **moments, "id": 0}


def test_rows_that_were_exported_come_back_as_they_were_and_only_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        send_to_dead_letter(
            "tasks.fetch_news", [number], {"text": "é \U0001f600"}, "boom", delivery=Delivery(task_id=f"t{number}")
        )
    resolve_failure(TaskFailure.objects.get(task_id="t1").pk, "seen")
    before = list(TaskFailure.objects.order_by("key").values())
    exported = tmp_path / "run-1.json"
    call_command("dumpdata", "tasks", "--output", str(exported), verbosity=0)
    capsys.readouterr()
    TaskFailure.objects.filter(task_id__in=["t0", "t1"]).delete()
    send_to_dead_letter("tasks.fetch_news", [9], {}, "born later", delivery=Delivery(task_id="t9"))
    answer, code = run_command(capsys, "import", str(exported))
    assert (answer, code) == ({"imported": 2, "already_known": 1, "left": 0, "errors": []}, 0)
    after = list(TaskFailure.objects.exclude(task_id="t9").order_by("key").values())
    assert [as_exported(row) for row in after] == [as_exported(row) for row in before]
    assert run_command(capsys, "import", str(exported))[0]["already_known"] == 3

    torn = tmp_path / "torn.json"
    torn.write_text(exported.read_text()[:-40])
    answer, code = run_command(capsys, "import", str(torn), str(tmp_path / "missing.json"))
    assert (code, answer["imported"], len(answer["errors"])) == (1, 0, 2)
    assert TaskFailure.objects.count() == 4


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], int]:
    code = 0
    try:
        call_command("taskfailures", "--format", "json", *arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    return json.loads(capsys.readouterr().out), code


def test_command_line(capsys: pytest.CaptureFixture[str], no_table: Any) -> None:
    send_to_dead_letter("tasks.x", [0], {}, "while down")
    no_table()
    answer, code = run_command(capsys, "import")
    assert (answer, code) == ({"imported": 1, "already_known": 0, "left": 0, "errors": []}, 0)
    send_to_dead_letter("tasks.fetch_news", [1], {}, "second\nline")
    answer, _ = run_command(capsys, "list")
    assert [(row["task_name"], row["exception"]) for row in answer["failures"]] == [
        ("tasks.fetch_news", "second"),
        ("tasks.x", "while down"),
    ]
    newest, oldest = (str(row["id"]) for row in answer["failures"])
    answer, code = run_command(capsys, "retry", newest, "999999", str(uuid.uuid4()))
    assert code == 1
    assert [row["id"] for row in answer["failures"]] == [newest]
    assert len(answer["errors"]) == 2
    assert run_command(capsys, "resolve", oldest, "--note", "seen")[1] == 0
    (shown,) = run_command(capsys, "show", oldest)[0]["failures"]
    assert (shown["status"], shown["note"], shown["args"]) == ("resolved", "seen", "[0]")
    assert run_command(capsys, "list")[0] == {"failures": []}
    assert len(run_command(capsys, "list", "--status", "all")[0]["failures"]) == 2
    call_command("taskfailures", "list")
    assert capsys.readouterr().out == "no dead letters\n"
