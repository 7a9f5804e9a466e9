"""Uploaded files under MEDIA_URL, for a project that left them to its web server.

Whoever knows the address gets the file, as with a web server. A browser runs nothing in it.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.static import serve

__all__ = ["MediaMiddleware"]

_QUIET = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; sandbox"


class MediaMiddleware:
    """Answers below MEDIA_URL from MEDIA_ROOT; what is not there is left to the project."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.prefix = "/" + urlsplit(settings.MEDIA_URL).path.strip("/") + "/"

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        is_asked = request.path_info.startswith(self.prefix)
        if not is_asked or request.method not in ("GET", "HEAD"):
            return self.get_response(request)
        name = request.path_info.removeprefix(self.prefix)
        if ".tmp" in name.split("/"):  # uploads in flight, see compose.yaml
            return self.get_response(request)
        try:
            answer = serve(request, name, document_root=settings.MEDIA_ROOT)
        except Http404:
            return self.get_response(request)
        # an upload may be a page with a script in it
        answer.headers["Content-Security-Policy"] = _QUIET
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer
