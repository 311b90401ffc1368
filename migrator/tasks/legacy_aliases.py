"""Legacy aliases: late messages with legacy Celery names run as the unified tasks that replace them. Redis only.

While a migration has legacy aliases enabled, two keys are on the broker: the set of legacy queues that workers consume
as well, and the table of legacy names with the changes of their arguments. A worker that receives an unknown name looks
it up in that table, and then runs the call under the unified name: once, with that task's retries and dead letter. Each
hit is counted by name and time. Without legacy aliases these keys don't exist.
Source: celery/worker/consumer/consumer.py (`add_task_queue`, `create_task_handler`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import bootsteps

logger = logging.getLogger(__name__)

#: Celery's own tasks that call one task with each item of a list; the first gives the item itself.
MAP, STARMAP = "celery.map", "celery.starmap"
MAPPED = frozenset({MAP, STARMAP, "celery.chunks"})
#: Set of legacy queues that the workers consume as well.
QUEUES = "tqm:alias:queues"
#: Hash: legacy name -> JSON with ``name``, ``parameters``, ``arguments`` and what the unified task ``takes``.
TABLE = "tqm:alias:table"
#: Hash: legacy name -> number of messages that arrived with it.
HITS = "tqm:alias:hits"
#: Hash: legacy name -> when the last one arrived, in ms since the epoch.
LAST = "tqm:alias:last"


class LegacyAliases(bootsteps.StartStopStep):
    """Consumes the legacy queues while legacy aliases are on; reads them at the worker's start and each reconnect."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Consume the legacy queues. If aliases are enabled later, the migration adds the queues by remote control."""
        for queue in _queues(parent):
            parent.add_task_queue(queue)
            logger.info("legacy_aliases=consuming queue=%s", queue)


def take(message: Any) -> bool:
    """Give a message with a legacy alias its unified name and arguments; return whether it has one.

    The message keeps its id, ETA, expiry and number of retries. If its arguments can't be converted, it is not changed.
    """
    return _take(message, message.headers["task"], _body)


def mapped_task(message: Any) -> str:
    """Return the task that a message of Celery's own map, starmap or chunks calls; empty for any other message."""
    if (message.headers or {}).get("task") not in MAPPED or message.content_type != "application/json":
        return ""
    try:
        return str(json.loads(message.body)[1]["task"]["task"])
    except (ValueError, TypeError, KeyError, IndexError):
        return ""


def take_mapped(message: Any, name: str) -> bool:
    """Give the task of a map, starmap or chunks its unified name and arguments, as :func:`take` does."""
    return _take(message, name, _mapped_body)


def _take(message: Any, name: str, rewritten: Callable[[Any, Mapping[str, Any]], tuple[str, Any]]) -> bool:
    channel = message.channel
    if not hasattr(channel, "_q_for_pri"):  # not Redis
        return False
    with channel.conn_or_acquire() as client:
        entry = client.hget(TABLE, name)
        if entry is None:
            return False
        alias = json.loads(entry)
        try:
            task, body = rewritten(message, alias)
        except (ValueError, TypeError, KeyError) as error:
            logger.error("legacy_aliases=unfit task=%s id=%s error=%s", name, message.headers.get("id"), error)
            return False
        if not (message.delivery_info or {}).get("redelivered"):
            with client.pipeline(transaction=True) as pipe:
                pipe.hincrby(HITS, name, 1).hset(LAST, name, int(time.time() * 1000)).execute()
    queue = alias["queue"]
    message.body, message._decoded_cache = body, None
    message.headers = {**message.headers, "task": task, "alias": name}
    # A retry goes to the queue that the delivery names, which has to be the unified one from now on.
    message.delivery_info = {**message.delivery_info, "exchange": queue, "routing_key": queue}
    logger.info("legacy_aliases=hit task=%s as=%s id=%s", name, alias["name"], message.headers.get("id"))
    return True


def adapt(alias: Mapping[str, Any], args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a legacy call for its unified task, by the same rules as the migration's plan.

    Raises:
        ValueError: The call does not fit the legacy task.
    """
    parameters = [name for name in alias["parameters"] if name != "**kwargs"]
    reached = parameters[: parameters.index("*args")] if "*args" in parameters else parameters
    if len(args) > len(reached) and ("*args" not in parameters or alias["arguments"]):
        raise ValueError(f"takes {len(reached)} arguments, {len(args)} given")
    named = dict(zip(reached, args))
    for name, value in kwargs.items():
        if name in named or (name not in parameters and "**kwargs" not in alias["parameters"]):
            raise ValueError(f"argument {name!r} is unknown or given twice")
        named[name] = value
    if not alias["arguments"]:
        return args, kwargs
    for kind, name, target in alias["arguments"]:
        if kind == "constant":
            named[name] = target
        elif name in named:
            value = named.pop(name)
            if kind == "rename":
                named[target] = value
            elif kind == "wrap":
                named[target] = [value]
    return [], named


def _body(message: Any, alias: Mapping[str, Any]) -> tuple[str, Any]:
    if message.content_type != "application/json":
        if alias["arguments"]:
            raise ValueError(f"a body of type {message.content_type} can't be rewritten")
        return alias["name"], message.body
    args, kwargs, embed = json.loads(message.body)
    adapted = adapt(alias, list(args), dict(kwargs))
    return alias["name"], _encoded(message, [*adapted, embed]) if alias["arguments"] else message.body


def _mapped_body(message: Any, alias: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the container and its body: a map whose task takes more than the item becomes a starmap."""
    name = message.headers["task"]
    args, kwargs, embed = json.loads(message.body)
    kwargs["task"]["task"] = alias["name"]
    if alias["arguments"]:
        rows = [_row(alias, [item] if name == MAP else item) for item in kwargs["it"]]
        name = STARMAP if name == MAP else name
        kwargs["it"] = rows
    return name, _encoded(message, [args, kwargs, embed])


def _row(alias: Mapping[str, Any], item: list[Any]) -> list[Any]:
    """Return a call's arguments by position, which is how a map gives them."""
    row, named = adapt(alias, list(item), {})
    for parameter in alias["takes"][len(row) :]:
        if parameter not in named:
            break
        row.append(named.pop(parameter))
    if named:
        raise ValueError(f"{', '.join(named)} would have to be given by name")
    return row


def _encoded(message: Any, body: list[Any]) -> Any:
    text = json.dumps(body, ensure_ascii=False)
    return text.encode() if isinstance(message.body, bytes) else text


def _queues(parent: Any) -> list[str]:
    try:
        with parent.app.connection_for_write() as connection:
            channel = connection.default_channel
            if not hasattr(channel, "_q_for_pri"):
                return []
            with channel.conn_or_acquire() as client:
                names = client.smembers(QUEUES)
    except (*parent.connection_errors, *parent.channel_errors):
        # Without a connection the consumer restarts, and this step with it.
        logger.warning("legacy_aliases=unknown", exc_info=True)
        return []
    return sorted(name.decode() if isinstance(name, bytes) else name for name in names)
