"""What a release sends with its hashed static files, told to whoever may send them for it.

A proxy that sends a file itself must send it as the site does: so the site is asked, from inside
its own container, for one file of each kind. The standard library alone.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Answer", "described", "headers"]

ROOT = Path("/srv/static")
"""Where the image has them; nobody looks for them elsewhere."""
_HASHED = re.compile(r"[\w@+-][\w./@+-]*\.[0-9a-f]{12}\.([a-z0-9]+)", re.ASCII)
_STRANGER = "192.0.2.1"  # nobody's; documentation's own (RFC 5737)
Answer = tuple[int, list[tuple[str, str]]]


def described(ask: Callable[[str], Answer], root: Path = ROOT) -> dict[str, Any]:
    """The digest of the manifest, and what came with one file of each kind; else nothing."""
    try:
        content = (root / "staticfiles.json").read_bytes()
        names = dict(_one_of_each(json.loads(content)["paths"].values()))
        sent = {kind: ask(f"/static/{name}") for kind, name in names.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # then the site goes on sending them
    return {"manifest": hashlib.sha256(content).hexdigest(), "sent": sent}


def _one_of_each(names: Any) -> Iterator[tuple[str, str]]:
    for name in sorted(names):
        if found := _HASHED.fullmatch(name):
            yield found[1], name


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
