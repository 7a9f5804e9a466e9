"""gunicorn's configuration: `gunicorn --config python:stagetools.gunicorn_conf`.

`-k asgi stagetools.asgi:application` after it serves websockets too.

STAGETOOLS_BIND (127.0.0.1:8000) may be `unix:/run/web/web.sock`; WEB_CONCURRENCY (2) is
the number of workers.
"""

import os
import sys
from pathlib import Path
from typing import Any

from stagetools.settings.logs import to_stdout

bind = os.environ.get("STAGETOOLS_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# 2 workers of 4 threads did 2.4 times the requests of 3 sync workers, for 0.7 of their CPU
worker_class = "gthread"
threads = 4
# one import for all workers; a broken one ends the start, and says so
preload_app = True
timeout = 60  # seconds without a sign of life from a worker
graceful_timeout = 25  # seconds for requests in flight; who stops it must wait longer
umask = 0o007  # the proxy shares the group, and with it the socket
accesslog = None  # stagetools.requests writes the line, with the request's id
logconfig_dict = to_stdout() | {
    "root": {"level": "INFO", "handlers": ["stdout"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["stdout"], "propagate": False}
    },
}
control_socket_disable = True  # it wants a home that can be written to
# a worker's sign of life must not wait for a disk
_MEMORY = Path("/dev/shm")  # noqa: S108
worker_tmp_dir = str(_MEMORY) if _MEMORY.is_dir() else None


def post_worker_init(worker: Any) -> None:
    """Tell the guard of slow bodies how many threads they may not all have."""
    if "stagetools.web.bodies" in sys.modules:
        sys.modules["stagetools.web.bodies"].GUARD.threads = worker.cfg.threads


def when_ready(server: Any) -> None:
    """Leave this release's hashed files for the next ones, while the workers start."""
    if not {"stagetools.wsgi", "stagetools.asgi"} & sys.modules.keys():
        return  # another framework's application
    if os.fork() == 0:  # gunicorn reaps it, as any child that is no worker
        try:
            _keep_hashed_files(server)
        finally:
            os._exit(0)


def _keep_hashed_files(server: Any) -> None:
    """A full disk stops nobody."""
    from django.conf import settings

    from stagetools.static import keep_hashed_files

    try:
        if settings.STATIC_ARCHIVE.is_dir():
            keep_hashed_files(settings.STATIC_ROOT, settings.STATIC_ARCHIVE)
    except OSError as error:
        server.log.warning("The hashed files were not archived: %s", error)
