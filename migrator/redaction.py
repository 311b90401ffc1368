"""Blanks secrets in texts that reach a report, a log or the journal."""

from __future__ import annotations

import re


def redact(text: str) -> str:
    """Return ``text`` with user and password of every URL blanked, also of one that is not escaped."""
    return re.sub(r"(?i)(://)\S*?(@)(?=[^@\s;,]*(?:[\s;,]|$))|([?&](?:password|username)=)[^&\s]*", r"\1\3***\2", text)
