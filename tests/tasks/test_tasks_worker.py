"""What real workers do with the installed app."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import redis
from tasks_host import Host, wait_until
from tasks_market import Market

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def test_the_documented_commands(host: Host, market: Market) -> None:
    """Migrate, worker, a task, inspect, beat, dead letters: as documented, in the installed copy."""
    assert host.run("manage.py", "makemigrations", "tasks", "--check") == "No changes detected in app 'tasks'\n"
    with host.worker("--concurrency=1") as worker:
        result = host.python("r = u.fetch_yahoo_stocks.delay(symbols=['AAPL', 'MSFT'])\nanswer = r.get(timeout=20)")
        assert "OK" in host.run("-m", "celery", "-A", "tasks", "inspect", "active")
        stats = host.run("-m", "celery", "-A", "tasks", "inspect", "stats", "--json")
        assert next(iter(json.loads(stats).values()))["pid"] == worker.process.pid
    assert worker.process.returncode == 0
    assert result.pop("elapsed_seconds") >= 0
    assert re.fullmatch(r"[0-9a-f-]{36}", result.pop("task_id"))
    assert result.pop("timestamp").endswith("+00:00")
    assert result == {"source": "yahoo_finance", "total": 2, "success": 2, "failed": 0, "failed_symbols": []}
    rows = host.python(
        "from assets.models import *\nanswer = list(AssetPricesHistoric.objects.order_by('id')"
        ".values_list('asset__symbol', 'source'))"
    )
    assert rows == [["AAPL", "yahoo"], ["MSFT", "yahoo"]]
    assert market.requests == ["yahoo/AAPL", "yahoo/MSFT"]
    assert host.python("answer = len(TaskFailure.objects.all()[:100])") == 0


def test_beat_runs_the_default_schedule(host: Host) -> None:
    """The project has no schedule of its own, so beat has the three default entries."""
    entries = host.python(
        "from tasks.celery import app\nfrom celery.beat import Scheduler\n"
        "answer = {e.name: [e.task, e.kwargs, str(e.schedule)] for e in Scheduler(app).schedule.values()}"
    )
    entries.pop("celery.backend_cleanup", None)
    assert entries == {
        "fetch-stocks-every-5-min": ["tasks.fetch_yahoo_stocks", {"limit": 50}, "<crontab: */5 * * * * (m/h/dM/MY/d)>"],
        "fetch-crypto-every-5-min": [
            "tasks.fetch_binance_cryptos", {"limit": 30}, "<crontab: */5 * * * * (m/h/dM/MY/d)>"],
        "calculate-indicators-hourly": [
            "tasks.calculate_indicators", {"period": 200}, "<crontab: 0 * * * * (m/h/dM/MY/d)>"],
    }  # fmt: skip
    sent = host.python(
        "from tasks.celery import app\nfrom celery.beat import Scheduler\ns = Scheduler(app)\n"
        "for e in s.schedule.values(): s.apply_async(e, advance=False)"
    )
    assert sent is None
    sent_priorities = {m["headers"]["task"]: m["properties"]["priority"] for m in host.queued()}
    assert sent_priorities["tasks.fetch_yahoo_stocks"] == 0
    assert sent_priorities["tasks.calculate_indicators"] == 5


def test_a_retry_covers_only_what_failed(host: Host, market: Market) -> None:
    """The message of the retry: narrowed arguments, same id, queue, priority and headers, 60 s later."""
    market.fail("BAD")
    with host.worker("--pool=solo") as worker:
        host.python(
            "u.fetch_yahoo_stocks.apply_async(args=[['AAPL', 'BAD', 'MSFT']], kwargs={'limit': 7}, task_id='call-1',"
            " headers={'x-tqm': '{\"v\": 1}'}, priority=3, expires=86400)"
        )
        worker.wait_for("Task tasks.fetch_yahoo_stocks[call-1] retry: Retry in 60")
    waiting = host.queued()
    assert [(m["headers"]["id"], m["headers"]["retries"]) for m in waiting] == [("call-1", 1)]
    (message,) = waiting
    assert message["headers"]["x-tqm"] == '{"v": 1}'
    assert message["headers"]["expires"]
    assert message["properties"]["priority"] == 3
    assert message["properties"]["delivery_info"]["routing_key"] == "unified"
    assert _body(message)[:2] == [[], {"symbols": ["BAD"], "limit": 7}]
    assert market.requests == ["yahoo/AAPL", "yahoo/BAD", "yahoo/MSFT"]


def test_exhausted_retries_leave_one_dead_letter(host: Host, market: Market) -> None:
    """In the last attempt of two symbols one fails: the dead letter holds only that one."""
    market.fail("BAD")
    with host.worker("--pool=solo") as worker:
        host.python("u.fetch_yahoo_stocks.apply_async(args=[['AAPL', 'BAD']], task_id='call-2', retries=5)")
        worker.wait_for("dead_letter=kept")
        assert host.queued() == []
        (row,) = host.failures()
        market.reset()
        answer = json.loads(host.run("manage.py", "taskfailures", "--format", "json", "retry", str(row["id"])))
        worker.wait_for("succeeded")
    assert (row["task_name"], row["task_id"], row["queue"]) == ("tasks.fetch_yahoo_stocks", "call-2", "unified")
    assert (row["args"], json.loads(row["kwargs"])) == ("[]", {"symbols": ["BAD"]})
    assert (row["attempts"], row["priority"], row["status"]) == (6, 0, "open")
    assert "1 of 2 symbols failed (BAD: ProviderError: yahoo: HTTP 500)" in row["exception"]
    assert "Traceback" in row["traceback"]
    assert market.requests == ["yahoo/BAD"]
    assert answer["errors"] == []
    (after,) = host.failures()
    assert (after["status"], after["retry_task_id"]) == ("retried", answer["failures"][0]["task_id"])


def test_messages_that_cannot_run_become_dead_letters(host: Host, market: Market, client: redis.Redis) -> None:
    """Unknown task, wrong arguments, broken body, foreign type, wrong shapes: rows with the raw message."""
    host.python("u.fetch_yahoo_stocks.delay(symbols=['AAPL'])")
    (good,) = host.queued()
    client.delete("unified")
    bad = {
        "unknown": {"headers": {"task": "tasks.gone"}},
        "not-json": {"body": "e25vdCBqc29u"},
        "pickle": {"content-type": "application/x-python-serialize"},
        "no-triple": {"body": "e30="},
        "no-id": {"headers": {"id": None}},
        "unknown-without-id": {"headers": {"task": "tasks.gone", "id": None}},
        "bad-eta": {"headers": {"eta": "tomorrow-ish"}},
        "no-task": {"headers": {}, "body": "W10="},
    }
    with host.worker("--concurrency=1") as worker:
        for name, change in bad.items():
            client.lpush("unified", json.dumps(_changed(good, name, change)))
        # What Dramatiq would put into a list, and something that is not a message.
        client.lpush("unified", '{"actor_name": "a", "args": [12345678901234567890]}', '"text"')
        host.python("u.app = None\nfrom tasks.celery import app\napp.send_task('tasks.cleanup_old_data', [1, 2, 3])")
        host.python("u.fetch_yahoo_stocks.apply_async(kwargs={'symbols': ['MSFT']}, task_id='after')")
        worker.wait_for("[after] succeeded")
        worker.wait_for("dead_letter=kept", times=len(bad) + 3)
    foreign = [json.loads(row["raw"]) for row in host.failures() if not row["task_id"]]
    assert sorted(base64.b64decode(raw["body"]) for raw in foreign) == [
        b'"text"',
        b'{"actor_name": "a", "args": [12345678901234567890]}',
    ]
    rows = {row["task_id"]: row for row in host.failures()}
    assert set(bad) <= set(rows)
    assert rows["unknown"]["task_name"] == "tasks.gone"
    assert "tasks.gone" in rows["unknown"]["exception"]
    assert json.loads(rows["unknown"]["kwargs"]) == {"symbols": ["AAPL"]}
    raw = json.loads(rows["not-json"]["raw"])
    assert raw["body"] == "e25vdCBqc29u"
    assert raw["headers"]["task"] == "tasks.fetch_yahoo_stocks"
    (too_many,) = (row for row in rows.values() if row["task_name"] == "tasks.cleanup_old_data")
    assert too_many["args"] == "[1, 2, 3]"
    assert too_many["attempts"] == 1
    assert market.requests == ["yahoo/MSFT"]
    assert client.hlen("unacked") == 0
    # Sent again, the same bytes; the worker still doesn't know the task, and a second row says so.
    numbers = [str(row["id"]) for row in (rows["unknown"], next(r for r in host.failures() if not r["task_id"]))]
    text = host.run("manage.py", "taskfailures", "--format", "json", "retry", *numbers, code=1)
    answer = json.loads(text)
    assert [row["task_id"] for row in answer["failures"]] == ["unknown"]
    assert "not a task message" in answer["errors"][0]
    (again,) = host.queued()
    assert _body(again) == _body(good)
    assert again["headers"]["task"] == "tasks.gone"
    with host.worker("--pool=solo") as worker:
        worker.wait_for("dead_letter=kept")
    assert [row["status"] for row in host.failures() if row["task_id"] == "unknown"] == ["open", "retried"]


def test_high_runs_first(host: Host, market: Market) -> None:
    """While a worker is blocked, calls queue up in the worst order; they run by level, however they were sent."""
    market.delays_s["SLOW"] = 60
    with host.worker("--pool=solo") as worker:
        host.python("u.fetch_yahoo_stocks.delay(symbols=['SLOW'])")
        wait_until(lambda: market.requests == ["yahoo/SLOW"], "the blocking call")
        host.python(
            "from tasks.celery import app\nfrom celery import group\n"
            "u.cleanup_old_data.apply_async(task_id='low')\n"
            "u.calculate_indicators.apply_async(args=[['A']], task_id='medium-1')\n"
            "app.send_task('tasks.fetch_coingecko_cryptos', [['M']], task_id='medium-2')\n"
            "u.fetch_alpha_stocks.apply_async(args=[['H1']], task_id='high-1')\n"
            "app.send_task('tasks.fetch_binance_cryptos', kwargs={'symbols': ['H2']}, task_id='high-2')\n"
            "group([u.update_single_asset.s('H3').set(task_id='high-3')]).apply_async()\n"
        )
        market.delays_s.clear()
        worker.wait_for("succeeded", times=7)
    order = re.findall(r"\[([\w-]+)\] succeeded", worker.text())[1:]
    assert [name.partition("-")[0] for name in order] == ["high"] * 3 + ["medium"] * 2 + ["low"]


def test_chain_keeps_each_task_its_own_level(host: Host, market: Market) -> None:
    """The second task of a chain gets its own number, not that of the first and not none."""
    with host.worker("--pool=solo", "-Q", "first") as worker:
        host.python(
            "from celery import chain\n"
            "chain(u.fetch_yahoo_stocks.si(symbols=['A']).set(queue='first'), u.cleanup_old_data.s()).apply_async()"
        )
        worker.wait_for("succeeded")
    (second,) = host.queued()
    assert (second["headers"]["task"], second["properties"]["priority"]) == ("tasks.cleanup_old_data", 9)


def test_killed_pool_process_loses_nothing(host: Host, market: Market) -> None:
    """SIGKILL of the process that runs the task: the message comes back and runs."""
    market.delays_s["SLOW"] = 60
    with host.worker("--concurrency=1") as worker:
        host.python("u.fetch_yahoo_stocks.apply_async(args=[['SLOW']], task_id='survivor')")
        wait_until(lambda: market.requests == ["yahoo/SLOW"], "the task to start", log=worker.text)
        (child,) = _children(worker.process.pid)
        os.kill(child, signal.SIGKILL)
        market.delays_s.clear()
        worker.wait_for("[survivor] succeeded")
    assert market.requests == ["yahoo/SLOW", "yahoo/SLOW"]
    assert host.queued() == []
    assert host.failures() == []


def test_calls_that_kill_their_process(host: Host, market: Market) -> None:
    """Memory exhausted in the last attempt, and a hard time limit: dead letters, and the worker keeps running."""
    with host.worker("--concurrency=1") as worker:
        host.python(
            "u.fetch_yahoo_stocks.apply_async(args=[['POISON']], task_id='poison', retries=5)\n"
            "u.fetch_yahoo_stocks.apply_async(args=[['HANG']], task_id='hang', time_limit=2, soft_time_limit=1)\n"
            "u.fetch_yahoo_stocks.apply_async(args=[['AAPL']], task_id='after')"
        )
        worker.wait_for("[after] succeeded")
        worker.wait_for("dead_letter=kept", times=2)
    rows = {row["task_id"]: row for row in host.failures()}
    assert sorted(rows) == ["hang", "poison"]
    assert "WorkerLostError" in rows["poison"]["exception"]
    assert (rows["poison"]["attempts"], rows["poison"]["queue"]) == (6, "unified")
    assert "TimeLimitExceeded" in rows["hang"]["exception"]
    assert [json.loads(rows[name]["args"]) for name in ("hang", "poison")] == [[["HANG"]], [["POISON"]]]
    assert host.queued() == []


def test_killed_worker_loses_nothing(host: Host, market: Market, client: redis.Redis) -> None:
    """SIGKILL of the whole worker: another one gets the message after the visibility timeout."""
    market.delays_s["SLOW"] = 60
    environ = {"HOST_VISIBILITY_TIMEOUT": "2"}
    # Prefork: a solo worker could not acknowledge too early in any case.
    with host.worker("--concurrency=1", **environ) as worker:
        host.python("u.fetch_yahoo_stocks.apply_async(args=[['SLOW']], task_id='survivor')")
        wait_until(lambda: market.requests == ["yahoo/SLOW"], "the task to start", log=worker.text)
        worker.process.kill()
        worker.process.wait(5)
    market.delays_s.clear()
    assert client.hlen("unacked") == 1
    # A worker looks for unacknowledged messages of others when it starts, and then every 100 s.
    time.sleep(2)
    with host.worker("--pool=solo", **environ) as second:
        second.wait_for("[survivor] succeeded", timeout=40)
    assert client.hlen("unacked") == 0
    assert host.queued() == []


def test_database_down_then_up(host: Host, market: Market) -> None:
    """A dead letter while the database is down goes to the spool, and into the table when a worker starts again."""
    market.fail("BAD")
    gone = host.folder / "gone" / "db.sqlite3"
    with host.worker("--pool=solo", DATABASE_URL=f"sqlite:///{gone}") as worker:
        host.python("u.fetch_yahoo_stocks.apply_async(args=[['BAD']], task_id='call-3', retries=5)")
        worker.wait_for("dead_letter=spooled")
    (file,) = (host.folder / "spool").iterdir()
    assert json.loads(file.read_text())["task_id"] == "call-3"
    assert host.failures() == []
    with host.worker("--pool=solo") as worker:
        worker.wait_for("dead_letter=imported rows=1")
    (row,) = host.failures()
    assert (row["task_id"], json.loads(row["kwargs"]), row["attempts"]) == ("call-3", {"symbols": ["BAD"]}, 6)
    assert list((host.folder / "spool").iterdir()) == []


def test_long_waits_come_in_hops(host: Host, market: Market) -> None:
    """A wait longer than the visibility timeout: the call runs once, when it is due, with all its attempts."""
    market.fail("BUSY")
    with host.worker("--pool=solo", HOST_VISIBILITY_TIMEOUT="4") as worker:
        due_at = time.time() + 5
        host.python(
            "u.update_single_asset.apply_async(args=['BUSY', 'yahoo'], task_id='hopper', "
            f"headers={{'x-not-before': {due_at}}})"
        )
        wait_until(lambda: bool(market.requests), "the call", log=worker.text)
        assert time.time() >= due_at - 1
        worker.wait_for("[hopper] retry", times=3)
    # 60 s of backoff are longer than a hop of 2 s as well: the message states when it is due.
    (message,) = host.queued()
    assert message["headers"]["retries"] == 1
    assert message["headers"]["x-not-before"] == pytest.approx(time.time() + 60, abs=40)
    assert market.requests == ["yahoo/BUSY"]


def _body(message: dict) -> list:
    return json.loads(base64.b64decode(message["body"]))


def _changed(good: dict, name: str, change: dict) -> dict:
    message = json.loads(json.dumps(good))
    message["properties"]["delivery_tag"] = f"tag-{name}"
    message["properties"]["correlation_id"] = name
    message["headers"]["id"] = name
    if change.get("headers") == {}:
        message["headers"] = {}
    for part, value in change.items():
        if part != "headers":
            message[part] = value
    for header, value in change.get("headers", {}).items():
        if value is None:
            del message["headers"][header]
        else:
            message["headers"][header] = value
    return message


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
