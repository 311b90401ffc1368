"""A rehearsal with brokers on RabbitMQ: in a virtual host like the real one, which is gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rabbit_scene import RabbitScene, amqp_content
from rabbit_server import RabbitServer
from shop import Shop, green, open_shop, send_orders

from migrator.brokers.rabbitmq.declarations import QueueForm, declare_like
from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.scratch_vhost import PREFIX, create, remove, require_room
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.embedded_redis import EmbeddedServer
from migrator.errors import MigratorError, RefusedError
from migrator.events import Event, EventKind
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.rehearsal.rehearse import Rehearsal, RehearsalOptions, rehearse
from migrator.rehearsal.scratch_environment import build, environment, require_scratch
from migrator.snapshots.snapshot import write_snapshot
from migrator.steps.protocol import RunOptions

pytestmark = pytest.mark.timeout(180)

QUEUE = """from kombu import Exchange, Queue
app.conf.task_queues = (Queue("unified", Exchange("unified"), routing_key="unified", max_priority=9),)
"""


@contextmanager
def open_rabbit_shop(folder: Path, server: EmbeddedServer, *, broker: str, unified: str) -> Iterator[Shop]:
    """The shop with its legacy systems on RabbitMQ; what its tasks do is written into a Redis."""
    with open_shop(folder, server) as shop:
        edit(folder / "src/jobs/old_dramatiq.py", "redis import RedisBroker", "rabbitmq import RabbitmqBroker")
        edit(
            folder / "src/jobs/old_dramatiq.py",
            'RedisBroker(url=os.environ["SHOP_BROKER"])',
            'RabbitmqBroker(url=os.environ["SHOP_BROKER"], max_priority=10)',
        )
        edit(folder / "src/jobs/unified.py", 'os.environ["SHOP_BROKER"]', 'os.environ["SHOP_UNIFIED"]')
        edit(folder / "migration.toml", '[unified]\nbroker = "${SHOP_BROKER}"', '[unified]\nbroker = "${SHOP_UNIFIED}"')
        if unified.startswith("amqp"):
            app = folder / "src/jobs/unified.py"
            app.write_text(app.read_text() + QUEUE)
        shop.git("commit", "-q", "-a", "-m", "On RabbitMQ")
        environ = {**shop.environ, "SHOP_BROKER": broker, "SHOP_UNIFIED": unified}
        yield replace(shop, plan=load_plan(shop.plan.file), environ=environ)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))


def options_for(plan: Plan, options: RunOptions) -> RunOptions:
    return replace(options, check_proof=green, check_source=green, check_inventory=green)


def run(shop: Shop, chosen: RehearsalOptions, look: Callable[[], None]) -> Rehearsal:
    """Rehearse; ``look`` is called when the scratch world is ready and nothing runs in it yet."""

    def listen(event: Event) -> None:
        if event.kind is EventKind.NOTE and event.step == "rehearse" and "are rehearsed" in event.text:
            look()

    done = rehearse(shop.plan, environ=shop.environ, options_for=options_for, chosen=chosen, listener=listen)
    assert done.ok, [(report.failure, report.findings) for report in done.runs]
    assert shop.done() == [], "a copy was run"
    return done


def hosts(rabbit: RabbitServer) -> list[str]:
    return [host["name"] for host in rabbit.manage("GET", "vhosts") if host["name"].startswith(PREFIX)]


def test_there_and_back_in_a_virtual_host_like_the_real_one(
    tmp_path: Path, rabbit: RabbitServer, vhost: str, redis_server: EmbeddedServer
) -> None:
    url, seen = rabbit.url(vhost), dict[str, Any]()
    policy = {"pattern": "^default", "definition": {"max-length": 100_000}, "apply-to": "queues"}
    rabbit.manage("PUT", f"policies/{vhost}/limit", policy)
    rights = {"configure": "^.*$", "write": "^.*$", "read": "^.*$"}
    rabbit.manage("PUT", f"permissions/{vhost}/guest", rights)

    def look() -> None:
        (name,) = hosts(rabbit)
        seen["queues"] = {queue["name"]: queue["arguments"] for queue in rabbit.manage("GET", f"queues/{name}")}
        (copied,) = rabbit.manage("GET", f"policies/{name}")
        seen["policy"] = {part: copied[part] for part in policy}
        (granted,) = rabbit.manage("GET", f"vhosts/{name}/permissions")
        seen["rights"] = {part: granted[part] for part in rights}

    with open_rabbit_shop(tmp_path / "shop", redis_server, broker=url, unified=url) as shop:
        shop.environ["RABBITMQ_MANAGEMENT_URL"] = rabbit.management_url
        send_orders(shop, 0, 40)
        before = {queue: amqp_content(url, queue) for queue in ("default", "default.DQ", "celery", "unified")}
        done = run(shop, RehearsalOptions(), look)
        assert [report.moved for report in done.runs] == [40, 40, 40]
        assert done.messages == 40
        assert all(report.downtime_s is not None for report in done.runs)
        assert before == {queue: amqp_content(url, queue) for queue in before}
        assert any("marked as redelivered" in note for note in done.notes)
    assert seen["queues"]["default"]["x-max-priority"] == seen["queues"]["default.DQ"]["x-max-priority"] == 10
    assert (seen["policy"], seen["rights"]) == (policy, rights)
    assert not hosts(rabbit)


def queue_names(rabbit: RabbitServer, url: str) -> list[str]:
    return sorted(queue["name"] for queue in rabbit.manage("GET", f"queues/{host_of(url)}"))


def test_a_mixed_plan_in_a_virtual_host_that_is_named(
    tmp_path: Path, rabbit: RabbitServer, two_hosts: RabbitScene, redis_server: EmbeddedServer
) -> None:
    """Every broker of the project's own code is a scratch one; afterwards nothing is left of it."""
    real, given = two_hosts.urls["dramatiq"], two_hosts.urls["unified"]
    before = queue_names(rabbit, given)
    with (
        open_rabbit_shop(tmp_path / "shop", redis_server, broker=real, unified=redis_server.url(0)) as shop,
        ExitStack() as stack,
    ):
        environ = {**shop.environ, "SHOP_EVENTS": f"{real}-events"}
        shop.run("import jobs.old_dramatiq; jobs.old_dramatiq.pack_box.send(1)")
        folder = shop.folder / "scratch"
        world = build(shop.plan, folder, environ, rabbitmq=given, copies=(0, 0), stack=stack)
        own = environment(shop.plan, world, environ)
        (scratch_redis,) = world.redis.values()
        assert (own["SHOP_BROKER"], own["SHOP_UNIFIED"]) == (given, scratch_redis.url(0))
        assert own["SHOP_EVENTS"] == given, "whatever else lies on that server is not reached either"
        assert own["SHOP_BOOK"].startswith(f"redis://127.0.0.1:{scratch_redis.port}/")
        own["SHOP_DATABASE"] = str(folder / "shop.sqlite3")
        assert require_scratch(shop.plan, own, world, ()) == ()
        with pytest.raises(RefusedError, match="would use a real broker"):
            require_scratch(shop.plan, {**own, "SHOP_BROKER": real}, world, ())
        scratch = {queue["name"]: queue["arguments"] for queue in rabbit.manage("GET", f"queues/{host_of(given)}")}
        assert scratch["default"]["x-max-priority"] == 10
    assert queue_names(rabbit, given) == before
    assert len(amqp_content(real, "default")) == 1


@pytest.mark.skipif(os.environ.get("RABBITMQ_LONG") != "1", reason="the way there and back once more: RABBITMQ_LONG=1")
def test_from_rabbitmq_to_redis_without_a_look_at_the_real_queues(
    tmp_path: Path, rabbit: RabbitServer, two_hosts: RabbitScene, redis_server: EmbeddedServer
) -> None:
    real, given = two_hosts.urls["dramatiq"], two_hosts.urls["unified"]
    with open_rabbit_shop(tmp_path / "shop", redis_server, broker=real, unified=redis_server.url(0)) as shop:
        send_orders(shop, 0, 8)
        done = run(shop, RehearsalOptions(waiting=False, rabbitmq=given), lambda: None)
        assert [report.moved for report in done.runs] == [0, 0, 0]
        file = tmp_path / "earlier.snapshot"
        write_snapshot(shop.plan, environ=shop.environ, file=file)
        done = run(shop, RehearsalOptions(snapshot=file, rabbitmq=given), lambda: None)
        assert [report.moved for report in done.runs] == [8, 8, 8]
        assert sum(len(amqp_content(real, queue)) for queue in ("default", "default.DQ", "celery")) == 8
    assert not rabbit.manage("GET", f"queues/{host_of(given)}"), "nothing of it is left"


def host_of(url: str) -> str:
    return url.rpartition("/")[2]


@pytest.fixture
def plain_user(rabbit: RabbitServer) -> Iterator[str]:
    """URL of the plugin for a user that may look at it and make nothing."""
    rabbit.manage("PUT", "users/onlooker", {"password": "secret", "tags": "monitoring"})
    yield rabbit.management_url.replace("guest:guest", "onlooker:secret")
    rabbit.manage("DELETE", "users/onlooker")


def test_what_is_refused(
    tmp_path: Path, rabbit: RabbitServer, two_hosts: RabbitScene, redis_server: EmbeddedServer, plain_user: str
) -> None:
    url, given = two_hosts.urls["dramatiq"], two_hosts.urls["unified"]
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    rabbit.manage("PUT", f"permissions/{host_of(url)}/onlooker", rights)
    declare_like(RabbitmqServer(given), [QueueForm(name="default.DQ", arguments={})])

    def refusal(**changes: Any) -> str:
        environ = {**shop.environ, **changes.pop("environ", {})}
        with pytest.raises(MigratorError) as caught:
            rehearse(shop.plan, environ=environ, options_for=options_for, chosen=RehearsalOptions(**changes))
        assert not hosts(rabbit)
        return str(caught.value)

    with open_rabbit_shop(tmp_path / "shop", redis_server, broker=url, unified=url) as shop:
        no_plugin = refusal()
        assert "no RABBITMQ_MANAGEMENT_URL" in no_plugin and "--rabbitmq" in no_plugin
        no_right = refusal(environ={"RABBITMQ_MANAGEMENT_URL": plain_user})
        assert "may not create a virtual host" in no_right and "administrator" in no_right
        assert "default.DQ" in refusal(rabbitmq=given)
        assert "is the real virtual host" in refusal(rabbitmq=url)
        assert "secret" not in no_right
        quorum = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
        rabbit.manage("PUT", f"queues/{host_of(url)}/celery", quorum)
        assert "--no-waiting" in refusal(environ={"RABBITMQ_MANAGEMENT_URL": rabbit.management_url})


def test_a_scratch_host_is_made_within_the_room_that_there_is(rabbit: RabbitServer, vhost: str) -> None:
    management, server = Management(rabbit.management_url), RabbitmqServer(rabbit.url(vhost))
    with pytest.raises(RefusedError, match=r"could set off its (memory|disk) alarm"):
        require_room(management, messages=10**9, size_bytes=0)
    require_room(management, messages=1000, size_bytes=10**6)
    name = create(management, server, plan_name="a shop/with ☃", users=["guest"])
    assert name.startswith(f"{PREFIX}a-shop-with-")
    remove(management, name)
    remove(management, name)
    with pytest.raises(RefusedError, match="does not belong to a rehearsal"):
        remove(management, vhost)
    assert vhost in {host["name"] for host in rabbit.manage("GET", "vhosts")}
