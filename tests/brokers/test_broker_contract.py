"""The contract of every broker, on every kind of server: count everything, read everything, take nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from broker_stands import Stand, rabbit_stand, redis_stand
from waiting import wait_until

from migrator.brokers.connect import connect
from migrator.errors import ExitCode, UnreachableError, UsageError
from migrator.wire.message import Message, State, System

ON_RABBITMQ = [pytest.mark.xdist_group("rabbitmq"), pytest.mark.acceptance, pytest.mark.timeout(180)]


@pytest.fixture(
    params=[
        *(f"{system} {server}" for system in ("dramatiq", "celery") for server in ("new_server", "old_server")),
        *(pytest.param(f"{system} rabbit", marks=ON_RABBITMQ) for system in ("dramatiq", "celery")),
    ]
)
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    system, server = request.param.split()
    if server == "rabbit":
        with rabbit_stand(request.getfixturevalue("rabbit"), System(system)) as stand:
            yield stand
        return
    with redis_stand(request.getfixturevalue(server), System(system)) as (stand, _):
        yield stand


def test_depths_count_every_state_and_name_the_empty_ones(stand: Stand) -> None:
    stand.wait_until_counted()
    depths = stand.broker.depths()
    assert depths == {("q", state): len(stand.ids.get(state, [])) for state in State}


def test_scan_yields_each_message_once_with_its_state(stand: Stand) -> None:
    found = Counter((message.state, message.id) for message in stand.broker.scan())
    assert len(found) > 3
    shown = {state: ids for state, ids in stand.ids.items() if state not in stand.unseen}
    assert found == {(state, identity): 1 for state, ids in shown.items() for identity in ids}


def test_scan_reads_what_a_person_wants_to_know(stand: Stand) -> None:
    messages = {message.id: message for message in stand.broker.scan()}
    retried = next(message for message in messages.values() if message.attempts)
    assert (retried.task, retried.args, dict(retried.kwargs), retried.attempts) == ("actor", (1,), {"a": 2}, 3)
    assert (retried.queue, retried.system) == ("q", stand.broker.endpoint.system)
    assert all(isinstance(message, Message) and message.raw for message in messages.values())
    if stand.copies_have_ids:
        assert len({message.copy_id for message in messages.values() if message.copy_id}) == len(messages)


def test_scan_yields_messages_in_the_order_of_service(stand: Stand) -> None:
    ready = [message.id for message in stand.broker.scan() if message.state is State.READY]
    assert ready[:2] == stand.ids[State.READY][:2]


def test_reading_changes_nothing(stand: Stand) -> None:
    stand.wait_until_counted()
    before = stand.content()
    for _ in range(2):
        stand.broker.depths()
        list(stand.broker.scan())
        stand.broker.owners()
        stand.broker.facts()
    # What RabbitMQ delivered for browsing is requeued when the channel has closed.
    wait_until(lambda: stand.content() == before, what=lambda: (before, stand.content()), pause_s=0.1)
    test_depths_count_every_state_and_name_the_empty_ones(stand)


def test_an_unreadable_message_is_scanned_with_its_bytes(stand: Stand) -> None:
    stand.broken()
    broken = wait_until(
        lambda: [message for message in stand.broker.scan() if not message.task], what="the unreadable message"
    )
    assert len(broken) == 1 and broken[0].queue == "q"
    # Celery's on RabbitMQ are shown in the envelope that kombu uses on Redis.
    assert broken[0].raw == b"\x80\xff" or b'"body":"gP8="' in broken[0].raw


def test_another_queue_is_not_read(stand: Stand) -> None:
    assert list(stand.broker.scan(queue="elsewhere")) == []


def test_owners_say_who_holds_how_much(stand: Stand) -> None:
    stand.wait_until_counted()
    owners = {owner.id: owner for owner in stand.broker.owners()}
    assert {name: owner.claimed for name, owner in owners.items()} == stand.claimed_by
    assert {owner.queue for owner in owners.values()} == {"q"}
    if "worker" in owners:
        assert owners["without-heartbeat"].heartbeat_ms is None


def test_facts_name_the_server(stand: Stand) -> None:
    facts = stand.broker.facts()
    assert facts.server.startswith(("valkey 9", "redis 6.2", "rabbitmq 3.", "rabbitmq 4."))
    assert facts.role == "master" and facts.identity and "guest:guest" not in facts.where
    assert (facts.visibility_timeout_s is not None) == (stand.broker.endpoint.system is System.CELERY)


def test_a_server_that_is_not_there_is_unreachable(stand: Stand) -> None:
    nowhere = connect(stand.broker.endpoint, {"BROKER": stand.nowhere})
    for ask in (nowhere.depths, nowhere.facts, nowhere.owners, lambda: list(nowhere.scan())):
        with pytest.raises(UnreachableError, match="can't be reached") as error:
            ask()
        assert error.value.exit_code is ExitCode.UNREACHABLE
        assert "secret" not in str(error.value)


def test_an_unknown_kind_of_url_is_refused(stand: Stand) -> None:
    with pytest.raises(UsageError, match="no broker module"):
        connect(stand.broker.endpoint, {"BROKER": "kafka://x"})
