"""Two projects that somebody else wrote, adopted and deployed; nothing of theirs is changed."""

import re
from pathlib import Path

import pytest

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project
from tests.template import existing
from tests.template.history import files
from tests.template.test_adoption import STAND_IN, adopt

TOKEN = re.compile(r'csrfmiddlewaretoken" value="([^"]+)"')


NAMES = """{% load static %}<h1>Shop</h1>{% static "no.js" %}|{% static "made.js" %}|"""
HOOK = "mkdir catalog/static && echo 'made()' >catalog/static/made.js\n"


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("adopt", with_docker=True)


@pytest.fixture(scope="module")
def adopted(template, key, tmp_path_factory):
    """Adopt a project as docs/adopt.md says; its files are as they were, to the byte."""

    def adopted(root: Path, answers: dict[str, str]) -> Project:
        before = files(root)
        adopt(template, root, **answers)
        assert {name: files(root)[name] for name in before} == before
        return Project(root, tmp_path_factory.mktemp("home"), key)

    return adopted


@pytest.fixture(scope="module")
def plain(adopted, server, tmp_path_factory) -> Browser:
    project = adopted(
        existing.plain(tmp_path_factory.mktemp("plain") / "shop"), existing.PLAIN
    )
    project.write(".gitignore", ".env*\n*.sqlite3*\n")  # as `inv check` asks
    project.replace("catalog/views.py", "<h1>Shop</h1>", NAMES)
    project.write("stagetools_project/build", HOOK)
    project.target(server, domain="shop.test")
    project.deploy()
    existing.python(project.root, "manage.py", "test")
    return Browser(server.address, "shop.test")


@pytest.fixture(scope="module")
def awkward(adopted, server, tmp_path_factory) -> Project:
    root = existing.awkward(
        tmp_path_factory.mktemp("awkward") / "heronry", with_hashes=True
    )
    project = adopted(root, existing.AWKWARD)
    project.replace("stagetools_project/settings.py", "stand_in(SYSTEM)", STAND_IN)
    project.target(server, domain="heronry.test")
    variable = ("env.set", "HERONRY_DATABASE=not-this-one.sqlite3")
    if project.inv(*variable).status:  # there is nothing to set it on yet
        refused = project.inv("deploy")
        assert refused.status == 1
        assert "HERONRY_DATABASE" in refused.text  # the reason reaches the terminal
        assert project.inv(*variable).status == 0
    project.deploy()
    return project


@pytest.fixture
def birds(awkward, server) -> Browser:
    return Browser(server.address, "heronry.test")


def test_what_startproject_made_serves_and_stores(plain) -> None:
    assert plain.post_form("/", {"name": "Kettle"}).status == 302
    page = plain.get("/")
    assert "Kettle" in page.text
    assert "max-age" in page.headers["strict-transport-security"]
    assert plain.get("/admin/login/").status == 200
    assert plain.get("/healthz").status == 200


def test_a_page_that_names_a_missing_file_is_shown(plain) -> None:
    assert "</h1>/static/no.js|" in plain.get("/").text


def test_what_the_projects_own_step_makes_is_hashed_and_served(plain) -> None:
    made = re.search(r"\|(/static/made\.[0-9a-f]{12}\.js)\|", plain.get("/").text)
    assert made
    assert plain.get(made[1]).text == "made()\n"


def test_its_debug_pages_and_its_placeholder_of_a_key_stay_at_home(plain) -> None:
    page = plain.get("/nowhere")
    assert page.status == 404
    assert "DEBUG" not in page.text


def test_packages_with_hashes_reach_the_image(awkward, server) -> None:
    assert "--hash=sha256" in awkward.read("requirements.txt")
    found = awkward.inv(
        "manage", "shell -c 'import django, gunicorn; print(django.VERSION)'"
    )
    assert "(5, 2," in found.text


def test_its_own_middleware_users_and_templates_serve(birds) -> None:
    page = birds.get("/")
    assert page.status == 200
    assert page.headers["x-motto"] == "patience, says a stranger"
    assert "Heronry" in page.text
    assert "content-security-policy" not in page.headers
    assert "content-security-policy-report-only" in page.headers


def test_its_stylesheet_is_hashed_and_kept_for_good(birds) -> None:
    path = re.search(
        r'href="(/static/heronry\.[0-9a-f]{12}\.css)"', birds.get("/").text
    )
    assert path
    assert "immutable" in birds.get(path[1]).headers["cache-control"]


def test_an_upload_is_stored_and_shown_and_a_script_in_it_does_not_run(birds) -> None:
    token = TOKEN.search(birds.get("/").text)
    parts = {"csrfmiddlewaretoken": token[1], "name": "Grey heron"}
    body = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    )
    body += '--x\r\nContent-Disposition: form-data; name="photo"; filename="h.html"\r\n'
    body += "Content-Type: text/html\r\n\r\n<script>alert(1)</script>\r\n--x--\r\n"
    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Referer": "https://heronry.test/",
    }
    assert birds.request("POST", "/", body=body, headers=headers).status == 302
    link = re.search(r'href="(/media/birds/[^"]+)">Grey heron', birds.get("/").text)
    upload = birds.get(link[1])
    assert "alert(1)" in upload.text
    assert "sandbox" in upload.headers["content-security-policy"]


def test_its_management_command_runs_on_the_server(awkward) -> None:
    assert re.search(r"\d+ birds", awkward.inv("manage", "count_birds").text)


def test_its_database_is_the_installations_own(awkward, server) -> None:
    there = server.run("find /home/heronry_prod -name '*.sqlite3'")
    assert "/home/heronry_prod/data/heronry.sqlite3" in there.split()
    assert "not-this-one" not in there


def test_its_own_tests_are_still_green(awkward) -> None:
    existing.python(
        awkward.root / "src", "manage.py", "test", HERONRY_DATABASE="own.sqlite3"
    )


def test_a_change_of_theirs_is_deployed(awkward, birds) -> None:
    awkward.replace("templates/home.html", "<h1>Heronry</h1>", "<h1>Two herons</h1>")
    awkward.deploy()
    assert "Two herons" in birds.get("/").text
