"""Settings of django-dramatiq become Celery's where the meaning carries over; the others are listed with what to do.

Only once nothing of Dramatiq is left to read them: every actor is converted where it stands and the plan retires no
file. Until then legacy processes need them, and they are listed.
Source: ``django_dramatiq/apps.py`` (what is read), ``dramatiq/results/backend.py`` (a result lives ten minutes),
``celery/app/defaults.py``.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.installed_apps import app_elements, take_out_apps
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.statements import remove_statement
from codemods.editing.units import seconds
from codemods.install.app_settings import task_modules
from codemods.plan.policy import COVERED
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.syntax.scopes import Binding, BindingKind
from migrator.wire.message import System

_RESULT_TTL_S = "600"
_INSTEAD = {
    "AdminMiddleware": "django-celery-results keeps a row for each task",
    "Prometheus": "run an exporter for Celery beside the workers",
    "CurrentMessage": "read celery.current_task.request",
    "ShutdownNotifications": "Celery waits for running tasks; a task is not notified",
    "Abortable": "revoke the task: AsyncResult.revoke(terminate=True)",
    "SentryMiddleware": "sentry_sdk has a CeleryIntegration",
}
_HINTS = {
    "DRAMATIQ_TASKS_DATABASE": "belongs to the table of AdminMiddleware",
    "DRAMATIQ_ENCODER": "Celery's JSON carries plain arguments and stores plain results only; for others set "
    "CELERY_TASK_SERIALIZER, CELERY_RESULT_SERIALIZER and CELERY_ACCEPT_CONTENT",
    "DRAMATIQ_RATE_LIMITER_BACKEND": "Celery's rate_limit counts per worker; locks need a library of their own",
    "DRAMATIQ_IGNORED_MODULES": "leave those modules out of CELERY_IMPORTS",
}


def rewrite(context: FileContext) -> None:
    """Convert the settings module, and those that it takes everything from."""
    module = context.values.where.module
    if not module or module not in (context.index.settings, *context.index.beat.settings):
        return
    if context.index.keeps(System.DRAMATIQ):
        for binding in context.tree.module.bindings.get("DRAMATIQ_BROKER", []):
            if isinstance(binding.value, cst.Dict):
                with context.attempt(binding.value):
                    _list_middleware(context, _items(binding.value))
        return
    actors = [t for t in context.index.targets.values() if t.system is System.DRAMATIQ]
    gone = all((t.in_place or t.left_behind) and not t.stuck for t in actors)
    over = bool(actors) and not context.index.retire and gone
    own = [name for name in context.tree.module.bindings if name.startswith("DRAMATIQ_")]
    elsewhere = bool(own) and bool(context.index.dramatiq_apps - {module})
    if over and (elsewhere or not take_out_apps(context, settings=bool(own))):
        over = False
        context.leave(
            context.source.module, "SETTINGS", "INSTALLED_APPS: take the apps of Dramatiq out, then run again"
        )
    elif not over:
        for element, _ in app_elements(context):
            context.leave(element, "LEGACY-CODE", f"INSTALLED_APPS: {text_of(element.value)}")
    for name, group in context.tree.module.bindings.items():
        if not name.startswith("DRAMATIQ_"):
            continue
        with context.attempt(group[0].node):
            if not over or len(group) != 1 or _is_read(context, group[0]) or not _convert(context, name, group[0]):
                raise LeaveError("DRAMATIQ-SETTING" if over else "LEGACY-CODE", group[0].node, _detail(name))


def _detail(name: str) -> str:
    return f"{name}: {_HINTS[name]}" if name in _HINTS else name


def _is_read(context: FileContext, binding: Binding) -> bool:
    """True if something else reads a setting: this file, or another one."""
    if binding.name in context.index.shared:
        return True
    return bool(context.tree.reads_of(binding.node))


def _convert(context: FileContext, name: str, binding: Binding) -> bool:
    """Write what a setting means to Celery in its place; False if it means nothing there."""
    value = binding.value
    statement = context.parent(context.parent(binding.node) or binding.node)
    if binding.kind is not BindingKind.ASSIGN or value is None or not isinstance(statement, cst.Assign):
        return False
    if name == "DRAMATIQ_BROKER":
        lines, whole = _broker(context, value)
    elif name == "DRAMATIQ_RESULT_BACKEND":
        lines, whole = _results(context, value), True
    elif name == "DRAMATIQ_AUTODISCOVER_MODULES":
        lines, whole = [("CELERY_IMPORTS", f"[{task_modules(context)}]")], True
    else:
        return False
    written = [f"{key} = {text}" for key, text in lines if key not in context.tree.module.bindings]
    newline = context.source.newline()
    if not whole:
        context.insert_before(statement, "".join(line + newline for line in written))
    elif written:
        context.replace(statement, newline.join(written))
    else:
        remove_statement(context, statement)
    return True


def _broker(context: FileContext, node: cst.BaseExpression) -> tuple[list[tuple[str, str]], bool]:
    """Return the broker's URL, and whether nothing else of the setting needs a person."""
    given = _items(node)
    options = _items(given["OPTIONS"]) if "OPTIONS" in given else {}
    if set(options) != {"url"}:
        raise LeaveError("SETTINGS", node, "CELERY_BROKER_URL: write one URL for the broker's OPTIONS")
    left = _list_middleware(context, given)
    if left:
        context.leave(node, "DRAMATIQ-SETTING", "DRAMATIQ_BROKER: settle its middleware first")
    return [("CELERY_BROKER_URL", context.source.code(options["url"]))], not left


def _list_middleware(context: FileContext, given: dict[str, cst.BaseExpression]) -> bool:
    """List the middleware that Celery has no equal of; return whether there is any."""
    listed, left = given.get("MIDDLEWARE"), False
    for element in listed.elements if isinstance(listed, (cst.List, cst.Tuple)) else ():
        leaf = (text_of(element.value) or context.source.code(element.value)).rpartition(".")[2]
        if leaf not in COVERED:
            context.leave(element, "MIDDLEWARE", f"{leaf}: {_INSTEAD[leaf]}" if leaf in _INSTEAD else leaf)
            left = True
    return left


def _results(context: FileContext, node: cst.BaseExpression) -> list[tuple[str, str]]:
    given = _items(node)
    options = _items(given["BACKEND_OPTIONS"]) if "BACKEND_OPTIONS" in given else {}
    middleware = _items(given["MIDDLEWARE_OPTIONS"]) if "MIDDLEWARE_OPTIONS" in given else {}
    backend = text_of(given.get("BACKEND")) or ""
    if not backend.endswith(".RedisBackend") or set(options) != {"url"} or set(middleware) - {"result_ttl"}:
        raise LeaveError("SETTINGS", node, "CELERY_RESULT_BACKEND: write one URL for the backend")
    ttl = middleware.get("result_ttl")
    expires = seconds(context, ttl, timedelta_allowed=False) if ttl is not None else _RESULT_TTL_S
    return [("CELERY_RESULT_BACKEND", context.source.code(options["url"])), ("CELERY_RESULT_EXPIRES", expires)]


def _items(node: cst.BaseExpression) -> dict[str, cst.BaseExpression]:
    found = {}
    for element in node.elements if isinstance(node, cst.Dict) else ():
        key = text_of(element.key) if isinstance(element, cst.DictElement) else None
        if key is None:
            raise LeaveError("SETTINGS", node, "is no plain literal")
        found[key] = element.value
    return found


REWRITE = Rewrite(name="dramatiq_settings", whole_file=rewrite)
