"""Redact secrets in texts for reports, logs and the journal."""

from __future__ import annotations

import re


def redact(text: str) -> str:
    """Return ``text`` with user and password of every URL replaced by ``***``, even if they are not escaped."""
    return re.sub(r"(?i)(://)\S*?(@)(?=[^@\s;,]*(?:[\s;,]|$))|([?&](?:password|username)=)[^&\s]*", r"\1\3***\2", text)
