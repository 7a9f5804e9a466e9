"""`/healthz`: 200 while the database answers and has every migration of this release.

A migration that the database has and this release's code has not is told in the answer, and
is no reason to refuse: an older release goes on serving while a newer one has migrated.
"""

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus

from django.apps import apps
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.http import HttpRequest, HttpResponse

__all__ = [
    "ENGINE",
    "PATH",
    "HealthMiddleware",
    "pending_migrations",
    "plan_of",
    "unknown_migrations",
]

PATH = "/healthz"
ENGINE = "X-Stagetools-Database"
"""The header of an answer that tells a deploy which engine the database has."""
logger = logging.getLogger(__name__)
Row = tuple[str, str]
"""A migration as the database has it: its app, its name."""


class HealthMiddleware:
    """Answers PATH before anything may look at the host name or ask for HTTPS."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        # what was applied when it was last judged: the code of a process does not change
        self.judged: tuple[tuple[Row, ...], str, str] | None = None

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info != PATH:
            return self.get_response(request)
        try:
            trouble, remark = self.judge()
        except Error as error:
            trouble, remark = f"the database cannot be read: {error}", ""
        if trouble:
            logger.warning("not healthy: %s", trouble)
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, trouble)
        answer = _answer(HTTPStatus.OK, f"ok{remark}")
        if "X-Forwarded-For" not in request.headers:  # no visitor's: they have it
            answer.headers[ENGINE] = connection.vendor
        return answer

    def judge(self) -> tuple[str, str]:
        """Why no traffic should come here, or nothing; and what else is to be said.

        The migrations are read each time, for another release may have changed them; the
        code's own, which takes longer, only when they are others than before.
        """
        rows = _applied()
        if rows is None or self.judged is None or self.judged[0] != rows:
            trouble = _trouble(pending_migrations())
            if rows is None:
                return trouble, ""
            self.judged = (rows, trouble, _remark(unknown_migrations(rows)))
        return self.judged[1:]


def _answer(status: HTTPStatus, text: str) -> HttpResponse:
    answer = HttpResponse(f"{text}\n", status=status, content_type="text/plain")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Content-Length"] = str(len(answer.content))
    answer._has_been_logged = True  # or Django makes an error of it, with a mail each
    return answer


def pending_migrations() -> list[str]:
    """The migrations of this code that the database does not have: `blog.0002_tags`."""
    plan = plan_of(MigrationExecutor(connection))
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def plan_of(executor: MigrationExecutor) -> list[tuple[Migration, bool]]:
    """The same in their order, as Django itself plans them."""
    plan: list[tuple[Migration, bool]]
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return plan


def unknown_migrations(applied: Iterable[Row]) -> list[str]:
    """Those of `applied`, oldest first, that this code lacks though it has their app.

    Not those before the last one of their app that it has: they were removed since, as is
    done with what was squashed.
    """
    code = MigrationLoader(None, ignore_no_migrations=True).disk_migrations or {}
    known = {*code, *(tuple(row) for one in code.values() for row in one.replaces)}
    labels = {config.label for config in apps.get_app_configs()}
    unknown: list[Row] = []
    for app, name in applied:
        if (app, name) in known:
            unknown = [row for row in unknown if row[0] != app]
        elif app in labels:
            unknown.append((app, name))
    return [f"{app}.{name}" for app, name in unknown]


def _applied() -> tuple[Row, ...] | None:
    """The migrations that the database has, oldest first; None when it has no table of them.

    A row of a table that is always there; SQLite answers `SELECT 1` without its file.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations ORDER BY id")
            return tuple(cursor.fetchall())
    except Error:
        if "django_migrations" in connection.introspection.table_names():
            raise
        return None


def _trouble(pending: list[str]) -> str:
    if not pending:
        return ""
    return f"{_counted(len(pending))} not applied, {pending[0]} the first"


def _remark(unknown: list[str]) -> str:
    if not unknown:
        return ""
    names = ", ".join(unknown)
    return (
        f", but the database has {_counted(len(unknown))}"
        f" that this release does not know: {names}"
    )


def _counted(count: int) -> str:
    return "1 migration" if count == 1 else f"{count} migrations"
