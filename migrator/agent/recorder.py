"""The effects of a run, recorded while it runs."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

#: Loggers of the libraries that run tasks: their messages are not the task's behaviour.
LIBRARY_LOGGERS = ("celery.app", "celery.worker", "celery.redirected", "dramatiq", "kombu", "asyncio", "py.warnings")


@dataclass
class Recorder:
    """The effects of one run, by kind; inactive while the initial state is being created."""

    active: bool = False
    cache: list[dict[str, Any]] = field(default_factory=list)
    http: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    dead_letters: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    #: Forbidden actions of a case, such as connecting to a server that is not a fixture.
    violations: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, effect: str, entry: Any) -> None:
        """Add one entry to a list, from any thread."""
        if self.active:
            with self._lock:
                getattr(self, effect).append(entry)

    def start(self) -> None:
        """Drop everything and begin to record."""
        for effect in ("cache", "http", "messages", "dead_letters", "logs", "violations"):
            getattr(self, effect).clear()
        self.active = True

    def stop(self) -> None:
        """Stop recording; what was recorded stays."""
        self.active = False


#: The recorder of this process: cache backends and audit hooks are created by others and can't be given one.
RECORDER = Recorder()


class LogHandler(logging.Handler):
    """Record what the project logs at WARNING and above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Record level and text; the logger's name follows the module, which is expected to change."""
        if record.name.startswith(LIBRARY_LOGGERS):
            return
        try:
            text = record.getMessage()
        except (TypeError, ValueError) as error:
            text = f"{record.msg} [cannot be formatted: {error}]"
        exception = record.exc_info[1] if record.exc_info else None
        details = {"exception": type(exception).__name__} if exception else {}
        RECORDER.note("logs", {"level": record.levelname, "text": text, **details})


def attach_logs() -> None:
    """Attach a handler to the root logger and to every logger that does not propagate."""
    for logger in [logging.getLogger(), *logging.root.manager.loggerDict.values()]:
        if not isinstance(logger, logging.Logger) or (logger.propagate and logger is not logging.root):
            continue
        if not any(isinstance(handler, LogHandler) for handler in logger.handlers):
            logger.addHandler(LogHandler())
