"""What a release may not do to the world outside while it is only tried.

A deploy rehearses migrations, and starts releases, on a copy of the database, and sets
STAGETOOLS_REHEARSAL=1 for that. Uploads are mounted read-only then, and there is no network.
"""

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import django
from django.conf import settings

__all__ = ["explain", "is_rehearsal", "prepare"]

_DUMMY = "django.core.mail.backends.dummy.EmailBackend"
_UPLOADS = (
    "In a rehearsal uploads are read-only, so that a migration that is only tried changes"
    " none of them. Let it leave files alone where STAGETOOLS_REHEARSAL is in the environment,"
    " or do that part in a management command after the deploy."
)
_NETWORK = (
    "A rehearsal has no network, unless deploy.toml says `rehearsal_network = true`."
)


def is_rehearsal() -> bool:
    return os.environ.get("STAGETOOLS_REHEARSAL") == "1"


def prepare() -> None:
    """After Django is set up: in a rehearsal no mail leaves, whatever the settings say."""
    if not is_rehearsal():
        return
    from django.core.mail.backends import smtp

    if hasattr(settings, "MAILERS"):
        settings.MAILERS = {name: {"BACKEND": _DUMMY} for name in settings.MAILERS}
    if django.VERSION < (6, 1) or not hasattr(settings, "MAILERS"):
        settings.EMAIL_BACKEND = _DUMMY
    # of a connection that the project makes by the backend's name
    smtp.EmailBackend.send_messages = _send_nothing


def _send_nothing(backend: Any, messages: Any) -> int:
    return len(list(messages))


def explain(error: BaseException) -> None:
    """Add to an error of a rehearsal what caused it, if the rehearsal did."""
    for one in _chain(error) if is_rehearsal() else ():
        if isinstance(one, OSError) and one.errno == errno.EROFS and _is_upload(one):
            error.add_note(_UPLOADS)
            return
        if isinstance(one, (socket.gaierror, ConnectionError)) or _is_unreachable(one):
            error.add_note(_NETWORK)
            return


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_upload(error: OSError) -> bool:
    paths = [str(path) for path in (error.filename, error.filename2) if path]
    return not paths or any(path.startswith(str(settings.MEDIA_ROOT)) for path in paths)


def _is_unreachable(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.EADDRNOTAVAIL,
    )
