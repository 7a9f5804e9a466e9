"""Hashed static files, which the proxy may send where it sends just what the site would."""

import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["TYPES", "Sent"]

_TEXT = '; charset="utf-8"'
TYPES = {
    **dict.fromkeys(("js", "mjs"), f"text/javascript{_TEXT}"),
    **dict.fromkeys(("jpg", "jpeg"), "image/jpeg"),
    **{kind: f"image/{kind}" for kind in ("png", "gif", "webp", "avif")},
    "css": f"text/css{_TEXT}",
    "txt": f"text/plain{_TEXT}",
    "json": "application/json",
    "svg": "image/svg+xml",
    "ico": "image/x-icon",
    "woff": "application/font-woff",
    "woff2": "font/woff2",
    "wasm": "application/wasm",
}
"""By the end of a name, as WhiteNoise has them and the proxy's Caddyfile; others are the site's."""

_ALIKE = {
    "access-control-allow-origin": "*",
    "cache-control": "max-age=315360000, public, immutable",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
# About the one answer, not about what may be done with it.
_OWN = {
    *("connection", "content-length", "date", "etag", "last-modified", "server"),
    *("x-request-id", "accept-ranges"),
}
_SITES = ("strict-transport-security", "content-security-policy")
# A name of a file says it, with "|" for "/": at most so much in each of three.
_VALUE, _NAME, _NAMES = re.compile(r"[ !-z~]*"), 240, 3


@dataclass(frozen=True, slots=True)
class Sent:
    """What a site sends with each of its hashed files, where the proxy can send the same."""

    manifest: str  # its digest
    hsts: str
    csp: str

    @classmethod
    def parse(cls, output: str) -> "Sent | None":
        """From what `stagetools.probe` printed; None where the site itself must send them."""
        try:
            found = json.loads(output.splitlines()[0])["static"]
            sent = {
                _of_the_site(status, headers, TYPES[kind])
                for kind, answers in found["sent"].items()
                if kind in TYPES
                for status, headers in answers
            }
            (hsts, csp) = sent.pop()
            manifest = str(found["manifest"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        is_digest = re.fullmatch("[0-9a-f]{64}", manifest)
        return None if sent or not is_digest else cls(manifest, hsts, csp)

    @property
    def names(self) -> tuple[str, ...]:
        """The two headers as names: the first one's, and three for the second."""
        text = self.csp.replace("/", "|")
        parts = [text[at * _NAME : (at + 1) * _NAME] for at in range(_NAMES)]
        return (self.hsts, *parts)


def _of_the_site(status: int, headers: Any, kind: str) -> tuple[str, str]:
    """The two headers that may be each site's own; ValueError where anything else is."""
    found = {name.lower(): value for name, value in headers}
    if len(found) != len(headers):
        raise ValueError("one of them comes twice")
    hsts, csp = (found.pop(name, "") for name in _SITES)
    rest = {name: value for name, value in found.items() if name not in _OWN}
    varies = rest.pop("vary", "Accept-Encoding") != "Accept-Encoding"
    alike = (status, rest) == (200, _ALIKE | {"content-type": kind})
    if varies or not alike or not _can_be_named(hsts, csp):
        raise ValueError("the proxy would send it otherwise")
    return hsts, csp


def _can_be_named(hsts: str, csp: str) -> bool:
    plain = all(_VALUE.fullmatch(value) for value in (hsts, csp))
    fits = len(hsts) <= _NAME and len(csp) <= _NAME * _NAMES
    return plain and fits and "/" not in hsts and "nonce-" not in csp
