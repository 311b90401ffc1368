"""Where both systems keep their messages, as the source says it: URL, namespace, transport options.

Source: ``dramatiq/brokers/redis.py``, ``dramatiq/brokers/rabbitmq.py``, ``django_dramatiq/apps.py``
(``DRAMATIQ_BROKER``), ``celery/app/defaults.py`` (old and new names of settings), ``kombu/transport/redis.py``
(transport options).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrator.inventory.module_facts import ModuleFacts
from migrator.inventory.static_values import StaticValues, UnknownValueError
from migrator.plan.decisions import DECIDE
from migrator.plan.toml_table import broker_url_problem
from migrator.wire.message import System

#: Names of a Celery setting: in Django's settings, and in the app's own configuration.
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "broker_url": ("CELERY_BROKER_URL", "BROKER_URL"),
    "broker_transport_options": ("CELERY_BROKER_TRANSPORT_OPTIONS", "BROKER_TRANSPORT_OPTIONS"),
    "task_default_queue": ("CELERY_TASK_DEFAULT_QUEUE", "CELERY_DEFAULT_QUEUE"),
    "task_queues": ("CELERY_TASK_QUEUES", "CELERY_QUEUES"),
    "task_routes": ("CELERY_TASK_ROUTES", "CELERY_ROUTES"),
}
_CLIENTS = frozenset({"redis.Redis", "redis.StrictRedis", "redis.client.Redis"})
#: What each library uses where nothing is said. Source: ``dramatiq/broker.py``, ``celery/app/defaults.py``.
_DEFAULT_URLS = {
    System.DRAMATIQ: "${DRAMATIQ_BROKER_URL:-amqp://guest:guest@127.0.0.1:5672/}",
    System.CELERY: "${CELERY_BROKER_URL:-amqp://guest:guest@localhost:5672//}",
}

Place = tuple[ModuleFacts, ast.expr]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What the source says about one thing."""

    #: A value, or a text that says DECIDE and why.
    value: Any
    #: ``file:line`` of it; empty for a default.
    where: str = ""

    @property
    def known(self) -> bool:
        """False where it says DECIDE."""
        return not (isinstance(self.value, str) and self.value.startswith(DECIDE))


class SourceFacts:
    """What the files of a project say about brokers."""

    def __init__(self, modules: Sequence[ModuleFacts], values: StaticValues) -> None:
        """Take the files that may say something, and what reads their expressions."""
        self.modules = modules
        self.values = values

    def broker(self, system: System) -> Fact:
        """Return the URL of a system's broker."""
        found = self._dramatiq_urls() if system is System.DRAMATIQ else self._celery("broker_url")
        fact = _agreed(found, "the broker") or Fact(value=_DEFAULT_URLS[system])
        if not isinstance(fact.value, str):
            return Fact(value=f"{DECIDE}: one of {fact.value}", where=fact.where)
        problem = broker_url_problem(fact.value, system) if fact.known else ""
        return Fact(value=f"{DECIDE}: {fact.value} {problem}", where=fact.where) if problem else fact

    def namespace(self) -> Fact | None:
        """Return Dramatiq's key prefix, if one is given."""
        return _fixed(_agreed(self._given("namespace"), "the namespace"))

    def setting(self, name: str) -> Fact | None:
        """Return a setting of Celery, if it is given."""
        return _fixed(_agreed(self._celery(name), name))

    def _celery(self, name: str) -> Iterator[Fact]:
        for place in self._places(name):
            yield self._read(place, name)

    def _places(self, name: str) -> Iterator[Place]:
        for setting in _SETTINGS[name]:
            yield from self.values.setting(setting)
        for keyed, item in self._configured():
            if keyed in (name, *_SETTINGS[name]):
                yield item

    def _configured(self) -> Iterator[tuple[str, Place]]:
        """Yield what apps are given in code: arguments, ``conf.x = …``, ``conf["x"] = …``, ``conf.update(x=…)``."""
        for facts in self.modules:
            for node in facts.nodes:
                if isinstance(node, ast.Assign):
                    for target in node.targets:
                        if name := _configuration_key(target):
                            yield name, (facts, node.value)
                elif isinstance(node, ast.Call):
                    called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                    if facts.dotted(node.func) in {"celery.Celery", "celery.app.Celery"} or called == "Celery":
                        yield from (
                            ("broker_url" if item.arg == "broker" else item.arg or "", (facts, item.value))
                            for item in node.keywords
                        )
                    elif called == "update" and _is_configuration(node.func):
                        yield from ((item.arg, (facts, item.value)) for item in node.keywords if item.arg)
                        yield from (pair for item in node.args for pair in _pairs(facts, item))
            if facts.name.rpartition(".")[2] in {"celeryconfig", "celery_config"}:
                yield from ((name, (facts, value)) for name, value in facts.values.items())

    def _read(self, place: Place, what: str) -> Fact:
        facts, node = place
        where = f"{facts.file}:{node.lineno}"
        try:
            return Fact(value=self.values.of(facts, node), where=where)
        except UnknownValueError as error:
            return Fact(value=f"{DECIDE}: {what} is computed: {error}", where=where)

    def _dramatiq_urls(self) -> Iterator[Fact]:
        for facts, kind, given, line in self._dramatiq():
            where = f"{facts.file}:{line}"
            try:
                yield Fact(value=self._url(facts, kind, given), where=where)
            except UnknownValueError as error:
                yield Fact(value=f"{DECIDE}: the broker is computed: {error}", where=where)

    def _given(self, key: str) -> Iterator[Fact]:
        for facts, _, given, _ in self._dramatiq():
            if key in given:
                yield self._read((facts, given[key]), key)

    def _dramatiq(self) -> Iterator[tuple[ModuleFacts, str, dict[str, ast.expr], int]]:
        """Yield each Dramatiq broker: where, its kind, what it is given and the line."""
        for facts, node in self.values.setting("DRAMATIQ_BROKER"):
            if not isinstance(node, ast.Dict):
                yield facts, "", {"url": node}, node.lineno
                continue
            parts = dict(_pairs(facts, node))
            kind = parts["BROKER"][1] if "BROKER" in parts else None
            options = parts["OPTIONS"][1] if "OPTIONS" in parts else None
            name = kind.value if isinstance(kind, ast.Constant) else "RabbitmqBroker" if kind is None else ""
            given = {key: value for key, (_, value) in _pairs(facts, options)} if options is not None else {}
            if options is not None and not isinstance(options, (ast.Dict, ast.Call)):
                given = {"url": options}
            yield facts, str(name), given, node.lineno
        for facts in self.modules:
            for call in facts.nodes:
                if isinstance(call, ast.Call):
                    dotted = facts.dotted(call.func)
                    kind_name = dotted.rpartition(".")[2]
                    if dotted.startswith("dramatiq.brokers.") and kind_name in {"RedisBroker", "RabbitmqBroker"}:
                        yield facts, kind_name, {item.arg or "": item.value for item in call.keywords}, call.lineno

    def _url(self, facts: ModuleFacts, kind: str, given: Mapping[str, ast.expr]) -> str:
        redis = kind.endswith("RedisBroker")
        if not redis and not kind.endswith("RabbitmqBroker"):
            raise UnknownValueError(kind or "its class")
        if "" in given or "parameters" in given or "connection_pool" in given:
            raise UnknownValueError(", ".join(name or "**" for name in given))
        if redis and "client" in given:
            return self._client(facts, given["client"])
        read = {
            key: self.values.of(facts, given[key])
            for key in ("url", "host", "port", "db", "username", "password", "ssl", "virtual_host", "credentials")
            if key in given
        }
        if read.get("url"):
            url = read["url"]
            if isinstance(url, str):
                return url
            raise UnknownValueError(repr(url))
        if read.get("ssl") or read.get("credentials"):
            raise UnknownValueError("ssl or credentials")
        return _redis_url(read) if redis else _rabbitmq_url(read)

    def _client(self, facts: ModuleFacts, node: ast.expr) -> str:
        if isinstance(node, ast.Name) and isinstance(facts.values.get(node.id), ast.Call):
            node = facts.values[node.id]
        dotted = facts.dotted(node.func) if isinstance(node, ast.Call) else ""
        if not isinstance(node, ast.Call) or any(item.arg is None for item in node.keywords):
            raise UnknownValueError(ast.unparse(node))
        read = {item.arg or "": self.values.of(facts, item.value) for item in node.keywords}
        args = [self.values.of(facts, item) for item in node.args]
        if dotted in {"redis.from_url", *(f"{client}.from_url" for client in _CLIENTS)}:
            return str(args[0] if args else read["url"])
        if dotted in _CLIENTS and "unix_socket_path" not in read and not read.get("ssl"):
            return _redis_url({**dict(zip(("host", "port", "db", "password"), args, strict=False)), **read})
        raise UnknownValueError(ast.unparse(node))


def _redis_url(read: Mapping[str, Any]) -> str:
    account = f"{read.get('username') or ''}:{read['password']}@" if read.get("password") else ""
    return f"redis://{account}{read.get('host', 'localhost')}:{read.get('port', 6379)}/{read.get('db', 0)}"


def _rabbitmq_url(read: Mapping[str, Any]) -> str:
    path = str(read.get("virtual_host", "/")).replace("/", "%2F") if read.get("virtual_host", "/") != "/" else ""
    return f"amqp://guest:guest@{read.get('host', '127.0.0.1')}:{read.get('port', 5672)}/{path}"


def _pairs(facts: ModuleFacts, node: ast.expr) -> Iterator[tuple[str, Place]]:
    """Yield the items of a dict that is written out."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, (facts, value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        yield from ((item.arg, (facts, item.value)) for item in node.keywords if item.arg)


def _is_configuration(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "conf"


def _configuration_key(target: ast.expr) -> str:
    """Return the setting that a target names: ``app.conf.x`` or ``app.conf["x"]``."""
    if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Attribute) and target.value.attr == "conf":
        return str(target.slice.value) if isinstance(target.slice, ast.Constant) else ""
    return target.attr if isinstance(target, ast.Attribute) and _is_configuration(target) else ""


def _fixed(fact: Fact | None) -> Fact | None:
    """Return a fact that the plan doesn't read from the environment; one that does is to be decided."""
    if fact is not None and fact.known and "${" in str(fact.value):
        return Fact(value=f"{DECIDE}: the environment says it: {fact.value}", where=fact.where)
    return fact


def _agreed(found: Iterator[Fact], what: str) -> Fact | None:
    """Return what all places say; if they differ, that it is to be decided."""
    facts = list({(str(fact.value), fact.where): fact for fact in found}.values())
    if not facts:
        return None
    if len({str(fact.value) for fact in facts}) == 1:
        return facts[0]
    said = "; ".join(f"{fact.where} says {fact.value}" for fact in facts)
    return Fact(value=f"{DECIDE}: {what} is not the same everywhere: {said}")
