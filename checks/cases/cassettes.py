"""Recorded HTTP exchanges as a case's answers: vcrpy cassettes in YAML or JSON.

Each exchange answers once, as vcrpy plays it by default. The recorded host is ignored: the project sends its requests
to the fixture server, and the path with its query selects the answer.
Source: vcrpy's serialized form (``vcr/serialize.py``): ``interactions`` of ``request`` and ``response``, version 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: Headers that describe how the recorded body was transferred, not its content.
_TRANSFER_HEADERS = frozenset(
    {"content-encoding", "transfer-encoding", "content-length", "connection", "keep-alive", "set-cookie", "date"}
)


def read_cassette(file: Path) -> list[Mapping[str, Any]]:
    """Return the answers of a cassette, in the order in which they were recorded.

    Raises:
        ValueError: It can't be read, or is not a cassette; the message has the reason.
    """
    try:
        text = file.read_text(encoding="utf-8")
        document = json.loads(text) if file.suffix == ".json" else _yaml(text)
        return [_answer(item) for item in document["interactions"]]
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ValueError("reading YAML needs PyYAML; install it, or record with vcrpy's json serializer") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _answer(interaction: Mapping[str, Any]) -> Mapping[str, Any]:
    request, response = interaction["request"], interaction["response"]
    parts = urlsplit(request["uri"])
    body = response["body"].get("string", "")
    headers = {
        name: value[0] if isinstance(value, list) else value
        for name, value in response.get("headers", {}).items()
        if name.lower() not in _TRANSFER_HEADERS
    }
    return {
        "method": request["method"].upper(),
        "contains": parts.path + (f"?{parts.query}" if parts.query else ""),
        "status": int(response["status"]["code"]),
        "headers": {str(name): str(value) for name, value in headers.items()},
        "times": 1,
        "hang_s": None,
        "drop": False,
        "body": body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or ""),
    }
