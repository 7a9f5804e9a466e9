"""A Django of two small apps, on a SQLite file of the test's own."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.test import override_settings

if not settings.configured:
    settings.configure(
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        },
        INSTALLED_APPS=["tests.database.till", "tests.database.purse"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()

_NUMBERS = itertools.count()
HEAD = "from django.db import migrations, models\n"
MIGRATION = """
class Migration(migrations.Migration):
    initial = {initial}
    atomic = {atomic}
    dependencies = {dependencies}
    replaces = {replaces}
    operations = [{operations}]
"""
Write = Callable[..., None]


@pytest.fixture
def database(tmp_path: Path, django_db_blocker: Any) -> Iterator[Path]:
    """Django's database, in a file that is not there yet."""
    from django.db import connection

    path = tmp_path / "data" / "till.sqlite3"
    path.parent.mkdir()
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = str(path)
    with django_db_blocker.unblock():
        yield path
        connection.close()
    connection.settings_dict["NAME"] = before


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a migration of an app: `write("0002_price", "migrations.AddField(…)")`.

    It comes `after` others, (app, name) each; by itself after the one written before.
    `write.another_code()` begins with none, as another release's code does.
    """
    monkeypatch.syspath_prepend(tmp_path)
    state: dict[str, Any] = {}

    def another_code() -> None:
        number = next(_NUMBERS)
        modules = {app: f"{app}_migrations_{number}" for app in ("till", "purse")}
        for name in modules.values():
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("")
        if "override" in state:
            state["override"].disable()
        state["override"] = override_settings(MIGRATION_MODULES=modules)
        state["override"].enable()
        state.update(modules=modules, last={})

    def write(
        name: str,
        *operations: str,
        replaces: tuple[str, ...] = (),
        after: list[tuple[str, str]] | None = None,
        app: str = "till",
        atomic: bool = True,
    ) -> None:
        last = state["last"].get(app)
        text = MIGRATION.format(
            initial=not last,
            atomic=atomic,
            dependencies=after or ([(app, last)] if last and not replaces else []),
            replaces=[(app, old) for old in replaces],
            operations=", ".join(operations),
        )
        (tmp_path / state["modules"][app] / f"{name}.py").write_text(HEAD + text)
        if not replaces:
            state["last"][app] = name

    write.another_code = another_code  # type: ignore[attr-defined]
    another_code()
    yield write
    state["override"].disable()  # type: ignore[attr-defined]
