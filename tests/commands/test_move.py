"""What a move leaves on two servers: the real scripts on real files, without an engine."""

import io
import os
import socket
import tarfile
import time

import pytest

from stagetools.deploy.commands.backup import move
from stagetools.deploy.layout import Layout
from tests.commands.machine import Machine

RELEASE, TO = "20260131-070000-0000000", "198.51.100.9"


@pytest.fixture
def site(machine: Machine, layout: Layout):
    """The site on a server whose visitors wait, and which could lead them on."""
    machine.program("docker", "echo true")  # whatever is asked: it is paused
    machine.program("systemctl", "")
    folder = machine.at(layout.site_dir)
    (folder / "current.sock").symlink_to(f"run/{RELEASE}.sock")
    machine.at(layout.hold_file).write_text(f"old-id {RELEASE}\n")
    bound(folder / "run")
    return folder


def bound(run) -> None:
    import os

    here = os.open(run, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/moved.sock")
    os.close(here)


def leave(layout: Layout):
    return move.leave(layout, RELEASE, "old-id", to=TO)


def test_a_server_leaves_by_one_rename_and_remembers_where_to(
    machine, layout, site
) -> None:
    machine.run(leave(layout))
    assert str((site / "current.sock").readlink()) == "run/moved.sock"
    assert (site / "moved").read_text() == f"release={RELEASE}\nto={TO}\n"
    stops = [line for line in machine.said if line.startswith("systemctl stop")]
    assert len(stops) == 3  # of the replica, which would follow another database


def test_it_does_not_leave_where_its_visitors_were_let_go(
    machine, layout, site
) -> None:
    machine.at(layout.hold_file).unlink()
    assert machine.attempt(leave(layout)).returncode == move.LATE
    assert str((site / "current.sock").readlink()) == f"run/{RELEASE}.sock"


def test_nor_where_the_release_goes_on(machine, layout, site) -> None:
    machine.program("docker", "echo false")  # not paused
    assert machine.attempt(leave(layout)).returncode == move.LATE
    assert str((site / "current.sock").readlink()) == f"run/{RELEASE}.sock"


def test_nor_where_nobody_would_be_led_on(machine, layout, site) -> None:
    (site / "run/moved.sock").unlink()
    assert machine.attempt(leave(layout)).returncode == 1
    assert str((site / "current.sock").readlink()) == f"run/{RELEASE}.sock"


def test_it_comes_back_as_it_was(machine, layout, site) -> None:
    machine.run(leave(layout))
    machine.run(move.come_back(layout))
    assert str((site / "current.sock").readlink()) == f"run/{RELEASE}.sock"
    assert not (site / "moved").exists()
    assert not (site / "run/moved.sock").exists()
    machine.run(move.come_back(layout))  # once more changes nothing
    assert str((site / "current.sock").readlink()) == f"run/{RELEASE}.sock"


def test_secrets_are_taken_by_a_server_that_does_not_serve_alone(
    machine, layout, site
) -> None:
    env = machine.at(layout.env_file)
    assert machine.attempt(move.take_environment(layout), b"KEY=1\n").returncode == 1
    assert not env.exists()
    machine.run(leave(layout))  # to which a site comes back
    machine.run(move.take_environment(layout), stdin=b"KEY=1\n")
    assert env.read_text() == "KEY=1\n"
    assert env.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("older", [True, False])
def test_certificates_of_the_sites_own_domains_come_and_replace_older_ones(
    machine, tmp_path, older: bool
) -> None:
    """All of a domain's or none: a certificate is of no use with another one's key."""
    store = tmp_path / "volume/caddy/certificates/acme.test-directory"
    machine.program("docker", f"echo {tmp_path}/volume")
    for domain in ("shop.test", "other.test"):
        folder = store / domain
        folder.mkdir(parents=True)
        for kind in ("crt", "key"):
            (folder / f"{domain}.{kind}").write_text(f"{domain} {kind}")
    sent = machine.attempt(move.send_certificates(["shop.test", "none.test"])).stdout
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        names = archive.getnames()
    assert len(names) == 2
    assert all(name.endswith(("shop.test.crt", "shop.test.key")) for name in names)
    at = time.time() + (-9000 if older else 9000)
    for kind in ("crt", "key"):
        (store / f"shop.test/shop.test.{kind}").write_text("its own")
        os.utime(store / f"shop.test/shop.test.{kind}", (at, at))
    machine.run(move.take_certificates(["shop.test", "none.test"]), stdin=sent)
    for kind in ("crt", "key"):
        stands = f"shop.test {kind}" if older else "its own"
        assert (store / f"shop.test/shop.test.{kind}").read_text() == stands


def test_one_that_has_none_sends_none(machine, tmp_path) -> None:
    (tmp_path / "volume").mkdir()
    machine.program("docker", f"echo {tmp_path}/volume")
    sent = machine.attempt(move.send_certificates(["shop.test"])).stdout
    machine.run(move.take_certificates(["shop.test"]), stdin=sent)


def test_what_reads_a_backup_of_a_site_that_has_left_is_ended(
    machine, layout, site
) -> None:
    machine.run(move.gone(layout))
    assert "docker rm --force shop_prod-drill shop_prod-backup" in machine.said
