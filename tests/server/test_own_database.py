"""A project whose settings name PostgreSQL, with one from Debian's packages on the server."""

import os
import re

import pytest

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project
from tests.template import existing
from tests.template.history import commit_all
from tests.template.test_adoption import adopt

pytestmark = pytest.mark.skipif(
    not os.environ.get("RELEASE"), reason="before a release: RELEASE=1"
)
SETTINGS = """
import os
from urllib.parse import unquote, urlsplit

if "DATABASE_URL" in os.environ:
    _at = urlsplit(os.environ["DATABASE_URL"])
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": _at.path[1:],
            "USER": _at.username,
            "HOST": unquote(_at.hostname),
        }
    }
MEDIA_URL = "media/"
"""
URL = "postgres://shop_prod@%2Fvar%2Frun%2Fpostgresql/shop_prod"
POSTGRESQL = """
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql >/dev/null
runuser -u postgres -- createuser shop_prod
runuser -u postgres -- createdb --owner shop_prod shop_prod
"""
DEVELOPERS = "services:\n  web:\n    ports: ['8000:8000']\n"


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("own", with_docker=True)


@pytest.fixture(scope="module")
def project(template, key, server, tmp_path_factory) -> Project:
    root = existing.plain(tmp_path_factory.mktemp("own") / "shop")
    for name, text in {
        "shop/settings.py": (root / "shop/settings.py").read_text() + SETTINGS,
        "requirements.txt": "django~=5.2.0\npsycopg[binary]\n",
        ".gitignore": ".env*\n*.sqlite3*\n",
        "docker-compose.yml": DEVELOPERS,
        "docker-compose.override.yml": DEVELOPERS,
        "compose.override.yaml": DEVELOPERS,
    }.items():
        (root / name).write_text(text)
    commit_all(root, "A database of its own")
    adopt(template, root, **existing.PLAIN)
    project = Project(root, tmp_path_factory.mktemp("home"), key)
    project.target(server, domain="shop.test")
    mount = "volumes: # the same paths inside and out\n"
    socket = "      - /var/run/postgresql:/var/run/postgresql\n"
    project.replace("compose.yaml", mount, mount + socket)
    said = project.inv("env.set", f"DATABASE_URL={URL}")
    assert said.status == 0, str(said)
    server.run(POSTGRESQL)
    said = project.deploy()
    assert "The database is PostgreSQL, which is the project's own" in said.text
    browser = Browser(server.address, "shop.test")
    assert browser.post_form("/", {"name": "Kettle"}).status == 302
    return project


def rows(server: Server) -> str:
    query = "psql -tA shop_prod -c 'SELECT name FROM catalog_ware ORDER BY id'"
    return server.run(f"runuser -u shop_prod -- {query}")


def test_it_is_changed_and_taken_back_with_its_own_database(project, server) -> None:
    assert rows(server).split() == ["Kettle"]
    assert "8000" not in server.run("ss -Hltn; docker ps --format '{{.Ports}}'")
    status = project.inv("status")
    assert status.status == 0, str(status)
    assert "database PostgreSQL, the project's own; in no backup" in status.text

    project.write("catalog/notes.py", "# a change without a migration\n")
    assert "no rehearsal" not in project.deploy().text
    assert project.inv("rollback", "--yes").status == 0
    project.replace(
        "catalog/models.py",
        "max_length=40)",
        "max_length=40)\n    price = models.IntegerField(null=True)",
    )
    existing.python(project.root, "manage.py", "makemigrations", "catalog")
    assert "no rehearsal, no snapshot" in project.deploy().text
    refused = project.inv("rollback", "--yes")
    assert refused.status == 1
    assert re.search("does not know catalog.0002.*not SQLite", refused.text, re.DOTALL)
    assert "Its database was not touched." in refused.text
    assert "Kettle" in Browser(server.address, "shop.test").get("/").text


def test_backups_have_its_uploads_and_these_come_back(project, server) -> None:
    project.write("gathered/2024/a b.txt", "from elsewhere")
    project.write("gathered/c.txt", "c")
    pushed = project.inv("media.push", "gathered")
    assert "2 files added" in pushed.text, str(pushed)
    assert "all 2 were there already" in project.inv("media.push", "gathered").text
    page = Browser(server.address, "shop.test").get("/media/2024/a%20b.txt")
    assert page.text == "from elsewhere"

    made = project.inv("backup")
    assert "no database, for PostgreSQL is the project's own" in made.text, str(made)
    server.run("rm /home/shop_prod/media/c.txt")
    back = project.inv("restore", "latest", "--yes")
    assert back.status == 0, str(back)
    assert "1 file brought back" in back.text
    assert "it is not touched" in back.text
    assert project.inv("backup", "--verify").status == 0
    assert project.inv("restore", "before-x", "--yes").status != 0
    assert rows(server).split() == ["Kettle"]
