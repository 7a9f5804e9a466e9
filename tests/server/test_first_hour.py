"""docs/backups.md, "The first hour after a disaster": each command that it names, typed as it stands.

The commands are read from the page, so a page that changes is typed as it is then.
"""

import os
import re
import time
from datetime import UTC, datetime

import pytest

from tests.server.changes import stored, take_load
from tests.server.machines import Server
from tests.server.project import REPOSITORY, Done, Project
from tests.server.test_lost_server import aim, destroy

pytestmark = pytest.mark.skipif(
    not os.environ.get("RELEASE"), reason="a page typed in full: RELEASE=1"
)

HOME = "/home/mysite_prod"
PAGE = (REPOSITORY / "docs/backups.md").read_text()
HOUR = PAGE.partition("## The first hour after a disaster")[2].partition("\n## ")[0]
COMMAND = re.compile(r"`((?:inv|mv) [^`]+)`")
NAMED = re.compile(r"\b([0-9a-f]{8}|(?:before|replaced)-[\w-]+)\b")


def steps(disaster: str) -> list[list[str]]:
    """The commands of each numbered step of the part that begins with those words."""
    part = HOUR.partition(f"**{disaster}**")[2].partition("\n**")[0]
    found = [COMMAND.findall(step) for step in re.split(r"^\d+[.] ", part, flags=re.M)]
    assert found[1:], disaster
    return found[1:]


class Owner:
    """Who types, and reads the questions before they say yes."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def types(self, command: str, **names: str) -> Done:
        for name, value in names.items():
            assert name in command, command
            command = command.replace(name, value)
        words = command.replace('"', "").split(maxsplit=3)[1:]
        done = self.project.answer("y", *words)
        assert done.status == 0, (command, done)
        return done

    def backups(self, command: str) -> dict[str, str]:
        """The names that the list has, newest first, and each one's line."""
        lines = self.types(command).text.splitlines()[1:]
        return {m[0]: line for line in lines if (m := NAMED.search(line))}


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("hour", with_docker=True)


@pytest.fixture(scope="module")
def owner(new_project, server) -> Owner:
    project: Project = new_project()
    project.target(server, domain="mysite.test")
    take_load(project)
    project.deploy()
    return Owner(project)


def manage(server: Server, code: str) -> str:
    """Python in the site's container."""
    container = server.run("docker ps -q --filter label=stagetools.system=mysite_prod")
    words = f"from mysite.models import Entry; {code}"
    return server.run(
        f'docker exec {container} python -m stagetools.manage shell -v 0 -c "{words}"'
    )


def write(server: Server, name: str) -> None:
    manage(server, f"Entry.objects.create(name='{name}', message='here')")


def test_what_somebody_deleted_is_back(server, owner) -> None:
    [look, keep], [restore, _], [again, undo] = steps("Somebody has deleted what should be there")  # fmt: skip
    write(server, "precious")
    assert owner.project.inv("backup").status == 0
    many = len(stored(server))
    manage(server, "Entry.objects.all().delete()")
    write(server, "since")
    for number in range(many):  # or as many rows would be there as then
        write(server, f"since-then {number}")
    name = next(iter(owner.backups(look)))
    owner.types(keep)
    said = owner.types(restore, NAME=name).text
    assert re.search(r"mysite_entry: \d+ rows? now, \d+ rows? then", said), said
    assert "precious" in stored(server)
    assert "since" not in stored(server)
    # "If that was the wrong one"
    listed = owner.backups(again)
    [replaced] = [name for name in listed if name.startswith("replaced-")]
    owner.types(undo, **{"replaced-…": replaced})
    assert "since" in stored(server)
    assert "precious" not in stored(server)


def damage(project: Project, number: int) -> None:
    """A migration that empties what it should not touch."""
    folder = project.root / "mysite/migrations"
    before = sorted(path.stem for path in folder.glob("0*.py"))[-1]
    project.write(
        f"mysite/migrations/{number:04}_tidy.py",
        "from django.db import migrations\n\n\n"
        "def tidy(apps, schema_editor):\n"
        '    apps.get_model("mysite", "Entry").objects.update(name="tidied")\n\n\n'
        "class Migration(migrations.Migration):\n"
        f'    dependencies = [("mysite", "{before}")]\n'
        "    operations = [migrations.RunPython(tidy, migrations.RunPython.noop)]\n",
    )


def test_what_a_deploy_damaged_is_as_before(server, owner) -> None:
    [undo], [back, restore] = steps("A deploy has damaged data")
    write(server, "before")
    damage(owner.project, 91)
    owner.project.deploy("--yes", "--allow-breaking")
    assert stored(server) == {"tidied"}
    owner.types(undo)
    assert "before" in stored(server)

    # "Otherwise": something of value was written since
    assert owner.project.inv("backup").status == 0
    name = next(iter(owner.backups("inv backups")))
    owner.project.deploy("--yes", "--allow-breaking")
    write(server, "valuable")
    owner.types(back)
    assert stored(server) == {"tidied", "valuable"}
    owner.types(f"{restore} {name}")
    assert "before" in stored(server)


def test_a_damaged_repository_is_looked_into_and_begun_anew(server, owner) -> None:
    [make], [verify], [away, deploy] = steps("`inv status` says that a backup or a drill failed")  # fmt: skip
    repository = f"{HOME}/vault/inside/repository"
    assert repository in away
    owner.types(make)
    by_hand(server)
    server.run(f"for pack in $(find {repository}/data -type f); do printf damaged |"
               " dd of=$pack bs=1 seek=50 conv=notrunc status=none; done")  # fmt: skip
    words = verify.split()[1:]
    assert owner.project.inv(*words).status == 1
    server.run(away)
    owner.types(deploy)
    owner.types(make)
    owner.types(verify)
    assert owner.project.inv("status").status == 0


def by_hand(server: Server) -> None:
    """The page's last part, as root, in one shell."""
    lines = re.findall(r"^    (.+)$", PAGE.partition("## By hand")[2], re.M)
    assert lines[-1].startswith("restic restore"), lines
    server.run("sh -euc '" + "\n".join(lines) + "' >/dev/null")
    names = server.run("cd /root/restored && find . -type f; rm -rf /root/restored")
    assert "database.sqlite3" in names
    assert server.run("head -c 13 /root/database.sqlite3") == "SQLite format"


def settle(project: Project, server: Server, keeper: Server) -> None:
    """A site whose backups and whose replica go elsewhere."""
    at = f"keeper@{keeper.address}"
    aim(project, server, f"sftp:{at}:/home/keeper/there")
    replica = f'[stages.prod.replica]\nurl = "sftp://{at}/home/keeper/replica"\n'
    project.write("deploy.toml", f"{project.read('deploy.toml')}\n{replica}")


def test_a_lost_server_s_site_is_back_and_its_last_minute_too(
    new_server, new_project, keeper
) -> None:
    *_, [restore], [again], [look], [deploy, at, _] = steps("The server is gone")
    lost, project = new_server("gone", with_docker=True), new_project()
    settle(project, lost, keeper)
    said = project.inv("deploy").text + project.inv("backup").text
    let_all_in(keeper, said)
    project.deploy()
    write(lost, "kept")
    assert project.inv("backup").status == 0
    key = project.inv("backup", "--key").text.strip()
    write(lost, "last-minute")
    time.sleep(5)
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    destroy(lost)

    fresh = new_server("anew", with_docker=True)
    settle(project, fresh, keeper)
    refused = project.inv(*restore.split()[1:], stdin=f"{key}\n")
    assert refused.status == 1, str(refused)
    let_all_in(keeper, refused.text)
    done = project.inv(*again.split()[1:], stdin=f"{key}\n")
    assert done.status == 1, str(
        done
    )  # it serves, and knows the replica's place no more
    let_all_in(keeper, done.text)
    assert "what was written after that is lost" in " ".join(done.text.split())
    assert "last-minute" not in stored(fresh)
    assert "has no replica yet" in project.inv(*look.split()[1:]).text
    project.deploy(*deploy.split()[2:])
    done = project.inv(*at.split()[1:], moment, "--yes")
    assert done.status == 0, str(done)
    assert {"kept", "last-minute"} <= stored(fresh)


def let_all_in(keeper: Server, text: str) -> None:
    """What the owner does with each line that was printed."""
    lines = re.findall(r"ssh-ed25519 [\w+/=]+ [\w ]+", text)
    assert lines, text
    for line in lines:
        keeper.run(f"echo '{line}' >>/home/keeper/.ssh/authorized_keys")
