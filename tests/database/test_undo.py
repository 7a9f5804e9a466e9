"""Undoing what an older release does not know, and nothing else."""

import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest
from django.db import connection

from stagetools.database import plan, run
from stagetools.database.undo import cannot_undo, unknown_to

CREATE = """migrations.CreateModel("Item", [
    ("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())])"""


def add(name: str, options: str = "", kind: str = "IntegerField") -> str:
    """A column that may be empty."""
    return f'migrations.AddField("Item", "{name}", models.{kind}(null=True, {options}))'


PRICE, STOCK = add("price"), add("stock")


def labels(found) -> list[str]:
    return [plan.label(migration) for migration, _ in found]


def columns(path: Path, table: str = "till_item") -> list[str]:
    database = sqlite3.connect(path)
    rows = database.execute(
        "SELECT name FROM pragma_table_info(?)", (table,)
    ).fetchall()
    database.close()
    return [name for (name,) in rows]


def value(path: Path, column: str, table: str = "till_item") -> object:
    database = sqlite3.connect(path)
    (found,) = database.execute(f"SELECT {column} FROM {table}").fetchone()  # noqa: S608
    database.close()
    return found


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def told(migration: str, seconds: float) -> None: ...


def undo(names: Iterable[str]) -> list[str]:
    """What was undone, in its order."""
    seen: list[str] = []
    run.reverse(lambda name, _: seen.append(name), names)
    return seen


def test_what_an_older_release_does_not_know_is_undone(database, write) -> None:
    write("0001_initial", CREATE)
    write("0002_price", PRICE)
    write("0003_stock", STOCK)
    run.migrate(told)
    old = ["till.0001_initial"]
    assert labels(unknown_to(old)) == ["till.0002_price", "till.0003_stock"]
    assert undo(old) == ["till.0003_stock", "till.0002_price"]
    assert columns(database) == ["id", "name"]
    assert unknown_to(old) == []
    assert undo(old) == []


def test_an_app_that_an_older_release_does_not_have_goes_altogether(
    database, write
) -> None:
    write("0001_initial", CREATE)
    run.migrate(told)
    assert undo([]) == ["till.0001_initial"]
    assert columns(database) == []


def test_a_release_that_knows_all_has_nothing_to_undo(database, write) -> None:
    write("0001_initial", CREATE)
    run.migrate(told)
    names = [*plan.known(), "till.0002_more"]
    assert unknown_to(names) == []
    assert undo(names) == []


# --- branches -----------------------------------------------------------------------------


@pytest.fixture
def merged(database, write) -> Path:
    """Two branches, and the migration that merges them; a row in their table."""
    write("0001_initial", CREATE)
    write("0002_a", add("a", "unique=True"))
    write("0002_b", add("b", "unique=True"), after=[("till", "0001_initial")])
    write("0003_merge", after=[("till", "0002_a"), ("till", "0002_b")])
    run.migrate(told)
    execute("INSERT INTO till_item (name, a, b) VALUES ('tea', 1, 2)")
    return Path(database)


@pytest.mark.parametrize(("kept", "gone"), ["ab", "ba"])
def test_of_two_branches_the_unknown_one_goes_and_the_other_keeps_its_data(
    merged, kept: str, gone: str
) -> None:
    """SQLite makes the table anew; the state must have the branch that stays."""
    old = ["till.0001_initial", f"till.0002_{kept}"]
    assert labels(unknown_to(old)) == [f"till.0002_{gone}", "till.0003_merge"]
    assert undo(old) == ["till.0003_merge", f"till.0002_{gone}"]
    assert columns(merged) == ["id", "name", kept]
    assert value(merged, kept) == "ab".index(kept) + 1
    assert unknown_to(old) == []


def test_of_branches_that_are_both_known_the_merge_alone_goes(merged) -> None:
    old = ["till.0001_initial", "till.0002_a", "till.0002_b"]
    assert undo(old) == ["till.0003_merge"]
    assert sorted(columns(merged)) == ["a", "b", "id", "name"]


def test_across_apps_the_one_that_depends_goes_first(database, write) -> None:
    write("0001_initial", CREATE)
    write("0001_initial", CREATE, app="purse")
    to_item = 'migrations.AddField("Item", "of", models.ForeignKey("{}.Item", models.CASCADE, null=True))'
    write("0002_of", to_item.format("purse"),
          after=[("till", "0001_initial"), ("purse", "0001_initial")])  # fmt: skip
    write("0002_of", to_item.format("till"), app="purse",
          after=[("till", "0002_of"), ("purse", "0001_initial")])  # fmt: skip
    run.migrate(told)
    assert undo(["till.0001_initial", "purse.0001_initial"]) == [
        "purse.0002_of",
        "till.0002_of",
    ]
    assert columns(database, "purse_item") == columns(database) == ["id", "name"]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_graph_only_what_is_unknown_goes(database, write, seed) -> None:
    """Random branches of two apps, and an older release that knows a part of them."""
    chance = random.Random(seed)  # noqa: S311
    keys = [("till", "0001_initial"), ("purse", "0001_initial")]
    parents: dict[tuple[str, str], list[tuple[str, str]]] = {key: [] for key in keys}
    for app, name in keys:
        write(name, CREATE, app=app)
    for number in range(2, 8):
        app = chance.choice(["till", "purse"])
        key = (app, f"{number:04}_c{number}")
        others = chance.sample(list(parents), k=chance.randint(0, 2))
        parents[key] = sorted({(app, "0001_initial"), *others})
        options = chance.choice(["", "unique=True", "db_index=True"])
        write(key[1], add(f"c{number}", options), app=app, after=parents[key])
    leaves = {
        app: sorted(
            key
            for key in parents
            if key[0] == app
            and not any(
                key in needed for (of, _), needed in parents.items() if of == app
            )
        )
        for app in ("till", "purse")
    }
    for app, names in leaves.items():  # Django migrates no app with two leaves
        if len(names) > 1:
            write("0099_merge", app=app, after=names)
    run.migrate(told)
    for app in ("till", "purse"):
        of_app = [n[-1] for a, n in parents if a == app and "_c" in n]
        names = "".join(f", c{n}" for n in of_app)
        values = "".join(f", {n}" for n in of_app)
        execute(f"INSERT INTO {app}_item (name{names}) VALUES ('tea'{values})")  # noqa: S608
    known = set(keys)
    for key, needed in parents.items():
        if set(needed) <= known and chance.random() < 0.5:
            known.add(key)
    undo(f"{app}.{name}" for app, name in known)
    assert set(_recorded()) == known
    for app in ("till", "purse"):
        stay = sorted(n[-1] for a, n in known if a == app and "_c" in n)
        table = f"{app}_item"
        found = columns(database, table)
        assert sorted(found) == sorted(["id", "name", *(f"c{n}" for n in stay)])
        assert [value(database, f"c{n}", table) for n in stay] == [int(n) for n in stay]


def _recorded() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        return list(cursor.fetchall())


def test_one_that_stays_applied_is_a_failure(database, write, monkeypatch) -> None:
    write("0001_initial", CREATE)
    write("0002_price", PRICE)
    run.migrate(told)
    monkeypatch.setattr(
        "django.db.migrations.executor.MigrationRecorder.record_unapplied",
        lambda *_: None,
    )
    with pytest.raises(RuntimeError, match=r"Still applied.*: till\.0002_price"):
        undo(["till.0001_initial"])


# --- squashes -----------------------------------------------------------------------------

SQUASHED = ("0001_initial", "0002_price")


@pytest.fixture
def squashed(database, write):
    """A database of the migrations as they were, and code that has squashed them since."""
    write("0001_initial", CREATE)
    write("0002_price", PRICE)
    run.migrate(told)
    write.another_code()
    for name, operation in zip(SQUASHED, (CREATE, PRICE), strict=True):
        write(name, operation)
    write("0001_squashed", CREATE, PRICE, replaces=SQUASHED)
    run.migrate(told)
    return database


def test_a_release_from_before_the_squashing_knows_what_was_squashed(squashed) -> None:
    """Undoing it would drop the tables, with all that they hold."""
    old = [f"till.{name}" for name in SQUASHED]
    assert labels(unknown_to(old)) == []
    assert undo(old) == []
    assert cannot_undo(old) == []


def test_what_came_after_the_squashing_is_undone_alone(squashed, write) -> None:
    write("0003_stock", STOCK)
    run.migrate(told)
    old = [f"till.{name}" for name in SQUASHED]
    assert labels(unknown_to(old)) == ["till.0003_stock"]
    assert undo(old) == ["till.0003_stock"]
    assert columns(squashed) == ["id", "name", "price"]


def test_a_release_that_knows_a_part_of_what_was_squashed_cannot_be_served(
    squashed,
) -> None:
    (found,) = cannot_undo(["till.0001_initial"])
    assert found.migration == "till.0001_squashed"
    assert "till.0002_price" in found.what


def test_one_that_no_longer_says_what_was_squashed_into_it_is_not_undone(
    squashed, write
) -> None:
    """For the older release knows what it holds, under other names."""
    write.another_code()
    write("0001_squashed", CREATE, PRICE)
    run.migrate(told)
    old = [f"till.{name}" for name in SQUASHED]
    (found,) = cannot_undo(old)
    assert found.migration == "till.0001_squashed"
    assert "till.0002_price" in found.what
    assert cannot_undo([*old, "till.0001_squashed"]) == []


def test_what_came_after_one_that_no_longer_says_it_is_undone_alone(
    squashed, write
) -> None:
    write.another_code()
    write("0001_squashed", CREATE, PRICE)
    write("0003_stock", STOCK)
    run.migrate(told)
    old = [f"till.{name}" for name in (*SQUASHED, "0001_squashed")]
    assert cannot_undo(old) == []
    assert undo(old) == ["till.0003_stock"]
    assert columns(squashed) == ["id", "name", "price"]
