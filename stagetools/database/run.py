"""Migrations with the time that each takes, on the live database or on a copy of it."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.commands import migrate as django_migrate
from django.db import connection

from stagetools.database.copy import copy, integrity, remove
from stagetools.database.plan import label
from stagetools.database.undo import undo
from stagetools.errors import StageError

__all__ = [
    "Failed",
    "Told",
    "is_sqlite",
    "live_path",
    "migrate",
    "on_a_copy",
    "refuse_a_file_of_the_image",
    "refuse_others",
    "reverse",
]

Told = Callable[[str, float], None]
"""A migration's label, and the seconds that it took."""
Failed = Callable[[str, bool], None]
"""A migration's label, and whether a transaction undid all of it."""


def _nobody(migration: str, atomic: bool) -> None: ...


class _Timed(django_migrate.Command):  # type: ignore[misc]
    """Django's own command, signals and all, with a clock beside it."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told, self._started = told, 0.0
        self.running: Any = None  # a migration

    def migration_progress_callback(
        self, action: str, migration: Any = None, fake: bool = False
    ) -> None:
        if action in ("apply_start", "unapply_start"):
            self._started, self.running = time.monotonic(), migration
        elif action in ("apply_success", "unapply_success"):
            seconds = time.monotonic() - self._started
            self.running = None
            self._told(label(migration), seconds)


@contextmanager
def _timed(told: Told, failed: Failed) -> Iterator[_Timed]:
    """Within the block migrations run; the one that ends it with an error is told."""
    timed = _Timed(told)
    try:
        yield timed
    except Exception:
        if one := timed.running:
            failed(
                label(one), bool(one.atomic and connection.features.can_rollback_ddl)
            )
        raise


def migrate(told: Told, failed: Failed = _nobody) -> None:
    """Apply all that is pending."""
    with _timed(told, failed) as timed:
        call_command(timed, interactive=False, verbosity=0)


def reverse(told: Told, names: Iterable[str], failed: Failed = _nobody) -> None:
    """Undo what a release with only the migrations `names` does not know."""
    with _timed(told, failed) as timed:
        undo(names, timed.migration_progress_callback)


def is_sqlite() -> bool:
    return bool(connection.vendor == "sqlite")


def refuse_others() -> None:
    """StageError unless the database is a file that can be copied."""
    if not is_sqlite():
        raise StageError(
            f"The database is {connection.vendor}: only SQLite's can be copied.",
            remedy="Copy it with its own tools.",
        )


def refuse_a_file_of_the_image() -> None:
    """StageError for a SQLite file where nothing can be written, and nothing would stay."""
    if is_sqlite() and not os.access(live_path().parent, os.W_OK):
        raise StageError(
            f"DATABASES names {live_path()}, where a server can write nothing: each"
            " release brings a new image, without what was written into the last one.",
            remedy="Remove the line of stagetools_project/settings.py that takes DATABASES"
            " from your own settings: the file is then in the installation's data directory.",
        )


def live_path() -> Path:
    """The live database's file."""
    return Path(connection.settings_dict["NAME"])


@contextmanager
def on_a_copy(name: str) -> Iterator[float]:
    """Within the block Django's database is a copy of the live one; yields its seconds.

    The copy lies beside the live one, on the same disk, and is checked before it goes.
    """
    refuse_others()
    live, started = live_path(), time.monotonic()
    path = live.with_name(name)
    connection.close()
    remove(path)
    try:
        copy(live, path)
        connection.settings_dict["NAME"] = str(path)
        yield time.monotonic() - started
        connection.close()
        if (said := integrity(path)) != "ok":
            raise RuntimeError(f"after the migrations the copy is not sound: {said}")
    finally:
        connection.close()
        connection.settings_dict["NAME"] = str(live)
        remove(path)
