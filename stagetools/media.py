"""Uploaded files under MEDIA_URL, where this site has them on its own disk.

Whoever knows the address gets the file, as with a web server. A browser runs nothing in it:
what could hold a script is neither shown nor loaded as one, whatever an upload calls itself.
"""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed, SuspiciousFileOperation
from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.static import serve

__all__ = ["MediaMiddleware"]

_QUIET = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; sandbox"
_SHOWN = re.compile(r"image/|audio/|video/|application/pdf\Z|text/plain\Z")
_SVG = "image/svg+xml"  # in an <img> its scripts do not run; as a page they would
_ACTIVE = re.compile(r"html|xml|script|flash")
_UNKNOWN = "application/octet-stream"


class MediaMiddleware:
    """Answers below MEDIA_URL from MEDIA_ROOT; what is not there is left to the project."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        url = urlsplit(settings.MEDIA_URL)
        if url.netloc or not url.path.strip("/") or not settings.MEDIA_ROOT:
            raise MiddlewareNotUsed
        self.get_response = get_response
        self.prefix = "/" + url.path.strip("/") + "/"

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        is_asked = request.path_info.startswith(self.prefix)
        if not is_asked or request.method not in ("GET", "HEAD"):
            return self.get_response(request)
        name = request.path_info.removeprefix(self.prefix)
        if ".tmp" in name.split("/"):  # uploads in flight, see compose.yaml
            return self.get_response(request)
        try:
            answer = serve(request, name, document_root=settings.MEDIA_ROOT)
        except (Http404, SuspiciousFileOperation, OSError, ValueError):
            return self.get_response(request)
        _quieten(answer)
        return answer


def _quieten(answer: HttpResponseBase) -> None:
    """An upload may be a page with a script in it, or the script of such a page."""
    kind = answer.headers.get("Content-Type", _UNKNOWN).partition(";")[0].lower()
    if _ACTIVE.search(kind) and kind != _SVG:
        kind = answer.headers["Content-Type"] = _UNKNOWN
    if kind == _SVG or not _SHOWN.match(kind):
        answer.headers["Content-Disposition"] = "attachment"
    answer.headers["Content-Security-Policy"] = _QUIET
    answer.headers["X-Content-Type-Options"] = "nosniff"
