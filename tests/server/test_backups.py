"""Backups on a real server: made under writes, by hand and by the timer; tried; restored; never silent.

One server for all: each test finds what others have left.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.server.changes import serving, stored, take_load
from tests.server.clock import Clock
from tests.server.load import Load
from tests.server.machines import Server
from tests.server.mailbox import Mailbox, mailbox
from tests.server.project import Done, Project
from tests.spoiling import WAYS, spoil

DOMAIN = "mysite.test"
HOME = "/home/mysite_prod"
VAULT = f"{HOME}/vault"
RATES = {"new": 5.0, "kept": 10.0, "write": 15.0, "slow": 0.3}
NIGHTLY, DRILL = (f"stagetools-{what}-mysite_prod" for what in ("backup", "drill"))


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("backups", with_docker=True)


@pytest.fixture(scope="module")
def clock(server, project, tmp_path_factory) -> Clock:
    """The server's own, once the site is there."""
    return Clock(server, tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project: Project = new_project()
    project.target(server, domain=DOMAIN)
    take_load(project)
    done = project.deploy()
    assert "Backups: they are made every day at 0" in done.text, str(done)
    assert "inv backup --key prints it." in done.text
    status = project.inv("status")
    assert status.status == 0, str(status)
    assert re.search(r"backup +none yet; the next one 20\d\d-", status.text), status
    return project


def listed(project: Project) -> list[list[str]]:
    """The rows of `inv backups`."""
    done = project.inv("backups")
    assert done.status == 0, str(done)
    return [re.split(r"  +", line) for line in done.text.splitlines()[1:]]


def live(server: Server) -> str:
    """The live database's place."""
    return server.run(f"readlink -f {HOME}/data")


@contextmanager
def visited(server: Server) -> Iterator[Load]:
    """Visitors come meanwhile, and none of them fails."""
    with Load(server.address, DOMAIN, rates=RATES) as load:
        yield load
    report = load.report
    assert report["requests"] > 20
    assert not report["failed"], report["errors"]


def restored(done: Done) -> Done:
    assert done.status == 0, str(done)
    return done


def upload(server: Server, name: str) -> None:
    """3 MB that nobody has seen before."""
    path = f"{HOME}/media/{name}"
    server.run(f"head -c 3000000 /dev/urandom >{path}; chown mysite_prod: {path}")


def test_no_container_sees_the_backups_and_the_key_is_in_no_environment(
    server, project
) -> None:
    key = project.inv("backup", "--key").text.strip()
    assert len(key) > 40
    container = server.run("docker ps -q --filter label=stagetools.system=mysite_prod")
    look = f"docker exec {container} sh -c"
    assert server.run(f"{look} 'ls {HOME}'").split() == [
        *("backups", "data", "media", "static-archive")
    ]
    assert key not in server.run(f"{look} env")
    refused = (
        f"setpriv --reuid mysite_prod --clear-groups ls {VAULT}/inside 2>&1 || true"
    )
    assert "Permission denied" in server.run(refused)


def test_the_server_makes_and_tries_them_by_itself(server, project, clock) -> None:
    """Nobody calls them: it becomes night on the server, and then the day of the drill."""
    timers = server.run("systemctl list-timers --all --no-legend 'stagetools-*'")
    for line in timers.splitlines():
        assert re.match(r"\w{3} 20\d\d-\d\d-\d\d \d\d:\d\d", line), timers
    assert timers.count("mysite_prod.timer") == 2
    night, drill = clock.next_of(NIGHTLY), clock.next_of(DRILL)
    told = project.inv("status").text
    assert f"the next one {at(night)} UTC" in told
    assert f"the next one {at(drill)} UTC" in told
    try:
        assert clock.wait_for(NIGHTLY) == "success"
        assert clock.wait_for(DRILL) == "success"
        done = project.inv("status")
        assert done.status == 0, str(done)
        assert re.search(r"backup +\d+ (s|min|h) ago; the next", done.text), str(done)
        assert re.search(r"drill +\d+ (s|min) ago; the next", done.text), str(done)
        row = next(row for row in listed(project) if row[4].startswith("the server"))
        assert row[3:5] == ["by timer", "the server"]
        assert row[5][:10] == at(drill)[:10]  # of that day
    finally:
        clock.put_back()
    done = project.inv("status")
    assert done.status == 1, str(done)
    assert "the last backup is dated in the future" in " ".join(done.text.split())
    restored(project.inv("backup"))
    restored(project.inv("backup", "--verify"))
    assert project.inv("status").status == 0


def at(seconds: int) -> str:
    """A moment as `inv status` writes it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def test_a_backup_under_writes_is_sound_and_the_next_stores_what_changed(
    server, project, tmp_path
) -> None:
    upload(server, "first")
    with visited(server) as load:
        first = restored(project.inv("backup"))
        second = restored(project.inv("backup"))
    before = re.search(r"uploads \d[.]0 MB; (3[.]\d) MB of it new", first.text)
    after = re.search(r"; (\d+[.]?\d*) kB of it new", second.text)
    assert before, str(first)
    assert after, str(second)
    assert float(after[1]) < 500
    assert {row[0] for row in load.report["acknowledged"]} <= stored(server)
    assert "can be restored" in restored(project.inv("backup", "--verify")).text
    name = re.search(r"Backup: ([0-9a-f]{8}): ", first.text)[1]
    restored(project.inv("backup", "--download", str(tmp_path), name))
    [here] = tmp_path.iterdir()
    assert (here / "media/first").stat().st_size == 3_000_000
    assert "SECRET_KEY=" in (here / "environment").read_text()
    with closing(sqlite3.connect(here / "database.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_they_lie_elsewhere_as_well_once_the_place_lets_them(server, project) -> None:
    """Another account of the same server stands for another machine: it is SSH either way."""
    server.run("id keeper 2>/dev/null || useradd --create-home keeper")
    place, toml = (
        "sftp:keeper@localhost:/home/keeper/there",
        project.read("deploy.toml"),
    )
    project.write("deploy.toml", f'{toml}\n[stages.prod.backup]\nto = "{place}"\n')
    try:
        send_elsewhere(server, project, place)
    finally:
        project.write("deploy.toml", toml)
        project.deploy()
        project.inv("backup")


def send_elsewhere(server: Server, project: Project, place: str) -> None:
    project.deploy()
    refused = project.inv("backup")
    assert refused.status == 1, str(refused)
    line, *_ = re.findall(r"ssh-ed25519 \S+ backups of mysite_prod", refused.text)
    server.run(
        "install -d -o keeper -g keeper -m 0700 /home/keeper/.ssh;"
        f" echo '{line}' >/home/keeper/.ssh/authorized_keys;"
        " chown keeper: /home/keeper/.ssh/authorized_keys"
    )
    restored(project.inv("backup"))
    assert {row[4] for row in listed(project) if row[3] == "by hand"} == {
        f"the server, {place}"
    }
    verified = restored(project.inv("backup", "--verify"))
    assert f" in {place}, of which" in " ".join(verified.text.split())
    assert re.search(r"; elsewhere \d+ (s|min) ago", project.inv("status").text)
    key = project.inv("backup", "--key").text.strip()
    there = server.run(
        f"RESTIC_PASSWORD={key} restic --no-cache -r /home/keeper/there snapshots --json"
    )
    assert there.count('"short_id"') == len(
        [row for row in listed(project) if row[4].endswith(place)]
    )


def test_the_latest_comes_back_with_its_uploads_and_no_request_fails(
    server, project
) -> None:
    upload(server, "large")
    restored(project.inv("backup"))
    there = stored(server)
    server.run(f"rm {HOME}/media/large; echo new >{HOME}/media/newer")
    with visited(server) as load:
        done = project.inv("restore", "latest", "--yes")
    restored(done)
    assert re.search(r"mysite_entry: \d+ rows now, \d+ rows then", done.text), str(done)
    assert "Uploads: 1 file brought back; none was replaced or removed" in done.text
    now = stored(server)
    lost = {row[0] for row in load.report["acknowledged"]} - now
    assert there <= now
    assert server.run(f"stat -c %s {HOME}/media/large") == "3000000"
    assert server.run(f"cat {HOME}/media/newer") == "new"
    kept = [row for row in listed(project) if row[3] == "replaced"]
    # and what was lost is in the one that it has replaced, by its name
    restored(project.inv("restore", kept[0][0], "--yes"))
    assert lost <= stored(server)


def test_a_file_comes_back_with_what_a_log_beside_it_holds(
    server, project, tmp_path
) -> None:
    local = fetched(server, tmp_path / "mine.sqlite3")
    with closing(sqlite3.connect(local)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(
            "INSERT INTO mysite_entry (name, message, created, picture)"
            " VALUES ('from-a-file', '', '2026-01-31 08:00:00', '')"
        )
        database.commit()
        assert Path(f"{local}-wal").stat().st_size > 0
        with visited(server):
            restored(project.inv("restore", str(local), "--yes"))
    assert "from-a-file" in stored(server)
    assert project.inv("status").status == 0


def fetched(server: Server, to: Path) -> Path:
    """A copy of the live database, here."""
    from tests.server.machines import docker

    copy = "import sqlite3; sqlite3.connect('/d/mysite.sqlite3').backup(sqlite3.connect('/d/copy'))"
    image = f"mysite_prod:{serving(server, 'mysite_prod')}"
    server.run(f'docker run --rm -v {live(server)}:/d {image} python -c "{copy}"')
    docker("cp", f"{server.container}:{live(server)}/copy", str(to))
    server.run(f"rm -f {live(server)}/copy*")
    return to


WRONG = {
    "empty": "it is empty",
    "truncated": "malformed",
    "text": "it is not a SQLite database",
    "page": "it is damaged|malformed",
    "another": "not a database of this project: it has blog, and lacks mysite",
    "newer": "migrations that the release does not know: mysite.0009_later",
    "plain": "no migrations of Django's",
}


def change(path: Path, how: str) -> None:
    """Spoil the file, or let it be a sound database that is none of this site's."""
    if how in WAYS:
        spoil(path, how)
    statements = {
        "another": "UPDATE django_migrations SET app = 'blog' WHERE app = 'mysite'",
        "newer": "INSERT INTO django_migrations (app, name, applied)"
        " VALUES ('mysite', '0009_later', '2026-01-01')",
        "plain": "DROP TABLE django_migrations",
    }
    if how in statements:
        with closing(sqlite3.connect(path)) as database:
            database.execute(statements[how])
            database.commit()


def test_the_wrong_thing_is_refused_and_the_live_one_stays(
    server, project, tmp_path
) -> None:
    sound = fetched(server, tmp_path / "sound.sqlite3")
    before, place = stored(server), live(server)
    release = serving(server, "mysite_prod")
    directories = server.run(f"ls -d {HOME}/data*")
    restored(project.inv("backup"))
    with visited(server) as load:
        for how, why in WRONG.items():
            path = tmp_path / f"{how}.sqlite3"
            path.write_bytes(sound.read_bytes())
            change(path, how)
            done = project.inv("restore", str(path), "--yes")
            assert done.status in (1, 2), (how, done)
            assert re.search(why, done.text), (how, done)
            assert "Traceback" not in done.text
        # and as the server itself sees what is no better: an upload is judged there, too
        bad = f"{HOME}/backups/before-bad.sqlite3"
        server.run(
            f"head -c 9000 {place}/mysite.sqlite3 >{bad}; chown mysite_prod {bad}"
        )
        done = project.inv("restore", "before-bad", "--yes")
        assert (done.status, "It cannot be restored: " in done.text) == (1, True), str(
            done
        )
        assert "Its database was not touched." in done.text
        server.run(f"rm {bad}; cp -p {VAULT}/key /root/key; echo other >{VAULT}/key")
        done = project.inv("restore", "latest", "--yes")
        assert (done.status, "cannot be listed" in done.text) == (1, True), str(done)
        assert "wrong password" in done.text
        server.run(f"cp -p /root/key {VAULT}/key")
        assert project.inv("restore", "no-such-name", "--yes").status == 2
        assert (
            project.inv("restore", "latest").status == 1
        )  # a question that nobody answers
        assert project.inv("restore", "--at", "2026-11-20 14:05").status == 2
    assert serving(server, "mysite_prod") == release
    assert live(server) == place
    assert server.run(f"ls -d {HOME}/data*") == directories
    assert before | {row[0] for row in load.report["acknowledged"]} <= stored(server)


def test_a_timer_that_does_not_run_is_told(server, project) -> None:
    server.run("systemctl stop stagetools-backup-mysite_prod.timer")
    done = project.inv("status")
    assert (done.status, "the timer of the backups does not run" in done.text) == (
        1,
        True,
    )
    server.run("systemctl start stagetools-backup-mysite_prod.timer")
    assert project.inv("status").status == 0


def test_a_damaged_repository_is_found_by_the_weekly_drill_told_and_mailed(
    server, project, clock
) -> None:
    repository = f"{VAULT}/inside/repository"
    restored(project.inv("backup"))
    with mailbox() as box:
        mails_go_to(box, project)
        server.run(
            f"cp -a {repository} /root/sound; for pack in $(find {repository}/data -type f); do"
            " printf 'damaged' | dd of=$pack bs=1 seek=50 conv=notrunc status=none; done"
        )
        try:
            assert clock.wait_for(DRILL) == "exit-code"
            done = project.inv("status")
        finally:
            clock.put_back()
        box.wait_for("Subject: [mysite_prod] The drill of mysite_prod failed")
    failed = "the last drill failed: "
    assert (done.status, failed in done.text) == (1, True), str(done)
    by_hand = project.inv("backup", "--verify")
    assert by_hand.status == 1, str(by_hand)
    assert "Verify: " in by_hand.text

    server.run(f"rm -rf {repository}; cp -a /root/sound {repository}")
    restored(project.inv("backup"))
    restored(project.inv("backup", "--verify"))
    assert project.inv("status").status == 0


def mails_go_to(box: Mailbox, project: Project) -> None:
    host, port = box.server_address[:2]
    values = f"ADMINS=ann@mysite.test EMAIL_HOST={host} EMAIL_PORT={port}"
    restored(project.inv("env.set", *values.split()))
