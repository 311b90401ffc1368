"""Servers that forget: restarted empty or from an older file, failed over to a replica that lags, emptied by somebody.

No run that loses messages so may end as done, whatever it was doing at that moment.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import redis
from flaky_proxy import FlakyProxy, flaky_proxy
from message_traffic import Scene, fill, make_scene

from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.errors import ExitCode, ForgottenError
from migrator.events import Event
from migrator.snapshots.snapshot import restore_snapshot, write_snapshot
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.transfer import transfer

MESSAGES = 1200


@dataclass(kw_only=True)
class Forgetful:
    """One server, reached through a proxy, that can lose its memory in several ways."""

    server: EmbeddedServer
    replica: EmbeddedServer
    proxy: FlakyProxy
    client: redis.Redis = field(init=False)

    def __post_init__(self) -> None:
        self.client = redis.Redis(port=self.server.port, socket_timeout=10)

    def remember_for_later(self, fault: str) -> None:
        """Save the state to which the server will fall back."""
        if fault == "older file":
            self.client.save()
        elif fault == "lagging replica":
            follower = redis.Redis(port=self.replica.port, socket_timeout=10)
            follower.replicaof("127.0.0.1", self.server.port)
            deadline = time.monotonic() + 20
            while follower.info("replication")["master_link_status"] != "up":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            self.client.wait(1, 5000)
            follower.replicaof("NO", "ONE")

    def forget(self, fault: str) -> None:
        """Fall back to that state, or to nothing."""
        if fault == "emptied":
            self.client.flushall()
            return
        if fault == "lagging replica":
            self.proxy.target = self.replica.port
        self.server.kill()
        if fault != "lagging replica":
            self.server.start()


@dataclass(kw_only=True)
class Stage:
    """A scene whose legacy or unified server is forgetful; the other one is not."""

    scene: Scene
    urls: dict[str, str]
    forgetful: Forgetful

    def run(self, direction: Direction, **options: object) -> TransferReport:
        """Transfer everything in one direction."""
        listener = options.pop("listener", lambda event: None)
        should_stop = options.pop("should_stop", None)
        chosen = TransferOptions(direction=direction, batch_size=100, **options)
        return transfer(
            self.scene.plan,
            environ=self.environ,
            options=chosen,
            listener=listener,
            should_stop=should_stop,
        )

    @property
    def environ(self) -> dict[str, str]:
        return {**self.scene.environ, **self.urls}


@pytest.fixture(params=["legacy", "unified"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Two servers, of which one is forgetful."""
    with ExitStack() as stack:
        forgetful, replica, other = (
            stack.enter_context(embedded_server(folder=tmp_path / name)) for name in ("forgetful", "replica", "other")
        )
        proxy = stack.enter_context(flaky_proxy(forgetful.port))
        sides = {"legacy": other, "unified": other, request.param: forgetful}
        names = {"legacy": ("DRAMATIQ_BROKER_URL", "CELERY_BROKER_URL"), "unified": ("UNIFIED_BROKER_URL",)}
        scene = stack.enter_context(make_scene(tmp_path, **sides))
        fill(scene.legacy, MESSAGES)
        urls = dict.fromkeys(names[request.param], proxy.url())
        yield Stage(scene=scene, urls=urls, forgetful=Forgetful(server=forgetful, replica=replica, proxy=proxy))


FAULTS = ("restarted empty", "older file", "lagging replica", "emptied")


def at_claims(acts: dict[int, Callable[[], None]]) -> Callable[[], bool]:
    """Do something when the run asks for the n-th time whether to stop, which is before each batch that it claims."""
    numbers = itertools.count(1)

    def should_stop() -> bool:
        acts.get(next(numbers), lambda: None)()
        return False

    return should_stop


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("direction", Direction)
def test_a_run_during_which_a_server_forgets_is_not_done(stage: Stage, direction: Direction, fault: str) -> None:
    if direction is Direction.BACK:
        stage.run(Direction.FORWARD)
    acts = {3: stage.forgetful.remember_for_later, 7: stage.forgetful.forget}
    with pytest.raises(ForgottenError, match="has forgotten messages") as error:
        stage.run(direction, should_stop=at_claims({number: partial(act, fault) for number, act in acts.items()}))
    assert error.value.exit_code is ExitCode.REFUSED
    # And it stays refused until somebody has decided.
    for _ in range(3):
        with pytest.raises(ForgottenError):
            stage.run(direction)
    assert stage.run(direction, accept_forgotten=True).balance == 0


@pytest.mark.parametrize("fault", ["restarted empty", "emptied"])
def test_a_server_that_forgets_after_the_last_message(stage: Stage, fault: str) -> None:
    done: list[Event] = []

    def listen(event: Event) -> None:
        if event.done == MESSAGES and not done:
            done.append(event)
            stage.forgetful.forget(fault)

    with pytest.raises(ForgottenError):
        stage.run(Direction.FORWARD, listener=listen)
    assert done


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("direction", Direction)
def test_a_server_that_forgets_between_two_commands(stage: Stage, direction: Direction, fault: str) -> None:
    """After the snapshot, and after a transfer; what the refusal advises brings everything back."""
    file = stage.scene.plan.state_folder / "snapshots" / "run-1.snapshot"
    file.parent.mkdir(parents=True)
    stage.forgetful.remember_for_later(fault)
    write_snapshot(stage.scene.plan, environ=stage.environ, file=file)
    if direction is Direction.BACK:
        stage.run(Direction.FORWARD)
    stage.forgetful.forget(fault)
    with pytest.raises(ForgottenError) as error:
        stage.run(direction)
    assert f"`migrator restore {file} --replace`" in error.value.remedy
    with pytest.raises(ForgottenError):
        write_snapshot(stage.scene.plan, environ=stage.environ, file=file.with_name("another.snapshot"))
    restore_snapshot(stage.scene.plan, environ=stage.environ, file=file, replace=True)
    assert stage.run(Direction.FORWARD).moved == MESSAGES
    report = stage.run(Direction.BACK)
    assert (report.moved, report.balance) == (MESSAGES, 0)


def test_a_restart_that_loses_nothing_is_none(tmp_path: Path) -> None:
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with (
        embedded_server(folder=tmp_path / "durable", arguments=durable) as server,
        make_scene(tmp_path, legacy=server, unified=server) as scene,
    ):
        fill(scene.legacy, MESSAGES)

        def restart() -> None:
            server.kill()
            server.start()

        options, stop = TransferOptions(batch_size=100), at_claims({4: restart})
        report = transfer(scene.plan, environ=scene.environ, options=options, should_stop=stop)
        assert (report.moved, report.balance) == (MESSAGES, 0)
        restart()
        assert scene.back().moved == MESSAGES
