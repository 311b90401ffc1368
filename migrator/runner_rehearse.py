"""Rehearse the whole thing: forward, back and forward again, on a clone, a scratch broker and a scratch database.

The waiting messages are copied, carried over and back for real, but no copy is ever run: a rehearsal must send no mail
twice. So copies enter when the legacy workers are gone, and the unified workers don't consume while copies lie there.
Only workers take part: schedulers and producers would make new work of their own. Before anything is started, the
project's own code is asked what it would connect to; any broker but the scratch one and any database but a file in the
scratch folder is refused. Variables that name a broker's server, such as that of a cache, name the scratch one instead;
others are set by the plan's ``[rehearsal.environment]``. Whatever is left that a task could reach is said.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from migrator.brokers import is_on_rabbitmq
from migrator.brokers.redis_keys import PARKED, celery_lists, kept_key, sources
from migrator.errors import RefusedError
from migrator.events import Event, EventKind, Listener, ignore
from migrator.journal import ensure_state_folder
from migrator.plan import Plan, Role, Side, expand, load_plan
from migrator.runner import cutover, rollback
from migrator.runner_report import RunOutcome, RunReport
from migrator.servers import EmbeddedServer, embedded_server
from migrator.snapshot import restore_snapshot, write_snapshot
from migrator.steps import RunOptions
from migrator.steps.probe import probe
from migrator.steps.subprocesses import git, manage
from migrator.steps.transfer import MOVE_BACK
from migrator.workers import drain
from migrator.workers.dramatiq_control import connection
from migrator.workers.side import start_side, stop_side

OptionsFor = Callable[[Plan, RunOptions], RunOptions]
#: What of the state folder belongs to the source rather than to this system.
SOURCE_STATE = ("rewrite.json", "undo", "proof.json")
#: Where copies lie while unified workers consume, on the scratch broker.
ASIDE = "rehearsal-aside:"
_NAME = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a rehearsal has shown."""

    #: Forward, back, forward; fewer if one failed.
    runs: tuple[RunReport, ...]
    #: Copies of waiting messages that took part.
    messages: int
    elapsed_s: float
    #: What the clone's processes could reach outside the scratch world; no task ran that would have.
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if all three went through."""
        return len(self.runs) == 3 and all(report.outcome is RunOutcome.DONE for report in self.runs)


@dataclass(slots=True, kw_only=True)
class _Stage:
    """The scratch world, and the operator who keeps copies from being run in it."""

    plan: Plan
    environ: Mapping[str, str]
    snapshot: Path
    listener: Listener
    #: Seconds that the operator of the scratch world has taken; no part of any gap.
    taken_s: float = 0.0
    ceased: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def listen(self, event: Event) -> None:
        """Pass an event on, and do between two steps what keeps copies from being run."""
        self.listener(event)
        began = time.monotonic()
        if event.kind is EventKind.STEP_FINISHED and event.step == "stop_workers":
            workers = self.plan.select(side=Side.UNIFIED, role=Role.WORKER)
            self.ceased = {worker.name: drain.cease(self.plan, worker, environ=self.environ) for worker in workers}
            restore_snapshot(self.plan, environ=self.environ, file=self.snapshot, replace=True)
            self.taken_s += time.monotonic() - began
        elif event.kind is EventKind.STEP_FINISHED and event.step == "transfer":
            self._hide()
        elif event.kind is EventKind.ACTION and event.done == 0 and event.text == MOVE_BACK:
            stop_side(self.plan, Side.LEGACY, environ=self.environ)
            self._show()
            self.taken_s += time.monotonic() - began
        elif event.kind is EventKind.STEP_UNDONE and event.step == "transfer":
            _empty(self.plan, self.environ)
            start_side(self.plan, Side.LEGACY, environ=self.environ)

    def _hide(self) -> None:
        """Put the copies out of sight, and let the unified workers consume again."""
        with connection(self.plan.unified, self.environ) as client:
            for name in _unified_keys(self.plan):
                if client is not None and client.exists(name):
                    client.rename(name, ASIDE + name)
        for worker in self.plan.select(side=Side.UNIFIED, role=Role.WORKER):
            drain.resume(self.plan, worker, self.ceased[worker.name], environ=self.environ)

    def _show(self) -> None:
        """Put the copies back for the transfer; no worker runs now."""
        with connection(self.plan.unified, self.environ) as client:
            for name in _unified_keys(self.plan):
                if client is not None and client.exists(ASIDE + name):
                    client.rename(ASIDE + name, name)


def rehearse(
    plan: Plan,
    *,
    environ: Mapping[str, str],
    options_for: OptionsFor,
    scratch: Path | None = None,
    listener: Listener = ignore,
) -> Rehearsal:
    """Go forward, back and forward on scratch copies, and return the three reports with their timings.

    Args:
        plan: Of the real system, which is only read.
        environ: Its environment.
        options_for: Adds the guards of a real run for the plan of the clone.
        scratch: Folder to work in and keep; a temporary one if None.
        listener: Told about the progress.

    Raises:
        RefusedError: The project would reach something that is not scratch.
    """
    began = time.monotonic()
    _refuse_rabbitmq(plan, environ)
    with ExitStack() as stack:
        folder = scratch or Path(stack.enter_context(TemporaryDirectory(prefix="rehearsal-")))
        snapshot = folder / "waiting.snapshot"
        messages = write_snapshot(plan, environ=environ, file=snapshot).messages
        clone = _clone(plan, folder, environ)
        server = stack.enter_context(embedded_server(folder=folder / "redis"))
        own = _scratch_environ(clone, server, folder, environ)
        notes = _require_scratch(clone, own, server.port, folder)
        for text in notes:
            listener(Event(kind=EventKind.NOTE, step="rehearse", text=text))
        stage = _Stage(plan=clone, environ=own, snapshot=snapshot, listener=listener)
        stack.callback(_end, stage)
        options = replace(options_for(clone, RunOptions()), check_proof=options_for(plan, RunOptions()).check_proof)
        runs = _there_and_back(stage, options)
    return Rehearsal(runs=runs, messages=messages, elapsed_s=time.monotonic() - began, notes=notes)


def _refuse_rabbitmq(plan: Plan, environ: Mapping[str, str]) -> None:
    for endpoint in (*plan.legacy, plan.unified):
        if is_on_rabbitmq(endpoint, environ):
            raise RefusedError(
                f"{endpoint.side.value}.{endpoint.system.value}.broker",
                "is on RabbitMQ, and the scratch broker of a rehearsal is a Redis",
                remedy="in a checkout with its own database let the variables name an empty virtual host, and run "
                "cutover, rollback and cutover there",
            )


def _there_and_back(stage: _Stage, options: RunOptions) -> tuple[RunReport, ...]:
    plan, environ = stage.plan, stage.environ
    converted = git(plan, "rev-parse", "HEAD", environ=environ)
    for name in SOURCE_STATE:
        _copy(plan.state_folder / name, plan.state_folder / f"before-{name}")
    manage(plan, "migrate", "--verbosity", "0", environ=environ)
    manage(plan, "migrate", plan.project.app_label, "zero", "--verbosity", "0", environ=environ)
    start_side(plan, Side.LEGACY, environ=environ, listener=stage.listener)
    runs: list[RunReport] = []
    for command in (cutover, rollback, cutover):
        stage.taken_s = 0.0
        report = command(plan, environ=environ, options=options, listener=stage.listen)
        gap_s = None if report.gap_s is None else max(0.0, round(report.gap_s - stage.taken_s, 3))
        runs.append(replace(report, gap_s=gap_s))
        if report.outcome is not RunOutcome.DONE:
            break
        if command is rollback:
            # The way back has taken the rewrite back; the second way there needs it again.
            git(plan, "reset", "--hard", "--quiet", converted, environ=environ)
            for name in SOURCE_STATE:
                _copy(plan.state_folder / f"before-{name}", plan.state_folder / name)
    return tuple(runs)


def _clone(plan: Plan, folder: Path, environ: Mapping[str, str]) -> Plan:
    changed = git(plan, "status", "--porcelain", "--untracked-files=no", "--", ".", environ=environ)
    if changed:
        raise RefusedError("git", "the source is not committed", found=changed[:80], remedy="commit it first")
    top = Path(git(plan, "rev-parse", "--show-toplevel", environ=environ))
    git(plan, "clone", "--quiet", "--local", str(top), str(folder / "project"), environ=environ)
    clone = load_plan(folder / "project" / plan.file.resolve().relative_to(top))
    for name in ("user.name", "user.email"):
        git(clone, "config", name, git(plan, "config", name, environ=environ), environ=environ)
    ensure_state_folder(clone)
    for name in SOURCE_STATE:
        _copy(plan.state_folder / name, clone.state_folder / name)
    return replace(clone, processes=tuple(process for process in clone.processes if process.role is Role.WORKER))


def _scratch_environ(plan: Plan, server: EmbeddedServer, folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the scratch world: every variable with a URL of a broker's server names ours."""
    own = dict(environ)
    databases: dict[str, int] = {}
    real_servers = set()
    for endpoint in (*plan.legacy, plan.unified):
        match = _NAME.fullmatch(endpoint.url)
        where = f"{endpoint.side.value}.{endpoint.system.value}.broker"
        if match is None:
            raise RefusedError(where, "names its server word for word", remedy="write ${NAME:-redis://…} to rehearse")
        real = expand(endpoint.url, environ, where=where)
        real_servers.add(_server(real))
        own[match["name"]] = server.url(databases.setdefault(real, len(databases)))
    for name, value in environ.items():
        if "://" in value and _server(value) in real_servers and own[name] == value:
            own[name] = server.url(databases.setdefault(value, len(databases)))
    for name, value in plan.rehearsal.items():
        own[name] = value.replace("{redis}", f"redis://127.0.0.1:{server.port}").replace("{scratch}", str(folder))
    return own


def _server(url: str) -> tuple[str, int | None]:
    """Return host and port of a URL; what can't be read is a server of its own."""
    try:
        parts = urlsplit(url)
        return parts.hostname or url, parts.port
    except ValueError:
        return url, None


def _require_scratch(plan: Plan, environ: dict[str, str], port: int, folder: Path) -> tuple[str, ...]:
    """Refuse brokers and databases that are not scratch; return what else could be reached."""
    reach = probe(plan, environ=environ)
    if any(not _inside(name, folder) for name in reach.databases) and "DATABASE_URL" in environ:
        environ["DATABASE_URL"] = f"sqlite:///{folder / 'rehearsal.sqlite3'}"
        reach = probe(plan, environ=environ)
    for name in reach.databases:
        if not _inside(name, folder):
            remedy = "name another one by a variable under [rehearsal.environment] in the plan"
            raise RefusedError("rehearsal", "the project would use a real database", found=name, remedy=remedy)
    for url in reach.brokers:
        if urlsplit(url).port != port:
            remedy = "let the project read its broker from the variable that the plan names"
            raise RefusedError("rehearsal", "the project would use a real broker", found=url, remedy=remedy)
    return tuple(
        f"{name} is the real one ({where}); no task runs, but code that runs at start could use it: set its variable "
        "under [rehearsal.environment] in the plan"
        for name, where in reach.others.items()
        if _server(where)[1] != port
    )


def _inside(database: str, folder: Path) -> bool:
    """True for an SQLite file in the scratch folder, or one in memory."""
    name, _, host = database.rpartition("@")
    return not host and (":memory:" in name or Path(name).resolve().is_relative_to(folder.resolve()))


def _unified_keys(plan: Plan) -> tuple[str, ...]:
    return (*(name for queue in plan.unified.queues for name in celery_lists(plan.unified, queue)), PARKED)


def _empty(plan: Plan, environ: Mapping[str, str]) -> None:
    """Delete the copies from the scratch broker's legacy queues, by name."""
    for endpoint in plan.legacy:
        with connection(endpoint, environ) as client:
            if client is not None:
                names = [name for source in sources(endpoint) for name in (source.list, source.bodies) if name]
                client.unlink(kept_key(endpoint), *names)


def _end(stage: _Stage) -> None:
    for side in Side:
        stop_side(stage.plan, side, environ=stage.environ)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)
