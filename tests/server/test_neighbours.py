"""Several stages and several projects on one server, which never notice each other."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project
from tests.server.watch import give_version, watching, written

HOMES = {
    "shop_prod": "shop.test",
    "shop_qual": "qual.shop.test",
    "blog_prod": "blog.test",
}


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("shared", with_docker=True)


@pytest.fixture(scope="module")
def shop(new_project, server) -> Project:
    """Two stages of one project."""
    shop = new_project(project_slug="shop")
    shop.target(server, domain="shop.test")
    shop.add_stage(
        "qual",
        host=server.address,
        user="root",
        tls="internal",
        domains=["qual.shop.test"],
    )
    write_version(shop, "shop one")
    shop.deploy()
    shop.deploy("--stage", "qual")
    return shop


@pytest.fixture(scope="module")
def blog(new_project, server, shop) -> Project:
    blog = new_project(project_slug="blog")
    blog.target(server, domain="blog.test")
    write_version(blog, "blog one")
    blog.deploy()
    return blog


def write_version(project: Project, version: str) -> None:
    give_version(project, version, app=project.slug)


def state(server: Server, name: str) -> dict[str, object]:
    """Everything of an installation that its neighbours might touch."""
    ids = server.run(
        f"docker ps -aq --no-trunc --filter label=stagetools.system={name}"
    ).split()
    browser = Browser(server.address, HOMES[name])
    return {
        "containers": ids,
        "started": [json.loads(server.run(f"docker inspect {i}"))[0]["State"]["StartedAt"] for i in ids],
        "answer": browser.get("/version").text,
        "rows": written(server, name),
        "files": server.run(f"cd /home/{name}; find . -path ./data -prune -o -type f -exec sha256sum {{}} + | sort"),
        "images": server.run(f"docker image ls -q {name} | sort"),
    }  # fmt: skip


def say(server: Server, name: str, key: str) -> None:
    answer = Browser(server.address, HOMES[name]).request("POST", f"/write?key={key}")
    assert answer.status == 201


def test_deploying_breaking_rolling_back_and_removing_one_leaves_the_others(
    shop, blog, server
) -> None:
    for name in HOMES:
        say(server, name, f"written-in-{name}")
    neighbours = {name: state(server, name) for name in ("shop_prod", "blog_prod")}

    def assert_neighbours_are_as_they_were() -> None:
        assert {name: state(server, name) for name in neighbours} == neighbours

    write_version(shop, "shop two")
    shop.deploy("--stage", "qual")
    assert state(server, "shop_qual")["answer"] == "shop two"
    assert_neighbours_are_as_they_were()

    settings = shop.read("stagetools_project/settings.py")
    shop.write("stagetools_project/settings.py", settings + "\nimport no_such_module\n")
    assert shop.inv("deploy", "--stage", "qual").status == 1
    shop.write("stagetools_project/settings.py", settings)
    assert_neighbours_are_as_they_were()

    assert shop.inv("rollback", "--stage", "qual").status == 0
    assert state(server, "shop_qual")["answer"] == "shop one"
    assert written(server, "shop_qual") == {"written-in-shop_qual"}
    assert_neighbours_are_as_they_were()

    refused = shop.inv("remove", "--stage", "qual", "--name", "shop_prod")
    assert refused.status == 2
    assert "Nothing was removed" in refused.text
    done = shop.inv("remove", "--stage", "qual", "--name", "shop_qual")
    assert done.status == 0, str(done)
    assert_neighbours_are_as_they_were()
    assert_gone(server, "shop_qual")
    assert "kept as /srv/stagetools/kept/shop_qual-" in done.text
    assert (
        Browser(server.address, "qual.shop.test").get("/", scheme="http").status == 404
    )


def assert_gone(server: Server, name: str) -> None:
    assert server.run(f"id {name} 2>&1 || true").endswith("no such user")
    for look in (f"ls -d /home/{name}", f"ls -d /srv/stagetools/web/sites/{name}"):
        assert not server.run(f"{look} 2>/dev/null || true")
    assert not server.run(
        f"docker image ls -q {name}; docker ps -aq --filter label=stagetools.system={name}"
    )
    assert not server.run(f"ls /etc/systemd/system | grep {name} || true")
    kept = server.run(f"ls /srv/stagetools/kept/{name}-*.sqlite3")
    assert server.run(f"stat -c '%U %a' {kept}") == "root 600"


MESSAGES = """

def messages(request):
    return HttpResponse("\\n".join(Entry.objects.values_list("message", flat=True)))


urlpatterns += [path("messages", messages)]
"""
ANONYMISE = """
import time
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from shop.models import Entry


class Command(BaseCommand):
    def handle(self, **options):
        time.sleep(2)  # in which somebody might see them
        Entry.objects.update(name="nobody", message="nobody's")
        connection.cursor().execute("VACUUM")
        for file in Path(settings.MEDIA_ROOT).glob("*.txt"):
            if file.read_text() == "fail":
                raise CommandError("this face is not known")
            file.write_text("nobody's")
"""


@contextmanager
def seen(server: Server, domain: str) -> Iterator[set[str]]:
    """All that a visitor sees meanwhile, who asks again and again."""
    browser, over, found = Browser(server.address, domain), threading.Event(), set()

    def look() -> None:
        while not over.wait(0.05):
            for page in ("/messages", "/media/face.txt"):
                answer = browser.get(page)
                found.update(answer.text.split("\n"))
                found.update({f"HTTP {answer.status}"} - {"HTTP 200"})

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def face(server: Server, name: str, text: str) -> None:
    path = f"/home/{name}/media/face.txt"
    server.run(f"echo -n '{text}' >{path}; chown {name}: {path}")


def kill_while_it_anonymises(shop: Project, server: Server, *words: str) -> None:
    typed = subprocess.Popen(
        [Path(sys.executable).parent / "inv", *words],
        cwd=shop.root, env=shop.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    running = "docker ps --no-trunc | grep -q 'stagetools.manage anonymise' && echo yes || true"
    while not server.run(running):
        assert typed.poll() is None
    typed.kill()
    typed.wait()


@pytest.fixture(scope="module")
def copies(shop, server) -> str:
    """A third stage, whose release has a command anonymise; its name."""
    shop.add_stage(
        "qcopy", host=server.address, user="root", tls="internal",
        domains=["copy.shop.test"],
    )  # fmt: skip
    shop.write("shop/management/__init__.py", "")
    shop.write("shop/management/commands/__init__.py", "")
    shop.write("shop/management/commands/anonymise.py", ANONYMISE)
    urls = shop.read("stagetools_project/urls.py")
    shop.write("stagetools_project/urls.py", urls + MESSAGES)
    shop.deploy("--stage", "qcopy")
    shop.write("stagetools_project/urls.py", urls)
    Browser(server.address, "copy.shop.test").request("POST", "/write?key=own")
    face(server, "shop_qcopy", "own")
    return "shop_qcopy"


def test_a_clone_is_anonymised_before_any_visitor_sees_it(shop, copies, server) -> None:
    say(server, "shop_prod", "secret")
    face(server, "shop_prod", "fail")
    assert shop.inv("backup").status == 0  # whose lock is a file that stays
    production = state(server, "shop_prod")
    env = server.run(f"sha256sum /home/{copies}/env")
    directories = f"ls -d /home/{copies}/data* /home/{copies}/media*"
    before = server.run(directories)
    clone = ("clone", "--from", "prod", "--to", "qcopy", "--yes")

    with seen(server, "copy.shop.test") as own:
        failed = shop.inv(*clone)
    assert failed.status == 1
    assert "this face is not known" in failed.text
    assert "goes on serving. Its database was not touched." in failed.text
    assert own == {"own"}
    assert server.run(directories) == before
    assert state(server, "shop_prod") == production

    face(server, "shop_prod", "secret")
    with seen(server, "copy.shop.test") as all_, watching(server, "shop.test") as watch:
        kill_while_it_anonymises(shop, server, *clone)
        assert all_ == {"own"}
        done = shop.inv(*clone, "--wait", "30")
    assert done.status == 0, str(done)
    assert len(server.run(f"ls -d /home/{copies}/[dm]*a-*").split()) == 2
    assert "runs on the copy before anybody sees it" in done.text
    assert all_ == {"own", "nobody's"}
    assert watch.acknowledged
    assert not watch.failures
    assert written(server, copies) == {"nobody's"}
    assert "secret" in written(server, "shop_prod")
    assert server.run("cat /home/shop_prod/media/face.txt") == "secret"
    assert server.run(f"cat /home/{copies}/media/face.txt") == "nobody's"
    assert server.run(f"sha256sum /home/{copies}/env") == env
    after = state(server, "shop_prod")
    assert (after["containers"], after["started"]) == (
        production["containers"],
        production["started"],
    )
    # what it has replaced is kept, and what serves is found again after a restart
    kept = shop.inv("backups", "--stage", "qcopy").text
    assert "by hand" in kept
    assert "replaced" in kept
    assert shop.inv("restart", "--stage", "qcopy").status == 0
    browser = Browser(server.address, "copy.shop.test")
    assert browser.get("/media/face.txt").text == "nobody's"
    assert shop.inv("status", "--stage", "qcopy").status == 0
    assert shop.inv("clone", "--from", "qcopy", "--to", "prod", "--yes").status == 2


def test_a_domain_that_a_neighbour_has_is_refused(shop, blog, server) -> None:
    before = state(server, "blog_prod")
    blog.replace("deploy.toml", '"blog.test"', '"blog.test", "shop.test"')
    done = blog.inv("deploy")
    blog.replace("deploy.toml", '"blog.test", "shop.test"', '"blog.test"')
    assert done.status == 1
    assert "shop.test belongs to shop_prod" in done.text
    assert "Upload" not in done.text
    assert Browser(server.address, "shop.test").get("/version").text.startswith("shop")
    after = state(server, "blog_prod")
    assert after["answer"] == before["answer"]
    assert after["rows"] == before["rows"]


def test_the_client_cannot_say_who_it_is(shop, server) -> None:
    """Neither its address nor its scheme: the log has what the proxy saw."""
    browser = Browser(server.address, "shop.test")
    lies = {
        "X-Forwarded-For": "203.0.113.66",
        "X-Real-IP": "203.0.113.67",
        "X-Forwarded-Proto": "http",
    }
    assert browser.get("/who-am-i", **lies).status == 404
    said = shop.inv("logs", "--tail", "20", "--grep", "who-am-i").text
    assert "203.0.113" not in said
    assert "172." in said


def test_a_stage_with_another_authority_is_an_exception_of_its_own(
    shop, server
) -> None:
    """Plain HTTP beside HTTPS, on one proxy."""
    shop.add_stage(
        "int", host=server.address, user="root", tls="off", domains=["int.shop.test"]
    )
    shop.deploy("--stage", "int")
    assert (
        Browser(server.address, "int.shop.test").get("/version", scheme="http").status
        == 200
    )
    assert (
        Browser(server.address, "shop.test").get("/version", scheme="http").status
        == 308
    )
