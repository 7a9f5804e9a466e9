"""What `/healthz` says of the migrations, while another release changes them."""

from pathlib import Path

import pytest
from django.db import connection
from django.test import RequestFactory

from stagetools.database import run
from stagetools.errors import StageError
from stagetools.health import ENGINE, PATH, HealthMiddleware, pending_migrations

CREATE = """migrations.CreateModel("Item", [
    ("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())])"""
PRICE = 'migrations.AddField("Item", "price", models.IntegerField(null=True))'
UNKNOWN = (
    "ok, but the database has 1 migration that this release does not know:"
    " till.0002_price"
)


class Asked:
    """One process of a release, asked again and again."""

    def __init__(self) -> None:
        self.middleware = HealthMiddleware(lambda request: pytest.fail("passed on"))

    def __call__(self) -> tuple[int, str]:
        answer = self.middleware(RequestFactory().get(PATH))
        return answer.status_code, answer.content.decode().strip()


@pytest.fixture
def ask() -> Asked:
    return Asked()


def told(migration: str, seconds: float) -> None: ...


def execute(statement: str, *values: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def record(name: str, app: str = "till") -> None:
    """As another release leaves it, after it has migrated."""
    execute(
        "INSERT INTO django_migrations (app, name, applied)"
        " VALUES (%s, %s, '2026-01-01')",
        app,
        name,
    )


@pytest.fixture
def migrated(database: Path, write) -> Path:
    write("0001_initial", CREATE)
    run.migrate(told)
    return database


def test_all_applied_is_ok(migrated, ask) -> None:
    assert ask() == (200, "ok")


def test_a_database_without_any_is_refused_and_well_once_migrated(
    database, write, ask
) -> None:
    write("0001_initial", CREATE)
    assert ask() == (503, "1 migration not applied, till.0001_initial the first")
    run.migrate(told)
    assert ask() == (200, "ok")


def test_what_another_release_applies_is_told_at_once_and_is_no_refusal(
    migrated, ask
) -> None:
    assert ask() == (200, "ok")
    record("0002_price")
    assert ask() == (200, UNKNOWN)
    execute("DELETE FROM django_migrations WHERE name = '0002_price'")
    assert ask() == (200, "ok")


def test_what_another_release_undoes_is_refused_at_once(migrated, ask) -> None:
    assert ask() == (200, "ok")
    execute("DELETE FROM django_migrations")
    assert ask() == (503, "1 migration not applied, till.0001_initial the first")


def test_an_app_that_this_code_does_not_have_is_not_its_business(migrated, ask) -> None:
    record("0001_initial", app="shop")
    assert ask() == (200, "ok")


def test_what_was_squashed_is_known(migrated, write, ask) -> None:
    write("0002_price", PRICE)
    run.migrate(told)
    write.another_code()
    write("0001_all", CREATE, PRICE, replaces=("0001_initial", "0002_price"))
    assert ask() == (200, "ok")


def test_what_was_squashed_and_removed_since_is_not_told_for_ever(
    migrated, write, ask
) -> None:
    record("0002_price")
    write.another_code()
    write("0001_all", CREATE, PRICE)
    record("0001_all")
    assert ask() == (200, "ok")
    record("0003_stock")
    assert ask()[1].endswith("does not know: till.0003_stock")


def test_the_code_is_read_again_only_when_the_database_has_changed(
    migrated, ask, monkeypatch
) -> None:
    seen = []

    def counted() -> list[str]:
        seen.append(1)
        return pending_migrations()

    monkeypatch.setattr("stagetools.health.pending_migrations", counted)
    assert {ask() for _ in range(5)} == {(200, "ok")}
    assert len(seen) == 1
    record("0002_price")
    assert {ask() for _ in range(5)} == {(200, UNKNOWN)}
    assert len(seen) == 2


def test_a_database_that_cannot_be_read_is_refused(migrated, ask) -> None:
    assert ask() == (200, "ok")
    connection.close()
    migrated.write_bytes(b"no database" * 500)
    status, said = ask()
    assert status == 503
    assert said.startswith("the database cannot be read: ")


def test_a_deploy_is_told_the_engine_and_a_visitor_is_not(migrated) -> None:
    asked = HealthMiddleware(lambda request: pytest.fail("passed on"))
    assert asked(RequestFactory().get(PATH))[ENGINE] == "sqlite"
    visitor = RequestFactory().get(PATH, headers={"X-Forwarded-For": "192.0.2.1"})
    assert ENGINE not in asked(visitor)


def test_a_file_where_nothing_can_be_written_is_no_database(
    database, monkeypatch
) -> None:
    """As one beside the project's code, in the image."""
    run.refuse_a_file_of_the_image()
    monkeypatch.setattr(run.os, "access", lambda path, mode: False)
    with pytest.raises(StageError, match="each release brings a new image") as caught:
        run.refuse_a_file_of_the_image()
    assert str(database) in caught.value.what
    monkeypatch.setattr(run, "is_sqlite", lambda: False)
    run.refuse_a_file_of_the_image()
