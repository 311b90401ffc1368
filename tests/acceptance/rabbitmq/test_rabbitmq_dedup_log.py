"""The transfer and RabbitMQ die together: the next run knows what was carried, and takes nothing else for that."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import amqp
import pika
import pytest
from rabbit_runs import begun_run
from rabbit_scene import RabbitScene, amqp_content, before_a_crash, fill, make_scene, mixed
from rabbit_server import RabbitServer

from migrator.brokers.rabbitmq.browse import browse
from migrator.brokers.rabbitmq.queues import ALIVE, TAKEN
from migrator.snapshots.snapshot import restore_snapshot, write_snapshot
from migrator.transfer.options import Direction, TransferOptions


@pytest.fixture
def elsewhere(rabbit: RabbitServer, tmp_path: Path) -> Iterator[RabbitScene]:
    """The same in another virtual host."""
    url = rabbit.make_host("elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with make_scene(tmp_path / "elsewhere", dramatiq=url, celery=url, unified=url) as scene:
        yield scene
    rabbit.manage("DELETE", "vhosts/elsewhere")


def test_the_tool_and_the_broker_die_together(
    rabbit_only: RabbitScene, elsewhere: RabbitScene, rabbit: RabbitServer
) -> None:
    """And another run has ended just before: it has waited until the broker had written all."""
    ids = [rabbit_only.send("health_check_task"), *fill(rabbit_only, 2000)]
    others = [elsewhere.send("health_check_task"), *fill(elsewhere, 500)]
    with before_a_crash(), doomed_run(rabbit_only, TransferOptions(batch_size=25, max_rate=100)) as pid:
        assert elsewhere.forward().moved == 501
        os.kill(pid, signal.SIGKILL)
        rabbit.crash()
    rabbit.start()
    print([finding.found for finding in rabbit_only.forward().findings])
    assert rabbit_only.ids() == {("unified", identity): 1 for identity in ids}
    assert rabbit_only.own_queues(rabbit) == []
    assert taken_files(rabbit_only) == []
    assert elsewhere.ids() == {("unified", identity): 1 for identity in others}


def test_what_comes_back_is_known_in_either_direction(rabbit_only: RabbitScene) -> None:
    """A crash played: messages are there again as delivered ones, and the queue that does not survive one is gone."""
    ids = [rabbit_only.send("health_check_task"), *fill(rabbit_only, 60)]
    carried = come_back(rabbit_only, bodies_by_id(rabbit_only), killed_run(rabbit_only))
    assert carried, "the run was killed too early"
    report = rabbit_only.back()
    assert Counter({("dramatiq", identity): 1 for identity in ids}) == rabbit_only.ids()
    assert "TRANSFER-RETURNED" in codes(report)
    rabbit_only.forward()
    assert rabbit_only.ids() == {("unified", identity): 1 for identity in ids}


@pytest.mark.parametrize("case", ["enqueued again", "moved back by a run", "restored", "server put back", "damaged"])
def test_what_may_be_a_new_message_is_carried(rabbit_only: RabbitScene, case: str, tmp_path: Path) -> None:
    """Better twice than not at all."""
    rabbit_only.send("health_check_task")
    fill(rabbit_only, 60)
    bodies = bodies_by_id(rabbit_only)
    write_snapshot(rabbit_only.plan, environ=rabbit_only.environ, file=tmp_path / "before")
    unified = killed_run(rabbit_only)
    times = 2
    if case == "enqueued again":
        carried = come_back(rabbit_only, bodies, unified, delivered=False)
    elif case == "moved back by a run":
        times, carried = 1, set(unified)
        killed_run(rabbit_only, direction=Direction.BACK)
        come_back(rabbit_only, {}, [])
    elif case == "restored":
        times, carried = 1, set(unified)
        restore_snapshot(rabbit_only.plan, environ=rabbit_only.environ, file=tmp_path / "before", replace=True)
        come_back(rabbit_only, {}, [])
    else:
        carried = come_back(rabbit_only, bodies, unified)
        (file,) = taken_files(rabbit_only)
        assert file.stat().st_mode & 0o777 == 0o600
        if case == "damaged":
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.write_bytes(content)
        else:
            with closing(connected(rabbit_only)) as connection:
                connection.channel().queue_delete(TAKEN)
    assert carried
    report = rabbit_only.forward()
    assert rabbit_only.ids() == {("unified", identity): times if identity in carried else 1 for identity in bodies}
    assert ("TRANSFER-TAKEN" in codes(report)) == (case == "damaged")


def test_without_the_file_the_run_goes_on(rabbit_only: RabbitScene, rabbit: RabbitServer) -> None:
    """Something else has its name, so it can be neither read nor written."""
    ids = [rabbit_only.send("health_check_task"), *fill(rabbit_only, 60)]
    killed_run(rabbit_only)
    (file,) = taken_files(rabbit_only)
    file.unlink()
    file.mkdir()
    report = rabbit_only.forward()
    assert rabbit_only.ids() == {("unified", identity): 1 for identity in ids}
    found = [finding.what for finding in report.findings if finding.code == "TRANSFER-TAKEN"]
    assert [what.partition(" can't be ")[2].split()[0] for what in found] == ["read", "written"]
    assert rabbit_only.own_queues(rabbit) == []


def test_every_kind_is_known_again(any_scene: RabbitScene) -> None:
    """Nothing has come back, and everything looks as if: what waits was delivered before, the server is another one."""
    ids = mixed(any_scene, 60)
    killed_run(any_scene)
    come_back(any_scene, {}, [])
    any_scene.forward()
    assert any_scene.ids() == {("unified", identity): 1 for identity in ids}


def killed_run(scene: RabbitScene, direction: Direction = Direction.FORWARD) -> list[str]:
    """Kill a transfer that has moved something; return what it has carried."""
    with doomed_run(scene, TransferOptions(batch_size=25, max_rate=50, direction=direction)) as pid:
        os.kill(pid, signal.SIGKILL)
    return [identity for (address, identity) in scene.ids() if address == "unified"]


@contextmanager
def doomed_run(scene: RabbitScene, options: TransferOptions) -> Iterator[int]:
    """Give the process id of a transfer that has moved something; it is killed in the ``with`` block."""
    with begun_run(scene, options) as pid:
        yield pid
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "it had ended before it was killed"


def come_back(scene: RabbitScene, bodies: dict[str, bytes], ids: list[str], *, delivered: bool = True) -> set[str]:
    """Play a crash: put messages into the queue again, as delivered ones, and let the server forget that it lives."""
    parameters = pika.URLParameters(next(url for url in scene.urls.values() if url.startswith("amqp")))
    with closing(connected(scene)) as connection, pika.BlockingConnection(parameters) as other:
        for identity in ids:
            properties = pika.BasicProperties(delivery_mode=2)
            other.channel().basic_publish("", "default", bodies[identity], properties)
        for queue in ("default", "default.DQ", "celery", "unified") if delivered else ():
            list(browse(connection, queue))
        connection.channel().queue_delete(ALIVE)
    return set(ids)


def connected(scene: RabbitScene) -> amqp.Connection:
    name = next(name for name, url in scene.urls.items() if url.startswith("amqp"))
    return scene.broker(name).server.open()


def bodies_by_id(scene: RabbitScene) -> dict[str, bytes]:
    content = amqp_content(scene.urls["dramatiq"], "default")
    return dict(
        zip((message.id for message in scene.broker("dramatiq").scan()), (body for body, _ in content), strict=True)
    )


def taken_files(scene: RabbitScene) -> list[Path]:
    return list(scene.plan.state_folder.glob("taken-*"))


def codes(report: object) -> set[str]:
    return {finding.code for finding in report.findings}
