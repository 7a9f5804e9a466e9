"""Which migrations are to come, and whether the release that serves can live with them."""

from collections.abc import Iterable, Iterator

from django.db import connection, migrations, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from stagetools.database.protocol import Finding
from stagetools.health import plan_of

__all__ = [
    "applied",
    "breaking",
    "irreversible",
    "known",
    "label",
    "pending",
    "unforeseeable",
]


def label(migration: Migration) -> str:
    """`shop.0003_price`"""
    return f"{migration.app_label}.{migration.name}"


def known() -> list[str]:
    """Every migration that this release's code has."""
    loader = MigrationExecutor(connection).loader
    return sorted(f"{app}.{name}" for app, name in loader.disk_migrations or {})


def pending() -> list[tuple[Migration, ProjectState]]:
    """The migrations that the database lacks, each with the state before it."""
    executor = MigrationExecutor(connection)
    plan = plan_of(executor)
    state = executor._create_project_state(with_applied_migrations=True)
    return list(_with_states(plan, state))


def applied() -> list[tuple[Migration, ProjectState]]:
    """The migrations that the database has, each with the state before it, oldest first."""
    executor = MigrationExecutor(connection)
    loader = executor.loader
    full = executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True)
    plan = [
        (m, b) for m, b in full if (m.app_label, m.name) in loader.applied_migrations
    ]
    return list(_with_states(plan, ProjectState(real_apps=loader.unmigrated_apps)))


def _with_states(
    plan: Iterable[tuple[Migration, bool]], state: ProjectState
) -> Iterator[tuple[Migration, ProjectState]]:
    for migration, _ in plan:
        yield migration, state
        state = migration.mutate_state(state, preserve=True)


def breaking(plan: Iterable[tuple[Migration, ProjectState]]) -> list[Finding]:
    """What the release before cannot live with, while it serves on the new schema."""
    found = []
    made: set[tuple[str, str]] = (
        set()
    )  # models of this very plan: nobody serves them yet
    for migration, state in plan:
        for operation in migration.operations:
            app = migration.app_label
            for one in _in_database(operation):
                if isinstance(one, migrations.CreateModel):
                    made.add((app, one.name_lower))
                elif (app, _model(one)) not in made and (what := _why(one, app, state)):
                    found.append(Finding(label(migration), what))
            state = state.clone()
            operation.state_forwards(app, state)
    return found


def unforeseeable(plan: Iterable[tuple[Migration, ProjectState]]) -> list[Finding]:
    """What may do anything: nobody can say whether the release before can live with it."""
    found = []
    for migration, _ in plan:
        if not migration.atomic:
            found.append(Finding(label(migration), "is not atomic"))
        for whole in migration.operations:
            what = (_why_unforeseeable(one) for one in (whole, *_in_database(whole)))
            found += [
                Finding(label(migration), why) for why in dict.fromkeys(what) if why
            ]
    return found


def _why_unforeseeable(operation: Operation) -> str:
    match operation:
        case migrations.RunPython() if operation.code is not migrations.RunPython.noop:
            return f"runs {getattr(operation.code, '__name__', 'Python')}"
        case migrations.RunSQL() if operation.sql != migrations.RunSQL.noop:
            return "runs SQL of its own"
    kind = type(operation)
    if not kind.__module__.startswith("django."):
        return f"has a {kind.__name__}, which is not Django's"
    return ""


def irreversible(plan: Iterable[tuple[Migration, ProjectState]]) -> list[Finding]:
    """The operations that cannot be undone."""
    return [
        Finding(label(migration), operation.describe())
        for migration, _ in plan
        for whole in migration.operations
        for operation in _in_database(whole)
        if not operation.reversible
    ]


def _in_database(operation: Operation) -> Iterator[Operation]:
    """What an operation does to the database, which is not always what the state says."""
    if isinstance(operation, migrations.SeparateDatabaseAndState):
        for inner in operation.database_operations:
            yield from _in_database(inner)
    else:
        yield operation


def _model(operation: Operation) -> str:
    name = (
        getattr(operation, "model_name", None) or getattr(operation, "name", None) or ""
    )
    return str(name).lower()


def _why(operation: Operation, app: str, state: ProjectState) -> str:
    """Why the old code fails after this operation, or nothing."""
    match operation:
        case migrations.RemoveField():
            return f"drops {operation.model_name}.{operation.name}"
        case migrations.RenameField():
            return f"renames {operation.model_name}.{operation.old_name}"
        case migrations.DeleteModel():
            return f"drops {operation.name}"
        case migrations.RenameModel():
            return f"renames {operation.old_name}"
        case migrations.AlterModelTable():
            return f"renames the table of {operation.name}"
        case migrations.AddField() if _insert_needs(operation.field):
            name = f"{operation.model_name}.{operation.name}"
            return f"adds {name}, which the live release does not write{_cure(operation.field)}"
        case migrations.AlterField():
            return _why_altered(operation, app, state)
        case migrations.AddConstraint():
            name = operation.constraint.name
            return f"adds the constraint {name} to {operation.model_name}"
        case migrations.AlterUniqueTogether():
            return _why_together(operation, app, state)
        case migrations.AlterOrderWithRespectTo():
            return f"changes the order of {operation.name}, a column"
    return ""


def _why_together(
    operation: migrations.AlterUniqueTogether, app: str, state: ProjectState
) -> str:
    old = state.models[app, operation.name_lower].options.get("unique_together") or ()
    more = set(operation.option_value) - {tuple(names) for names in old}
    listed = "; ".join(", ".join(names) for names in sorted(more))
    return f"makes {listed} of {operation.name} unique" if more else ""


def _why_altered(
    operation: migrations.AlterField, app: str, state: ProjectState
) -> str:
    old = state.models[app, operation.model_name_lower].fields[operation.name]
    name = f"{operation.model_name}.{operation.name}"
    if _column(old, operation.name) != _column(operation.field, operation.name):
        return f"renames the column of {name}"
    if old.null and _insert_needs(operation.field):
        return f"forbids NULL in {name}"
    if _kind(old) != _kind(operation.field):
        return f"changes the type of {name}"
    if operation.field.unique and not old.unique:
        return f"makes {name} unique"
    return ""


_KINDS = {
    **dict.fromkeys(("CharField", "TextField", "SlugField", "FilePathField"), "text"),
    **dict.fromkeys(("FileField", "ImageField"), "text"),
    **dict.fromkeys(
        ("SmallIntegerField", "IntegerField", "BigIntegerField"), "integer"
    ),
    **dict.fromkeys(("SmallAutoField", "AutoField", "BigAutoField"), "integer"),
}


def _kind(field: models.Field) -> str:
    """What its column holds; types between which old code notices nothing are one kind."""
    if field.remote_field and not field.many_to_many:
        return "key"
    name = str(field.get_internal_type())
    return _KINDS.get(name.removeprefix("Positive"), name)


def _column(field: models.Field, name: str) -> str:
    """The name of its column, once it has the name of a field."""
    bound = field.clone()
    bound.set_attributes_from_name(name)
    return str(bound.column)


def _cure(field: models.Field) -> str:
    """The simple way, where there is one: a default that the database itself has."""
    if not field.has_default() or callable(field.default):
        return ""
    return f" (write db_default={field.default!r} in place of default={field.default!r}, and it need not)"


def _insert_needs(field: models.Field) -> bool:
    """Whether an INSERT that leaves the column out is refused.

    Django sets a default while it adds the column, and drops it at once: only `db_default`
    stays in the database.
    """
    if field.many_to_many or field.null:
        return False
    return not getattr(field, "has_db_default", lambda: False)() and not field.generated
