"""Removing one installation, on real files: another one's stay as they were."""

import os
import subprocess
from pathlib import Path

import pytest

from stagetools.deploy.commands import removal, traffic
from tests.commands.machine import until


@pytest.fixture
def both(machine, layout, other):
    """Two installations, each with a domain, a home and a database."""
    machine.program("docker", "true")
    machine.program("userdel", "true")
    machine.program("pkill", "true")
    for of, domain in ((layout, "shop.test"), (other, "blog.test")):
        for place in (of.data_dir, of.run_dir, of.releases_dir):
            machine.at(place).mkdir(parents=True, exist_ok=True)
        machine.at(of.system.database_sqlite_path).write_text(
            f"rows of {of.system.name}"
        )
        machine.run(traffic.claim_domains(of, [domain], tls=True, max_body=1))
    return machine


def everything(machine, of) -> dict[str, str]:
    """The files and links of one installation."""
    found = {}
    web = machine.at(of.site_dir.parents[1])
    for top in (machine.at(of.home), machine.at(of.site_dir), web / "hosts"):
        for path in sorted(top.rglob("*")):
            if path.is_symlink() and path.readlink().name == of.system.name:
                found[str(path)] = str(path.readlink())
            elif path.is_file() and not path.is_symlink():
                found[str(path)] = path.read_text()
    return found


def test_nothing_of_it_is_left_but_a_copy_of_its_database(both, layout) -> None:
    said = both.run(removal.remove(layout)).strip()
    assert everything(both, layout) == {}
    assert not both.at(layout.home).exists()
    copy = Path(said.removeprefix("its database is kept as "))
    assert copy.read_text() == "rows of shop_prod"
    assert copy.stat().st_mode & 0o077 == 0
    assert copy.parent.stat().st_mode & 0o077 == 0


def test_its_timers_end_and_another_s_go_on(both, layout, other) -> None:
    both.program("systemctl", "true")
    units = both.at("/etc/systemd/system")
    units.mkdir(parents=True)
    for of in (layout, other):
        for unit in ("backup", "drill"):
            for kind in ("timer", "service"):
                (units / f"stagetools-{unit}-{of.system.name}.{kind}").touch()
    both.run(removal.remove(layout))
    assert {path.name.rpartition("-")[2] for path in units.iterdir()} == {
        *("blog_prod.timer", "blog_prod.service")
    }
    for unit in ("backup", "drill"):
        named = f"stagetools-{unit}-shop_prod"
        assert f"systemctl disable --now {named}.timer" in both.said
        assert f"systemctl stop {named}.service" in both.said


def test_another_installation_stays_as_it_was(both, layout, other) -> None:
    before = everything(both, other)
    assert f"rows of {other.system.name}" in before.values()
    both.run(removal.remove(layout))
    assert everything(both, other) == before


def test_an_installation_whose_name_begins_alike_stays(both, layout) -> None:
    hosts = both.at(layout.site_dir.parents[1] / "hosts")
    (hosts / "qual.test").symlink_to("../sites/shop_prod2")
    (hosts / "foreign.test").symlink_to("/elsewhere/shop_prod")
    both.run(removal.remove(layout))
    names = {link.name for link in hosts.iterdir()}
    assert names == {"blog.test", "qual.test", "foreign.test"}


def test_the_log_of_writes_is_kept_with_the_database(both, layout) -> None:
    database = layout.system.database_sqlite_path
    both.at(f"{database}-wal").write_text("the last writes")
    said = both.run(removal.remove(layout)).strip()
    copy = said.removeprefix("its database is kept as ")
    assert Path(f"{copy}-wal").read_text() == "the last writes"


def test_without_a_database_it_says_so(both, layout) -> None:
    both.at(layout.system.database_sqlite_path).unlink()
    assert both.run(removal.remove(layout)).strip() == "it had no database file here"
    assert not both.at(layout.home).exists()


def test_the_copy_is_that_of_the_database_that_serves(both, layout) -> None:
    live = layout.home / "data-R2"
    both.at(live).mkdir()
    (both.at(live) / "shop.sqlite3").write_text("live rows")
    both.at(layout.current).symlink_to("run/R2.sock")
    both.at(layout.compose_env("R2")).write_text(f"STAGETOOLS_DATA={both.at(live)}\n")
    said = both.run(removal.remove(layout)).strip()
    copy = Path(said.removeprefix("its database is kept as "))
    assert copy.read_text() == "live rows"


def test_a_link_in_the_databases_place_is_not_followed(both, layout, other) -> None:
    """The account could have made it: to another installation's database."""
    path = both.at(layout.system.database_sqlite_path)
    path.unlink()
    path.symlink_to(both.at(other.system.database_sqlite_path))
    said = both.run(removal.remove(layout)).strip()
    assert said.startswith("its database is not kept")
    kept = both.at("/srv/stagetools/kept")
    assert not kept.exists() or list(kept.iterdir()) == []


def test_a_link_in_the_place_of_its_log_is_not_followed(both, layout, other) -> None:
    log = both.at(f"{layout.system.database_sqlite_path}-wal")
    log.symlink_to(both.at(other.system.database_sqlite_path))
    said = both.run(removal.remove(layout)).strip()
    copy = Path(said.removeprefix("its database is kept as "))
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_fifo_in_the_databases_place_holds_nothing_up(both, layout) -> None:
    path = both.at(layout.system.database_sqlite_path)
    path.unlink()
    os.mkfifo(path)
    assert "not kept" in both.run(removal.remove(layout))
    assert not both.at(layout.home).exists()


def test_the_account_reads_the_copy_and_not_root(both, layout) -> None:
    both.program("setpriv", "exit 1")
    assert both.attempt(removal.remove(layout)).returncode != 0
    assert both.at(layout.system.database_sqlite_path).exists()


def test_a_database_larger_than_the_disk_removes_nothing(both, layout) -> None:
    """As a sparse file says it is; the containers still run."""
    before = everything(both, layout).keys()
    os.truncate(both.at(layout.system.database_sqlite_path), 2**42)
    done = both.attempt(removal.remove(layout))
    assert done.returncode != 0
    assert "free for the last copy" in done.stderr.decode()
    with both.at(layout.system.database_sqlite_path).open("rb+") as file:
        file.truncate(4)
    assert everything(both, layout).keys() == before
    assert not any("docker stop" in call for call in both.said)


def test_a_database_that_grows_while_it_is_stopped_fills_no_disk(both, layout) -> None:
    """As a hostile process sees to when it is told to end."""
    database = both.at(layout.system.database_sqlite_path)
    both.program("docker", f'test "$1" != stop || truncate -s 4T {database}\necho id')
    done = both.attempt(removal.remove(layout))
    assert done.returncode != 0
    assert "The site was stopped" in done.stderr.decode()
    kept = both.at("/srv/stagetools/kept")
    assert not kept.exists() or list(kept.iterdir()) == []
    assert database.exists()


def test_removing_again_is_no_error(both, layout) -> None:
    both.run(removal.remove(layout))
    assert both.run(removal.remove(layout)).strip() == "it had no database file here"


def test_only_its_own_containers_and_images_are_named(both, layout) -> None:
    both.run(removal.remove(layout))
    for call in both.said:
        if call.startswith("docker"):
            own = (" shop_prod", " shop_prod-drill shop_prod-backup")
            assert "project=shop-prod" in call or call.endswith(own), call


def test_a_drill_that_somebody_has_begun_ends_before_the_images_go(
    both, layout
) -> None:
    """Else an image that its container has is refused, or the account does not go."""
    vault = both.at(layout.vault_dir)
    vault.mkdir(parents=True)
    both.program("flock", "true")
    for lock in ("lock", "sending", "drilling"):
        (vault / lock).touch()
    both.run(removal.remove(layout))
    waited = [call for call in both.said if call.startswith("flock")]
    assert any(f"{vault}/drilling" in call for call in waited)
    ended = both.said.index("docker rm --force shop_prod-drill shop_prod-backup")
    (images,) = [n for n, call in enumerate(both.said) if "docker image ls" in call]
    assert ended < images
    # a restic that takes longer; userdel refuses an account that still runs something
    assert both.said.index("pkill -KILL -u shop_prod") < both.said.index(
        "userdel shop_prod"
    )


def test_a_copy_that_cannot_be_made_leaves_the_home(both, layout) -> None:
    """As on a full disk: nothing is removed whose last copy is not on disk."""
    both.program("sync", "exit 1")
    assert both.attempt(removal.remove(layout)).returncode != 0
    assert both.at(layout.system.database_sqlite_path).exists()


def test_unlocking_what_nobody_holds_says_so(machine, layout) -> None:
    assert machine.run(removal.unlock(layout)) == "Nobody held the lock.\n"


def test_unlocking_ends_the_holder_and_says_whose_it_was(machine, layout) -> None:
    lock = machine.at(layout.lock_file)
    holder = subprocess.Popen(["flock", lock, "sleep", "20"])
    try:
        subprocess.run(
            ["sh", "-c", 'until ! flock -n "$1" true; do sleep 0.01; done', "sh", lock],
            check=True,
        )
        # flock waits for sleep, which holds the lock too: end both
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        until(lambda: bool(children.read_text().strip()))  # it locks before it forks
        Path(f"{lock}.pid").write_text(f"{children.read_text().strip()}\n")
        Path(f"{lock}.who").write_text("ann@desk deploys\nnow: Build\n")
        said = machine.run(removal.unlock(layout))
    finally:
        holder.kill()
        holder.wait()
    assert said == "The lock was held by: ann@desk deploys now: Build \n"
