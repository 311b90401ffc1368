"""Blanks secrets in texts that reach a report, a log or the journal."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

HIDDEN = "…"


def redact(text: str) -> str:
    """Return ``text`` with user and password of every URL replaced by ``***``, even if they are not escaped."""
    return re.sub(r"(?i)(://)\S*?(@)(?=[^@\s;,]*(?:[\s;,]|$))|([?&](?:password|username)=)[^&\s]*", r"\1\3***\2", text)


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
