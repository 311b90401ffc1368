"""Blanks secrets in texts that reach a screen, a report, a log or the journal.

A URL shows where its secret stands, as long as it is escaped. What is known to be a secret, because a URL that was read
or a variable of the environment has it, is blanked wherever it stands and in every spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, quote_plus, unquote

HIDDEN = "…"
_MASK = "***"
#: Spellings of the secrets of this process.
_KNOWN: set[str] = set()
_SECRET_NAME = re.compile(r"(?i)passw|secret|token|api_?key|credential")
_ACCOUNT = re.compile(r"://(?P<user>[^:/?#\s]*):(?P<password>.+)@")
#: A plain word such as "guest" or "postgres" keeps nobody out, and stands in other texts.
_WORD = re.compile(r"[A-Za-z]?[a-z]*|\d*|.{0,5}")


def know(secret: str) -> None:
    """Let :func:`redact` blank a secret wherever it stands; plain words and short texts are not taken for secrets."""
    if not _WORD.fullmatch(secret):
        escaped = (quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1])
        _KNOWN.update((secret, *escaped, repr(secret)[1:-1]))


def know_environment(environ: Mapping[str, str]) -> None:
    """Know the passwords in the URLs of an environment, and the values that are called a secret."""
    for name, value in environ.items():
        if _SECRET_NAME.search(name) and not value.startswith("/"):  # else a file that holds it
            know(value)
        for url in value.split(";"):
            if found := _ACCOUNT.search(url):
                know(found["password"])
                know(unquote(found["password"]))


def redact(text: str) -> str:
    """Return ``text`` with user and password of every URL, and every known secret, replaced by ``***``."""
    text = re.sub(
        r"(?i)(://)\S*?(@)(?=[^@\s;,]*(?:[\s;,]|$))|([?&](?:password|username)=)[^&\s]*", rf"\1\3{_MASK}\2", text
    )
    for secret in sorted(_KNOWN, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return text


def redact_url(url: str) -> str:
    """Return a URL without user, password and options, even if it is malformed."""
    scheme, sign, rest = url.partition("://")
    if not sign:
        return HIDDEN
    secret, _, rest = rest.rpartition("@")
    if any(letter in secret for letter in "/?#"):
        # An unescaped password, or an @ behind the path: it is unclear which part is the password.
        return f"{scheme}://{HIDDEN}"
    address, _, query = rest.partition("?")
    address = address.partition("#")[0]
    host, slash, path = address.partition("/")
    name, colon, port = host.rpartition(":")
    if colon and port and not port.isdecimal() and not host.endswith("]"):
        host = f"{name}:{HIDDEN}"
    database = next((value for key, value in parse_qsl(query) if key in ("db", "virtual_host")), "")
    return f"{scheme}://{host}{slash}{path}" + (f"?db={database}" if database.isdecimal() else "")
