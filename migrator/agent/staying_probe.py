"""Import what a process of the plan imports and report which tasks it would serve.

No connection is opened and no message is taken. The answer is each task with its queue and the file that defines it,
the queues that are read, and the schedule; none for a command that is neither library's. The arguments are the
settings, the system and the command.

Source: dramatiq/cli.py (`make_argument_parser`, `import_broker`), rundramatiq of django_dramatiq
(`discover_tasks_modules`), celery/bin/worker.py (`--queues`), celery/app/routes.py (`route`).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import celery_app
from .project_setup import set_up


def answer(arguments: Sequence[str]) -> Any:
    """Import what the command imports."""
    settings, system, *words = arguments
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings)
    return _celery(words) if system == "celery" else _dramatiq(words)


def _dramatiq(words: Sequence[str]) -> Any:
    names = [Path(word).name for word in words]
    if "rundramatiq" in names:
        modules, queues = _of_django(words[names.index("rundramatiq") + 1 :])
    elif "dramatiq" in names:
        from dramatiq.cli import import_broker, make_argument_parser

        options = make_argument_parser().parse_args(list(words[names.index("dramatiq") + 1 :]))
        import_broker(options.broker)
        modules, queues = options.modules, options.queues
    else:
        return None
    for module in modules:
        importlib.import_module(module)
    import dramatiq

    tasks = [[actor.actor_name, actor.queue_name, _file(actor.fn)] for actor in dramatiq.get_broker().actors.values()]
    return {"tasks": tasks, "queues": sorted(queues) if queues else None, "schedule": {}, "place": ""}


def _of_django(words: Sequence[str]) -> tuple[list[str], list[str]]:
    set_up(os.environ["DJANGO_SETTINGS_MODULE"])

    Command = importlib.import_module("django_dramatiq.management.commands.rundramatiq").Command  # noqa: N806
    command = Command()
    options = command.create_parser("manage.py", "rundramatiq").parse_args(list(words))
    return command.discover_tasks_modules(), options.queues


def _celery(words: Sequence[str]) -> Any:
    names = [Path(word).name for word in words]
    application = _option(words, "-A", "--app")
    if "celery" not in names or not application:
        return None
    set_up(os.environ["DJANGO_SETTINGS_MODULE"])
    app = celery_app.find(application)
    own = [task for name, task in app.tasks.items() if not name.startswith("celery.")]
    chosen = _option(words, "-Q", "--queues")
    return {
        "tasks": [[task.name, queue_of(app, task), _file(task.run)] for task in own],
        "queues": chosen.split(",") if chosen else sorted(app.amqp.queues),
        "schedule": celery_app.schedule_of(app),
        "place": str(app.conf.broker_read_url or app.conf.broker_url),
        "scheduler": _option(words, "-S", "--scheduler") or str(app.conf.beat_scheduler),
    }


def queue_of(app: Any, task: Any) -> str:
    """Return the queue to which a task is sent where the caller names none."""
    given = {name: value for name, value in task._get_exec_options().items() if name == "queue" and value}
    queue = app.amqp.router.route(given, task.name).get("queue")
    return str(getattr(queue, "name", queue) or app.conf.task_default_queue)


def _option(words: Sequence[str], short: str, long: str) -> str:
    for word, after in zip(words, [*words[1:], ""]):  # `strict` needs Python 3.10
        if word in (short, long):
            return after
        if word.startswith(f"{long}="):
            return word.partition("=")[2]
        if word.startswith(short) and not word.startswith("--") and len(word) > len(short):
            return word[len(short) :]
    return ""


def _file(function: Callable[..., Any]) -> str:
    module = sys.modules.get(getattr(function, "__module__", ""))
    return str(getattr(module, "__file__", "") or "")
