"""manage.py, where it differs from Django's."""

import os
import shutil
from types import SimpleNamespace
from typing import NoReturn

import pytest

from stagetools import manage

SQLITE = "django.db.backends.sqlite3"


class Replaced(Exception):  # noqa: N818 - what happened is its name
    """This process became another program."""


@pytest.fixture(autouse=True)
def _image(monkeypatch) -> None:
    """As in an image: a Python that has a shell for SQLite, and no program that has."""

    def become(program: str, words: list[str]) -> NoReturn:
        raise Replaced(words[1:])

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(manage, "find_spec", lambda name: True)
    use(monkeypatch, SQLITE)


def use(monkeypatch, engine: str) -> None:
    databases = {"default": {"ENGINE": engine, "NAME": "/srv/data/shop.sqlite3"}}
    settings = SimpleNamespace(DATABASES=databases)
    monkeypatch.setattr("django.conf.settings", settings)


@pytest.mark.parametrize("words", [[], ["--", "select 1"]])
def test_dbshell_is_pythons_own_where_sqlite3_is_missing(words: list[str]) -> None:
    with pytest.raises(Replaced) as became:
        manage._python_as_sqlite3(words)
    assert became.value.args[0] == [
        "-m",
        "sqlite3",
        "/srv/data/shop.sqlite3",
        *words[1:],
    ]


def test_dbshell_is_djangos_where_it_can_be(monkeypatch) -> None:
    manage._python_as_sqlite3(["--help"])
    monkeypatch.setattr(manage, "find_spec", lambda name: None)  # before Python 3.12
    manage._python_as_sqlite3([])
    monkeypatch.setattr(manage, "find_spec", lambda name: True)
    use(monkeypatch, "django.db.backends.postgresql")
    manage._python_as_sqlite3([])
