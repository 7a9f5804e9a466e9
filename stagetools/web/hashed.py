"""What a release sends with its hashed static files, told to whoever may send them for it.

A proxy that sends a file itself must send it as the site does: so the site is asked, from inside
its own container, for one file of each kind in each folder. The standard library alone.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Answer", "described", "headers"]

ROOT = Path("/srv/static")
"""Where the image has them; nobody looks for them elsewhere."""
_HASHED = re.compile(r"[\w@+-][\w./@+-]*\.[0-9a-f]{12}\.([a-z0-9]+)", re.ASCII)
_OF_ONE = {"content-length", "date", "etag", "last-modified", "x-request-id"}
LIMIT = 3.0
"""Seconds: visitors may be waiting for this release."""
_STRANGER = "192.0.2.1"  # nobody's; documentation's own (RFC 5737)
Answer = tuple[int, list[tuple[str, str]]]


def described(ask: Callable[[str], Answer], root: Path = ROOT) -> dict[str, Any]:
    """The digest of the manifest, and what came with files of each kind; else nothing.

    One in each folder is asked for, in `LIMIT` seconds at the most; where they came with the
    same, that is told once.
    """
    try:
        content = (root / "staticfiles.json").read_bytes()
        names = _one_of_each(json.loads(content)["paths"].values())
        sent = _answers(ask, names, time.monotonic() + LIMIT)
    except (
        *(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError),
    ):
        return {}  # then the site goes on sending them
    return {"manifest": hashlib.sha256(content).hexdigest(), "sent": sent}


def _one_of_each(names: Any) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], str] = {}
    for name in sorted(names):
        if hashed := _HASHED.fullmatch(name):
            found[hashed[1], name.rpartition("/")[0]] = name
    return [(kind, name) for (kind, _), name in found.items()]


def _answers(
    ask: Callable[[str], Answer], names: list[tuple[str, str]], until: float
) -> dict[str, list[Answer]]:
    sent: dict[str, list[Answer]] = {}
    for kind, name in names:
        if time.monotonic() > until:
            raise OSError("it answers too slowly")
        status, headers = ask(f"/static/{name}")
        kept = [(key, value) for key, value in headers if key.lower() not in _OF_ONE]
        if (answer := (status, kept)) not in sent.setdefault(kind, []):
            sent[kind].append(answer)
    return sent


def headers() -> dict[str, str]:
    """As a visitor's whom the site does not know, by the way that its own visitors come."""
    host = os.environ.get("ALLOWED_HOSTS", "").partition(",")[0]
    secure = os.environ.get("STAGETOOLS_TLS") == "on"
    return {
        "Host": host or "localhost",
        "X-Forwarded-Proto": "https" if secure else "http",
        "X-Forwarded-For": _STRANGER,
        "Accept-Encoding": "identity",
        "User-Agent": "stagetools.probe",
    }
