"""Recorded HTTP exchanges as a case's answers: cassettes that vcrpy wrote, as YAML or JSON.

Each exchange answers once, as vcrpy plays it by default. The host that was recorded doesn't matter: the project asks
the fixture address, and the path with its query decides.
Source: vcrpy's serialized form (``vcr/serialize.py``): ``interactions`` of ``request`` and ``response``, version 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: Headers that describe how the recorded body travelled, not what it says.
_OF_THE_JOURNEY = frozenset(
    {"content-encoding", "transfer-encoding", "content-length", "connection", "keep-alive", "set-cookie", "date"}
)


def read_cassette(file: Path) -> list[Mapping[str, Any]]:
    """Return the answers of a cassette, in the order in which they were recorded.

    Raises:
        ValueError: It can't be read, or is no cassette; the message says why.
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
        if name.lower() not in _OF_THE_JOURNEY
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
