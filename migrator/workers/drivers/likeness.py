"""Does a living process look like the plan's? A pid alone proves nothing: files go stale, are copied, or are others'.

Compared are the PID namespace, the owner, the working folder, and what the command line does: the same program, for
the same system, of the same app and queues. How it is written may differ: ``celery`` for ``python -m celery``.

Source: proc(5) (``/proc/PID/ns/pid``, ``cwd``); systemd.service(5), ``PIDFile=``: a file of an unprivileged user may
only name a process of that user; celery/platforms.py (``set_process_title``: ``[celeryd: node:MainProcess] (…)``).
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

from migrator.errors import RefusedError
from migrator.inventory.deployment.command_words import Started, UnknownCommandError, option, read_command
from migrator.plan.processes import Driver, Process, Role
from migrator.plan.toml_table import REFERENCE
from migrator.redaction import redact
from migrator.wire.message import System
from migrator.workers.drivers.process_identity import Identity, descendants

_TITLE = re.compile(r"\[?(?P<name>[\w.-]+)[^\]]*\]?(?: -\w+-)? ?\(?(?P<rest>.*?)\)?", re.DOTALL)
_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*|\{python\}")
#: A word of the plan with this is filled in where the process is started.
_OPEN = "{"
#: The folder of daemons, which says nothing about whose they are.
_ANYWHERE = Path("/")
_LONGEST = 200
#: How long a process may take from its fork to its command.
_FORKED_S = 1.0


class StrangerError(RefusedError):
    """What is named as a process of the plan is another one; nothing is done to it."""


def require_likeness(process: Process, identity: Identity, *, where: str, remedy: str) -> None:
    """Refuse a process in another PID namespace, or that does something else than the plan says.

    Args:
        where: What names the process: a file, a program, a unit.

    Raises:
        StrangerError: It is somebody else's.
    """
    _require(process, identity, _namespace(identity) or _work(process, identity), where, remedy)


def require_pidfile(
    process: Process, identity: Identity, *, file: Path, folders: Sequence[Path], environ: Mapping[str, str]
) -> None:
    """Refuse a process that only a pidfile names, unless its owner, folder, app and queues are the plan's as well.

    Args:
        folders: Where a process of the plan may run, or below.

    Raises:
        StrangerError: It is somebody else's.
    """
    remedy = "delete the file if it is stale; otherwise correct the [[process]] in the plan, or stop it yourself"
    require_likeness(process, identity, where=str(file), remedy=remedy)
    unlike = _owner(identity, file) or _folder(identity, folders) or _details(process, identity, environ)
    _require(process, identity, unlike, str(file), remedy)


def _require(process: Process, identity: Identity, unlike: str, where: str, remedy: str) -> None:
    if unlike:
        what = f"names pid {identity.pid}, which is not {process.name} of the plan"
        raise StrangerError(where, what, found=unlike, remedy=remedy)


def command_line(identity: Identity) -> tuple[str, ...]:
    """Return the command line of a process; empty if it has given itself a title that doesn't tell it."""
    try:
        words = psutil.Process(identity.pid).cmdline()
    except psutil.Error:
        return ()
    if len(words) != 1 or " " not in words[0].strip():
        return tuple(words)
    title = _TITLE.fullmatch(words[0].strip())
    if title is None:
        return ()
    name = "celery" if title["name"].startswith("celery") else title["name"]
    line = (name, *title["rest"].split())
    return line if _started(line) is not None else ()


def _executed(identity: Identity) -> tuple[str, ...]:
    """Return the command line; one that a manager has forked at this moment still shows the manager's for a while."""
    deadline = time.monotonic() + _FORKED_S
    while True:
        own = command_line(identity)
        with suppress(psutil.Error):
            parent = psutil.Process(identity.pid).parent()
            if parent is not None and tuple(parent.cmdline()) == own and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
        return own


def has_one_thread(identity: Identity) -> bool:
    """True for a Celery worker of the solo pool that could answer (it is not suspended): busy, it answers nobody."""
    try:
        if psutil.Process(identity.pid).status() == psutil.STATUS_STOPPED:
            return False
    except psutil.Error:
        return False
    lines = (started for line in _lines(identity) if (started := _started(line)) is not None)
    return any(option(started.options, "-P", "--pool") == "solo" for started in lines)


def _namespace(identity: Identity) -> str:
    try:
        theirs = Path(f"/proc/{identity.pid}/ns/pid").readlink()
    except OSError:
        return ""
    ours = Path("/proc/self/ns/pid").readlink()
    return "" if theirs == ours else "it runs in another PID namespace, as in a container"


def _work(process: Process, identity: Identity) -> str:
    """Return what a process does instead of the plan's work; its children count, because it may be a wrapper."""
    own = _executed(identity)
    # The command of a producer of a manager only tells its port.
    words = process.command if process.driver is Driver.COMMAND or process.role is not Role.PRODUCER else ()
    expected = _started(words)
    program = _program(words) if words and expected is None else ""
    if not own or (words and expected is None and _OPEN in program) or not (words or process.system):
        return ""
    kind = (expected.role, expected.system) if expected is not None else (process.role, process.system)
    known = False
    for line in _lines(identity):
        started = _started(line)
        known |= started is not None
        if program in {*line, *(PurePosixPath(word).name for word in line)} or _kind(started) == kind:
            return ""
    # Without a command in the plan, a manager is believed about programs of unknown kinds.
    return f"it runs `{_shown(own)}`" if words or known else ""


def _details(process: Process, identity: Identity, environ: Mapping[str, str]) -> str:
    expected = _started([_filled(word, environ) for word in process.command])
    if expected is None:
        return ""
    for line in _lines(identity):
        started = _started(line)
        if started is None or _kind(started) != _kind(expected):
            continue
        for ours, theirs in ((_apps(expected), _apps(started)), (set(expected.queues), set(started.queues))):
            if ours and theirs and ours != theirs and _OPEN not in "".join(ours):
                return f"it runs `{_shown(line)}`"
    return ""


def _filled(word: str, environ: Mapping[str, str]) -> str:
    """Return a word with the variables filled in that are known here."""
    return REFERENCE.sub(lambda found: environ.get(found["name"]) or found["default"] or found[0], word)


def _lines(identity: Identity) -> Iterator[tuple[str, ...]]:
    """Yield the command line of a process, then those of its children."""
    yield command_line(identity)
    for child in descendants(identity):
        yield command_line(child)


def _owner(identity: Identity, file: Path) -> str:
    try:
        of_process, of_file = Path(f"/proc/{identity.pid}").stat().st_uid, file.stat().st_uid
    except OSError:
        return ""
    return "" if of_file in (0, of_process) else f"it belongs to user {of_process}, the file to user {of_file}"


def _folder(identity: Identity, folders: Sequence[Path]) -> str:
    try:
        cwd = Path(psutil.Process(identity.pid).cwd())
    except (psutil.Error, OSError):
        return ""
    here = cwd == _ANYWHERE or any(cwd.is_relative_to(folder.resolve()) for folder in folders)
    return "" if here else f"it runs in {cwd}"


def _started(words: Sequence[str]) -> Started | None:
    """Return what a command starts; None for a script of the project's own, which may be anything."""
    try:
        started = read_command(words)
    except UnknownCommandError:
        return None
    return None if started is None or started.own else started


def _kind(started: Started | None) -> tuple[Role, System | None] | None:
    return (started.role, started.system) if started is not None else None


def _apps(started: Started) -> set[str]:
    """Return the Celery app of a command in its shortest form, if it names one."""
    given = option(started.options, "-A", "--app")
    return {given.partition(":")[0].removesuffix(".celery")} if given else set()


def _program(words: Sequence[str]) -> str:
    """Return what a command of an unknown kind runs: its script, module or code, or its first word."""
    rest = list(words)
    while len(rest) > 1 and _INTERPRETER.fullmatch(PurePosixPath(rest[0]).name):
        rest.pop(0)
        while len(rest) > 1 and rest[0].startswith("-"):
            rest.pop(0)
    return PurePosixPath(rest[0]).name


def _shown(words: Sequence[str]) -> str:
    text = redact(shlex.join(words))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
