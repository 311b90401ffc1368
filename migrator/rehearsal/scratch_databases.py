"""The scratch databases of a rehearsal: a file for each of SQLite, and on PostgreSQL one of our own on the same server.

The project is led to them by its own environment variables. They are found by trying: a variable leads to a database if
the settings, imported with another value of it, name another database and differ in nothing else. Only variables are
tried whose value, or the default that the settings give, names the database.

Databases on a server are created empty, as Django does for tests, and dropped at the end, by the project's own driver
and account (:mod:`migrator.agent.rehearsal_databases`). Until then a file in the state folder names them: the next
rehearsal drops those whose rehearsal was killed, which is known because it holds a lock on the file while it lives.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from migrator.agent.rehearsal_databases import PREFIX
from migrator.errors import MigratorError, RefusedError, UnreachableError
from migrator.plan.model import Plan
from migrator.project.agent_process import AGENT
from migrator.project.commands import ask_agent, manage
from migrator.redaction import redact
from migrator.state.state_folder import ensure_state_folder

#: Below the state folder: the databases of one rehearsal in each file.
RECORDS = "rehearsal-databases"
#: Errors of PostgreSQL. Source: errcodes-appendix of its documentation.
_NOT_ALLOWED, _READ_ONLY = "42501", "25006"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchDatabase:
    """A database of the project's settings, and the one that stands for it in a rehearsal."""

    alias: str
    vendor: str
    #: What the project would use, with its server.
    name: str
    host: str
    port: str
    #: What it is to use.
    target: str
    #: Variables lead it there.
    led: bool
    #: The settings say that it is another database under another address, such as a replica.
    mirror: bool

    @property
    def where(self) -> str:
        """The real one, for people."""
        return f"{self.alias}: {self.name}@{self.host}" if self.host else f"{self.alias}: {self.name}"

    @property
    def server(self) -> str:
        """Its server, as the record has it."""
        return f"{self.host}:{self.port}"


@contextmanager
def scratch_databases(
    plan: Plan, clone: Plan, folder: Path, environ: Mapping[str, str], notes: list[str]
) -> Iterator[tuple[dict[str, str], tuple[ScratchDatabase, ...]]]:
    """Yield the variables that lead the clone to databases of the rehearsal, and these; drop them at the end.

    Args:
        plan: The plan of the real system: its state folder remembers the databases.
        clone: The plan of the clone.
        folder: The folder of the rehearsal.
        environ: The environment of the rehearsal.
        notes: Collects what the operator should know.

    Raises:
        RefusedError: The project can't be led to another database, or none can be created.
    """
    variables, found = _find(clone, environ, folder.resolve())
    for database in found:
        _require_led(database)
    created = tuple(database for database in found if database.vendor == "postgresql" and not database.mirror)
    with ExitStack() as stack:
        if created:
            _drop_left_behind(plan, clone, environ, created, notes)
            stack.enter_context(_created(plan, clone, environ, created))
            instead = ", ".join(f"{database.target} instead of {database.where}" for database in created)
            notes.append(f"rehearsed in databases that are dropped at the end: {instead}")
        yield variables, found


def prove_scratch(clone: Plan, databases: Sequence[ScratchDatabase], environ: Mapping[str, str]) -> None:
    """Ask the clone's ``manage.py``, which will migrate them, to which databases its connections lead.

    Raises:
        RefusedError: One leads to another than that of the rehearsal.
    """
    text = AGENT.joinpath("connected_databases.py").read_text(encoding="utf-8")
    output = manage(clone, "shell", "--command", text, environ=environ)
    reached = orjson.loads(output.strip().splitlines()[-1])
    for database in databases:
        names = reached.get(database.alias) or ["nothing"]
        if any(name != database.target for name in names):
            raise RefusedError(
                "rehearsal",
                f"manage.py would use another database than that of the rehearsal for {database.alias!r}",
                found=str(names[0]),
                remedy="let `project.manage` of the plan run it here, with the environment of this command",
            )


def migrate(clone: Plan, databases: Sequence[ScratchDatabase], environ: Mapping[str, str]) -> None:
    """Run the project's migrations on each database, without those of the dead letters, which the cutover brings."""
    for database in {item.target: item for item in databases if not item.mirror}.values():
        words = ("--verbosity", "0", "--database", database.alias)
        manage(clone, "migrate", *words, environ=environ)
        if clone.project.app_label:
            manage(clone, "migrate", clone.project.app_label, "zero", *words, environ=environ)


def _find(clone: Plan, environ: Mapping[str, str], folder: Path) -> tuple[dict[str, str], tuple[ScratchDatabase, ...]]:
    """Return the variables that lead the clone away from what is real, and its databases."""

    def look(changes: Mapping[str, str]) -> Any:
        return _ask(clone, {**environ, **changes}, "look")

    present = look({})
    facts: dict[str, dict[str, Any]] = present["databases"]
    targets = dict(_targets(facts, folder))
    wanted = {alias: {**given, "name": targets.get(given["name"], given["name"])} for alias, given in facts.items()}
    variables: dict[str, str] = {}
    for name, value in present["read"].items():
        for trial in _trials(value, targets):
            # With some other word that is the same by chance the settings can't even be imported.
            with suppress(MigratorError):
                seen = look({name: trial})["databases"]
                if seen != facts and all(seen.get(alias) in (facts[alias], wanted[alias]) for alias in facts):
                    variables[name] = trial
    reached = look(variables)["databases"] if variables else facts
    return variables, tuple(
        ScratchDatabase(
            alias=alias, target=wanted[alias]["name"], led=reached.get(alias) == wanted[alias], **_shown(given)
        )
        for alias, given in facts.items()
    )


def _shown(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "rest"}


def _targets(databases: Mapping[str, Mapping[str, Any]], folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each database that is real, and the name of the one to use instead."""
    token = secrets.token_hex(5)
    for number, facts in enumerate(databases.values()):
        name = facts["name"]
        if facts["vendor"] == "postgresql" and name:
            yield name, f"{PREFIX}{token}_{number}"
        elif facts["vendor"] == "sqlite" and Path(name).is_absolute() and folder not in Path(name).resolve().parents:
            yield name, str(folder / f"{number}-{Path(name).name}")


def _trials(value: str, targets: Mapping[str, str]) -> Iterator[str]:
    """Yield what a variable would be if it named a database or had its URL."""
    for name, target in targets.items():
        before, mark, options = value.partition("?")
        if value == name:
            yield target
        elif "://" in before and before.endswith(f"/{name}"):
            yield f"{before[: -len(name)]}{target}{mark}{options}"


def _require_led(database: ScratchDatabase) -> None:
    if database.vendor not in ("postgresql", "sqlite"):
        raise RefusedError(
            "rehearsal",
            f"can make scratch databases on PostgreSQL and SQLite only, and {database.alias!r} is on {database.vendor}",
            found=database.where,
            remedy="lead the settings to one of these by a variable under [rehearsal.environment] in the plan",
        )
    if not database.led or (database.vendor == "postgresql" and not database.name):
        raise RefusedError(
            "rehearsal",
            "the project would use a real database, and no variable that its settings read names that database",
            found=database.where,
            remedy="let the settings read its name or URL from a variable; where its value is in no variable but in "
            "a file, write the variable with that value under [rehearsal.environment] in the plan",
        )


@contextmanager
def _created(
    plan: Plan, clone: Plan, environ: Mapping[str, str], databases: Sequence[ScratchDatabase]
) -> Iterator[None]:
    """Create databases, remembered until they are dropped."""
    words = _words(databases)
    records = ensure_state_folder(plan) / RECORDS
    records.mkdir(exist_ok=True)
    record = records / f"{databases[0].target}.json"
    with record.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(orjson.dumps([(database.target, database.server) for database in databases]))
        file.flush()
        os.fsync(file.fileno())
        try:
            refusal = _ask(clone, environ, "create", *words)
            if refusal:
                raise _not_created(next(item for item in databases if item.alias == refusal["alias"]), refusal)
            yield
        finally:
            # What can't be dropped now is dropped by the next rehearsal.
            with suppress(MigratorError):
                _drop(clone, environ, words)
                record.unlink()


def _not_created(database: ScratchDatabase, refusal: Mapping[str, str]) -> RefusedError:
    what = {
        _NOT_ALLOWED: "its role may not create the database of a rehearsal (it lacks CREATEDB)",
        _READ_ONLY: "is a replica, where no database of a rehearsal can be created",
    }.get(refusal["state"], "the database of a rehearsal can't be created there")
    variable = "lead the settings to another PostgreSQL server, such as a local one, by the variable of its URL or host"
    return RefusedError(
        f"database {database.where}",
        what,
        found=_short(refusal["text"]),
        remedy=f"{variable} under [rehearsal.environment] in the plan",
    )


def _drop_left_behind(
    plan: Plan, clone: Plan, environ: Mapping[str, str], present: Sequence[ScratchDatabase], notes: list[str]
) -> None:
    """Drop the databases of rehearsals that were killed."""
    aliases = {database.server: database.alias for database in present}
    for record in sorted((plan.state_folder / RECORDS).glob("*.json")):
        with record.open("rb") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there: list[list[str]] = orjson.loads(file.read() or b"[]")
            elsewhere = sorted({f"{name} at {server}" for name, server in there if server not in aliases})
            _drop(clone, environ, [f"{name}={aliases[server]}" for name, server in there if server in aliases])
            if elsewhere:
                names = ", ".join(elsewhere)
                notes.append(f"left behind by a rehearsal that was killed, drop it there and delete {record}: {names}")
            else:
                record.unlink()


def _drop(clone: Plan, environ: Mapping[str, str], words: Sequence[str]) -> None:
    failed = _ask(clone, environ, "drop", *words)
    if failed:
        names = ", ".join(word.partition("=")[0] for word in words)
        found, remedy = _short(failed["text"]), f"drop it by hand if it is there: {names}"
        raise UnreachableError(f"database {failed['alias']}", "can't be dropped", found=found, remedy=remedy)


def _short(text: str) -> str:
    return redact(" ".join(text.split()))[:200]


def _words(databases: Sequence[ScratchDatabase]) -> list[str]:
    """Return each database once with the alias of a connection to its server."""
    once = {(database.target, database.server): database.alias for database in databases}
    return [f"{target}={alias}" for (target, _), alias in once.items()]


def _ask(clone: Plan, environ: Mapping[str, str], *words: str) -> Any:
    arguments = (clone.project.settings, *words)
    return ask_agent(clone, "rehearsal_databases", *arguments, folder=clone.source_root, environ=environ)
