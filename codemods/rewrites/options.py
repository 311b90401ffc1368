"""``actor.send_with_options(…)`` becomes ``task.apply_async(…)``: milliseconds to seconds, options that had an effect.

An option that no Dramatiq middleware reads was ignored; it is removed and listed, because Celery would honour it.
Source: ``dramatiq/actor.py`` (``delay``), ``actor_options`` in ``dramatiq/middleware/*.py``, ``celery/app/task.py``.
"""

from __future__ import annotations

from codemods.calls.results import follow_message
from codemods.calls.send_options import adapt_options, convert_options
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.protocol import Rewrite
from codemods.rewrites.sends import uncalled
from migrator.wire.message import System


def send_with_options(context: FileContext, use: Use) -> None:
    """Rewrite ``.send_with_options``."""
    assert use.attribute is not None
    if use.call is None:
        raise LeaveError("ESCAPES", use.attribute, "its options are milliseconds")
    follow_message(context, use.call)
    convert_options(context, use.call, use)
    context.replace(use.attribute.attr, "apply_async")


def apply_async(context: FileContext, use: Use) -> None:
    """Adapt ``.apply_async`` and ``.apply`` of a Celery task."""
    assert use.attribute is not None
    if use.call is None:
        uncalled(context, use)
        return
    adapt_options(context, use.call, use)


REWRITE = Rewrite(
    name="options",
    methods={
        (System.DRAMATIQ, "send_with_options"): send_with_options,
        (System.CELERY, "apply_async"): apply_async,
        (System.CELERY, "apply_async_on_commit"): apply_async,
        (System.CELERY, "apply"): apply_async,
    },
)
