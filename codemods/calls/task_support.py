"""What converted actors of a file share: a base class for what Celery has no option for, a wrapper for coroutines.

Written once per file, in front of the first definition, and only what that file needs.
Source: ``dramatiq/middleware/retries.py`` (``retry_when``, ``on_retry_exhausted``),
``dramatiq/middleware/callbacks.py`` (called for each failed attempt), ``celery/app/task.py`` (handlers),
``celery/app/autoretry.py`` (calls ``retry``).
"""

from __future__ import annotations

import io
import tokenize

import libcst as cst

from codemods.editing.context import FileContext
from codemods.uses.names import free_name, used_names

#: Features of the base class.
RETRY_WHEN, CALLBACKS = "retry_when", "callbacks"
COROUTINES, OBJECTS, RESULT_LAST = "coroutines", "objects", "result_last"
_WRAPPER = """def {wrapper}(function):
    # Celery runs plain functions only.
    @{wraps}(function)
    def call(*args, **kwargs):
        return {run}(function)(*args, **kwargs)

    return call


"""
_FUNCTION = """def {wrapper}(job):
    # Celery makes tasks of functions only.
    def call(*args, **kwargs):
        return job(*args, **kwargs)

    return call


"""
#: As ``migrator/tasks/result_last.py``.
_RESULT_LAST = """def {wrapper}(function):
    # A chain puts the result of the step before first: it goes to the first parameter that no keyword names.
    parameters = {signature}(function).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]

    @{wraps}(function)
    def call(*args, **kwargs):
        free = [name for name in names if name not in kwargs]
        if len(args) <= len(free):
            args, kwargs = (), {{**dict(zip(free, args)), **kwargs}}
        return function(*args, **kwargs)

    return call


"""
_BASE = """class {base}({task}):
    # What Dramatiq's middleware did and no option of Celery does.
"""
_RETRY_WHEN = """    retry_when = None

    def retry(self, args=None, kwargs=None, exc=None, **options):
        if self.retry_when and exc and not self.retry_when(self.request.retries, exc):
            raise exc
        return super().retry(args, kwargs, exc, **options)
"""
_CALLBACKS = """    success_task = failure_task = exhausted_task = None

    def on_success(self, retval, task_id, args, kwargs):
        self.call_back(self.success_task, task_id, args, kwargs, retval)

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.call_back(self.failure_task, task_id, args, kwargs, {{"type": type(exc).__name__, "message": str(exc)}})

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.on_retry(exc, task_id, args, kwargs, einfo)
        if not isinstance(exc, tuple(getattr(self, "dont_autoretry_for", ()))):
            outcome = {{"retries": self.request.retries, "max_retries": self.max_retries}}
            self.call_back(self.exhausted_task, task_id, args, kwargs, outcome)

    def call_back(self, name, task_id, args, kwargs, outcome):
        if name is None:
            return
        message = {{"actor_name": self.name, "args": args, "kwargs": kwargs, "options": {{}}, "message_id": task_id}}
        message["queue_name"] = (self.request.delivery_info or {{}}).get("routing_key")
        message["message_timestamp"] = int({time}() * 1000)
        self.app.signature(name).delay(message, outcome)
"""


def base_class(context: FileContext, features: set[str]) -> str:
    """Ask for the file's base class with some features and return its name."""
    context.result.support.features |= features
    if not context.result.support.base:
        context.result.support.base = free_name(context, "FormerActor", used_names(context))
    return context.result.support.base


def coroutine_wrapper(context: FileContext) -> str:
    """Ask for the decorator that runs a coroutine function to its end and return its name.

    What ``async_to_sync`` returns is not a function, and Celery needs one with a name.
    """
    context.result.support.features.add(COROUTINES)
    if not context.result.support.async_wrapper:
        context.result.support.async_wrapper = free_name(context, "run_to_its_end", used_names(context))
    return context.result.support.async_wrapper


def object_wrapper(context: FileContext) -> str:
    """Ask for the function that makes one of an object that can be called, and return its name."""
    context.result.support.features.add(OBJECTS)
    if not context.result.support.object_wrapper:
        context.result.support.object_wrapper = free_name(context, "as_function", used_names(context))
    return context.result.support.object_wrapper


def result_last_wrapper(context: FileContext) -> str:
    """Ask for the decorator that lets a chain's result go behind a step's own arguments, and return its name."""
    context.result.support.features.add(RESULT_LAST)
    if not context.result.support.result_last:
        context.result.support.result_last = free_name(context, "result_last", used_names(context))
    return context.result.support.result_last


def keep_comments(context: FileContext, gone: cst.CSTNode, place: cst.CSTNode) -> None:
    """Keep the comments of what is replaced, on lines of their own above the line of ``place``."""
    start, end = context.source.span(gone)
    if isinstance(gone, cst.ClassDef):  # the last line's comment is not its own
        end = context.source.text.find(b"\n", end)
    code = context.source.text[start:end].decode("utf-8")
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(f"({code}\n)").readline))
    except (tokenize.TokenError, SyntaxError):
        return
    text = context.source.text
    opening = text.rfind(b"\n", 0, context.source.span(place)[0]) + 1
    indent = text[opening : context.source.span(place)[0]].decode("utf-8")
    for token in tokens:
        if token.type == tokenize.COMMENT and not indent.strip():
            context.replace_span(opening, opening, f"{indent}{token.string}{context.source.newline()}")


def note_definition(context: FileContext, node: cst.CSTNode, path: str) -> None:
    """Record that a definition was converted: what it shares with others is written in front of it."""
    context.result.converted.add(path)
    here, parent = node, context.parent(node)
    while parent is not None and not isinstance(parent, cst.Module):
        here, parent = parent, context.parent(parent)
    start = context.source.span(here)[0]
    if isinstance(here, (cst.FunctionDef, cst.ClassDef)) and here.decorators:
        start = min(start, context.source.span(here.decorators[0])[0])
    text = context.source.text
    while (before := text.rfind(b"\n", 0, max(start - 1, 0)) + 1) < start and text[before:start].startswith(b"#"):
        start = before
    context.result.support.at = start if context.result.support.at < 0 else min(start, context.result.support.at)


def write_support(context: FileContext) -> None:
    """Write what the converted actors of a file share; once, after all of them."""
    features, context.result.support.features = context.result.support.features, set()
    if not features:
        return
    text = ""
    if COROUTINES in features:
        wraps, run = context.local_import("functools", "wraps"), context.local_import("asgiref.sync", "async_to_sync")
        text += _WRAPPER.format(wrapper=context.result.support.async_wrapper, wraps=wraps, run=run)
    if OBJECTS in features:
        text += _FUNCTION.format(wrapper=context.result.support.object_wrapper)
    if RESULT_LAST in features:
        wraps, signature = context.local_import("functools", "wraps"), context.local_import("inspect", "signature")
        text += _RESULT_LAST.format(wrapper=context.result.support.result_last, wraps=wraps, signature=signature)
    parts = []
    if RETRY_WHEN in features:
        parts.append(_RETRY_WHEN)
    if CALLBACKS in features:
        parts.append(_CALLBACKS.format(time=context.local_import("time", "time")))
    if parts:
        task = context.local_import("celery", "Task")
        text += _BASE.format(base=context.result.support.base, task=task) + "\n".join(parts) + "\n\n"
    at = context.result.support.at
    context.replace_span(at, at, context.source.newline().join(text.split("\n")))
