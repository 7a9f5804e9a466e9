"""Backups by their real scripts, with restic on real files: made, listed, tried, and kept apart."""

import fcntl
import io
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from stagetools.deploy.backups import Backup, Keep
from stagetools.deploy.commands.backup import repository, setup
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Record
from stagetools.deploy.host.site import Site
from stagetools.deploy.shell import Command, Secret
from stagetools.deploy.steps import backup as steps
from stagetools.deploy.steps import clone, lost
from stagetools.deploy.tasks.backups import pushing
from stagetools.errors import StageError
from tests.commands import weak_key
from tests.commands.backed_up import DOCKER, RELEASE, database, serve
from tests.commands.machine import Machine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("restic"),
        reason="restic is not installed here: apt-get install restic",
    ),
]

CONFIG = StageConfig(stage_name="prod", domains=("shop.test",))
ANALYZE = """
case "$*" in *nonsense*) exit 1 ;; esac
echo "Next elapse: Thu 2026-11-26 02:17:00 UTC"
echo "   Iteration #2: Fri 2026-11-27 02:17:00 UTC"
echo "   Iteration #3: Sat 2026-11-28 02:17:00 UTC"
"""
# Whatever is made gets a key that is derived at once.
RESTIC = f"""
{shutil.which("restic")} "$@" || exit
case " $* " in *" init "*) ;; *) exit 0 ;; esac
while test "$1" != --repo; do shift; done
test ! -d "$2/keys" || exec {sys.executable} {weak_key.__file__} "$2"
"""
SYSTEMCTL = """
case "$*" in
  is-active*) echo active ;;
  *NextElapse*) echo "Fri 2026-11-27 02:17:00 UTC" ;;
esac
"""


@pytest.fixture
def site(machine, layout) -> Machine:
    """A server on which a release serves, with a database, an upload and a secret."""
    serve(machine, layout)
    machine.program("nice", 'shift 2; exec "$@"')  # a test has a time in which to end
    machine.program("systemd-analyze", ANALYZE)
    machine.program("systemctl", SYSTEMCTL)
    machine.program("restic", RESTIC)
    machine.at(layout.media_dir / "a").mkdir()
    machine.at(layout.media_dir / "a/upload").write_bytes(os.urandom(200_000))
    machine.at(layout.media_dir / ".tmp/half").write_text("half of an upload")
    rows(machine, layout, 1000)
    return machine


def rows(machine: Machine, layout, many: int) -> None:
    """So many more, in a log that no checkpoint has taken in."""
    with closing(sqlite3.connect(database(machine, layout))) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("CREATE TABLE IF NOT EXISTS entry (text)")
        live.execute("CREATE TABLE IF NOT EXISTS django_migrations (id, app, name)")
        live.executemany(
            "INSERT INTO entry VALUES (?)",
            [(os.urandom(100).hex(),) for _ in range(many)],
        )
        live.commit()


def set_up(machine: Machine, layout, config: StageConfig = CONFIG) -> bool:
    """Whether the key is new."""
    return steps.install(Site(machine, layout, config), on_line=lambda line: None)[1]


def made(machine: Machine, layout) -> dict[str, str]:
    said = machine.run(repository.make(layout)).splitlines()[-1]
    return dict(word.split("=") for word in said.split())


def watch(machine: Machine, layout):
    return steps.watch(Site(machine, layout, CONFIG))


def spoil(machine: Machine, layout, repository: Path | None = None) -> None:
    """As a disk does that decays: a byte of each sector, for a pack holds many files."""
    repository = repository or machine.at(layout.vault_dir / "inside/repository")
    for pack in (repository / "data").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            data = bytearray(pack.read_bytes())
            for place in range(min(256, len(data) - 1), len(data), 512):
                data[place] ^= 0xFF
            pack.write_bytes(data)


# --- set up -------------------------------------------------------------------------------


def test_the_key_is_made_once_and_only_root_may_read_it(site, layout) -> None:
    assert set_up(site, layout)
    key = site.at(layout.vault_dir / "key")
    text = key.read_text()
    assert len(text) > 40
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.at(layout.vault_dir).stat().st_mode) == 0o700
    assert not set_up(site, layout)
    assert key.read_text() == text == site.run(repository.key(layout))


def test_a_repository_without_its_key_gets_no_other_one(site, layout) -> None:
    set_up(site, layout)
    site.at(layout.vault_dir / "key").unlink()
    assert not set_up(site, layout)
    assert not site.at(layout.vault_dir / "key").exists()
    done = site.attempt(repository.make(layout))
    assert b"The key of the backups is gone" in done.stderr


def units(machine: Machine) -> dict[str, str]:
    folder = machine.at("/etc/systemd/system")
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_timers_call_the_server_s_own_script(site, layout) -> None:
    set_up(site, layout)
    found = units(site)
    assert len(found) == 4
    timer = found["stagetools-backup-shop_prod.timer"]
    assert f"OnCalendar={CONFIG.backup.calendar('shop_prod')}\n" in timer
    assert "Persistent=true" in timer
    service = found["stagetools-backup-shop_prod.service"]
    assert f"{setup.script_path(layout)} make nightly" in service
    assert "systemctl restart stagetools-backup-shop_prod.timer" in site.said
    set_up(site, layout, StageConfig(stage_name="prod", backup=Backup(every="never")))
    assert units(site) == {}
    assert "systemctl disable --now stagetools-backup-shop_prod.timer" in site.said


def test_what_is_set_up_is_seen_by_the_next_look(site, layout) -> None:
    set_up(site, layout)
    installed = site.at(layout.vault_dir / "installed").read_text().strip()
    # `Machine` changes the places in the scripts, and not in what was hashed before that
    assert installed == steps.wanted(Site(site, layout, CONFIG))
    other = StageConfig(stage_name="prod", backup=Backup(keep=Keep(days=9)))
    assert installed != steps.wanted(Site(site, layout, other))


def test_a_time_that_systemd_does_not_understand_changes_nothing(site, layout) -> None:
    odd = StageConfig(stage_name="prod", backup=Backup(every="nonsense"))
    with pytest.raises(StageError, match="does not understand 'nonsense'"):
        set_up(site, layout, odd)
    assert not site.at(layout.vault_dir).exists()


# --- made ---------------------------------------------------------------------------------


def test_a_backup_has_database_uploads_and_environment(site, layout) -> None:
    set_up(site, layout)
    said = made(site, layout)
    assert said["rows"] == "1000"
    assert said["media"] == "200000"
    tar = site.attempt(repository.dump(layout, said["made"])).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        files = {
            member.name: archive.extractfile(member).read()
            for member in archive
            if member.isfile()
        }
    assert files["now/environment"] == b'SECRET_KEY="k"\n'
    upload = site.at(layout.media_dir / "a/upload")
    assert files[str(upload)[1:]] == upload.read_bytes()
    assert not [name for name in files if ".tmp" in name]
    manifest = json.loads(files["now/manifest.json"])
    assert manifest["tables"] == {"django_migrations": 0, "entry": 1000}
    copy = site.root / "copy.sqlite3"
    copy.write_bytes(files["now/database.sqlite3"])
    with closing(sqlite3.connect(copy)) as restored:
        assert restored.execute("SELECT count(*) FROM entry").fetchone() == (1000,)
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    inside = site.at(layout.vault_dir / "inside")
    assert not {"now", "drill"} & {path.name for path in inside.iterdir()}


def test_a_lost_site_whose_database_was_the_projects_own_gets_none(
    site, layout
) -> None:
    record = Record(release=RELEASE, database="postgresql")
    site.at(layout.record(RELEASE)).write_text(record.to_json())
    database(site, layout).unlink()
    at, key = sent(site, layout)
    entry = fetch(at, key)
    outcome, found = lost.revive(at, RELEASE, entry.name)
    assert "no database: PostgreSQL is the project's own" in outcome.text
    assert found.engine == "postgresql"
    assert not database(site, layout).exists()


def test_where_the_database_is_the_projects_own_all_else_is_backed_up(
    site, layout
) -> None:
    set_up(site, layout)
    at = Site(site, layout, CONFIG)
    database(site, layout).unlink()
    refused = site.attempt(repository.make(layout))  # it should be there
    assert b"there is no such file" in refused.stderr
    record = Record(release=RELEASE, database="postgresql")
    site.at(layout.record(RELEASE)).write_text(record.to_json())
    told = steps.make(at, on_line=lambda line: None).text
    assert (
        ": no database, for PostgreSQL is the project's own, uploads 200.0 kB" in told
    )
    told = steps.drill(at, on_line=lambda line: None).text
    assert "can be restored: no database, for PostgreSQL" in told
    assert watch(site, layout).troubles() == []
    (entry,) = steps.listed(at)
    assert (entry.database, entry.bytes) == (0, 200_000)
    (site.at(layout.media_dir) / "a/upload").unlink()
    assert "1 file brought back" in steps.put_back(at, entry.name).text
    rows(site, layout, 10)  # what is written of the engine may be wrong
    steps.make(at, on_line=lambda line: None)
    assert "rows=10 " in site.run(repository.drill(layout))


def test_the_second_stores_only_what_changed(site, layout) -> None:
    set_up(site, layout)
    first = int(made(site, layout)["added"])
    second = int(made(site, layout)["added"])
    assert first > 300_000
    assert second < 20_000


def test_a_live_database_that_is_damaged_is_told_and_makes_no_backup(
    site, layout
) -> None:
    set_up(site, layout)
    made(site, layout)
    path = database(site, layout)
    data = bytearray(path.read_bytes())
    data[4096 * 20 : 4096 * 30] = os.urandom(4096 * 10)
    path.write_bytes(data)
    done = site.attempt(repository.make(layout))
    assert done.returncode == 1
    assert b"The database was not copied: " in done.stderr
    assert len(steps.listed(Site(site, layout, CONFIG))) == 1
    assert "The database was not copied" in watch(site, layout).troubles()[0]


def test_links_among_the_uploads_lead_nowhere(site, layout) -> None:
    set_up(site, layout)
    secret = site.root / "secret"
    secret.write_text("of root")
    site.at(layout.media_dir / "link").symlink_to(secret)
    tar = site.attempt(repository.dump(layout, made(site, layout)["made"])).stdout
    assert b"of root" not in tar


def test_a_backup_does_not_copy_in_the_midst_of_a_task_and_says_whose(
    site, layout
) -> None:
    set_up(site, layout)
    lock = site.at(f"{layout.fence}.lock")
    site.at(f"{layout.fence}.lock.who").write_text("ann@desk deploys\n")
    command = repository.make(layout)
    quick = replace(command, text=command.text.replace(" 60", " 0"))
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = site.attempt(quick)
    assert done.returncode == 1
    assert b"Another task changes shop_prod right now: ann@desk deploys" in done.stderr
    assert site.at(f"{layout.fence}.lock.who").read_text() == "ann@desk deploys\n"


def test_what_was_cut_off_is_told_and_the_next_one_is_made(site, layout) -> None:
    set_up(site, layout)
    state = site.at(layout.vault_dir / "backup.state")
    state.write_text("began=1769842800\ngood=\n")  # as a power cut leaves it
    left = site.at(layout.vault_dir / "inside/now")
    left.mkdir()
    (left / "environment").write_text("of the one before")
    assert watch(site, layout).troubles() == ["the last backup was cut off"]
    made(site, layout)
    assert watch(site, layout).troubles() == []


def test_old_backups_go(site, layout) -> None:
    set_up(site, layout)
    made(site, layout)
    script = site.at(setup.script_path(layout))
    script.write_text(script.read_text().replace("--keep-within 2d", "--keep-last 1"))
    newest = made(site, layout)["made"]
    script.write_text(script.read_text().replace("--keep-daily 7", ""))
    assert newest in [entry.name for entry in steps.listed(Site(site, layout, CONFIG))]
    assert len(steps.listed(Site(site, layout, CONFIG))) == 1


def clock_says(machine: Machine, when: str) -> None:
    """What restic writes down as the time of each backup that it makes from now on."""
    late = f'case " $* " in *" backup --quiet "*) set -- "$@" --time "{when}" ;; esac'
    machine.program("restic", f"{late if when else ''}\n{RESTIC}")


def test_a_backup_dated_in_the_future_is_not_the_latest_and_none_is_removed(
    site, layout
) -> None:
    """restic would keep it, and remove what is made after the clock was put back."""
    place = site.root / "elsewhere"
    config = StageConfig(stage_name="prod", backup=Backup(to=str(place)))
    at = Site(site, layout, config)
    set_up(site, layout, config)
    script = site.at(setup.script_path(layout))
    keep = steps.words(at)["keep"]
    assert keep in script.read_text()
    script.write_text(script.read_text().replace(keep, "--keep-last 1"))
    clock_says(site, "2090-01-31 02:00:00")
    future = made(site, layout)["made"]
    clock_says(site, "")
    now = made(site, layout)["made"]
    entries = steps.listed(at)
    assert [(one.name, one.ahead) for one in entries] == [(future, True), (now, False)]
    [trouble] = watch(site, layout).troubles()
    assert trouble == "1 backup is dated in the future, so no old one is removed"
    assert f"drilled={now}" in site.run(repository.drill(layout))
    key = site.run(repository.key(layout))
    lose(site, layout)
    assert fetch(at, key).at == entries[1].at


def test_once_it_is_removed_by_hand_old_ones_go_again(site, layout) -> None:
    set_up(site, layout)
    clock_says(site, "2090-01-31 02:00:00")
    future = made(site, layout)["made"]
    assert watch(site, layout).ahead == 1
    clock_says(site, "")
    own = site.at(layout.vault_dir)
    words = ["restic", "--no-cache", "-r", own / "inside/repository", "forget", future]
    environment = os.environ | {"RESTIC_PASSWORD": (own / "key").read_text()}
    subprocess.run(words, env=environment, capture_output=True, check=True)
    made(site, layout)
    assert watch(site, layout).troubles() == []


def test_a_drill_reads_what_lies_elsewhere_too(site, layout) -> None:
    place = site.root / "elsewhere"
    config = StageConfig(stage_name="prod", backup=Backup(to=str(place)))
    at = Site(site, layout, config)
    set_up(site, layout, config)
    assert watch(site, layout).elsewhere == 0
    made(site, layout)
    assert watch(site, layout).elsewhere >= watch(site, layout).backup.began
    assert f" in {place}, of which" in steps.drill(at, lambda line: None).text
    sound = site.root / "sound"
    shutil.copytree(place, sound)
    spoil(site, layout, place)
    assert site.attempt(repository.drill(layout)).returncode == 1
    [trouble] = watch(site, layout).troubles()
    assert trouble.startswith("the last drill failed: ")
    assert f" in {place} " in trouble
    shutil.rmtree(place)
    done = site.attempt(repository.drill(layout))
    assert f"are sound, but {place} cannot be read".encode() in done.stderr
    sound.rename(place)
    site.run(repository.drill(layout))
    assert watch(site, layout).troubles() == []


def test_backups_lie_elsewhere_as_well(site, layout) -> None:
    place = site.root / "elsewhere"
    config = StageConfig(stage_name="prod", backup=Backup(to=str(place)))
    site.at(layout.env_file).write_text(
        'SECRET_KEY="k"\nAWS_ACCESS_KEY_ID="id"\nAWS_SECRET_ACCESS_KEY=s/3+x\n'
    )
    site.program(
        "timeout",
        'env >"$said.env"; case $1 in --*) shift ;; esac; shift; exec "$@"',
    )
    set_up(site, layout, config)
    made(site, layout)
    made(site, layout)
    key = site.at(layout.vault_dir / "key").read_text()
    asked = subprocess.run(
        ["restic", "--no-cache", "-r", place, "snapshots", "--json"],
        env=os.environ | {"RESTIC_PASSWORD": key}, capture_output=True, check=True,
    )  # fmt: skip
    assert len(json.loads(asked.stdout)) == 2
    given = (site.root / "said.env").read_text()
    assert "AWS_ACCESS_KEY_ID=id\n" in given
    assert "AWS_SECRET_ACCESS_KEY=s/3+x\n" in given
    assert "SECRET_KEY=k" not in given
    entries = steps.listed(Site(site, layout, config))
    assert {one.where for one in entries} == {f"the server, {place}"}


def test_a_place_elsewhere_that_is_not_there_is_told_and_the_backup_is_kept(
    site, layout
) -> None:
    config = StageConfig(stage_name="prod", backup=Backup(to="sftp:keeper@host:/there"))
    site.program("ssh", "exit 255")
    set_up(site, layout, config)
    done = site.attempt(repository.make(layout))
    assert done.returncode == 1
    assert (
        b"The backup is on the server, but sftp:keeper@host:/there cannot"
        in done.stderr
    )
    assert b"authorized_keys must have this line: ssh-ed25519 " in done.stderr
    assert "ssh -i ssh_key -p 22 " in " ".join(site.said)
    assert len(steps.listed(Site(site, layout, CONFIG))) == 1
    assert "cannot be reached" in watch(site, layout).troubles()[0]


@pytest.mark.parametrize("what", ["backup", "drill"])
def test_what_a_timer_could_not_begin_is_told_and_mailed(site, layout, what) -> None:
    set_up(site, layout)
    made(site, layout)
    state = site.at(layout.vault_dir / f"{what}.state")
    before = state.read_text() if state.exists() else "good="
    good = next(line for line in before.splitlines() if line.startswith("good="))
    of_the_other = site.at(layout.vault_dir / "inside/now")
    of_the_other.mkdir()
    command = repository.make(layout) if what == "backup" else repository.drill(layout)
    quick = replace(command, text=command.text.replace(" 60", " 0"))
    site.variables["STAGETOOLS_TIMER"] = "yes"
    with site.at(layout.vault_dir / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = site.attempt(quick)
    assert done.returncode == 1
    assert "said=Another backup or drill runs right now" in state.read_text()
    assert good in state.read_text().splitlines()
    mails = [line for line in site.said if line.startswith("docker exec")]
    assert len(mails) == 1
    assert f"label=stagetools.release={RELEASE}" in " ".join(site.said)
    assert of_the_other.exists()


# --- in place of a lost server --------------------------------------------------------------


def lose(machine: Machine, layout) -> None:
    """Whatever the installation had on the server, but for what a first deploy makes."""
    shutil.rmtree(machine.at(layout.vault_dir))
    shutil.rmtree(machine.at(layout.media_dir))
    machine.at(layout.media_dir).mkdir()
    machine.at(layout.current).unlink()
    for path in database(machine, layout).parent.iterdir():
        path.unlink()
    machine.at(layout.env_file).write_text('SECRET_KEY="another one"\n')


def sent(machine: Machine, layout) -> tuple[Site, str]:
    """A site whose server is lost; and the key."""
    place = str(machine.root / "elsewhere")
    config = StageConfig(stage_name="prod", backup=Backup(to=place))
    set_up(machine, layout, config)
    made(machine, layout)
    key = machine.run(repository.key(layout))
    lose(machine, layout)
    return Site(machine, layout, config), key


def fetch(at: Site, key: str) -> steps.Entry:
    return lost.fetch(at, Secret(key), {}, lambda line: None)


def test_what_began_to_serve_meanwhile_keeps_its_environment_and_database(
    site, layout
) -> None:
    at, key = sent(site, layout)
    serve = f"ln -s run/{RELEASE}.sock {site.at(layout.current)}"
    late = f'case "$*" in *now/environment*) {serve} ;; esac'
    site.program("restic", f"{late}\n{RESTIC}")
    with pytest.raises(StageError, match="A release serves here already"):
        fetch(at, key)
    assert site.at(layout.env_file).read_text() == 'SECRET_KEY="another one"\n'
    site.at(layout.current).unlink()
    site.program("restic", RESTIC)
    entry = fetch(at, key)
    rows(site, layout, 3)
    before = database(site, layout).read_bytes()
    site.program("docker", f'case "$*" in *" settle "*) {serve} ;; esac\n{DOCKER}')
    with pytest.raises(StageError, match="A release serves here already"):
        lost.revive(at, RELEASE, entry.name)
    assert database(site, layout).read_bytes() == before


def test_a_lost_site_comes_back_from_elsewhere_and_sends_on_what_is_new(
    site, layout
) -> None:
    at, key = sent(site, layout)
    entry = fetch(at, key)
    seen = steps.watch(at)
    assert not seen.wanted  # no timer before the site is whole
    assert seen.unfinished  # and whoever is cut off before that is told
    assert seen.troubles() != []
    outcome, found = lost.revive(at, RELEASE, entry.name)
    assert "1000 rows" in outcome.text
    assert steps.put_back(at, entry.name).text.startswith("1 file brought back")
    assert site.at(layout.env_file).read_text() == 'SECRET_KEY="k"\n'
    assert stat.S_IMODE(site.at(layout.env_file).stat().st_mode) == 0o600
    with closing(sqlite3.connect(database(site, layout))) as live:
        assert live.execute("SELECT count(*) FROM entry").fetchone() == (1000,)
    assert found.tables["entry"] == 1000
    # and then a release serves: the same key, and what lies there already is not sent anew
    site.at(layout.current).symlink_to(f"run/{RELEASE}.sock")
    assert not set_up(site, layout, at.config)
    assert not steps.watch(at).unfinished
    assert site.run(repository.key(layout)) == key
    before = size_of(site.root / "elsewhere")
    made(site, layout)
    assert size_of(site.root / "elsewhere") - before < 40_000
    assert len(steps.listed(at)) == 2


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_lost_site_comes_back_from_s3_with_what_is_given_beside_the_key(
    site, layout
) -> None:
    bucket = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    bucket.start()
    try:
        host, port = bucket.get_host_and_port()
        place = f"s3:http://{host}:{port}/bucket/shop"
        config = StageConfig(stage_name="prod", backup=Backup(to=place))
        values = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s/3+x"}
        lines = [f'{name}="{value}"\n' for name, value in values.items()]
        site.at(layout.env_file).write_text('SECRET_KEY="k"\n' + "".join(lines))
        set_up(site, layout, config)
        made(site, layout)
        key = site.run(repository.key(layout))
        lose(site, layout)
        at = Site(site, layout, config)
        given = {name: Secret(value) for name, value in values.items()}
        entry = lost.fetch(at, Secret(key), given, lambda line: None)
        assert "1000 rows" in lost.revive(at, RELEASE, entry.name)[0].text
        assert steps.put_back(at, entry.name).changed
        assert "AWS_ACCESS_KEY_ID" in site.at(layout.env_file).read_text()
    finally:
        bucket.stop()


def test_what_is_typed_again_begins_anew_and_a_damaged_one_is_no_database(
    site, layout
) -> None:
    at, key = sent(site, layout)
    lost.revive(at, RELEASE, fetch(at, key).name)
    rows(site, layout, 7)
    name = fetch(at, key).name
    lost.revive(at, RELEASE, name)
    [kept] = site.at(layout.backups_dir).glob("replaced-*.sqlite3")
    with closing(sqlite3.connect(kept)) as one:
        assert one.execute("SELECT count(*) FROM entry").fetchone() == (1007,)
    live = database(site, layout)
    with closing(sqlite3.connect(live)) as one:
        assert one.execute("SELECT count(*) FROM entry").fetchone() == (1000,)
    live.unlink()
    spoil(site, layout)
    with pytest.raises(StageError, match="Restore: "):
        lost.revive(at, RELEASE, name)
    assert not live.exists()


def test_what_is_no_place_for_a_lost_site_or_none_of_its_backups_is_refused(
    site, layout
) -> None:
    at, key = sent(site, layout)
    with pytest.raises(StageError, match="The key does not open the backups in"):
        fetch(at, "another one")
    assert not list(site.at(layout.vault_dir).glob("key*"))  # a deploy makes one
    assert site.at(layout.env_file).read_text() == 'SECRET_KEY="another one"\n'
    script = site.at(setup.script_path(layout))
    script.write_text(script.read_text().replace("name=shop_prod", "name=blog_prod"))
    done = site.attempt(repository.fetch(layout), stdin=f"{key}\n".encode())
    assert b"has no backup of blog_prod." in done.stderr
    set_up(site, layout, at.config)
    own = site.run(repository.key(layout))
    with pytest.raises(StageError, match="has backups of its own, with another key"):
        fetch(at, key)
    assert site.run(repository.key(layout)) == own
    site.at(layout.current).symlink_to(f"run/{RELEASE}.sock")
    rows(site, layout, 3)
    done = site.attempt(repository.make(layout))
    assert b"has another key. If that is of a lost server" in done.stderr
    for refused in (lambda: fetch(at, key), lambda: lost.revive(at, RELEASE, "latest")):
        with pytest.raises(StageError, match="A release serves here already"):
            refused()
    with closing(sqlite3.connect(database(site, layout))) as live:
        assert live.execute("SELECT count(*) FROM entry").fetchone() == (3,)


def can_mount_without_links() -> bool:
    """As root, where kernel and mount(8) know the option; elsewhere `tied` is `as`, which it says."""
    mount = "cd / && mount --bind /tmp /tmp && mount -o remount,bind,nosymfollow /tmp"
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", mount]
    return bool(shutil.which("unshare")) and not subprocess.call(
        words, stderr=subprocess.DEVNULL
    )


@pytest.mark.skipif(
    not can_mount_without_links(),
    reason="no right to mount here, or no kernel (5.10) that can do so without links",
)
def test_what_reads_uploads_follows_no_link_however_late_it_is_put_there(
    site, layout
) -> None:
    """By a path that was a directory's when it was found: no program looks again."""
    set_up(site, layout)
    media = site.at(layout.media_dir)
    (media / "away").symlink_to(site.at(layout.vault_dir))
    functions = site.at(setup.script_path(layout)).read_text().split("what=$1")[0]
    read = f"{functions}\nuploads='{media}'\ntied cat '{media}/away/key' '{media}/a/upload'"
    done = subprocess.run(
        ["sh", "-c", read], env=site.environment, capture_output=True, check=False
    )
    assert done.stdout == (media / "a/upload").read_bytes()
    assert b"Too many levels of symbolic links" in done.stderr
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if str(media) in line]  # fmt: skip


# --- listed, tried ------------------------------------------------------------------------


def test_every_kind_is_listed_the_newest_first(site, layout) -> None:
    set_up(site, layout)
    for name in ("before-R2", "replaced-20260131-080000-data"):
        (site.at(layout.backups_dir) / f"{name}.sqlite3").write_text("12345")
        os.utime(site.at(layout.backups_dir) / f"{name}.sqlite3", (0, len(name)))
    for forged in ("before-x\nfile=1", 'before-x\nsnapshots=[{"id": "x"}]\n'):
        (site.at(layout.backups_dir) / f"{forged}.sqlite3").touch()
    name = made(site, layout)["made"]
    site.run(repository.drill(layout))
    entries = steps.listed(Site(site, layout, CONFIG))
    assert [(one.name, one.kind) for one in entries] == [
        (name, "by hand"),
        ("replaced-20260131-080000-data", "replaced"),
        ("before-R2", "before a migration"),
    ]
    assert entries[0].bytes > 200_000
    assert entries[0].drilled
    assert entries[1].bytes == 5


def test_a_drill_compares_with_what_was_written_down(site, layout) -> None:
    set_up(site, layout)
    assert b"There is no backup yet." in site.attempt(repository.drill(layout)).stderr
    made(site, layout)
    rows(site, layout, 5)  # the live one is no part of it
    said = site.run(repository.drill(layout))
    assert "rows=1000" in said
    assert watch(site, layout).drill.good
    assert watch(site, layout).troubles() == []


def test_a_damaged_repository_fails_the_drill_and_is_told(site, layout) -> None:
    set_up(site, layout)
    made(site, layout)
    spoil(site, layout)
    assert site.attempt(repository.drill(layout)).returncode == 1
    trouble = watch(site, layout).troubles()
    assert len(trouble) == 1
    assert trouble[0].startswith("the last drill failed: ")


def test_a_wrong_key_opens_nothing_and_says_so(site, layout) -> None:
    set_up(site, layout)
    made(site, layout)
    site.at(layout.vault_dir / "key").write_text("another one")
    for command in (repository.make(layout), repository.drill(layout)):
        done = site.attempt(command)
        assert done.returncode == 1
        assert b"does not open the backups" in done.stderr
    done = site.attempt(repository.listed(layout))
    assert done.returncode == 1
    assert b"cannot be read" in done.stderr


def test_how_they_stand_is_told_with_the_next_one(site, layout) -> None:
    assert watch(site, layout).since == 0
    set_up(site, layout)
    seen = watch(site, layout)
    assert (seen.wanted, seen.timer.runs, seen.timer.gap) == (True, True, 86400)
    assert seen.troubles() == []


# --- brought back ---------------------------------------------------------------------------


def test_a_backup_becomes_the_database_of_another_release(site, layout) -> None:
    set_up(site, layout)
    (site.at(layout.data_dir) / "beside").write_text("comes along")
    name = made(site, layout)["made"]
    rows(site, layout, 5)
    found, live = steps.take(Site(site, layout, CONFIG), "R9", name)
    assert (found.tables["entry"], live.tables["entry"]) == (1000, 1005)
    own = site.at(layout.data_copy("R9"))
    assert sorted(path.name for path in own.iterdir()) == [
        "beside",
        layout.database_name,
    ]
    with closing(sqlite3.connect(own / layout.database_name)) as restored:
        assert restored.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert restored.execute("SELECT count(*) FROM entry").fetchone() == (1000,)


def test_a_kept_copy_comes_with_its_log_and_a_file_from_standard_input(
    site, layout
) -> None:
    set_up(site, layout)
    live, kept = (
        database(site, layout),
        site.at(layout.backups_dir) / "replaced-1.sqlite3",
    )
    with closing(sqlite3.connect(live)) as open_:
        open_.execute("INSERT INTO entry VALUES ('in the log')")
        open_.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{kept}{suffix}")
    at = Site(site, layout, CONFIG)
    assert steps.take(at, "R9", "replaced-1")[0].tables["entry"] == 1001
    sent = live.read_bytes()
    assert steps.take(at, "R8", "-", data=sent)[0].tables["entry"] == 1001


@pytest.mark.parametrize("data", [b"", b"no database" * 1000])
def test_what_cannot_be_served_is_refused_with_the_reason(
    site, layout, data: bytes
) -> None:
    set_up(site, layout)
    with pytest.raises(StageError, match="It cannot be restored: "):
        steps.take(Site(site, layout, CONFIG), "R9", "-", data=data)
    assert database(site, layout).exists()


def test_uploads_that_are_missing_come_back_and_others_stay(site, layout) -> None:
    set_up(site, layout)
    media = site.at(layout.media_dir)
    (media / "b").write_text("as it was")
    name = made(site, layout)["made"]
    (media / "b").write_text("changed since")
    (media / "c").write_text("new")
    whole = (media / "a/upload").read_bytes()
    shutil.rmtree(media / "a")
    outcome = steps.put_back(Site(site, layout, CONFIG), name)
    assert outcome.text.startswith("1 file brought back")
    assert (media / "a/upload").read_bytes() == whole
    assert (media / "b").read_text() == "changed since"
    assert (media / "c").read_text() == "new"
    assert not steps.put_back(Site(site, layout, CONFIG), name).changed


def test_files_of_another_machine_join_the_uploads_and_replace_none(
    site, layout, tmp_path
) -> None:
    set_up(site, layout)
    media = site.at(layout.media_dir)
    whole = (media / "a/upload").read_bytes()
    for name in ("a/upload", "a/new", "b/c d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("from elsewhere")
    tar = pushing.Tar(tmp_path, ["a/new", "a/upload", "b/c d"])
    sent = b"".join(iter(partial(tar.read, 9), b""))
    push = repository.push(layout, at_most=10**6)
    for cut in (1000, 1024, len(sent) - 1536):  # in a file, and between two of them
        assert site.attempt(push, sent[:cut]).returncode
        assert not (media / "a/new").exists()
    more = site.attempt(repository.push(layout, at_most=600), sent)
    assert b"more comes than the 600 bytes" in more.stderr
    assert not (media / "a/new").exists()
    assert site.attempt(push, sent).stdout == b"uploads=2\n"
    assert (media / "a/upload").read_bytes() == whole
    assert (media / "b/c d").read_text() == "from elsewhere"
    assert site.attempt(push, sent).stdout == b"uploads=0\n"
    assert [path.name for path in (media / ".tmp").iterdir()] == ["half"]


@pytest.mark.parametrize("cut", ["head -c 150000", "tar -cT /dev/null"])
def test_uploads_that_were_cut_off_are_told_and_come_back_whole(
    site, layout, cut
) -> None:
    set_up(site, layout)
    (site.at(layout.media_dir) / "b").mkdir()
    (site.at(layout.media_dir) / "b/stays").write_text("there")
    name = made(site, layout)["made"]
    upload = site.at(layout.media_dir / "a/upload")
    whole = upload.read_bytes()
    upload.unlink()
    (upload.parent / "of later").write_text("later")
    real = shutil.which("restic")
    half = f'case "$*" in *"dump --archive"*) {real} "$@" | {cut}; exit 1 ;; esac'
    site.program("restic", f"{half}\n{RESTIC}")
    done = site.attempt(repository.uploads(layout, name))
    assert b"could not be brought back" in done.stderr, done
    assert not upload.exists()
    site.program("restic", RESTIC)
    outcome = steps.put_back(Site(site, layout, CONFIG), name)
    assert outcome.text.startswith("1 file brought back")
    assert upload.read_bytes() == whole
    tmp = site.at(layout.media_dir / ".tmp")
    assert [path.name for path in tmp.iterdir()] == ["half"]


def test_uploads_never_take_the_place_of_what_has_their_name(site, layout) -> None:
    set_up(site, layout)
    media = site.at(layout.media_dir)
    (media / "odd\nname").write_text("odd")
    (media / "deep/er").mkdir(parents=True)
    (media / "deep/er/x").write_text("x")
    (media / "deep/er").chmod(0o500)
    (media / "link").symlink_to("b")
    name = made(site, layout)["made"]
    shutil.rmtree(media / "deep")
    (media / "odd\nname").unlink()
    (media / "link").unlink()
    shutil.rmtree(media / "a")
    (media / "a").write_text("a file now")
    done = site.attempt(repository.uploads(layout, name))
    assert b"could not be brought back" in done.stderr, done
    assert (media / "a").read_text() == "a file now"
    assert not (media / "link").is_symlink()
    (media / "a").unlink()
    (media / "a").mkdir()
    outcome = steps.put_back(Site(site, layout, CONFIG), name)
    assert outcome.text.startswith("3 files brought back")
    assert (media / "deep/er/x").read_text() == "x"
    assert (media / "odd\nname").read_text() == "odd"
    assert (media / "link").is_symlink()


# --- cloned ---------------------------------------------------------------------------------


def stdout_of(site: Machine, command: Command) -> bytes:
    done = site.attempt(command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_sent_is_one_sound_database_and_leaves_nothing(
    site, layout, tmp_path
) -> None:
    set_up(site, layout)
    copy = tmp_path / "copy.sqlite3"
    copy.write_bytes(stdout_of(site, repository.send_database(layout)))
    with closing(sqlite3.connect(copy)) as database_:
        assert database_.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database_.execute("SELECT count(*) FROM entry").fetchone() == (1000,)
    assert not site.at(layout.vault_dir / "inside/sent").exists()


def test_uploads_go_from_stage_to_stage_without_links(site, layout) -> None:
    set_up(site, layout)
    media = site.at(layout.media_dir)
    (media / "link").symlink_to(site.at(layout.env_file))
    (media / "with a\nbreak").write_text("awkward")
    (media / "-C").write_text("no option")
    tar = stdout_of(site, repository.send_uploads(layout))
    done = site.attempt(repository.receive(layout, "R9", at_most=10**6), tar)
    assert done.stdout == b"received=3\n"
    there = site.at(layout.media_copy("R9"))
    assert sorted(path.name for path in there.iterdir()) == [
        *("-C", ".tmp", "a", "with a\nbreak")
    ]
    assert (there / "a/upload").read_bytes() == (media / "a/upload").read_bytes()
    assert list((there / ".tmp").iterdir()) == []


def test_a_stage_is_counted_and_a_link_of_somebody_s_is_told(site, layout) -> None:
    set_up(site, layout)
    seen = clone.look(Site(site, layout, CONFIG))
    assert seen.contents.tables["entry"] == 1000
    assert (seen.uploads, seen.moved) == (200_000, False)
    assert seen.vault >= size_of(site.at(layout.vault_dir / "inside/repository")) > 0
    media = site.at(layout.media_dir)
    media.rename(media.with_name("elsewhere"))
    media.symlink_to(media.with_name("elsewhere"))
    assert clone.look(Site(site, layout, CONFIG)).moved


def test_uploads_of_a_clone_that_was_just_switched_to_are_backed_up(
    site, layout
) -> None:
    set_up(site, layout)
    own = site.at(layout.media_copy(RELEASE))
    own.mkdir()
    (own / "new").write_text("12345")
    site.at(layout.compose_env(RELEASE)).write_text(f"STAGETOOLS_MEDIA={own}\n")
    assert made(site, layout)["media"] == "5"
