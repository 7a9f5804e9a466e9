"""What an older release does not know of the database, and undoing just that."""

from collections.abc import Callable, Iterable, Sequence

from django.core.management.sql import (
    emit_post_migrate_signal,
    emit_pre_migrate_signal,
)
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState

from stagetools.database.plan import applied, irreversible, label
from stagetools.database.protocol import Finding
from stagetools.errors import StageError

__all__ = ["cannot_undo", "undo", "unknown_to"]

Names = Iterable[str]
"""The migrations that an older release has, as its `known` printed them."""


def unknown_to(names: Names) -> list[tuple[Migration, ProjectState]]:
    """The applied migrations that a release with only `names` does not know."""
    old = set(names)
    return [(m, state) for m, state in applied() if not _is_known(m, old)]


def cannot_undo(names: Names) -> list[Finding]:
    """Why what a release with only `names` does not know cannot be undone."""
    old = set(names)
    to_undo = unknown_to(old)
    unknown = [migration for migration, _ in to_undo]
    return [
        *irreversible(to_undo),
        *_squashed_across(unknown, old),
        *_squashed_and_removed(unknown, old),
    ]


def _squashed_across(unknown: Sequence[Migration], old: set[str]) -> list[Finding]:
    """Those of which the older release knows a part: they can only be undone as a whole."""
    return [
        Finding(label(m), f"is squashed, also from {', '.join(sorted(lacks))}")
        for m in unknown
        if (lacks := _squashed(m) - old) and lacks != _squashed(m)
    ]


def _squashed_and_removed(unknown: Sequence[Migration], old: set[str]) -> list[Finding]:
    """Those that may be what the older release has under other names.

    A squashed migration whose `replaces` is gone no longer says what it was made of: the
    database still has the rows of these, and undoing it would drop their tables.
    """
    executor = MigrationExecutor(connection)
    code = executor.loader.disk_migrations or {}
    here = {name for one in code.values() for name in (label(one), *_squashed(one))}
    last: dict[str, str] = {}  # that the older release has, of each app
    for row in executor.recorder.migration_qs.order_by("id"):
        if (name := f"{row.app}.{row.name}") in old:
            last[row.app] = name
    return [
        Finding(
            label(m), f"may hold {gone}, of which this release has no code any more"
        )
        for m in unknown
        if (gone := last.get(m.app_label, "")) and gone not in here
    ]


def _is_known(migration: Migration, names: set[str]) -> bool:
    """By its own name, or by those of all that was squashed into it."""
    squashed = _squashed(migration)
    return label(migration) in names or (bool(squashed) and squashed <= names)


def _squashed(migration: Migration) -> set[str]:
    return {f"{app}.{name}" for app, name in migration.replaces}


# --- undoing ----------------------------------------------------------------------------------


def undo(names: Names, progress: Callable[..., None]) -> None:
    """Unapply each unknown migration, newest first, whatever the graph's shape.

    Django's `migrate APP NAME` undoes only what follows NAME, and leaves a parallel branch.
    """
    old = set(names)
    executor = MigrationExecutor(connection, progress)
    remaining = _applied_by(executor)
    plan = [(m, True) for m in reversed(remaining) if not _is_known(m, old)]
    if not plan:
        return
    apps = _state_of(executor, remaining).apps
    emit_pre_migrate_signal(0, False, connection.alias, apps=apps, plan=plan)
    for migration, _ in plan:
        remaining.remove(migration)
        executor.unapply_migration(_state_of(executor, remaining), migration)
    executor.check_replacements()
    apps = _state_of(executor, remaining).apps
    emit_post_migrate_signal(0, False, connection.alias, apps=apps, plan=plan)
    _assert_none_left(old)


def _applied_by(executor: MigrationExecutor) -> list[Migration]:
    """What is applied, each after all that it depends on."""
    loader = executor.loader
    full = executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True)
    return [m for m, _ in full if (m.app_label, m.name) in loader.applied_migrations]


def _state_of(executor: MigrationExecutor, plan: Iterable[Migration]) -> ProjectState:
    """The models as they are when just these are applied.

    SQLite makes a table anew from its model: a column that the state lacks, because it came
    from a parallel branch, would be lost with all that it holds.
    """
    state = ProjectState(real_apps=executor.loader.unmigrated_apps)
    for migration in plan:
        migration.mutate_state(state, preserve=False)
    return state


def _assert_none_left(old: set[str]) -> None:
    left = [label(m) for m, _ in unknown_to(old)]
    if left:
        raise StageError(f"Still applied, though undone: {', '.join(left)}.")
