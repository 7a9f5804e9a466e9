"""The examples of the documentation, run where Django cannot be imported."""

import json
import secrets
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.library.sites import Site

REPOSITORY = Path(__file__).parents[2]
FLASK = ("gunicorn", "--config", "python:stagetools.gunicorn_conf", "wsgi:application")
STARLETTE = ("uvicorn", "--uds", "{socket}", "asgi:application")


@pytest.fixture
def example(site: Site, tmp_path: Path) -> Any:
    """A checkout of an example, with a `django` that refuses to be imported."""

    def check_out(name: str) -> Site:
        (tmp_path / "none/django").mkdir(parents=True)
        (tmp_path / "none/django/__init__.py").write_text("raise ImportError('none')\n")
        site.root = tmp_path / "board"
        shutil.copytree(REPOSITORY / "docs/examples" / name, site.root)
        (site.root / "stagetools").symlink_to(REPOSITORY / "stagetools")
        site.variables["PYTHONPATH"] = f"{site.root}:{tmp_path / 'none'}"
        return site

    return check_out


def production(site: Site) -> dict[str, str]:
    return {
        "STAGETOOLS_SYSTEM": "board_prod",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": "shop.example.com",
        "DATABASE_PATH": str(site.root / "data/board.sqlite3"),
    }


def test_flask_serves_an_installation_by_its_name(example: Any) -> None:
    site = example("flask")
    with site.serving(*FLASK, **production(site)) as running:
        form = urlencode({"text": "hello"})
        kind = "application/x-www-form-urlencoded"
        assert running.post("/", form, Content_Type=kind)[0] == 201
        status, _, body = running.get("/")
        assert running.get("/", Host="other.example.com")[0] == 400
    assert status == 200
    assert json.loads(body) == {"installation": "board_prod", "notes": ["hello"]}


def test_starlette_serves_an_installation_by_its_name(example: Any) -> None:
    site = example("starlette")
    settings = site.root / "settings.ini"
    settings.write_text("[board]\nFIRST_VISIT = 7\n")
    variables = production(site) | {"STAGETOOLS_CONFIG": str(settings)}
    with site.serving(*STARLETTE, **variables) as running:
        body = json.loads(running.get("/")[2])
        assert running.get("/", Host="other.example.com")[0] == 400
    assert body == {"installation": "board_prod", "visits": 8}


@pytest.mark.parametrize(("name", "entry"), [("flask", "wsgi"), ("starlette", "asgi")])
def test_they_refuse_a_server_without_a_name_and_production_without_settings(
    example: Any, name: str, entry: str
) -> None:
    site = example(name)
    assert "does not guess board_dev" in site.run("-c", f"import {entry}").stderr
    variables = production(site) | {"ALLOWED_HOSTS": ""}
    assert "ALLOWED_HOSTS is" in site.run("-c", f"import {entry}", **variables).stderr


@pytest.mark.parametrize("name", ["flask", "starlette"])
def test_they_are_compared_with_their_names(example: Any, name: str) -> None:
    site = example(name)
    fresh = site.run("-m", "stagetools")
    assert (
        fresh.stdout == f"board_dev at {site.root}, its name from nobody,"
        " as on a developer's machine: as expected\n"
    ), fresh.stderr
    named = site.run("-m", "stagetools", "--json", **production(site))
    said = {entry["subject"] for entry in json.loads(named.stdout)["differences"]}
    assert {"account", "/home/board_prod"} <= said
