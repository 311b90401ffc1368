"""The transfer is killed again and again: nothing lost, nothing doubled, nothing changed."""

from __future__ import annotations

import os

import pytest
from rabbit_kills import campaign
from rabbit_runs import begun_run
from rabbit_scene import RabbitScene, before_a_crash, fill, mixed
from rabbit_server import RabbitServer

from migrator.transfer.options import TransferOptions, TransferReport

pytestmark = pytest.mark.timeout(900)

LONG = os.environ.get("RABBITMQ_LONG") == "1"
KILLS = int(os.environ.get("RABBITMQ_KILLS", "6"))


@pytest.mark.parametrize("scene", ["rabbit_only", "to_redis", "to_rabbit", "two_hosts"])
def test_kills_lose_and_double_nothing(scene: str, request: pytest.FixtureRequest) -> None:
    a_scene: RabbitScene = request.getfixturevalue(scene)
    mixed(a_scene, 80)
    outcome = campaign(a_scene, kills=KILLS, seed=11)
    print(f"{scene}: {outcome.kills} kills, {outcome.finished} finished runs, 0 lost, 0 doubled, 0 changed")
    assert outcome.kills >= KILLS


@pytest.mark.parametrize("scene", ["rabbit_only", *(["to_redis", "two_hosts"] if LONG else [])])
@pytest.mark.parametrize("crashes", [True, *([False] if LONG else [])])
def test_the_broker_ends_in_the_middle(
    scene: str, crashes: bool, request: pytest.FixtureRequest, rabbit: RabbitServer
) -> None:
    """The run waits, connects again and goes on, and knows again what a crash has brought back."""
    scene_ = request.getfixturevalue(scene)
    ids = [scene_.send("health_check_task"), *fill(scene_, 1000), *mixed(scene_, 50)]
    options = TransferOptions(batch_size=25, max_rate=300, reconnect_s=120)
    with before_a_crash(), begun_run(scene_, options, accepts=_went_on) as pid:
        if crashes:
            rabbit.crash()
            rabbit.start()
        else:
            rabbit.restart()
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    assert scene_.ids() == {("unified", identity): 1 for identity in ids}
    assert scene_.forward().seen == 0


def _went_on(report: TransferReport) -> bool:
    return bool(report.reconnects) and report.balance == 0
