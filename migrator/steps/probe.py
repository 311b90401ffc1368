"""Ask the project's own code, in a process of its own, which brokers and databases it would use.

A rehearsal must not reach what is in production. The answer is what the project's modules really say after import,
not what the plan hopes. Importing them opens no connection to a broker.

Source: celery/_state.py (`_get_active_apps`), kombu/connection.py (`alt`, `info`), dramatiq/broker.py (`get_broker`),
dramatiq/brokers/rabbitmq.py (`parameters`: one or a list).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from migrator.errors import RefusedError
from migrator.journal import redact
from migrator.plan import Plan
from migrator.steps.subprocesses import last_lines, run
from migrator.workers.command import fill

PROBE_TIMEOUT_S = 60.0
_PROBE = """
import importlib, json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = sys.argv[1]
sys.path.insert(0, os.getcwd())
import django
django.setup()
from django.conf import settings
from urllib.parse import quote
for name in sys.argv[2:]:
    importlib.import_module(name)
databases = settings.DATABASES.values()
found = {"brokers": [], "databases": [f"{d.get('NAME')}@{d.get('HOST') or ''}" for d in databases]}
found["others"] = {f"cache {name}": str(cache.get("LOCATION")) for name, cache in settings.CACHES.items()
                   if "Redis" in cache["BACKEND"] or "Memcache" in cache["BACKEND"]}
# Django's defaults say that mail goes to this machine; only who has set something sends mail.
if settings.EMAIL_BACKEND.endswith("smtp.EmailBackend") and settings.is_overridden("EMAIL_HOST"):
    found["others"]["mail"] = f"smtp://{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
from celery import _state
import kombu
def place(scheme, host, port, virtual_host):
    return f"{scheme}://{host}:{port}/{quote(str(virtual_host), safe='')}"
for app in _state._get_active_apps():
    if app.main != "default" or app.conf.broker_url:
        for connection in (app.connection_for_write(), app.connection_for_read()):
            for one in [kombu.Connection(url) for url in connection.alt or ()] or [connection]:
                given = one.info()
                where = [given[name] for name in ("transport", "hostname", "port", "virtual_host")]
                found["brokers"].append(place(*where))
    if app.conf.result_backend:
        found["others"][f"results of {app.main}"] = str(app.conf.result_backend)
if "dramatiq" in sys.modules:
    import dramatiq
    client = getattr(dramatiq.get_broker(), "client", None)
    if client is not None:
        where = client.connection_pool.connection_kwargs
        found["brokers"].append("redis://%s:%s/%s" % (where.get("host"), where.get("port"), where.get("db")))
    pika = getattr(dramatiq.get_broker(), "parameters", None) or ()
    for one in pika if isinstance(pika, (list, tuple)) else [pika]:
        found["brokers"].append(place("amqp", one.host, one.port, one.virtual_host))
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the project's code would connect to."""

    #: URLs without secrets, with the port, and the virtual host or database at the end.
    brokers: tuple[str, ...]
    #: ``name@host``; for SQLite the file and nothing behind the @.
    databases: tuple[str, ...]
    #: Where else a task could have an effect, by what it is: caches, results, mail; without secrets.
    others: Mapping[str, str]


def probe(plan: Plan, *, environ: Mapping[str, str]) -> Reach:
    """Import the project's task modules and return what they are set up to use.

    Raises:
        RefusedError: They can't be imported.
    """
    modules = [module for endpoint in (*plan.legacy, plan.unified) for module in endpoint.modules]
    modules += sorted({task.path.rpartition(".")[0] for task in plan.tasks})
    python = fill(plan, "{python}", environ=environ, where="probe")
    command = [python or sys.executable, "-c", _PROBE, plan.project.settings, *modules]
    code, output, errors = run(command, folder=plan.source_root, environ=environ, limit_s=PROBE_TIMEOUT_S)
    if code != 0:
        raise RefusedError(
            str(plan.source_root), "the project can't be imported", found=last_lines(errors), remedy="see why by hand"
        )
    found = orjson.loads(output.strip().splitlines()[-1])
    others = {name: redact(where) for name, where in sorted(found["others"].items())}
    return Reach(brokers=tuple(dict.fromkeys(found["brokers"])), databases=tuple(found["databases"]), others=others)
