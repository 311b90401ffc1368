"""What a plan leaves open in its texts: ``${NAME:-default}``, ``{python}``, ``{state}`` and ``{node}``, filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from migrator.errors import UsageError
from migrator.plan.interpreter import project_python
from migrator.plan.model import Endpoint, Plan
from migrator.plan.toml_table import REFERENCE
from migrator.wire.broker_url import broker_kind, normal_url

_URL = re.compile(
    r"(?P<scheme>[\w+]+)://(?P<account>(?:.*@)?)(?P<host>[^/:@?]*)(?::(?P<port>\w*))?(?:/(?P<path>[^?;]*))?"
)


def expand(text: str, environ: Mapping[str, str], *, where: str) -> str:
    """Return ``text`` with ``${NAME}`` and ``${NAME:-default}`` filled in.

    Raises:
        UsageError: A variable is not set and has no default.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if environ.get(name):
            return environ[name]
        if default is None:
            raise UsageError(where, f"the environment variable {name} is not set", remedy=f"export {name}=…")
        return default

    return REFERENCE.sub(value, text)


def endpoint_url(endpoint: Endpoint, environ: Mapping[str, str]) -> str:
    """Return the URL of an endpoint with the environment filled in, in a form that means the same to Celery.

    Raises:
        UsageError: A variable is not set, or the library of the endpoint's workers can't read the URL.
    """
    where = f"{endpoint.side.value}.{endpoint.system.value}.broker"
    url = expand(endpoint.url, environ, where=where)
    if broker_kind(url) is None:
        scheme, sign, _ = url.partition("://")
        raise UsageError(
            where,
            "no broker module reads this kind of URL",
            # Without :// all of it could be a password.
            found=f"{scheme}://" if sign else "no :// in it",
            remedy="use a redis://, rediss://, sentinel://, amqp:// or amqps:// URL",
        )
    return normal_url(url, endpoint.system, endpoint.master_name)


def leading_to(url: str, environ: Mapping[str, str], target: str) -> dict[str, str] | None:
    """Return values for the variables of a broker's URL with which it names another server.

    A variable may hold the whole URL, its beginning up to the port, or host, port or path alone.

    Args:
        url: The URL as the plan has it, such as ``redis://${HOST:-localhost}:${PORT:-6379}/0``.
        environ: The present values. One without value and default is taken for what its place suggests.
        target: URL of the other server, with a port.

    Returns:
        The values; None if no values make the URL name ``target``, account included: something is written literally.
    """
    text, places = _with_places(url, environ)
    found = _URL.match(text)
    wanted = _URL.match(target)
    if found is None or wanted is None:
        return None
    new = wanted.groupdict(default="")
    if found["port"] is None:
        new["host"] += f":{new['port']}"
    edits = [(*found.span(part), new[part]) for part in ("path", "port", "host") if found[part] is not None]
    edits.append((0, found.start("host"), f"{new['scheme']}://{new['account']}"))
    values = {}
    for name, start, end in places:
        value = text[start:end]
        for first, last, part in sorted(edits, reverse=True):
            if start <= first and last <= end:
                value = value[: first - start] + part + value[last - start :]
        values[name] = value
    reached = _URL.match(REFERENCE.sub(lambda match: values[match["name"]], url))
    return values if reached is not None and reached.groupdict(default="") == wanted.groupdict(default="") else None


def filled(url: str, environ: Mapping[str, str]) -> str:
    """Return a broker's URL with its variables filled in; one without value and default by a stand-in."""
    return _with_places(url, environ)[0]


def _with_places(url: str, environ: Mapping[str, str]) -> tuple[str, list[tuple[str, int, int]]]:
    """Return a URL with its variables filled in, and where in it the value of each stands."""
    text, places, last = "", [], 0
    for match in REFERENCE.finditer(url):
        rest = url[match.end() :]
        stand_in = "1" if match.start() else "redis://localhost:6379" + ("" if rest else "/0")
        text += url[last : match.start()]
        value = environ.get(match["name"]) or match["default"] or stand_in
        places.append((match["name"], len(text), len(text) + len(value)))
        text, last = text + value, match.end()
    return text + url[last:], places


def fill_words(
    plan: Plan, words: Iterable[str], *, environ: Mapping[str, str], where: str, node: str = ""
) -> list[str]:
    """Return an argument list with everything filled in; ``{python}`` may be several arguments."""
    found: list[str] = []
    for word in words:
        if word == "{python}":
            found += project_python(plan, environ).command
        else:
            found.append(fill(plan, word, environ=environ, where=where, node=node))
    return found


def fill(plan: Plan, text: str, *, environ: Mapping[str, str], where: str, node: str = "") -> str:
    """Return ``text`` with ``{python}``, ``{state}``, ``{node}`` and environment references filled in."""
    if "{python}" in text:
        text = text.replace("{python}", str(project_python(plan, environ)))
    text = text.replace("{state}", str(plan.state_folder)).replace("{node}", node)
    return expand(text, environ, where=where)
