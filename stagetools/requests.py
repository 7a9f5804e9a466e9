"""Each request gets an id, its client's address and one line in the log."""

import ipaddress
import logging
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from stagetools.health import PATH as HEALTH_PATH
from stagetools.settings.logs import REQUEST_ID

__all__ = ["RequestMiddleware", "client_address"]

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Sends X-Request-ID back; an id that a client sends is not used, for it could lie."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.META["REMOTE_ADDR"] = client_address(request.META)
        token = REQUEST_ID.set(secrets.token_hex(8))
        started = time.perf_counter()
        try:
            response = self.get_response(request)
            response.headers["X-Request-ID"] = REQUEST_ID.get()
            _log(request, response.status_code, time.perf_counter() - started)
            return response
        finally:
            REQUEST_ID.reset(token)


def client_address(meta: dict[str, str]) -> str:
    """The address behind our own proxy, which is the last that X-Forwarded-For names.

    Anybody can send the header, so it counts only where a proxy on this machine is the one
    who connects: over a unix socket, which has no address, or from a loopback address.
    """
    peer = meta.get("REMOTE_ADDR", "")
    if peer and not _is_loopback(peer):
        return peer
    forwarded = meta.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
    return forwarded if _is_address(forwarded) else peer


def _log(request: HttpRequest, status: int, seconds: float) -> None:
    """Neither query strings nor bodies, which may hold secrets; no healthy health check.

    A static file that is there is for LOG_LEVEL=DEBUG: a page asks for many.
    """
    if request.path_info == HEALTH_PATH and status == HTTPStatus.OK:
        return
    address = request.META["REMOTE_ADDR"] or "-"
    logger.log(
        _level(request.path, status),
        '"%s %s" %d %.0fms %s',
        request.method,
        request.path,
        status,
        seconds * 1000,
        address,
    )


def _level(path: str, status: int) -> int:
    prefix = urlsplit(settings.STATIC_URL or "").path
    is_static = len(prefix) > 1 and path.startswith(prefix)
    return (
        logging.DEBUG if is_static and status < HTTPStatus.BAD_REQUEST else logging.INFO
    )


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def _is_loopback(word: str) -> bool:
    return _is_address(word) and ipaddress.ip_address(word).is_loopback
