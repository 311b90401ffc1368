"""Commands in deployment files and documentation: legacy workers and beat become the plan's.

``celery -A <legacy application>`` gets the unified application and its queue; everything else of it stays as written.
A Dramatiq worker (``dramatiq``, ``python -m dramatiq``, ``manage.py rundramatiq``) becomes the plan's unified worker,
unless the same deployment starts a legacy Celery worker, which becomes that one: then it is only named, because two
would run. What has an option without an equal stays and is named.
Source: https://docs.celeryq.dev/en/stable/reference/cli.html, ``dramatiq/cli.py``, ``rundramatiq`` of django-dramatiq.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from migrator.plan.model import Plan
from migrator.plan.processes import Role
from migrator.wire.message import Side, System

_GAP = r"(?:[ \t]|\\\r?\n)+"
_PLAIN = r"[^\s;&|<>()`'\"\\,\[\]#]+"
#: A comma belongs to a word that goes on behind it: ``-Q a,b``.
_TOKEN = rf"{_PLAIN}(?:,{_PLAIN})*"
_START = r"(?<![\w./\\$-])(?P<run>(?:[\w.$\{}~/-]*/)?"
_PYTHON = r"(?:[\w.$\{}~/-]*/)?python[\d.]*" + _GAP
_CELERY = re.compile(_START + rf"celery|{_PYTHON}-m{_GAP}celery)(?P<rest>(?:{_GAP}{_TOKEN})+)")
_DRAMATIQ = re.compile(
    _START + rf"dramatiq|{_PYTHON}-m{_GAP}dramatiq|{_PYTHON}(?:\./)?manage\.py{_GAP}rundramatiq)"
    rf"(?P<rest>(?:{_GAP}{_TOKEN})*)(?![\w,./-])"
)
#: The same as a list: of compose, of a Dockerfile.
_LIST = re.compile(r"\[(?P<items>\s*(?P<q>[\"'])[^\"'\]]*(?P=q)(?:\s*,\s*(?P=q)[^\"'\]]*(?P=q))*\s*)\]")
#: Commands that act on the backlog of a queue, or on several applications.
_NEVER = frozenset({"purge", "amqp", "migrate", "multi", "upgrade"})
_WITH_VALUE = frozenset({"-p", "--processes", "-t", "--threads"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """What commands become."""

    #: Legacy applications as they may stand behind ``-A``.
    applications: frozenset[str]
    #: Legacy Dramatiq modules that are removed.
    modules: frozenset[str]
    #: True if no Dramatiq module stays.
    all_go: bool
    #: The unified application for ``-A``; empty if the plan doesn't say.
    application: str
    #: Arguments of the plan's one unified worker, after ``celery``; empty if there are none or several.
    worker: tuple[str, ...]
    #: The unified queues of the tasks that each legacy Celery queue has; a unified one stands for itself.
    celery_queues: Mapping[str, frozenset[str]]
    dramatiq_queues: frozenset[str]
    #: In the order of the plan.
    unified_queues: tuple[str, ...]


@dataclass(slots=True)
class Rewritten:
    """A text with its commands rewritten."""

    text: str
    count: int = 0
    #: Why a command stays, by the line in which it starts: before and after.
    kept: list[tuple[int, int, str]] = field(default_factory=list)


class _StaysError(Exception):
    """A command that can't be rewritten, and why."""


def _converted_modules(plan: Plan) -> set[str]:
    """Return the modules whose actors are converted where they stand: a Dramatiq worker finds none there."""
    paths = {task.name: task.path for task in plan.tasks}
    actors = [m for m in plan.mappings() if m.system is System.DRAMATIQ]
    kept = {task.path.rpartition(".")[0] for task in plan.retired if task.system is System.DRAMATIQ}
    return {m.path.rpartition(".")[0] for m in actors if paths[m.unified] == m.path} - kept


def plan_commands(plan: Plan, applications: frozenset[str], package: str) -> Commands:
    """Return what the commands in a plan's project become.

    Args:
        plan: Its unified processes are the commands.
        applications: Dotted paths of the legacy Celery applications.
        package: The installed unified package; empty if none is installed.
    """
    started = [_celery_arguments(p.command) for p in plan.select(side=Side.UNIFIED, role=Role.WORKER)]
    named = {_application(arguments) for arguments in started} - {""}
    retired = {path.removeprefix(plan.project.root).strip("/") for path in plan.project.retire}
    modules = {path.removesuffix(".py").replace("/", ".") for path in retired} | _converted_modules(plan)
    apps = {app.rpartition(".")[0] for app in applications} & modules
    spelled = {text for a in applications if a.rpartition(".")[0] in apps for text in (a, ":".join(a.rsplit(".", 1)))}
    dramatiq = plan.endpoint(System.DRAMATIQ)
    return Commands(
        applications=frozenset(apps | spelled),
        modules=frozenset(modules & set(dramatiq.modules if dramatiq else ())),
        all_go=modules.issuperset(dramatiq.modules if dramatiq else ()),
        application=package or (named.pop() if len(named) == 1 else ""),
        worker=started[0] if len(started) == 1 else (),
        celery_queues=_moves(plan),
        dramatiq_queues=frozenset(dramatiq.queues if dramatiq else ()),
        unified_queues=plan.unified.queues,
    )


def _moves(plan: Plan) -> dict[str, frozenset[str]]:
    celery, first = plan.endpoint(System.CELERY), plan.unified.queues[:1]
    own = {task.name: (task.queue,) if task.queue else first for task in plan.tasks}
    found: dict[str, set[str]] = {name: set() for name in (celery.queues if celery else ())}
    for mapping in plan.mappings():
        if mapping.system is System.CELERY and celery:
            found.setdefault(mapping.queue or celery.queues[0], set()).update(own[mapping.unified])
    moved = {name: frozenset(queues or first) for name, queues in found.items()}
    return {name: frozenset({name}) for name in plan.unified.queues} | moved


def _celery_arguments(command: Sequence[str]) -> tuple[str, ...]:
    """Return what stands behind ``celery``, without each host's own node name; empty if it can't be used."""
    start = next((i for i, item in enumerate(command) if item.rpartition("/")[2] == "celery"), None)
    rest = list(command[start + 1 :]) if start is not None else []
    for option in ("-n", "--hostname"):
        if option in rest:
            del rest[rest.index(option) : rest.index(option) + 2]
    return () if any(re.search(r"[{}$\s'\"]", item) for item in rest) else tuple(rest)


def _application(arguments: Sequence[str]) -> str:
    return next((after for item, after in pairwise(arguments) if item in {"-A", "--app"}), "")


def starts_celery_worker(commands: Commands, text: str) -> bool:
    """Tell whether a text starts a worker of a legacy Celery application, or of the unified one."""
    wanted = commands.applications | {commands.application}
    for rest in _celery_commands(text):
        tokens = [token for token in re.split(r"[\s=\\]+", rest) if token]
        if "worker" in tokens and wanted & set(tokens):
            return True
    return False


def _celery_commands(text: str) -> list[str]:
    plain = [match["rest"] for match in _CELERY.finditer(text)]
    for match in _LIST.finditer(text):
        plain += [found["rest"] for found in _CELERY.finditer(" ".join(_items(match)))]
    return plain


def rewrite_commands(commands: Commands, text: str, *, worker_elsewhere: bool) -> Rewritten:
    """Rewrite every command of a text.

    Args:
        commands: From :func:`plan_commands`.
        text: A whole file.
        worker_elsewhere: The deployment that the file belongs to starts a unified worker already.
    """
    result = Rewritten(text="")
    position = 0
    matches = [(match, False) for match in (*_CELERY.finditer(text), *_DRAMATIQ.finditer(text))]
    matches += [(match, True) for match in _LIST.finditer(text)]
    for match, listed in sorted(matches, key=lambda item: item[0].start()):
        if match.start() < position:
            continue
        result.text += text[position : match.start()]
        position = match.end()
        try:
            after = _listed(commands, match, worker_elsewhere) if listed else _plain(commands, match, worker_elsewhere)
            if not listed and re.match(r"[^\S\n]*\r?\n[ \t]*(?:-Q|--queues)\b", text[match.end() :]):
                raise _StaysError("its queues stand in the next line")
        except _StaysError as why:
            result.kept.append((text.count("\n", 0, match.start()) + 1, result.text.count("\n") + 1, str(why)))
            after = match.group()
        result.count += after != match.group()
        result.text += after
    result.text += text[position:]
    return result


def _items(match: re.Match[str]) -> list[str]:
    quote = match["q"]
    return re.findall(rf"{quote}([^{quote}]*){quote}", match["items"])


def _listed(commands: Commands, match: re.Match[str], worker_elsewhere: bool) -> str:  # noqa: FBT001
    """``["celery", "-A", "old", "worker"]``."""
    items = _items(match)
    line = " ".join(items)
    found = _CELERY.fullmatch(line) or _DRAMATIQ.fullmatch(line)
    if found is None or any(not item or " " in item for item in items):
        return match.group()
    after = _plain(commands, found, worker_elsewhere).split()
    if len(after) == len(items):
        text = match.group()
        for old, new in zip(items, after, strict=True):
            text = text.replace(f"{match['q']}{old}{match['q']}", f"{match['q']}{new}{match['q']}", int(old != new))
        return text
    return "[" + ", ".join(f"{match['q']}{item}{match['q']}" for item in after) + "]"


def _plain(commands: Commands, match: re.Match[str], worker_elsewhere: bool) -> str:  # noqa: FBT001
    if match.re is _CELERY:
        return match["run"] + _celery(commands, match["rest"])
    return _dramatiq(commands, match, worker_elsewhere=worker_elsewhere)


def _celery(commands: Commands, rest: str) -> str:
    named = re.search(rf"(?P<option>(?:^|\s)(?:-A|--app)(?:=|{_GAP}))(?P<app>[\w.:]+)(?=\s|\\|$)", rest)
    if named is None or named["app"] not in commands.applications:
        return rest
    if not commands.application:
        raise _StaysError("the plan names no unified application")
    words = set(rest.replace("\\", " ").split())
    if words & _NEVER:
        raise _StaysError(f"{min(words & _NEVER)} acts on what waits; decide by hand")
    after = rest[: named.start("app")] + commands.application + rest[named.end("app") :]
    queues = re.search(rf"(?:^|\s)(?:-Q|--queues)(?:=|{_GAP})?(?P<names>[^\s\\]+)", after)
    if queues is None:
        return after
    given = queues["names"].split(",")
    if not set(given) <= set(commands.celery_queues):
        raise _StaysError("names a queue that the plan does not know")
    wanted = set().union(*(commands.celery_queues[name] for name in given))
    names = ",".join(name for name in commands.unified_queues if name in wanted)
    return after[: queues.start("names")] + names + after[queues.end("names") :]


def _dramatiq(commands: Commands, match: re.Match[str], *, worker_elsewhere: bool) -> str:
    tokens = match["rest"].replace("\\", " ").split()
    by_manage = "rundramatiq" in match["run"]
    modules = []
    while tokens and not tokens[0].startswith("-"):
        modules.append(tokens.pop(0))
    if not by_manage and not modules:
        return match.group()
    known = {module.partition(":")[0] for module in modules} <= commands.modules
    if not known and not set(modules) & commands.modules:
        return match.group()
    if not known or (by_manage and (modules or not commands.all_go)):
        raise _StaysError("a Dramatiq worker, also of modules that the plan leaves as they are")
    _check_options(commands, tokens)
    if worker_elsewhere:
        raise _StaysError("a Dramatiq worker; the unified worker that is started beside it replaces it")
    if not commands.worker:
        raise _StaysError("a Dramatiq worker; the plan has no single unified worker that can be written here")
    run = re.sub(rf"(?:(?:\./)?manage\.py{_GAP}rundramatiq|-m{_GAP}dramatiq)$", "-m celery", match["run"])
    return f"{re.sub(r'dramatiq$', 'celery', run)} {' '.join(commands.worker)}"


def _check_options(commands: Commands, tokens: list[str]) -> None:
    while tokens:
        option = tokens.pop(0)
        name, _, value = option.partition("=")
        if name in _WITH_VALUE:
            value = value or (tokens.pop(0) if tokens else "")
            if not value.isdigit():
                raise _StaysError(f"a Dramatiq worker whose {name} is computed")
        elif name in {"-Q", "--queues"}:
            while tokens and not tokens[0].startswith("-"):
                if tokens.pop(0) not in commands.dramatiq_queues:
                    raise _StaysError("names a queue that the plan does not know")
        elif not re.fullmatch(r"-v+|--verbose", option):
            raise _StaysError(f"a Dramatiq worker with an option of its own: {option}")
