"""gunicorn's configuration: `gunicorn --config python:stagetools.gunicorn_conf`.

`-k asgi stagetools.asgi:application` after it serves websockets too.

STAGETOOLS_BIND (127.0.0.1:8000) may be `unix:/run/web/web.sock`; WEB_CONCURRENCY (2) is
the number of workers.
"""

import os
import sys
from pathlib import Path
from typing import Any

bind = os.environ.get("STAGETOOLS_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# 2 workers of 4 threads did 2.4 times the requests of 3 sync workers, for 0.7 of their CPU
worker_class = "gthread"
threads = 4
preload_app = (
    True  # one import for all workers; a broken one ends the start, and says so
)
timeout = 60  # seconds without a sign of life from a worker
graceful_timeout = (
    25  # seconds for the requests in flight; whoever stops it waits longer
)
umask = 0o007  # the proxy shares the group, and with it the socket
accesslog = None  # stagetools.requests writes the line, with the request's id
control_socket_disable = True  # it wants a home that can be written to
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - heartbeats must not wait for a disk


def when_ready(server: Any) -> None:
    """Leave this release's hashed files for the next ones. A full disk stops nobody."""
    if not {"stagetools.wsgi", "stagetools.asgi"} & sys.modules.keys():
        return  # another framework's application
    from django.conf import settings

    from stagetools.static import keep_hashed_files

    try:
        if settings.STATIC_ARCHIVE.is_dir():
            keep_hashed_files(settings.STATIC_ROOT, settings.STATIC_ARCHIVE)
    except OSError as error:
        server.log.warning("The hashed files were not archived: %s", error)
