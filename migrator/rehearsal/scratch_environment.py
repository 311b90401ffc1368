"""The scratch environment of a rehearsal: brokers, the variables that name them, the check that nothing else is used.

Redis: a server of our own on this machine. RabbitMQ: a virtual host of our own on the operator's server, created like
the real one through the management plugin and deleted afterwards; or one on a scratch server that the operator names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from migrator.brokers.connect import is_on_rabbitmq
from migrator.brokers.rabbitmq import declarations, scratch_vhost
from migrator.brokers.rabbitmq.management import URL_VARIABLE, Management
from migrator.brokers.rabbitmq.queues import QueueForm
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.errors import RefusedError, UsageError
from migrator.plan.model import Endpoint, Plan
from migrator.plan.placeholders import endpoint_url, fill, leading_to
from migrator.plan.processes import Driver, Process
from migrator.project.settings_probe import probe
from migrator.redaction import redact_url
from migrator.rehearsal.scratch_databases import ScratchDatabase
from migrator.wire.broker_url import BrokerKind, BrokerUrl, broker_kind, read_broker_url
from migrator.wire.message import System


@dataclass(slots=True, kw_only=True)
class ScratchEnvironment:
    """The brokers of a rehearsal."""

    folder: Path
    #: Scratch servers by the real one's host and port: database numbers stay.
    redis: dict[tuple[str, int | str], EmbeddedServer] = field(default_factory=dict)
    #: RabbitMQ: scratch URL by real URL.
    rabbits: dict[str, str] = field(default_factory=dict)
    #: What the operator should know about it.
    notes: list[str] = field(default_factory=list)

    def on_redis(self, real: str) -> str:
        """Return the scratch URL for a URL of Redis, with the same database number or, as the real one, with none."""
        read = _read(real)
        url = self.redis[server_of(real)].url(read.database if read else 0)
        return url if read and read.has_database else url.rpartition("/")[0]

    def on_rabbitmq(self, real: str) -> str:
        """Return the scratch URL for a URL of RabbitMQ; any scratch one if its virtual host is not in the plan."""
        for known, scratch in self.rabbits.items():
            if RabbitmqServer(known).virtual_host == RabbitmqServer(real).virtual_host:
                return scratch
        return next(iter(self.rabbits.values()))

    def holds(self, url: str) -> bool:
        """Say whether a broker's URL is a scratch one; results by ``rpc://`` go to the broker itself."""
        if url.startswith("rpc:"):
            return True
        if broker_kind(url) is BrokerKind.RABBITMQ:
            return _address(url) in {_address(scratch) for scratch in self.rabbits.values()}
        return server_of(url) in {("127.0.0.1", server.port) for server in self.redis.values()}


def build(
    plan: Plan, folder: Path, environ: Mapping[str, str], *, rabbitmq: str, copies: tuple[int, int], stack: ExitStack
) -> ScratchEnvironment:
    """Start or create the scratch brokers that a plan needs; ``stack`` stops or deletes them.

    Args:
        plan: The plan of the real system.
        folder: The folder of the rehearsal.
        environ: The real environment.
        rabbitmq: URL of a scratch virtual host; if empty, one is created on the real server.
        copies: How many messages will be copied, and their size in bytes.
        stack: Stops or deletes what is created.

    Raises:
        RefusedError: There is no broker to rehearse on, or no permission to create one.
    """
    scratch = ScratchEnvironment(folder=folder)
    real = {
        endpoint_url(endpoint, environ): endpoint
        for endpoint in (*plan.legacy, plan.unified)
        if is_on_rabbitmq(endpoint, environ)
    }
    if real and rabbitmq:
        _use_given(plan, environ, scratch, rabbitmq, stack)
    elif real:
        _create(plan, environ, scratch, copies, stack)
    endpoints = (*plan.legacy, plan.unified)
    servers = {server_of(endpoint_url(item, environ)): None for item in endpoints if not is_on_rabbitmq(item, environ)}
    if not servers and any("{redis}" in value for value in plan.rehearsal.values()):
        servers = {("", 0): None}
    for number, server in enumerate(servers):
        scratch.redis[server] = stack.enter_context(
            embedded_server(folder=folder / f"redis-{number}", arguments=("--appendonly", "yes"))
        )
    return scratch


def environment(plan: Plan, scratch: ScratchEnvironment, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a rehearsal: every variable with a URL of a broker's server names the scratch one.

    Raises:
        RefusedError: The plan names a server literally.
    """
    own, servers = dict(environ), {}
    for endpoint in (*plan.legacy, plan.unified):
        real = endpoint_url(endpoint, environ)
        move = scratch.on_rabbitmq if is_on_rabbitmq(endpoint, environ) else scratch.on_redis
        servers[server_of(real)] = move
        values = leading_to(endpoint.url, environ, scratch.rabbits.get(real) or move(real))
        clash = any(own.get(name) not in (value, environ.get(name)) for name, value in (values or {}).items())
        if values is None or clash:
            raise RefusedError(
                f"{endpoint.side.value}.{endpoint.system.value}.broker",
                "no environment variable leads the project to another server, so it can't be rehearsed",
                found=redact_url(endpoint.url),
                remedy="let the settings read the URL, or its part up to the port, from a variable, and write it in "
                "the plan as ${NAME:-URL}",
            )
        own |= values
    for name, value in environ.items():
        if "://" in value and own[name] == value and server_of(value) in servers:
            own[name] = servers[server_of(value)](value)
    if scratch.rabbits and not any(server_of(url) in servers for url in scratch.rabbits.values()):
        # It is the plugin of the real server, and would report the real queues of the same names.
        own.pop(URL_VARIABLE, None)
    redis = next((server.url().rsplit("/", 1)[0] for server in scratch.redis.values()), "")
    for name, value in plan.rehearsal.items():
        own[name] = value.replace("{redis}", redis).replace("{scratch}", str(scratch.folder))
    return own


def own_processes(plan: Plan, environ: Mapping[str, str], own: Mapping[str, str]) -> tuple[Process, ...]:
    """Return the plan's workers as the rehearsal runs them: started by itself, with its own values of variables.

    Raises:
        RefusedError: Only a process manager knows how one is started, and what it manages is real.
    """
    changed = {name for name, value in own.items() if environ.get(name) != value}
    found = []
    for process in plan.processes:
        if not process.command:
            raise RefusedError(
                f"process {process.name}",
                f"is started by {process.driver.value}, which a rehearsal must leave alone",
                remedy="write its `command` into the plan as well: the rehearsal starts that itself",
            )
        kept = {name: value for name, value in process.environment.items() if name not in changed}
        ours = replace(process, driver=Driver.COMMAND, program="", unit="", manager="", pidfile="")
        found.append(replace(ours, environment=kept))
    return tuple(found)


def require_scratch(
    plan: Plan, environ: Mapping[str, str], scratch: ScratchEnvironment, databases: Sequence[ScratchDatabase]
) -> tuple[str, ...]:
    """Refuse brokers and databases that are not scratch, for each process; return what else could be reached."""
    targets = {f"{database.target}@{database.host}" for database in databases}
    notes: dict[str, None] = {}
    for own, settings in _environments(plan, environ):
        reach = probe(plan, environ=own, settings=settings)
        for name in reach.databases:
            if name not in targets and not _inside(name, scratch.folder):
                remedy = "name another one by a variable under [rehearsal.environment] in the plan"
                raise RefusedError("rehearsal", "the project would use a real database", found=name, remedy=remedy)
        for url in reach.brokers:
            if not scratch.holds(url):
                remedy = "let the project read its broker from the variable that the plan names"
                raise RefusedError("rehearsal", "the project would use a real broker", found=url, remedy=remedy)
        notes |= dict.fromkeys(
            f"{name} is the real one ({where}); no task runs, but code that runs at start could use it: set its "
            "variable under [rehearsal.environment] in the plan"
            for name, where in reach.others.items()
            if not scratch.holds(where)
        )
    return tuple(notes)


def _environments(plan: Plan, environ: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], str]]:
    """Yield environment and settings module of the commands, and each other one of a process."""
    seen: list[tuple[Mapping[str, str], str]] = [(environ, plan.project.settings)]
    for process in plan.processes:
        given = {
            name: fill(plan, value, environ=environ, where=f"process {process.name}: environment")
            for name, value in process.environment.items()
        }
        own = {**environ, **given}
        found = own, own.get("DJANGO_SETTINGS_MODULE", plan.project.settings)
        if found not in seen:
            seen.append(found)
    yield from seen


def server_of(url: str) -> tuple[str, int | str]:
    """Return host and port of a URL; what can't be read is a server of its own."""
    read = _read(url)
    return (read.host, read.port or read.socket or read.scheme) if read else (url, "")


def _address(url: str) -> tuple[str, int | str, str]:
    read = _read(url)
    return *server_of(url), read.virtual_host if read else ""


def _read(url: str) -> BrokerUrl | None:
    """Read a URL of which it is not known who uses it; None if neither library can."""
    for system in System:
        with suppress(UsageError):
            return read_broker_url(url, system)
    return None


def _use_given(
    plan: Plan, environ: Mapping[str, str], scratch: ScratchEnvironment, rabbitmq: str, stack: ExitStack
) -> None:
    """Rehearse in a virtual host that the operator names."""
    endpoints = tuple(_on_rabbitmq(plan, environ))
    servers = {endpoint_url(endpoint, environ): endpoint for endpoint in endpoints}
    given = RabbitmqServer(rabbitmq)
    with given.connected() as connection:
        there = given.identity(connection)
    identities = set()
    for url in servers:
        server = RabbitmqServer(url)
        with server.connected() as connection:
            identities.add(server.identity(connection))
    if there in identities:
        remedy = "name another virtual host, or another server"
        raise RefusedError("--rabbitmq", "is the real virtual host", found=given.where, remedy=remedy)
    if len(identities) > 1:
        what = "names one virtual host, and the plan has several"
        remedy = f"set {URL_VARIABLE} to the management plugin's URL, and leave --rabbitmq out"
        raise RefusedError("--rabbitmq", what, found=", ".join(sorted(identities)), remedy=remedy)
    declarations.require_unused(given, endpoints)
    scratch.rabbits = dict.fromkeys(servers, rabbitmq)
    found = [declaration for endpoint in endpoints for declaration in _declarations(endpoint, environ)]
    stack.callback(declarations.delete_queues, given, endpoints)
    declarations.declare_like(given, found)
    scratch.notes.append(
        f"messages on RabbitMQ are rehearsed at {given.where}, without the policies of the real server"
    )


def _create(
    plan: Plan, environ: Mapping[str, str], scratch: ScratchEnvironment, copies: tuple[int, int], stack: ExitStack
) -> None:
    """Create a virtual host for each real one."""
    management_url = environ.get(URL_VARIABLE, "")
    if not management_url:
        raise RefusedError(
            "rehearsal",
            "needs a virtual host of its own on RabbitMQ, and can't create one",
            found=f"no {URL_VARIABLE}",
            remedy=f"set {URL_VARIABLE} to the management plugin's URL (its user needs the tag `administrator`), or "
            "name an empty virtual host with --rabbitmq",
        )
    management = Management(management_url)
    before = scratch_vhost.left_behind(management)
    if before:
        scratch.notes.append(
            f"left behind by a rehearsal that was killed, unless it still runs: {', '.join(before)}; "
            "`rabbitmqctl delete_vhost` deletes it"
        )
    scratch_vhost.require_room(management, messages=copies[0], size_bytes=copies[1])
    created: dict[str, str] = {}
    endpoints = tuple(_on_rabbitmq(plan, environ))
    users = [read_broker_url(endpoint_url(endpoint, environ)).user for endpoint in endpoints]
    for endpoint in endpoints:
        url = endpoint_url(endpoint, environ)
        server = RabbitmqServer(url)
        scratch_vhost.require_same_server(management, server)
        if server.virtual_host not in created:
            name = scratch_vhost.create(management, server, plan_name=plan.name, users=users)
            stack.callback(scratch_vhost.remove, management, name)
            created[server.virtual_host] = name
            scratch.notes.append(f"messages on RabbitMQ are rehearsed in the virtual host {name} at {server.where}")
        scratch.rabbits[url] = scratch_vhost.moved_to(url, created[server.virtual_host])
        declarations.declare_like(RabbitmqServer(scratch.rabbits[url]), _declarations(endpoint, environ))


def _declarations(endpoint: Endpoint, environ: Mapping[str, str]) -> tuple[QueueForm, ...]:
    url = environ.get(URL_VARIABLE, "")
    server = RabbitmqServer(endpoint_url(endpoint, environ))
    return declarations.read_declarations(server, Management(url) if url else None, endpoint)


def _on_rabbitmq(plan: Plan, environ: Mapping[str, str]) -> Iterator[Endpoint]:
    return (endpoint for endpoint in (*plan.legacy, plan.unified) if is_on_rabbitmq(endpoint, environ))


def _inside(database: str, folder: Path) -> bool:
    """True for an SQLite file in the scratch folder, or one in memory."""
    name, _, host = database.rpartition("@")
    return not host and (":memory:" in name or Path(name).resolve().is_relative_to(folder.resolve()))
