"""Which migrations the release that serves cannot live with, and which cannot be undone."""

import sqlite3

import pytest
from django.db import migrations, models
from django.db.migrations.state import ProjectState

from stagetools.database import plan, run
from stagetools.database.protocol import Finding

ITEM = migrations.CreateModel(
    "Item",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=9)),
        ("note", models.CharField(max_length=9, null=True)),
        ("shelf", models.CharField(max_length=9, db_column="place")),
    ],
)


def a_plan(*operations, name: str = "0002_next"):
    """A migration of these operations, with a state that has `Item`."""
    state = ProjectState()
    ITEM.state_forwards("till", state)
    migration = migrations.Migration(name, "till")
    migration.operations = list(operations)
    return [(migration, state)]


def breaks(*operations) -> list[str]:
    return [found.what for found in plan.breaking(a_plan(*operations))]


def text(**options) -> models.Field:
    return models.CharField(max_length=9, **options)


BREAKING = {
    "a dropped column": (migrations.RemoveField("Item", "name"), "drops Item.name"),
    "a renamed column": (
        migrations.RenameField("Item", "name", "title"),
        "renames Item.name",
    ),
    "a dropped table": (migrations.DeleteModel("Item"), "drops Item"),
    "a renamed table": (migrations.RenameModel("Item", "Thing"), "renames Item"),
    "a table under another name": (
        migrations.AlterModelTable("Item", "things"),
        "renames the table of Item",
    ),
    "a column that must be filled": (
        migrations.AddField("Item", "price", models.IntegerField(default=0)),
        "adds Item.price, which the live release does not write (write db_default=0 in place"
        " of default=0, and it need not)",
    ),
    "a column that may no longer be empty": (
        migrations.AlterField("Item", "note", text()),
        "forbids NULL in Item.note",
    ),
    "a column under another name": (
        migrations.AlterField("Item", "name", text(db_column="title")),
        "renames the column of Item.name",
    ),
    "a column that takes the field's own name": (
        migrations.AlterField("Item", "shelf", text()),
        "renames the column of Item.shelf",
    ),
    "a change of the database alone": (
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RemoveField("Item", "name")]
        ),
        "drops Item.name",
    ),
    "a constraint": (
        migrations.AddConstraint(
            "Item", models.UniqueConstraint(fields=["name"], name="one_name")
        ),
        "adds the constraint one_name to Item",
    ),
    "columns that may no longer be the same together": (
        migrations.AlterUniqueTogether("Item", {("name", "note")}),
        "makes name, note of Item unique",
    ),
    "a column whose values may no longer be the same": (
        migrations.AlterField("Item", "name", text(unique=True)),
        "makes Item.name unique",
    ),
    "a column of another type": (
        migrations.AlterField("Item", "name", models.IntegerField()),
        "changes the type of Item.name",
    ),
    "an order that is kept": (
        migrations.AlterOrderWithRespectTo("Item", "shelf"),
        "changes the order of Item, a column",
    ),
}


@pytest.mark.parametrize(("operation", "what"), BREAKING.values(), ids=BREAKING)
def test_what_old_code_cannot_live_with_is_named(operation, what: str) -> None:
    assert breaks(operation) == [what]


FINE = {
    "a column that may be empty": migrations.AddField("Item", "price", models.IntegerField(null=True)),
    "a column that the database fills": migrations.AddField("Item", "price", models.IntegerField(db_default=0)),
    "a column that the database works out": migrations.AddField(
        "Item", "both", models.GeneratedField(expression=models.F("name"), output_field=text(), db_persist=False)),
    "a table between two": migrations.AddField("Item", "like", models.ManyToManyField("till.Item")),
    "a new table": migrations.CreateModel("Other", [("id", models.BigAutoField(primary_key=True))]),
    "an index": migrations.AddIndex("Item", models.Index(fields=["name"], name="i")),
    "a text without limit": migrations.AlterField("Item", "name", models.TextField()),
    "a slug": migrations.AlterField("Item", "name", models.SlugField()),
    "a larger key": migrations.AlterField("Item", "id", models.AutoField(primary_key=True)),
    "columns that may be the same together now": migrations.AlterUniqueTogether("Item", set()),
    "a longer text": migrations.AlterField("Item", "name", models.CharField(max_length=99)),
    "a column that may be empty now": migrations.AlterField("Item", "name", text(null=True)),
    "NULL forbidden where the database has a default": migrations.AlterField("Item", "note", text(db_default="")),
    "a change of the state alone": migrations.SeparateDatabaseAndState(
        state_operations=[migrations.RemoveField("Item", "name")]),
    "data": migrations.RunPython(migrations.RunPython.noop),
}  # fmt: skip


@pytest.mark.parametrize("operation", FINE.values(), ids=FINE)
def test_what_old_code_does_not_notice_is_not(operation) -> None:
    assert breaks(operation) == []


def test_a_table_of_the_same_plan_may_be_changed_at_will() -> None:
    made = migrations.CreateModel(
        "New", [("id", models.BigAutoField(primary_key=True))]
    )
    add = migrations.AddField("New", "price", models.IntegerField())
    assert breaks(made, add, migrations.RemoveField("New", "price")) == []


def test_a_table_that_goes_and_comes_again_is_dropped() -> None:
    made = migrations.CreateModel(
        "Item", [("id", models.BigAutoField(primary_key=True))]
    )
    assert breaks(migrations.DeleteModel("Item"), made) == ["drops Item"]


def test_what_came_before_in_the_same_migration_counts() -> None:
    add = migrations.AddField("Item", "price", models.IntegerField(null=True))
    alter = migrations.AlterField("Item", "price", models.IntegerField())
    assert breaks(add, alter) == ["forbids NULL in Item.price"]


def test_each_is_named_with_its_migration() -> None:
    (found,) = plan.breaking(a_plan(migrations.DeleteModel("Item"), name="0007_clean"))
    assert found.migration == "till.0007_clean"


def noop(apps, schema_editor) -> None: ...


@pytest.mark.parametrize(
    ("operation", "can"),
    [
        (migrations.RunPython(noop), False),
        (migrations.RunPython(noop, noop), True),
        (migrations.RunSQL("SELECT 1"), False),
        (migrations.RunSQL("SELECT 1", migrations.RunSQL.noop), True),
        (migrations.RemoveField("Item", "name"), True),
        (
            migrations.SeparateDatabaseAndState(
                database_operations=[migrations.RunSQL("SELECT 1")]
            ),
            False,
        ),
    ],
)
def test_what_cannot_be_undone_is_named(operation, *, can: bool) -> None:
    assert (plan.irreversible(a_plan(operation)) == []) is can


# --- on a real database -----------------------------------------------------------------------

CREATE = """migrations.CreateModel("Item", [
    ("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())])"""
PRICE = 'migrations.AddField("Item", "price", models.IntegerField(null=True))'
STOCK = 'migrations.AddField("Item", "stock", models.IntegerField(null=True))'


def labels(found) -> list[str]:
    return [plan.label(migration) for migration, _ in found]


def columns(path) -> list[str]:
    database = sqlite3.connect(path)
    rows = database.execute(
        "SELECT name FROM pragma_table_info('till_item')"
    ).fetchall()
    database.close()
    return [name for (name,) in rows]


def told(migration: str, seconds: float) -> None: ...


def test_all_is_pending_on_an_empty_database(database, write) -> None:
    write("0001_initial", CREATE)
    write("0002_price", PRICE)
    assert labels(plan.pending()) == ["till.0001_initial", "till.0002_price"]
    assert plan.known() == ["till.0001_initial", "till.0002_price"]
    assert labels(plan.applied()) == []


def test_looking_at_the_plan_changes_nothing(database, write) -> None:
    write("0001_initial", CREATE)
    plan.pending()
    plan.applied()
    plan.known()
    assert not database.exists() or not columns(database)


def test_migrating_tells_each_and_leaves_none(database, write) -> None:
    write("0001_initial", CREATE)
    write("0002_price", PRICE)
    seen: list[tuple[str, float]] = []
    run.migrate(lambda *one: seen.append(one))
    assert [name for name, _ in seen] == ["till.0001_initial", "till.0002_price"]
    assert all(0 <= seconds < 60 for _, seconds in seen)
    assert labels(plan.pending()) == []
    seen.clear()
    run.migrate(lambda *one: seen.append(one))
    assert seen == []


def test_only_what_is_to_come_is_judged(database, write) -> None:
    write("0001_initial", CREATE, PRICE)
    run.migrate(told)
    write("0002_drop", 'migrations.RemoveField("Item", "price")')
    assert labels(plan.pending()) == ["till.0002_drop"]
    (found,) = plan.breaking(plan.pending())
    assert found == Finding("till.0002_drop", "drops Item.price")


# --- what nobody can foresee ------------------------------------------------------------------


def raise_prices(apps, schema_editor) -> None: ...


class Vacuum(migrations.RunSQL):
    """An operation that Django does not ship."""


UNFORESEEABLE = {
    "python": (migrations.RunPython(raise_prices), ["runs raise_prices"]),
    "SQL": (
        migrations.RunSQL("UPDATE till_item SET name = ''"),
        ["runs SQL of its own"],
    ),
    "within": (
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL("SELECT 1")]
        ),
        ["runs SQL of its own"],
    ),
    "another's operation": (
        migrations.SeparateDatabaseAndState(database_operations=[Vacuum("")]),
        ["has a Vacuum, which is not Django's"],
    ),
    "python that does nothing": (migrations.RunPython(migrations.RunPython.noop), []),
    "SQL that does nothing": (migrations.RunSQL(migrations.RunSQL.noop), []),
    "a dropped column": (migrations.RemoveField("Item", "name"), []),
    "a change of the state alone": (
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField("Item", "name")]
        ),
        [],
    ),
}


@pytest.mark.parametrize(
    ("operation", "what"), UNFORESEEABLE.values(), ids=UNFORESEEABLE
)
def test_what_may_do_anything_is_named(operation, what: list[str]) -> None:
    assert [one.what for one in plan.unforeseeable(a_plan(operation))] == what


def test_what_a_transaction_does_not_guard_is_unforeseeable() -> None:
    ((migration, state),) = a_plan(migrations.DeleteModel("Item"))
    migration.atomic = False
    (found,) = plan.unforeseeable([(migration, state)])
    assert found == Finding("till.0002_next", "is not atomic")


# --- a migration that fails -------------------------------------------------------------------

BREAK = 'migrations.RunSQL("SELECT no_such_function()", migrations.RunSQL.noop)'


@pytest.mark.parametrize("atomic", [True, False])
def test_one_that_fails_is_told_with_what_its_transaction_undid(
    database, write, *, atomic: bool
) -> None:
    write("0001_initial", CREATE)
    write("0002_price", PRICE, BREAK, atomic=atomic)
    seen: list[tuple[str, bool]] = []
    with pytest.raises(Exception, match="no_such_function"):
        run.migrate(told, lambda *one: seen.append(one))
    assert seen == [("till.0002_price", atomic)]
    assert ("price" in columns(database)) is not atomic


def test_one_that_cannot_be_undone_is_told_too(database, write) -> None:
    write("0001_initial", CREATE)
    write("0002_back", 'migrations.RunSQL("SELECT 1", "SELECT no_such_function()")')
    run.migrate(told)
    seen: list[tuple[str, bool]] = []
    with pytest.raises(Exception, match="no_such_function"):
        run.reverse(told, ["till.0001_initial"], lambda *one: seen.append(one))
    assert seen == [("till.0002_back", True)]


def test_an_error_outside_of_a_migration_names_none(database, write) -> None:
    write("0001_initial", CREATE)
    write("0002_a", PRICE)
    write("0002_b", STOCK, after=[("till", "0001_initial")])
    seen: list[tuple[str, bool]] = []
    with pytest.raises(Exception, match="Conflicting migrations"):
        run.migrate(told, lambda *one: seen.append(one))
    assert seen == []
