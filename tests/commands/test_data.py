"""Database directories on real files: copied, kept, let go; and no link leads out of them."""

import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from stagetools.deploy.commands import data, server
from stagetools.deploy.steps import database as steps
from stagetools.errors import StageError
from tests.commands.machine import Machine

NOW = "20260131-080000"
LIVE = {"shop.sqlite3": "live", "shop.sqlite3-wal": "live-wal", "key": "k"}


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def fill(folder: Path, content: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (folder / name).write_text(text)


@pytest.fixture
def live(machine, layout) -> Path:
    """The live directory, with a log of writes as a frozen release leaves it."""
    own = pwd.getpwuid(os.getuid()).pw_name
    install = shutil.which("install")
    machine.program(
        "install", f'shift 5; exec {install} -d -o {own} "$@"'
    )  # -d -o NAME -g NAME
    machine.program(
        "date", f'case "$*" in "-u +%Y"*) echo {NOW} ;; *) exec /bin/date "$@" ;; esac'
    )
    path = machine.at(layout.data_dir)
    fill(path, LIVE)
    fill(machine.at(layout.backups_dir), {"before-R2.sqlite3": "snapshot"})
    return path


def seed(machine, layout, release: str = "R3", live=None) -> Path:
    command = data.seed(
        layout, release, live=live or layout.data_dir, snapshot="before-R2"
    )
    machine.run(command)
    return machine.at(layout.data_copy(release))


def test_a_copy_begins_as_the_snapshot_and_what_lies_beside_the_database(
    machine, layout, live
) -> None:
    own = seed(machine, layout)
    assert files(own) == {"shop.sqlite3": "snapshot", "key": "k"}
    assert stat.S_IMODE(own.stat().st_mode) == 0o750
    assert files(live) == LIVE


def test_what_an_earlier_try_left_does_not_stay(machine, layout, live) -> None:
    fill(machine.at(layout.data_copy("R3")), {"shop.sqlite3-wal": "of another one"})
    assert files(seed(machine, layout)) == {"shop.sqlite3": "snapshot", "key": "k"}


def test_a_snapshot_that_is_missing_is_an_error(machine, layout, live) -> None:
    (machine.at(layout.backups_dir) / "before-R2.sqlite3").unlink()
    command = data.seed(layout, "R3", live=layout.data_dir, snapshot="before-R2")
    assert machine.attempt(command).returncode != 0
    assert files(live) == LIVE


def test_the_frozen_files_are_copied_as_they_are(machine, layout, live) -> None:
    own = seed(machine, layout)
    fill(own, {"shop.sqlite3-wal": "of the rehearsal", ".hidden": "of the rehearsal"})
    (live / "deep").mkdir()
    machine.run(data.copy(layout, "R3", live=layout.data_dir))
    assert files(own) == LIVE
    assert (own / "deep").is_dir()
    assert files(live) == LIVE


def test_a_copy_is_made_of_whichever_directory_is_live(machine, layout, live) -> None:
    first = layout.data_copy("R1")
    fill(machine.at(first), {"shop.sqlite3": "first"})
    own = seed(machine, layout)
    machine.run(data.copy(layout, "R3", live=first))
    assert files(own) == {"shop.sqlite3": "first"}


def test_a_full_disk_is_an_error_and_leaves_the_live_one(machine, layout, live) -> None:
    seed(machine, layout)
    machine.program("cp", "echo No space left on device >&2; exit 1")
    done = machine.attempt(data.copy(layout, "R3", live=layout.data_dir))
    assert done.returncode != 0
    assert files(live) == LIVE


def test_a_copy_that_never_served_goes(machine, layout, live) -> None:
    own = seed(machine, layout)
    machine.run(data.discard(layout, "R3"))
    assert not own.exists()
    machine.run(data.discard(layout, "R3"))  # and it need not be there
    assert files(live) == LIVE


def test_the_database_before_is_kept_as_a_backup(machine, layout, live) -> None:
    own = seed(machine, layout)
    machine.run(data.retire(layout, live=layout.data_copy("R3")))
    kept = f"replaced-{NOW}-data.sqlite3"
    assert files(machine.at(layout.backups_dir)) == {
        "before-R2.sqlite3": "snapshot",
        kept: "live",
        f"{kept}-wal": "live-wal",
    }
    assert live.is_symlink()  # for people
    assert str(live.readlink()) == own.name
    assert files(live) == {"shop.sqlite3": "snapshot", "key": "k"}


def test_a_directory_that_was_live_is_kept_likewise(machine, layout, live) -> None:
    for release in ("R3", "R4"):
        own = seed(machine, layout, release)
        machine.run(data.retire(layout, live=layout.data_copy(release)))
    assert not machine.at(layout.data_copy("R3")).exists()
    assert files(own) == files(live) == {"shop.sqlite3": "snapshot", "key": "k"}
    kept = files(machine.at(layout.backups_dir))
    assert kept["replaced-20260131-080001-data-R3.sqlite3"] == "snapshot"


@pytest.mark.parametrize("last", [NOW, "20991231-235959"])  # or the clock was put back
def test_what_is_kept_now_is_the_newest_by_name_and_takes_no_other_s_place(
    machine, layout, live, last: str
) -> None:
    backups = machine.at(layout.backups_dir)
    fill(backups, {f"replaced-{last}-data.sqlite3": "the one before"})
    seed(machine, layout)
    machine.run(data.retire(layout, live=layout.data_copy("R3")))
    kept = sorted(path.name for path in backups.glob("replaced-*.sqlite3"))
    assert [(backups / name).read_text() for name in kept] == ["the one before", "live"]


def test_nothing_is_retired_twice(machine, layout, live) -> None:
    seed(machine, layout)
    for _ in range(2):
        machine.run(data.retire(layout, live=layout.data_copy("R3")))
    assert live.is_symlink()
    assert len(files(machine.at(layout.backups_dir))) == 3


def test_the_first_directory_stays_where_it_is_live(machine, layout, live) -> None:
    seed(machine, layout)
    machine.run(data.retire(layout, live=layout.data_dir))
    assert files(live) == LIVE
    assert not live.is_symlink()
    assert not machine.at(layout.data_copy("R3")).exists()


def test_a_snapshots_age_is_told_in_the_largest_unit(at, machine, layout, live) -> None:
    path = machine.at(layout.backups_dir) / "before-R2.sqlite3"
    then = path.stat().st_mtime - 3 * 3600 - 5
    os.utime(path, (then, then))
    assert steps.snapshot_age(at(machine), "before-R2") == "3 h"


def test_a_snapshot_that_was_pruned_is_told(at, machine, live) -> None:
    with pytest.raises(StageError, match="before-R1 is no longer kept") as caught:
        steps.snapshot_age(at(machine), "before-R1")
    assert caught.value.remedy


# --- with an account that is not root -----------------------------------------------------

SECRET = "another site's"


@pytest.fixture
def walled(layout, monkeypatch):
    """A machine of root's, whose account is `nobody`; beside it what only root may read."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root, by setpriv, can be another user")
    with tempfile.TemporaryDirectory() as root:  # one that `nobody` may walk into
        Path(root).chmod(0o755)
        machine = Machine(Path(root))
        real = {name: shutil.which(name) for name in ("setpriv", "install")}
        machine.program(
            "setpriv",
            'until test "$1" = --; do shift; done; shift\n'
            f"exec {real['setpriv']} --reuid 65534 --regid 65534 --clear-groups"
            ' --inh-caps=-all -- "$@"',
        )
        machine.program(
            "install", f'shift 5; exec {real["install"]} -d -o 65534 -g 65534 "$@"'
        )
        machine.program(
            "date",
            f'case "$*" in "-u +%Y"*) echo {NOW} ;; *) exec /bin/date "$@" ;; esac',
        )
        for place, content in (
            (layout.data_dir, LIVE),
            (layout.backups_dir, {"before-R2.sqlite3": "snapshot"}),
        ):
            fill(machine.at(place), content)
            give(machine.at(place))
        theirs = machine.root / "theirs"
        theirs.mkdir(mode=0o700)
        fill(theirs, {"shop.sqlite3": SECRET})
        yield machine


def give(folder: Path) -> None:
    """Make it the account's, with all in it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    folder.chmod(0o700)


def untouched(machine: Machine) -> bool:
    theirs = machine.root / "theirs"
    return files(theirs) == {"shop.sqlite3": SECRET} and theirs.stat().st_uid == 0


def everything(machine: Machine, layout) -> str:
    """All text below the installation's home, whatever links may lead to."""
    home = machine.at(layout.home)
    return "".join(
        p.read_text() for p in home.rglob("*") if p.is_file() and not p.is_symlink()
    )


def test_all_of_it_is_the_accounts(walled, layout) -> None:
    own = seed(walled, layout)
    walled.run(data.copy(layout, "R3", live=layout.data_dir))
    assert {p.stat().st_uid for p in (own, *own.rglob("*"))} == {65534}
    walled.run(data.retire(layout, live=layout.data_copy("R3")))
    assert {p.stat().st_uid for p in walled.at(layout.backups_dir).rglob("*")} == {
        65534
    }


def test_a_snapshot_that_leads_elsewhere_is_not_read(walled, layout) -> None:
    path = walled.at(layout.backups_dir) / "before-R2.sqlite3"
    path.unlink()
    path.symlink_to(walled.root / "theirs/shop.sqlite3")
    command = data.seed(layout, "R3", live=layout.data_dir, snapshot="before-R2")
    assert walled.attempt(command).returncode != 0
    assert SECRET not in everything(walled, layout)
    assert walled.attempt(data.snapshot_age(layout, "before-R2")).returncode != 0


@pytest.mark.parametrize("name", ["shop.sqlite3", "key", "shop.sqlite3-wal", "more"])
def test_links_in_the_live_directory_stay_links(walled, layout, name: str) -> None:
    path = walled.at(layout.data_dir) / name
    path.unlink(missing_ok=True)
    path.symlink_to(walled.root / "theirs")
    own = seed(walled, layout)
    walled.run(data.copy(layout, "R3", live=layout.data_dir))
    assert (own / name).is_symlink()
    walled.run(data.retire(layout, live=layout.data_copy("R3")))
    assert untouched(walled)
    assert SECRET not in everything(walled, layout)


def test_links_in_a_copy_lead_no_removal_out_of_it(walled, layout) -> None:
    own = seed(walled, layout)
    (own / "out").symlink_to(walled.root / "theirs")
    (own / "deep").mkdir()
    (own / "deep/out").symlink_to(walled.root / "theirs")
    give(own)
    walled.run(data.copy(layout, "R3", live=layout.data_dir))
    assert not (own / "out").is_symlink()
    (own / "out").symlink_to(walled.root / "theirs")
    walled.run(data.discard(layout, "R3"))
    assert not own.exists()
    assert untouched(walled)


@pytest.mark.parametrize("to", ["theirs", "theirs/shop.sqlite3"])
def test_a_link_where_the_database_will_be_kept_is_replaced(
    walled, layout, to: str
) -> None:
    """Its name is known a second before."""
    planted = walled.at(layout.backups_dir) / f"replaced-{NOW}-data.sqlite3"
    planted.symlink_to(walled.root / to)
    seed(walled, layout)
    walled.run(data.retire(layout, live=layout.data_copy("R3")))
    assert untouched(walled)
    assert not planted.is_symlink()
    assert planted.read_text() == "live"


# --- a clone's uploads ------------------------------------------------------------------------


@pytest.fixture
def cloned(machine, layout, live) -> Path:
    """A release serves that has brought uploads, and `media` does not lead there yet."""
    own = machine.at(layout.media_copy("R3"))
    fill(own, {"cat.png": "new"})
    fill(machine.at(layout.media_dir), {"cat.png": "old"})
    machine.at(layout.current).symlink_to("run/R3.sock")
    machine.at(layout.compose_env("R3")).write_text(f"STAGETOOLS_MEDIA={own}\n")
    return own


def test_media_leads_to_what_serves_and_those_of_before_are_aside(
    machine, layout, cloned
) -> None:
    for _ in range(2):
        machine.run(data.adopt_uploads(layout))
        media = machine.at(layout.media_dir)
        assert str(media.readlink()) == cloned.name
        assert files(media) == {"cat.png": "new"}
        aside = machine.at(layout.home / f"media-{NOW}-replaced")
        assert files(aside) == {"cat.png": "old"}


def test_a_second_clone_moves_the_link_alone(machine, layout, cloned) -> None:
    media = machine.at(layout.media_dir)
    machine.run(data.adopt_uploads(layout))
    again = machine.at(layout.media_copy("R4"))
    fill(again, {"cat.png": "newest"})
    machine.at(layout.current).unlink()
    machine.at(layout.current).symlink_to("run/R4.sock")
    machine.at(layout.compose_env("R4")).write_text(f"STAGETOOLS_MEDIA={again}\n")
    machine.run(data.adopt_uploads(layout))
    assert files(media) == {"cat.png": "newest"}
    assert files(cloned) == {"cat.png": "new"}


def test_whoever_takes_the_lock_next_finishes_it(machine, layout, cloned) -> None:
    command = server.hold_lock(layout, "ann@desk", 0, "token")
    done = machine.attempt(command, b".\n")
    assert done.stdout == b"held\n", done.stderr
    assert str(machine.at(layout.media_dir).readlink()) == cloned.name


SERVES, CUT, OLDER = (f"20260131-0{hour}0000-abc1234" for hour in (8, 9, 7))


@pytest.fixture
def cut_off(machine, layout, live) -> tuple[Path, Path]:
    """What a clone leaves that a power cut has ended; the release before goes on serving."""
    machine.at(layout.current).symlink_to(f"run/{SERVES}.sock")
    left = machine.at(layout.data_copy(CUT)), machine.at(layout.media_copy(CUT))
    for release in (SERVES, OLDER):
        machine.at(layout.compose_env(release)).write_text("STAGETOOLS_MEMORY=1\n")
        machine.at(layout.record(release)).write_text("{}\n")
    words = "STAGETOOLS_DATA={}\nSTAGETOOLS_MEDIA={}\n".format(*left)
    machine.at(layout.compose_env(CUT)).write_text(words)
    for one in left:
        fill(one, {"people": "of production"})
    return left


def next_lock(machine, layout) -> None:
    done = machine.attempt(server.hold_lock(layout, "ann@desk", 0, "token"), b".\n")
    assert (done.returncode, done.stdout) == (0, b"held\n"), done.stderr


def test_what_a_clone_that_was_cut_off_has_brought_goes_with_the_next_lock(
    machine, layout, cut_off, live
) -> None:
    """Also where the next deploy finds nothing to do, and so does not prune."""
    machine.program("docker", 'test "$1" != ps || echo its-container')
    fill(machine.at(layout.data_dir), LIVE)
    next_lock(machine, layout)
    assert [one for one in cut_off if one.exists()] == []
    assert "docker rm --force its-container" in machine.said
    assert files(live) == LIVE


def test_what_serves_or_may_again_is_no_leftover(machine, layout, cut_off) -> None:
    def kept() -> list[str]:
        next_lock(machine, layout)
        return [one.name.partition("-")[0] for one in cut_off if one.exists()]

    both, serving = ["data", "media"], machine.at(layout.compose_env(SERVES))
    machine.at(layout.record(CUT)).write_text("{}\n")  # it went live once
    assert kept() == both
    machine.at(layout.record(CUT)).unlink()
    for release in (SERVES, OLDER):
        env = machine.at(layout.compose_env(release))
        before = env.read_text()
        env.write_text(machine.at(layout.compose_env(CUT)).read_text())
        machine.at(layout.media_dir).rmdir()
        machine.at(layout.media_dir).symlink_to("elsewhere")
        assert kept() == both, release
        env.write_text(before)
        machine.at(layout.media_dir).unlink()
        machine.at(layout.media_dir).mkdir()
        if machine.at(layout.data_dir).is_symlink():  # it served, so it is the live one
            machine.at(layout.data_dir).unlink()
            machine.at(layout.data_dir).mkdir()
    said = serving.read_text()
    serving.unlink()  # nobody knows what is live
    assert kept() == both
    serving.write_text(said)
    shutil.rmtree(machine.at(layout.data_dir))
    machine.at(layout.data_dir).symlink_to(cut_off[0].name)
    assert kept() == ["data"]


def test_uploads_that_a_clone_has_replaced_are_not_taken_for_a_leftover(
    machine, layout, cut_off
) -> None:
    aside = machine.at(layout.home / f"media-{NOW}-replaced")
    fill(aside, {"cat.png": "old"})
    next_lock(machine, layout)
    assert files(aside) == {"cat.png": "old"}


def test_a_release_without_uploads_of_its_own_leaves_media(
    machine, layout, cloned
) -> None:
    machine.at(layout.compose_env("R3")).write_text("STAGETOOLS_DATA=/x\n")
    machine.run(data.adopt_uploads(layout))
    assert files(machine.at(layout.media_dir)) == {"cat.png": "old"}
    assert not machine.at(layout.media_dir).is_symlink()


def test_what_never_served_goes_with_its_uploads(machine, layout, live) -> None:
    seed(machine, layout)
    fill(machine.at(layout.media_copy("R3")), {"cat.png": "new"})
    machine.run(data.discard(layout, "R3"))
    assert not machine.at(layout.data_copy("R3")).exists()
    assert not machine.at(layout.media_copy("R3")).exists()


def test_what_never_served_goes_also_while_a_stream_writes_there(
    machine, layout, live
) -> None:
    own = seed(machine, layout)
    machine.program("find", "exit 1")  # a directory was not empty when it came to it
    machine.run(data.discard(layout, "R3"))
    assert not own.exists()
