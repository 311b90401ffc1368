"""What a command line does with messages: which worker, scheduler or producer it starts, and with which options.

Wrappers that run what follows them are looked through; where a worker is named behind words that aren't known, it is
said so instead of guessed.
Source: ``celery/bin/worker.py``, ``dramatiq/cli.py``, ``django_dramatiq/management/commands/rundramatiq.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath

from migrator.plan.processes import Role
from migrator.wire.message import System

#: Servers of requests, which send messages as they do.
_SERVERS = frozenset(
    {"gunicorn", "uvicorn", "daphne", "hypercorn", "granian", "waitress-serve", "uwsgi", "runserver", "runserver_plus"}
)
_MANAGE = frozenset({"manage.py", "django-admin", "django-admin.py"})
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*|\{python\}")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$|\{\{|%\(")
#: Programs that run the rest of the line: how many words of their own stand before it, and options that have a value.
_WRAPPERS: Mapping[str, tuple[int, frozenset[str]]] = {
    **dict.fromkeys(("exec", "nohup", "time", "catchsegv", "dumb-init", "tini", "ddtrace-run"), (0, frozenset())),
    **dict.fromkeys(("gosu", "su-exec", "setuser", "envdir"), (1, frozenset())),
    "env": (0, frozenset({"-u", "--unset", "-C", "--chdir"})),
    "nice": (0, frozenset({"-n", "--adjustment"})),
    "ionice": (0, frozenset({"-c", "-n"})),
    "stdbuf": (0, frozenset({"-i", "-o", "-e"})),
    "sudo": (0, frozenset({"-u", "--user", "-g", "--group"})),
    "timeout": (1, frozenset({"-s", "--signal", "-k", "--kill-after"})),
    "opentelemetry-instrument": (0, frozenset({"--service_name", "--traces_exporter", "--metrics_exporter"})),
}
#: Programs that run the rest of the line after a word of theirs.
_RUNNERS: Mapping[str, str] = {
    **dict.fromkeys(("poetry", "uv", "pipenv", "pdm", "rye", "hatch", "conda", "honcho", "dotenv"), "run"),
    "newrelic-admin": "run-program",
}
_RUNNER_VALUES = frozenset(
    {"-n", "--name", "-p", "--project", "--package", "--with", "--python", "--extra", "--group", "--env-file"}
    | {"-e", "-f", "-C", "--directory"}
)
_PYTHON_VALUES = frozenset({"-W", "-X"})
_APP = frozenset({"-A", "--app"})
_CELERY_ROLES = {"worker": Role.WORKER, "multi": Role.WORKER, "beat": Role.SCHEDULER}
_MENTION = re.compile(r"\brundramatiq\b|\bcelery\b.*\b(?:worker|beat|multi)\b")
#: They name a worker without being one.
_OTHERS = frozenset(
    {"echo", "printf", "logger", "pkill", "pgrep", "killall", "kill", "grep", "ps", "pip", "pip3", "systemctl", "which"}
    | {"supervisorctl", "service", "docker", "docker-compose", "kubectl", "apt-get", "apk", "test", "[", "rm", "mkdir"}
    | {"touch", "chmod", "chown", "cd", "cp", "ln", "cat", "tail", "source", ".", "export", "if", "command", "set"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What a command line starts."""

    role: Role
    #: None for a producer.
    system: System | None
    #: The whole line, wrappers included.
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What stands before the program that does the work and runs it.
    wrapper: tuple[str, ...] = ()
    #: What Celery's own program, or Dramatiq's, is given.
    options: tuple[str, ...] = ()
    #: Queues that it reads; empty for all.
    queues: tuple[str, ...] = ()
    #: Messages that it runs at a time, as its options say, and how; None where they leave it to the machine.
    concurrency: int | None = None
    concurrency_text: str = ""
    #: The project's own that it starts: ``manage.py NAME``, a module or the path of a script; empty for known programs.
    own: str = ""


class UnknownCommandError(Exception):
    """A worker may be started here, in a way that isn't known; the text says why."""


def read_command(words: Sequence[str]) -> Started | None:
    """Return what a command line starts; None if it has nothing to do with messages.

    Raises:
        UnknownCommandError: It names a worker behind words that aren't known, or is a variable.
    """
    environment: dict[str, str] = {}
    head = unwrapped(list(words), environment)
    found = _program(head)
    command = list(words)
    while len(command) > len(head) and (command[0] in ("exec", "env") or _ASSIGNMENT.fullmatch(command[0])):
        command.pop(0)
    if found is None:
        if head and _VARIABLE.search(head[0]):
            raise UnknownCommandError(f"what it runs is a variable: {head[0]}")
        if (
            head
            and PurePosixPath(head[0]).name not in _OTHERS
            and head[1:2] != ["-c"]
            and _MENTION.search(" ".join(head[1:]))
        ):
            raise UnknownCommandError(f"starts a worker by {head[0]!r}, which is not known")
        own = _own(head)
        started = Started(role=Role.PRODUCER, system=None, command=tuple(command), environment=environment, own=own)
        return started if own else None
    role, system, options = found
    read = _dramatiq if system is System.DRAMATIQ else _celery
    queues, concurrency, text = read(options) if role is Role.WORKER else ((), None, "")
    return Started(
        role=role,
        system=system,
        command=tuple(command),
        environment=environment,
        wrapper=tuple(command[: len(command) - len(head)]),
        options=tuple(options),
        queues=queues,
        concurrency=concurrency,
        concurrency_text=text,
    )


def unwrapped(words: list[str], environment: dict[str, str]) -> list[str]:
    """Return the words from the program on that does the work; what is assigned before it goes into the environment."""
    while words:
        given = _ASSIGNMENT.fullmatch(words[0])
        name = PurePosixPath(words[0]).name
        if given:
            environment[given[1]] = given[2]
            words = words[1:]
        elif name in _WRAPPERS:
            own, values = _WRAPPERS[name]
            words = _after_options(words[1:], values)[own:]
        elif name in _RUNNERS and _RUNNERS[name] in words[1:]:
            words = _after_options(words[words.index(_RUNNERS[name], 1) + 1 :], _RUNNER_VALUES)
        elif "--" in words[1:] and not _is_python(name):
            words = words[words.index("--", 1) + 1 :]
        elif (name.endswith(".sh") or "entrypoint" in name) and len(words) > 1:
            words = words[1:]
        else:
            return words
    return words


def _after_options(words: list[str], values: frozenset[str]) -> list[str]:
    while words and words[0].startswith("-"):
        words = words[2 if words[0] in values else 1 :]
    return words


def _is_python(name: str) -> bool:
    return _PYTHON.fullmatch(name) is not None


def _program(head: list[str]) -> tuple[Role, System | None, list[str]] | None:
    """Return role, system and options of the program that stands first."""
    if not head:
        return None
    name, rest = PurePosixPath(head[0]).name, head[1:]
    if _is_python(name):
        rest = _python_rest(rest)
        if rest[:1] == ["-m"]:
            name, rest = rest[1] if len(rest) > 1 else "", rest[2:]
            name = "manage.py" if name == "django" else name
        else:
            name, rest = PurePosixPath(rest[0]).name if rest else "", rest[1:]
            if name.endswith(".py") and name != "manage.py":  # else a console script, as a running process shows it
                return None
    if name in _MANAGE:
        rest = _after_options(rest, frozenset({"--settings", "--pythonpath"}))
        name, rest = rest[0] if rest else "", rest[1:]
        if name == "crontab":
            return Role.SCHEDULER, System.DRAMATIQ, rest
    return _named(name, rest)


def _own(head: list[str]) -> str:
    """Return what of the project itself a command line starts; empty for anything else."""
    rest = _python_rest(head[1:]) if head and _is_python(PurePosixPath(head[0]).name) else head
    module = rest[:1] == ["-m"]
    name = rest[1] if module and len(rest) > 1 else rest[0] if rest else ""
    if PurePosixPath(name).name in _MANAGE or (module and name == "django"):
        words = _after_options(rest[2 if module else 1 :], frozenset({"--settings", "--pythonpath"}))
        return f"manage.py {words[0]}" if words else ""
    return name if (module or name.endswith(".py")) and not name.startswith("-") else ""


def _python_rest(rest: list[str]) -> list[str]:
    while rest and rest[0].startswith("-") and rest[0] not in {"-m", "-c"}:
        rest = rest[2 if rest[0] in _PYTHON_VALUES else 1 :]
    return rest


def _named(name: str, rest: list[str]) -> tuple[Role, System | None, list[str]] | None:
    if name in {"dramatiq", "rundramatiq", "dramatiq-gevent"}:
        return Role.WORKER, System.DRAMATIQ, rest
    if name == "periodiq":
        return Role.SCHEDULER, System.DRAMATIQ, rest
    if name == "celery":
        given = (word for before, word in pairwise(["", *rest]) if before not in _APP and word in _CELERY_ROLES)
        role = _CELERY_ROLES.get(next(given, ""))
        return (role, System.CELERY, rest) if role is not None else None
    return (Role.PRODUCER, None, rest) if name in _SERVERS else None


def option(words: Sequence[str], short: str, long: str) -> str | None:
    """Return the value of an option of a command line; None if it isn't given."""
    for index, word in enumerate(words):
        if word in (short, long):
            return words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(f"{long}="):
            return word.partition("=")[2]
        if word.startswith(short) and not word.startswith("--") and len(word) > len(short):
            return word[len(short) :].removeprefix("=")
    return None


def _celery(words: Sequence[str]) -> tuple[tuple[str, ...], int | None, str]:
    queues = tuple(name for name in (option(words, "-Q", "--queues") or "").split(",") if name)
    most = (option(words, "--autoscale", "--autoscale") or "").partition(",")[0]
    given = option(words, "-c", "--concurrency") or most
    return queues, int(given) if given.isdigit() else None, f"concurrency {given or 'as many as CPUs'}"


def _dramatiq(words: Sequence[str]) -> tuple[tuple[str, ...], int | None, str]:
    processes = option(words, "-p", "--processes") or ""
    threads = option(words, "-t", "--threads") or "8"
    several = processes.isdigit() and threads.isdigit()
    text = f"{processes or 'as many as CPUs'} processes of {threads} threads"
    return _listed(words, "-Q", "--queues"), int(processes) * int(threads) if several else None, text


def _listed(words: Sequence[str], short: str, long: str) -> tuple[str, ...]:
    """Return the values of an option that takes all words up to the next one."""
    found: list[str] = []
    taking = False
    for word in words:
        if word.startswith("-"):
            taking = word in (short, long)
            if word.startswith(f"{long}="):
                found.append(word.partition("=")[2])
        elif taking:
            found.append(word)
    return tuple(found)
