"""A database whose every change is sent to another server, and that goes on through all tasks."""

import re
import time

import pytest

from tests.server.machines import Server, docker
from tests.server.project import Done, Project
from tests.server.test_database import add_mood
from tests.server.watch import give_version, watching

DOMAIN, NAME, HOME = "mysite.test", "mysite_prod", "/home/mysite_prod"
REPLICA = "mysite-prod-replica"
OWN = "/srv/stagetools/stages/mysite_prod/replica"
NOTE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=10)
database.execute("CREATE TABLE IF NOT EXISTS notes (word TEXT)")
for word in sys.argv[2:]:
    database.execute("INSERT INTO notes VALUES (?)", (word,))
database.commit()
print(*(word for (word,) in database.execute("SELECT word FROM notes")))
"""


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("replica", with_docker=True)


@pytest.fixture(scope="module")
def place(new_server) -> Server:
    """Another server, which takes the replica by sftp."""
    return new_server("place")


@pytest.fixture(scope="module")
def deployed(new_project, server, place) -> Project:
    """The place comes to know the site's key by what the first deploy says."""
    project: Project = new_project()
    project.target(server, domain=DOMAIN)
    url = f"sftp://root@{place.address}/srv/mysite"
    table = f'\n[stages.prod.replica]\nurl = "{url}"\n'
    project.write("deploy.toml", project.read("deploy.toml") + table)
    give_version(project, "old")
    refused = project.inv("deploy")
    assert refused.status == 1, str(refused)
    assert f"Replica: {url} cannot be reached." in refused.text, str(refused)
    assert "goes on serving" in refused.text or " serves." in refused.text
    assert "not set up: inv deploy" in project.inv("status").text
    key = server.run(f"cat {OWN}/files/ssh_key.pub")
    assert key.split()[1] in "".join(refused.text.split())
    place.run(f"echo '{key}' >>/root/.ssh/authorized_keys")
    said = " ".join(project.deploy().text.split())
    assert f"every change of the database is sent to {url}" in said
    return project


@pytest.fixture
def project(deployed, server, place) -> Project:
    """The same again where another test has removed it."""
    if not server.run(f"ls -d {OWN} 2>/dev/null || true"):
        place.run("rm -rf /srv/mysite")
        deployed.inv("deploy")
        key = server.run(f"cat {OWN}/files/ssh_key.pub")
        place.run(f"echo '{key}' >>/root/.ssh/authorized_keys")
        deployed.deploy()
    return deployed


def run_python(server: Server, directory: str, *words: str) -> list[str]:
    """NOTE on a database in that directory, as the account, in a container of the site's image."""
    form = "'{{.Repository}}:{{.Tag}}'"
    image = server.run(f"docker image ls --format {form} {NAME} | head -1")
    user = server.run(f"echo $(id -u {NAME}):$(id -g {NAME})")
    run = f"docker run --rm -i --network none --user {user} -v {directory}:/d {image} python -"
    said = server.run(f"{run} /d/mysite.sqlite3 {' '.join(words)} <<'END'\n{NOTE}\nEND")
    return said.split()


def live(server: Server) -> str:
    return server.run(f"readlink -f {HOME}/data")


def notes(server: Server, *more: str) -> list[str]:
    """What is in the live database, which gets these first."""
    return run_python(server, live(server), *more)


def notes_sent(server: Server) -> list[str]:
    """What the replica's last moment has, once that has come."""
    time.sleep(2.5)
    server.run(f"rm -rf {HOME}/sent; install -d -o {NAME} -g {NAME} {HOME}/sent")
    server.run(f"sh {OWN}/replica.sh restore 2100-01-01T00:00:00Z {HOME}/sent")
    return run_python(server, f"{HOME}/sent")


def now(server: Server) -> str:
    """The time there, once all from before it was sent."""
    time.sleep(2.5)
    moment = server.run("date -u '+%Y-%m-%d %H:%M:%S'")
    time.sleep(1.5)
    return moment


def followed(server: Server) -> str:
    form = '{{range .Mounts}}{{if eq .Destination "/live"}}{{.Source}}{{end}}{{end}}'
    return server.run(f"docker inspect --format '{form}' {REPLICA}")


def well(project: Project) -> Done:
    """How it stands once it is well, or after a minute."""
    for _ in range(30):
        done = project.inv("status")
        if done.status == 0:
            break
        time.sleep(2)
    return done


def test_it_may_do_no_more_than_it_needs(server, project) -> None:
    form = (
        "{{.Config.User}} {{.HostConfig.CapDrop}} {{.HostConfig.Memory}}"
        " {{.HostConfig.NanoCpus}} {{.HostConfig.ReadonlyRootfs}}"
    )
    said = server.run(f"docker inspect --format '{form}' {REPLICA}")
    uid = server.run(f"echo $(id -u {NAME}):$(id -g {NAME})")
    assert said == f"{uid} [ALL] 268435456 500000000 true"
    assert "SECRET_KEY" not in server.run(f"docker inspect {REPLICA}")
    assert server.run(f"stat -c '%a %U' {OWN}") == "700 root"


def test_a_directory_of_somebody_else_is_no_place(server, project, place) -> None:
    url, config = f"sftp://root@{place.address}/srv/mysite", project.read("deploy.toml")
    before = server.run("stat -c '%a %U' /etc/ssh")
    project.write("deploy.toml", config.replace(url, "file:///etc/ssh"))
    refused = project.inv("deploy")
    project.write("deploy.toml", config)
    assert refused.status == 1, str(refused)
    assert "/etc/ssh has files of somebody else" in " ".join(refused.text.split())
    assert server.run("stat -c '%a %U' /etc/ssh") == before
    project.deploy()
    assert well(project).status == 0


def test_no_task_stands_in_its_way_nor_it_in_theirs(server, project) -> None:
    """A changed environment, a migration, and the way back to the database from before it."""
    notes(server, "one")
    with watching(server, DOMAIN) as watch:
        assert project.inv("env.set", "MARK=1").status == 0
        add_mood(project)
        give_version(project, "new")
        project.deploy()
    assert watch.failures == []
    assert notes_sent(server) == notes(server, "two")[:-1]
    before = followed(server)
    back = project.inv("rollback", "--restore-database", "--yes")
    assert back.status == 0, str(back)
    assert followed(server) == live(server) != before
    there = notes(server, "three")
    assert "two" not in there
    assert notes_sent(server) == there


def test_a_moment_is_brought_back_to_the_second(server, project) -> None:
    first = notes(server, "first")
    moment = now(server)
    both = notes(server, "second")
    later = now(server)
    done = project.inv("restore", "--at", moment, "--yes")
    assert done.status == 0, str(done)
    assert f"serves the database of {moment} UTC" in " ".join(done.text.split())
    assert notes(server) == first
    assert followed(server) == live(server)
    assert notes_sent(server) == notes(server, "third")[:-1]
    again = project.inv("restore", "--at", later, "--yes")
    assert again.status == 0, str(again)
    assert notes(server) == both
    refused = project.inv("restore", "--at", "2020-01-01 00:00", "--yes")
    assert refused.status == 1, str(refused)
    assert "the replica begins at 20" in " ".join(refused.text.split())
    assert notes(server) == both


def test_after_a_power_cut_it_goes_on(server, project) -> None:
    server.cut_power()
    done = well(project)
    assert done.status == 0, str(done)
    assert notes_sent(server)[-1:] == notes(server)[-1:]


def test_a_place_that_does_not_answer_is_told(server, project, place) -> None:
    assert re.search(r"replica +\d s behind; sftp://root@", well(project).text)
    docker("pause", place.container)
    try:
        notes(server, "unsent")
        done = project.inv("status")
    finally:
        docker("unpause", place.container)
    assert done.status == 1, str(done)
    assert "what was written cannot be sent" in " ".join(done.text.split())
    assert well(project).status == 0
    assert notes_sent(server)[-1] == "unsent"


def test_remove_takes_it_away_and_leaves_what_was_sent(server, project, place) -> None:
    done = project.inv("remove", "--name", NAME)
    assert done.status == 0, str(done)
    assert not server.run(f"docker ps --all --quiet --filter name={REPLICA}")
    assert not server.run("ls /etc/systemd/system | grep stagetools-replica || true")
    assert not server.run(f"ls -d {OWN} {HOME} 2>/dev/null || true")
    assert place.run("ls /srv/mysite/ltx")
