"""What the scripts of backups take from others: no more than was said, and than there is room for."""

import fcntl
import io
import os
import shutil
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from dataclasses import replace

import pytest

from stagetools.deploy.backups import Backup
from stagetools.deploy.commands.backup import repository, setup
from stagetools.deploy.config import StageConfig
from stagetools.deploy.host.site import Site
from stagetools.deploy.limits import DISK
from stagetools.deploy.shell import Secret
from stagetools.deploy.steps import backup as steps
from stagetools.deploy.steps import lost
from stagetools.errors import StageError
from tests.cases import one_fast
from tests.commands.backed_up import database, serve
from tests.commands.machine import Machine, until

# None is needed here, and restic takes a second to begin.
RESTIC = """
case "$*" in
  *init*) mkdir -p repository && : >repository/config ;;
  *"cat config"*) exit 0 ;;
  *" backup "*) echo '{"data_added":5,"snapshot_id":"5c1438aa00"}' ;;
  *--help*) echo --no-scan ;;
esac
"""


@pytest.fixture
def site(machine, layout) -> Machine:
    """A server on which a release serves, with a database and backups."""
    serve(machine, layout)
    machine.program("restic", RESTIC)
    machine.program("systemctl", "echo active")
    machine.program("systemd-analyze", "true")
    with closing(sqlite3.connect(database(machine, layout))) as live:
        live.execute("CREATE TABLE entry (text)")
        live.commit()
    set_up(machine, layout)
    return machine


def set_up(machine: Machine, layout, to: str = "") -> Site:
    config = StageConfig(stage_name="prod", backup=Backup(to=to))
    made = Site(machine, layout, config)
    steps.install(made, on_line=lambda line: None)
    return made


def tar(many: int) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("./upload")
        member.size = many
        archive.addfile(member, io.BytesIO(bytes(many)))
    return made.getvalue()


def full(machine: Machine) -> None:
    """Nothing is free but a part of the reserve."""
    free = DISK.reserve // 1024 - 1
    machine.program(
        "df", f"printf 'of\\nfs 99999999 0 {free} 1%% /\\n' | sed 's/of/head/'"
    )


# --- uploads and a database of another server -----------------------------------------------------


def test_uploads_beyond_what_was_announced_are_not_taken_and_none_stays(
    site, layout
) -> None:
    done = site.attempt(repository.receive(layout, "R9", at_most=10**6), tar(3 * 10**6))
    assert done.returncode == 1
    assert b"did not come whole: more comes than the 1000000 bytes" in done.stderr
    assert not site.at(layout.media_copy("R9")).exists()
    whole = tar(3 * 10**6)
    done = site.attempt(repository.receive(layout, "R9", at_most=len(whole)), whole)
    assert done.stdout == b"received=1\n", done.stderr


def test_who_sends_nothing_more_and_does_not_end_is_not_waited_for(
    site, layout
) -> None:
    script = site.at(setup.script_path(layout))
    script.write_text(script.read_text().replace("{2:-1800}", "{2:-1}"))
    words = ["sh", "-c", site.text(repository.receive(layout, "R9", at_most=10**6))]
    both = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=site.environment, **both) as takes:
        assert takes.stdin
        assert takes.stderr
        takes.stdin.write(tar(100_000)[:50_000])
        takes.stdin.flush()
        said = takes.stderr.read()
        takes.stdin.close()
    assert b"did not come whole: nothing has come for 1 seconds." in said
    assert takes.returncode == 1
    assert not site.at(layout.media_copy("R9")).exists()


def test_links_that_another_server_sends_lead_nowhere(site, layout) -> None:
    """A site would serve what they lead to: its environment is in /proc/self/environ."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("./a", "./b/deep"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/proc/self/environ"
            archive.addfile(link)
        pipe = tarfile.TarInfo("./pipe")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
    command = repository.receive(layout, "R9", at_most=10**6)
    assert site.attempt(command, made.getvalue()).returncode == 0
    there = site.at(layout.media_copy("R9"))
    assert not [
        path for path in there.rglob("*") if not path.is_dir() or path.is_symlink()
    ]


def test_what_lies_beside_the_database_is_copied_only_where_it_fits(
    site, layout
) -> None:
    (site.at(layout.data_dir) / "beside").write_bytes(os.urandom(3_000_000))
    free = (DISK.reserve + 2_000_000) // 1024
    site.program("df", f"printf 'head\\nfs 99999999 0 {free} 1%% /\\n'")
    data = database(site, layout).read_bytes()
    done = site.attempt(repository.take(layout, "R9", "-"), data)
    assert b"What lies beside the database in" in done.stderr
    assert not site.at(layout.data_copy("R9")).exists()


def test_uploads_stop_where_the_disk_has_no_room_but_the_reserve(site, layout) -> None:
    full(site)
    done = site.attempt(repository.receive(layout, "R9", at_most=10**9), tar(3 * 10**6))
    assert b"did not come whole: the disk has no more room" in done.stderr
    assert not site.at(layout.media_copy("R9")).exists()


def test_a_database_beyond_what_was_announced_is_not_taken_and_none_stays(
    site, layout
) -> None:
    data = database(site, layout).read_bytes()
    command = repository.take(layout, "R9", "-", at_most=len(data) - 1)
    done = site.attempt(command, data)
    assert b"The database did not come whole: more comes than" in done.stderr
    assert not site.at(layout.data_copy("R9")).exists()
    command = repository.take(layout, "R9", "-", at_most=len(data))
    assert site.attempt(command, data).returncode == 0


# --- the backups themselves ------------------------------------------------------------------------


def test_backups_move_while_a_drill_reads_them_and_none_of_its_locks_comes(
    site, layout
) -> None:
    inside = site.at(layout.vault_dir) / "inside"
    for name in ("repository/locks/1", "repository/data/pack", "ssh_key", "drill/now"):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text(name)
    changed = "tar: .: file changed as we read it"
    site.program("tar", f'{shutil.which("tar")} "$@"; echo "{changed}" >&2; exit 1')
    sent = site.attempt(repository.send_vault(layout))
    assert sent.returncode == 0, sent.stderr
    with tarfile.open(fileobj=io.BytesIO(sent.stdout)) as archive:
        names = {member.name for member in archive}
    assert names >= {"./repository/locks", "./repository/data/pack", "./ssh_key"}
    assert not [name for name in names if "drill" in name or "locks/" in name]
    site.program("tar", "exit 2")
    assert site.attempt(repository.send_vault(layout)).returncode


# --- files that join the uploads ------------------------------------------------------------------


def between(site: Machine, layout, sent: bytes, meanwhile) -> tuple[int, bytes, bytes]:
    """Push a tar file; in the midst of it, `meanwhile` is called."""
    (site.at(layout.media_dir) / "had").write_text("there")
    words = ["sh", "-c", site.text(repository.push(layout, at_most=10**6))]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, env=site.environment, **pipes) as push:
        assert push.stdin
        push.stdin.write(sent[:600])
        push.stdin.flush()
        try:
            until(lambda: (files(site, layout) / "had").exists())
            meanwhile()
        finally:
            out, errors = push.communicate(sent[600:], timeout=60)
    return push.returncode, out, errors


def files(site: Machine, layout):
    return site.at(layout.media_dir) / ".tmp/pushed/files"


def joining(*names: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in (*names, ".tmp/whole"):
            member = tarfile.TarInfo(name)
            member.size = 5
            archive.addfile(member, io.BytesIO(b"12345"))
    return made.getvalue()


def test_no_list_that_a_container_writes_removes_or_takes_what_lies_outside(
    site, layout
) -> None:
    kept = site.at(layout.backups_dir) / "before-1.sqlite3"
    kept.write_text("rows")
    up = "../../../../"

    def hostile() -> None:
        own = files(site, layout).parent
        (own / "had").write_text(f"{up}backups/{kept.name}\0")

    code, out, errors = between(site, layout, joining("a", "b/c"), hostile)
    assert (code, out) == (0, b"uploads=2\n"), errors
    assert kept.read_text() == "rows"
    media = site.at(layout.media_dir)
    assert (media / "b/c").read_text() == "12345"
    assert (media / "had").read_text() == "there"


def test_what_the_site_writes_meanwhile_is_not_counted_as_added(site, layout) -> None:
    more = site.at(layout.media_dir) / "more"
    code, out, errors = between(site, layout, joining("a", "b/c"), more.touch)
    assert (code, out) == (0, b"uploads=2\n"), errors


def test_no_drill_or_backup_waits_for_files_that_come(site, layout) -> None:
    def others() -> None:
        for lock in ("lock", "drilling"):
            with (site.at(layout.vault_dir) / lock).open("a") as free:
                fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)

    code, _, errors = between(site, layout, joining("a"), others)
    assert code == 0, errors


def test_two_that_add_files_do_not_meet(site, layout) -> None:
    command = repository.push(layout, at_most=10**6)
    script = site.at(setup.script_path(layout))
    script.write_text(script.read_text().replace("--wait 60 9", "--wait 0 9"))
    with (site.at(layout.vault_dir) / "adding").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = site.attempt(command, joining("a"))
    assert b"Other files are being added" in done.stderr
    assert not (site.at(layout.media_dir) / "a").exists()


def test_files_are_measured_by_the_disk_on_which_the_uploads_are(site, layout) -> None:
    media = site.at(layout.media_dir)
    free = (DISK.reserve + 10**6) // 1024
    other = f"printf 'head\\nfs 99999999 0 {free} 1%% /\\n'"
    none = "printf 'head\\nfs 99999999 0 0 1%% /\\n'"
    site.program("df", f'case "$*" in *{media}) {other} ;; *) {none} ;; esac')
    large = repository.push(layout, at_most=10**7, total=10**6 + 1024)
    refused = site.attempt(large, joining("a"))
    assert b"and the disk of the uploads has room for" in refused.stderr
    assert not (media / "a").exists()
    fits = repository.push(layout, at_most=10**7, total=5)
    assert site.attempt(fits, joining("a")).stdout == b"uploads=1\n"


# --- what the site's own database may take ------------------------------------------------------


def test_a_database_larger_than_the_disk_has_room_for_is_not_copied(
    site, layout
) -> None:
    with database(site, layout).open("r+b") as file:
        file.truncate(10**12)  # which takes no room itself
    done = site.attempt(repository.make(layout))
    assert b"it has 1000000000000 bytes, and the disk has room for" in done.stderr
    assert not [line for line in site.said if line.startswith("docker run")]
    done = site.attempt(repository.send_database(layout))
    assert b"it has 1000000000000 bytes" in done.stderr


def test_whoever_reads_a_database_has_limits_and_none_of_our_locks(
    site, layout
) -> None:
    site.run(repository.make(layout))
    ran = [line for line in site.said if line.startswith("docker run")]
    assert [one.split(" -I - ")[1].split()[0] for one in ran] == ["copy", "judge"]
    for one in ran:
        assert "--memory 512m --memory-swap 512m --ulimit fsize=" in one
        assert "--pids-limit 64" in one
    held = (site.root / "said.open").read_text()
    assert ".lock" not in held
    assert "/vault/lock" not in held


def test_a_database_that_takes_for_ever_is_told_and_lets_others_go_on(
    site, layout
) -> None:
    script = site.at(setup.script_path(layout))
    script.write_text(script.read_text().replace("most = 600}", "most = 1}"))
    site.program("docker", 'test "$1" != run || exec sleep 60')
    done = site.attempt(repository.make(layout))
    assert b"to read it takes longer, or more memory, than" in done.stderr
    of_docker = [line for line in site.said if line.startswith("docker")]
    assert of_docker[-1] == "docker rm --force shop_prod-backup"


def test_what_a_database_says_of_itself_is_bounded(site, layout) -> None:
    site.program("docker", f'test "$1" != run || yes {"x" * 999} | head -c 90000000')
    done = site.attempt(repository.count(layout))
    assert done.returncode == 1
    assert len(done.stderr) < 10**6


# --- elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", one_fast(["*cat*config*|*init*", "*copy*"]))
def test_a_place_that_complains_without_end_is_not_listened_to(
    site, layout, when: str
) -> None:
    set_up(site, layout, to="sftp:keeper@host:/there")
    site.program(
        "restic", f'case "$*" in {when}) exec yes nonsense >&2 ;; esac\n{RESTIC}'
    )
    done = site.attempt(repository.make(layout))
    assert done.returncode == 1
    assert b"The backup is on the server, but" in done.stderr
    assert len(done.stderr) < 10**6


def copies(site: Machine) -> list[str]:
    """What was sent elsewhere, each time."""
    return [one for one in site.said if one.startswith("restic") and " copy " in one]


@pytest.mark.slow
def test_while_a_backup_is_sent_others_are_made_and_restored_and_sent_after_it(
    site, layout
) -> None:
    at = set_up(site, layout, to="sftp:keeper@host:/there")
    slow = site.root / "slow"
    slow.touch()
    site.program(
        "restic",
        f'case "$*" in *" copy "*) while test -e {slow}; do sleep 0.1; done ;; esac\n{RESTIC}',
    )
    words = ["sh", "-c", site.text(repository.make(layout))]
    with subprocess.Popen(words, env=site.environment, stderr=subprocess.PIPE) as first:
        until(lambda: bool(copies(site)), 60)
        assert steps.watch(at).backup.good  # it is on the server
        said = len(site.said)
        later = site.attempt(repository.make(layout, later=True))
        assert (later.returncode, later.stderr) == (0, b"")
        second = site.attempt(repository.make(layout))
        assert b"An earlier backup is being sent to sftp:keeper" in second.stderr
        assert second.returncode == 0
        data = database(site, layout).read_bytes()
        assert site.attempt(repository.take(layout, "R9", "-"), data).returncode == 0
        while_sent = [one for one in site.said[said:] if one.startswith("restic")]
        assert not [one for one in while_sent if "--remove-all" in one]
        assert not [one for one in while_sent if " forget " in one]  # what is read
        slow.unlink()
        first.communicate(timeout=60)
    assert first.returncode == 0
    assert len(copies(site)) == 2
    assert not site.at(layout.vault_dir / "unsent").exists()
    assert steps.watch(at).troubles() == []


def test_what_could_not_be_sent_is_told_and_sent_with_the_next(site, layout) -> None:
    at = set_up(site, layout, to="sftp:keeper@host:/there")
    site.program("restic", f'case "$*" in *" copy "*) exit 1 ;; esac\n{RESTIC}')
    done = site.attempt(repository.make(layout))
    assert b"but was not sent to sftp:keeper@host:/there." in done.stderr
    seen = steps.watch(at)
    assert seen.backup.good
    assert "was not sent to" in seen.troubles()[0]
    site.program("restic", RESTIC)
    site.run(repository.make(layout))
    assert steps.watch(at).troubles() == []


# A repository with one backup, which is as it was made; how long it takes to read another place
# is the test's.
KEPT = """
case "$*" in
  *" backup "*) rm -rf made && cp -r now made ;;
  *snapshots*) echo '[{"time":"2026-01-31T02:17:03Z","id":"%s"}]' ;;
  *dump*) tar -c --transform 's,^made,now,' made ;;
  *--read-data-subset*) while test -e "$said.slow"; do sleep 0.1; done ;;
esac
"""


def test_while_a_drill_reads_others_are_made_and_restored_and_none_is_removed(
    site, layout
) -> None:
    at = set_up(site, layout, to="sftp:keeper@host:/there")
    site.program("restic", KEPT % ("5c" * 32) + RESTIC)
    site.run(repository.make(layout))
    slow, quick = site.root / "said.slow", repository.drill(layout)
    slow.touch()
    words = ["sh", "-c", site.text(repository.drill(layout))]
    with subprocess.Popen(words, env=site.environment, stdout=subprocess.PIPE) as drill:
        try:
            until(lambda: any("subset" in one for one in site.said), 60)
            assert steps.watch(at).busy
            data, said = database(site, layout).read_bytes(), len(site.said)
            taken = site.attempt(repository.take(layout, "R9", "-"), data)
            assert taken.returncode == 0, taken.stderr
            second = site.attempt(repository.make(layout))
            assert b"or a drill reads there; this one is on the server" in second.stderr
            quick = replace(quick, text=quick.text.replace(" 60", " 0"))
            assert b"Another backup or drill runs" in site.attempt(quick).stderr
            meanwhile = " ".join(site.said[said:])
            assert len(copies(site)) == 1
            assert site.at(layout.vault_dir / "inside/drill/now/manifest.json").exists()
        finally:
            slow.unlink()
        out, _ = drill.communicate(timeout=60)
    # the last one is the drill's container
    for word in ("forget", "--remove-all", "shop_prod-drill"):
        assert word not in meanwhile
    assert (drill.returncode, b" there=5c5c5c5c" in out) == (0, True)
    assert len(copies(site)) == 2  # what was made meanwhile, as it was told
    assert not site.at(layout.vault_dir / "inside/drill").exists()
    assert (steps.watch(at).troubles(), steps.watch(at).drill.said) == ([], "")
    before = len(site.said)
    site.run(repository.make(layout))
    assert "--repo repository forget" in " ".join(site.said[before:])


def test_a_drill_takes_a_database_out_alone_and_keeps_it_no_longer_than_it_is_read(
    site, layout
) -> None:
    """Else a backup would count the same free disk, for hours."""
    site.program("restic", KEPT % ("5c" * 32) + RESTIC)
    site.run(repository.make(layout))
    vault, seen = site.at(layout.vault_dir), site.root / "seen"
    look = f"""look() {{
      flock --nonblock {vault}/lock true && lock=free || lock=taken
      echo "$1 $lock" $(ls {vault}/inside/drill/now 2>/dev/null) >>{seen}
    }}
    case "$*" in *--archive*now) look taken-out ;; *--archive*) look uploads ;; esac"""
    site.program("restic", f"{look}\n{KEPT % ('5c' * 32)}{RESTIC}")
    site.run(repository.drill(layout))
    assert seen.read_text().splitlines() == [
        "taken-out taken",
        "uploads free about environment manifest.json",
    ]


def test_what_is_made_while_a_drill_ends_is_sent_though_it_found_damage(
    site, layout
) -> None:
    """It was told so: the drill had the lock by which one sends."""
    at = set_up(site, layout, to="sftp:keeper@host:/there")
    site.program("restic", KEPT % ("5c" * 32) + RESTIC)
    site.run(repository.make(layout))
    vault = site.at(layout.vault_dir)
    site.program(
        "rm",
        f"""grep -q ^ended= {vault}/drill.state && test "$*" = "-rf drill" && : >{vault}/unsent
        exec {shutil.which("rm")} "$@\"""",
    )
    broken = KEPT.replace("done ;;", "done; exit 1 ;;")
    site.program("restic", broken % ("5c" * 32) + RESTIC)
    done = site.attempt(repository.drill(layout))
    assert b"the repository in sftp:keeper@host:/there is damaged" in done.stderr
    assert (done.returncode, len(copies(site))) == (1, 2)
    assert not (vault / "unsent").exists()
    (trouble,) = steps.watch(at).troubles()
    assert trouble.startswith("the last drill failed: ")


def test_a_drill_of_a_site_that_has_moved_meanwhile_sends_nothing(site, layout) -> None:
    set_up(site, layout, to="sftp:keeper@host:/there")
    (site.at(layout.vault_dir) / "unsent").touch()
    site.at(layout.current).unlink()
    site.at(layout.current).symlink_to("run/moved.sock")
    words = ["sh", site.at(setup.script_path(layout)), "unsent", "1"]
    done = subprocess.run(words, env=site.environment, capture_output=True, check=False)
    assert (done.returncode, copies(site)) == (1, [])


def test_no_note_is_left_by_whoever_came_after_the_last_look(site, layout) -> None:
    set_up(site, layout, to="sftp:keeper@host:/there")
    functions = site.at(setup.script_path(layout)).read_text().split("what=$1")[0]
    late = """
    send_all() { echo sent; test -e "$vault/late" || late=yes; }
    flock() { # the other one has it in the last moment in which it is taken
      test "$late" = "" || { late='' && : >"$vault/late" && : >"$vault/unsent"; }
      command flock "$@"
    }
    late='' && : >"$vault/unsent"
    exec 5>>"$vault/sending"
    flock --nonblock 5
    send_unsent
    command flock --nonblock "$vault/sending" echo free
    """
    done = subprocess.run(
        ["sh", "-c", f"{functions}\n{late}"],
        env=site.environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [b"sent", b"sent", b"free"], done.stderr
    assert not (site.at(layout.vault_dir) / "unsent").exists()


def test_a_lost_site_comes_to_no_server_without_room_for_it(site, layout) -> None:
    at = set_up(site, layout, to=str(site.root / "elsewhere"))
    site.at(layout.current).unlink()
    site.program(
        "restic",
        f"""case "$*" in *snapshots*) echo '[{{"tags": ["database=5", "media={10**12 - 1}"],'
        echo '"time":"2026-01-31T02:17:03Z", "id":"{"5c" * 32}"}}]' ;; esac\n{RESTIC}""",
    )
    key = site.run(repository.key(layout))
    with pytest.raises(StageError, match="may need 2000000000013 bytes here"):
        lost.fetch(at, Secret(key), {}, lambda line: None)
    assert not [
        line for line in site.said if line.startswith("restic") and " copy" in line
    ]


def test_units_that_run_by_themselves_have_a_limit(site) -> None:
    for unit in site.at("/etc/systemd/system").glob("*.service"):
        assert "MemoryMax=50%\nTasksMax=512\n" in unit.read_text()


def test_the_reserve_is_the_one_that_is_told(site, layout) -> None:
    script = site.at(setup.script_path(layout)).read_text()
    assert f"spare={DISK.reserve}\n" in script


def test_a_drill_does_not_read_elsewhere_what_is_being_sent(site, layout) -> None:
    set_up(site, layout, to="sftp:keeper@host:/there")
    functions = site.at(setup.script_path(layout)).read_text().split("what=$1")[0]
    sends = site.at(layout.vault_dir / "sending")
    with sends.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = subprocess.run(
            ["sh", "-c", f"{functions}\ndrill_elsewhere 0"],
            env=site.environment, capture_output=True, check=False,
        )  # fmt: skip
    assert b"what lies there is read by the next drill" in done.stderr
    assert done.returncode == 0
    assert not [line for line in site.said if "check" in line]
