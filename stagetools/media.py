"""Uploaded files under MEDIA_URL, where this site has them on its own disk.

Whoever knows the address gets the file, as with a web server. A browser runs nothing in it:
what could hold a script is neither shown nor loaded as one, whatever an upload calls itself.
"""

import re
from collections.abc import Callable, Iterator
from typing import IO
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed, SuspiciousFileOperation
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
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
        if isinstance(answer, FileResponse):
            _shorten(request, answer)
        return answer


def _quieten(answer: HttpResponseBase) -> None:
    """An upload may be a page with a script in it, or the script of such a page."""
    if answer.status_code != 304:  # whose headers replace those that came with the file
        kind = answer.headers.get("Content-Type", _UNKNOWN).partition(";")[0].lower()
        if _ACTIVE.search(kind) and kind != _SVG:
            kind = answer.headers["Content-Type"] = _UNKNOWN
        if kind == _SVG or not _SHOWN.match(kind):
            answer.headers["Content-Disposition"] = "attachment"
    answer.headers["Content-Security-Policy"] = _QUIET
    answer.headers["X-Content-Type-Options"] = "nosniff"


# --- a part of a file ------------------------------------------------------------------

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z", re.ASCII)
_BLOCK = 65536  # bytes
_CODED = re.compile("gzip|deflate|compress|br|zstd")


def _shorten(request: HttpRequest, answer: FileResponse) -> None:
    """Send the part that is asked for: without it some browsers play no film.

    One part; who asks for several gets the whole file, as RFC 9110 (14.2) allows.
    """
    answer.headers["Accept-Ranges"] = "bytes"
    size = int(answer.headers["Content-Length"])
    span = _span(request.headers.get("Range", ""), size)
    if not span or not _may_be_parted(request, answer.headers["Last-Modified"]):
        return
    start, length = span
    answer.status_code = 206 if length else 416
    shown = f"{start}-{start + length - 1}" if length else "*"
    answer.headers["Content-Range"] = f"bytes {shown}/{size}"
    answer.headers["Content-Length"] = str(length)
    # what compresses answers leaves alone what says how it is coded, whatever its class
    answer.headers["Content-Encoding"] = "identity"
    answer.streaming_content = _part(answer.file_to_stream, start, length)


def _may_be_parted(request: HttpRequest, modified: str) -> bool:
    """Not of another version; nor joined to a beginning that may have come compressed.

    Browsers take no coding (`identity`) where they ask for a part.
    """
    since = request.headers.get("If-Range")
    encodings = request.headers.get("Accept-Encoding", "")
    is_joined = since == modified and not _CODED.search(encodings)
    return request.method == "GET" and (since is None or is_joined)


def _span(asked: str, size: int) -> tuple[int, int] | None:
    """Where the part begins, and its length: 0 if there is none. None to send all."""
    found = _RANGE.match(asked)
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        return size - length, length
    if last and int(last) < int(first):
        return None
    end = min(int(last), size - 1) if last else size - 1
    return int(first), max(end + 1 - int(first), 0)


def _part(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    file.seek(start)
    while length and (block := file.read(min(length, _BLOCK))):
        length -= len(block)
        yield block
