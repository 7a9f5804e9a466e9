"""`/healthz`: 200 while the database answers and has every migration of this release."""

import logging
from collections.abc import Callable
from http import HTTPStatus

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse

__all__ = ["PATH", "HealthMiddleware", "pending_migrations"]

PATH = "/healthz"
logger = logging.getLogger(__name__)


class HealthMiddleware:
    """Answers PATH before anything may look at the host name or ask for HTTPS."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        # remembered once they were seen: the code of a process does not change
        self.has_migrations = False

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info != PATH:
            return self.get_response(request)
        if trouble := self.trouble():
            logger.warning("not healthy: %s", trouble)
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, trouble)
        return _answer(HTTPStatus.OK, "ok")

    def trouble(self) -> str:
        """Why no traffic should come here, in a few words, or nothing."""
        try:
            if not self.has_migrations and (pending := pending_migrations()):
                return f"{len(pending)} migrations not applied, {pending[0]} the first"
            self.has_migrations = True
            _read()
        except Error as error:
            return f"the database cannot be read: {error}"
        return ""


def _answer(status: HTTPStatus, text: str) -> HttpResponse:
    answer = HttpResponse(f"{text}\n", status=status, content_type="text/plain")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Content-Length"] = str(len(answer.content))
    answer._has_been_logged = True  # or Django makes an error of it, with a mail each
    return answer


def pending_migrations() -> list[str]:
    """The migrations of this code that the database does not have: `blog.0002_tags`."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def _read() -> None:
    """A row of a table that is always there; SQLite answers `SELECT 1` without its file."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
        cursor.fetchone()
