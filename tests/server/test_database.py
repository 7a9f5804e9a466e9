"""Migrations that are rehearsed, named, asked about; and rollbacks that know the database."""

import re

import pytest

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project
from tests.server.test_running import begin, wait_for
from tests.server.watch import give_version, watching, written

DOMAIN = "mysite.test"
HEAD = """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mysite", "{before}")]
    operations = [{operation}]
"""
ADD_NULLABLE = (
    'migrations.AddField("entry", "mood", models.CharField(max_length=9, null=True))'
)
ADD_REQUIRED = 'migrations.AddField("entry", "score", models.IntegerField(default=0))'
CANNOT_BE_UNDONE = "migrations.RunPython(lambda apps, editor: None)"
FIELD = "    mood = models.CharField(max_length=9, null=True)\n"


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("database", with_docker=True)


@pytest.fixture
def project(new_project, server) -> Project:
    """Deployed afresh, so that no test sees the migrations of another."""
    project = new_project()
    project.target(server, domain=DOMAIN)
    project.inv("remove", "--name", "mysite_prod")
    give_version(project, "old")
    project.deploy()
    return project


def migrate(
    project: Project, name: str, operation: str, before: str = "0002_entry_picture"
) -> None:
    text = HEAD.format(before=before, operation=operation)
    project.write(f"mysite/migrations/{name}.py", text)


def add_mood(project: Project) -> None:
    migrate(project, "0003_mood", ADD_NULLABLE)
    project.replace("mysite/models.py", "    created =", f"{FIELD}    created =")


def version(server: Server) -> str:
    return Browser(server.address, DOMAIN).get("/version").text


def columns(server: Server) -> str:
    container = server.run(
        "docker ps -q --filter label=stagetools.system=mysite_prod | head -1"
    )
    code = "from django.db import connection as c; print([f.name for f in c.introspection.get_table_description(c.cursor(), 'mysite_entry')])"
    return server.run(
        f'docker exec {container} python manage.py shell -v 0 -c "{code}"'
    )


def test_a_migration_is_applied_while_the_site_answers_and_undone_by_a_rollback(
    project, server
) -> None:
    add_mood(project)
    give_version(project, "new")
    with watching(server, DOMAIN) as watch:
        done = project.deploy()
    assert re.search(
        r"✓ Rehearse: mysite\.0003_mood \d+\.\d\d s, on a copy made in", done.text
    )
    assert re.search(r"✓ Snapshot: /home/mysite_prod/backups/before-", done.text)
    assert re.search(r"✓ Migrate: 1 applied in", done.text)
    assert watch.failures == []
    assert version(server) == "new"
    assert set(watch.acknowledged) <= written(server)
    assert "deploy, 1 migration" in project.inv("releases").text
    assert not server.run("ls /home/mysite_prod/data | grep rehearsal || true")

    done = project.inv("rollback")
    assert done.status == 1
    assert "undoes mysite.0003_mood" in done.text
    assert version(server) == "new"
    with watching(server, DOMAIN) as watch:
        done = project.inv("rollback", "--yes")
    assert done.status == 0, str(done)
    assert watch.failures == []
    assert version(server) == "old"
    assert "mood" not in columns(server)
    assert set(watch.acknowledged) <= written(server)


def test_what_the_old_release_cannot_live_with_is_made_on_a_copy(
    project, server
) -> None:
    """It never meets the column that it does not write; its visitors wait, and none fails."""
    migrate(project, "0003_score", ADD_REQUIRED)
    project.replace(
        "mysite/models.py",
        "    created =",
        "    score = models.IntegerField(default=0)\n    created =",
    )
    give_version(project, "new")
    with watching(server, DOMAIN) as watch:
        done = project.deploy()
    assert "✓ Hold: visitors wait" in done.text
    assert done.text.index("Hold:") < done.text.index("Migrate:")
    assert watch.failures == []
    assert version(server) == "new"
    assert "score" in columns(server)
    assert set(watch.acknowledged) <= written(server)
    home = server.run("ls -l /home/mysite_prod")
    assert re.search(r"data -> data-\d{8}-\d{6}-\w{7}$", home, re.M), home
    assert home.count("data-") == 2, home  # the link, and what it leads to
    give_version(project, "newer")
    assert "Hold" not in project.deploy().text
    assert "score" in columns(server)


def test_a_rollback_over_a_dropped_column_undoes_it_first(project, server) -> None:
    """The older release cannot live without the column, not even for a moment."""
    add_mood(project)
    give_version(project, "with a mood")
    project.deploy()
    drop = 'migrations.RemoveField("entry", "mood")'
    migrate(project, "0004_no_mood", drop, before="0003_mood")
    project.replace("mysite/models.py", FIELD, "")
    give_version(project, "new")
    project.deploy()
    assert "mood" not in columns(server)
    with watching(server, DOMAIN) as watch:
        done = project.inv("rollback", "--yes")
    assert done.status == 0, str(done)
    assert watch.failures == []
    assert set(watch.acknowledged) <= written(server)
    assert done.text.index("Undo:") < done.text.index("Switch:")
    assert version(server) == "with a mood"
    assert "mood" in columns(server)


def test_what_cannot_be_undone_is_refused_and_a_restore_says_first_how_much_is_lost(
    project, server
) -> None:
    migrate(project, "0003_oneway", CANNOT_BE_UNDONE)
    give_version(project, "new")
    project.deploy()
    done = project.inv("rollback", "--yes")
    assert done.status == 1
    assert "mysite.0003_oneway" in done.text
    assert "cannot be undone" in done.text
    assert "--restore-database" in done.text
    assert version(server) == "new"

    browser = Browser(server.address, DOMAIN)
    assert browser.request("POST", "/write?key=written-since").status == 201
    done = project.inv("rollback", "--restore-database")
    assert done.status == 1
    assert re.search(r"in the last \d+ (s|min) will be lost", done.text)
    with watching(server, DOMAIN) as watch:
        done = project.inv("rollback", "--restore-database", "--yes")
    assert done.status == 0, str(done)
    assert watch.failures == []
    assert version(server) == "old"
    assert "written-since" not in written(server)
    kept = server.run("cd /home/mysite_prod/backups; grep -al written-since replaced-*")
    assert len({name.removesuffix("-wal") for name in kept.split()}) == 1, kept
    assert browser.request("POST", "/write?key=served-again").status == 201
    project.deploy()
    assert version(server) == "new"
    done = project.inv("rollback", "--restore-database", "--yes")
    assert done.status == 0, str(done)
    assert "served-again" in written(
        server
    )  # before the last migration, after the first


WORKS_OUTSIDE = """
def work(apps, editor):
    import os, socket
    from django.conf import settings
    os.rename(settings.MEDIA_ROOT / "cat.png", settings.MEDIA_ROOT / "moved.png")


class Work(migrations.RunPython):
    pass


Migration.operations = [Work(work, work)]
"""
ALONE = "docker ps --filter label=stagetools.manage --format '{{.Names}}'"


def test_what_would_be_lost_or_broken_is_refused_before_any_visitor_notices(
    project, server
) -> None:
    """Three deploys and a rollback that must not be: one server, for they take a while."""
    server.run("touch /home/mysite_prod/media/cat.png")
    migrate(project, "0003_work", "")
    path = "mysite/migrations/0003_work.py"
    project.write(path, project.read(path) + WORKS_OUTSIDE)
    home = project.read("mysite/templates/home.html")
    with watching(server, DOMAIN) as watch:
        done = project.inv("deploy", "--yes")
        assert done.status == 1
        assert "In a rehearsal uploads are read-only" in done.text
        assert server.run("ls /home/mysite_prod/media") == "cat.png"

        project.write(path, "")
        (project.root / path).unlink()
        (project.root / "mysite/templates/home.html").unlink()
        done = project.inv("deploy", "--yes")
        assert done.status == 1
        assert "GET / answers 500" in done.text
        assert "TemplateDoesNotExist" in done.text

        project.write("mysite/templates/home.html", home)
        add_mood(project)
        project.deploy("--yes")
        typed = begin(project, "manage", "shell -c 'import time; time.sleep(300)'")
        wait_for(server, ALONE, "manage")
        done = project.inv("rollback", "--yes")
        assert done.status == 1
        assert "inv manage still works on the database: shell" in done.text
        server.run(f"docker stop --time 1 $({ALONE})")
        typed.communicate(timeout=60)
    assert watch.failures == []
    assert version(server) == "old"
    assert "mood" in columns(server)
    assert set(watch.acknowledged) <= written(server)


def test_rolling_back_goes_on_to_the_release_before_and_a_named_one_needs_no_build(
    project, server
) -> None:
    for word in ("second", "third"):
        give_version(project, word)
        project.deploy()
    third = project.inv("releases").text.splitlines()[1].split()[1]
    for word in ("second", "old"):
        assert project.inv("rollback").status == 0
        assert version(server) == word
    assert project.inv("rollback").status == 2
    done = project.inv("rollback", "--to", third)
    assert done.status == 0, str(done)
    assert "Build" not in done.text
    assert version(server) == "third"
    assert project.inv("rollback", "--to", "no-such-release").status == 2
