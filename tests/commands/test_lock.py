"""The lock on the server: the real script, with flock(1), on a real file."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stagetools.deploy.commands import removal, server
from stagetools.deploy.limits import LOCK
from stagetools.deploy.shell import Command

pytestmark = pytest.mark.usefixtures("machine")


class Holder:
    """The script beside the test, as a channel of the connection runs it."""

    def __init__(self, machine, command) -> None:
        self.process = subprocess.Popen(
            ["sh", "-c", machine.text(command)],
            env=machine.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def first_line(self) -> str:
        return self.process.stdout.readline().rstrip("\n")

    def send(self, text: str) -> None:
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def close(self) -> int:
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(timeout=10)


@contextmanager
def held(
    machine,
    layout,
    who: str = "ann@desk deploys",
    wait: float = 0,
    token: str = "t1",  # noqa: S107
) -> Iterator[Holder]:
    holder = Holder(machine, server.hold_lock(layout, who, wait, token))
    try:
        yield holder
    finally:
        holder.process.kill()
        holder.wait()
        holder.process.stdin.close()
        holder.process.stdout.close()


def impatient(command: Command) -> Command:
    """A holder that takes its client for dead after 0.2 s."""
    assert command.text.count(f" {LOCK.silence} 0 ") == 1
    return Command(command.text.replace(f" {LOCK.silence} 0 ", " 0.2 0 "))


def who_is_told(machine, layout) -> str:
    with held(machine, layout, "bob@bus deploys") as second:
        said = second.first_line()
        assert second.wait() == 75
    return said


def test_the_second_is_refused_and_told_who_has_it(machine, layout) -> None:
    with held(machine, layout) as first:
        assert first.first_line() == "held"
        assert who_is_told(machine, layout).strip() == "ann@desk deploys"


def test_whoever_is_refused_is_told_which_step_it_is_at(machine, layout) -> None:
    with held(machine, layout) as first:
        assert first.first_line() == "held"
        path = machine.at(f"{layout.lock_file}.who")
        first.send("\nBuild\n")
        while "Build" not in path.read_text():
            assert first.process.poll() is None
        assert who_is_told(machine, layout).strip() == "ann@desk deploys now: Build"


def test_where_somebody_comes_from_is_told(machine, layout) -> None:
    machine.variables["SSH_CONNECTION"] = "198.51.100.7 50000 203.0.113.7 22"
    with held(machine, layout) as first:
        first.first_line()
        said = who_is_told(machine, layout)
    assert said.strip() == "ann@desk deploys from 198.51.100.7"


def test_the_lock_is_free_when_its_holder_hangs_up(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        first.close()
        with held(machine, layout) as second:
            assert second.first_line() == "held"


def test_the_lock_is_free_when_its_holder_is_killed(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        pid = machine.at(f"{layout.lock_file}.pid").read_text().strip()
        os.kill(int(pid), signal.SIGKILL)
        first.wait()
        with held(machine, layout) as second:
            assert second.first_line() == "held"


def test_a_holder_that_falls_silent_is_taken_for_dead(
    machine, layout, monkeypatch
) -> None:
    assert LOCK.beat * 3 < LOCK.silence
    first = Holder(machine, impatient(server.hold_lock(layout, "ann@desk", 0, "t1")))
    assert first.first_line() == "held"
    assert first.wait() == 0  # its standard input is open all the while
    first.process.stdin.close()
    first.process.stdout.close()
    with held(machine, layout) as second:
        assert second.first_line() == "held"


def test_the_bytes_of_an_upload_are_a_sign_of_life(machine, layout) -> None:
    """From a slow line they come, and the beats wait behind them."""
    part = machine.at(layout.incoming("digest"))
    part.parent.mkdir(parents=True)
    patient = server.hold_lock(layout, "ann@desk", 0, "t1").text
    assert patient.count(f" {LOCK.silence} 0 ") == 1
    command = Command(patient.replace(f" {LOCK.silence} 0 ", " 1 0 "))
    first = Holder(machine, command)
    assert first.first_line() == "held"
    for _ in range(15):
        with part.open("ab") as file:
            file.write(b"more")
        time.sleep(0.2)
    assert first.process.poll() is None
    assert first.wait() == 0  # and when they end, so does it
    first.process.stdin.close()
    first.process.stdout.close()


def test_who_waits_gets_the_lock_when_it_is_free(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        with held(machine, layout, "bob@bus", wait=10) as second:
            first.close()
            assert second.first_line() == "held"


def test_who_waits_in_vain_is_told_who_has_it(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        with held(machine, layout, "bob@bus", wait=0.1) as second:
            assert second.first_line().strip() == "ann@desk deploys"


def test_two_installations_do_not_wait_for_each_other(machine, layout, other) -> None:
    with held(machine, layout) as first, held(machine, other) as second:
        assert first.first_line() == second.first_line() == "held"


def test_a_name_that_a_shell_would_read_is_told_as_it_is(machine, layout) -> None:
    awkward = "o'brien@$(host) `x` \\n"
    with held(machine, layout, awkward) as first:
        first.first_line()
        assert who_is_told(machine, layout).rstrip(" ") == awkward


def test_unlocking_frees_it_by_force(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        said = machine.run(removal.unlock(layout))
        assert said.startswith("The lock was held by: ann@desk deploys")
        assert first.wait() != 0
    assert machine.run(removal.unlock(layout)).strip() == "Nobody held the lock."


def site_of(machine, layout):
    site = machine.at(layout.site_dir)
    site.mkdir(parents=True, exist_ok=True)
    return site


def refusal(machine, layout, *, moved: bool = False) -> str:
    command = server.hold_lock(layout, "ann", 0, "t1", moved=moved)
    holder = Holder(machine, command)
    with holder.process:
        return holder.first_line()


def test_a_site_that_has_moved_is_refused_to_all_but_whoever_says_so(
    machine, layout
) -> None:
    site = site_of(machine, layout)
    (site / "moved").write_text("release=r\nto=198.51.100.9\n")
    assert refusal(machine, layout) == "held"  # it was about to, and stays
    (site / "moved").write_text("release=r\nto=198.51.100.9\n")
    (site / "current.sock").symlink_to("run/moved.sock")
    assert refusal(machine, layout) == "moved 198.51.100.9"
    assert refusal(machine, layout, moved=True) == "held"


def test_one_that_is_about_to_come_is_refused_as_well(machine, layout) -> None:
    (site_of(machine, layout) / "arriving").write_text("192.0.2.1\n")
    assert refusal(machine, layout) == "arriving 192.0.2.1"
    assert refusal(machine, layout, moved=True) == "held"


RELEASES = ("20260131-070000-old0000", "20260131-080000-new0000")


@pytest.fixture
def cut_off(machine, layout) -> None:
    """A server whose restore was cut off between its switch and its end."""
    old, new = RELEASES
    machine.program(
        "docker",
        f'test "$1" != ps || case "$*" in *oneoff=False*) printf "c1 {old}\\nc2 {new}\\n" ;; esac',
    )
    live = machine.at(layout.data_copy(new))
    live.mkdir()
    (live / layout.database_name).write_text("restored")
    (machine.at(layout.data_dir) / layout.database_name).write_text("from before")
    env = f"STAGETOOLS_DATA={layout.data_copy(new)}\n"
    (machine.at(layout.releases_dir) / f"{new}.env").write_text(
        env.replace("/home", f"{machine.root}/home")
    )
    (machine.at(layout.releases_dir) / f"{new}.json").write_text("{}")
    machine.at(layout.current).symlink_to(f"run/{new}.sock")


def test_what_was_cut_off_after_its_switch_is_ended_by_the_next_task(
    machine, layout, cut_off
) -> None:
    with held(machine, layout) as holder:
        assert holder.first_line() == "held"
        [kept] = machine.at(layout.backups_dir).glob("replaced-*-data.sqlite3")
        assert kept.read_text() == "from before"
        data = machine.at(layout.data_dir)
        assert str(data.readlink()) == layout.data_copy(RELEASES[1]).name
        assert (data / layout.database_name).read_text() == "restored"
        assert [one for one in machine.said if "docker rm" in one and " c" in one] == [
            "docker rm --force c1"
        ]


def test_and_nothing_is_where_all_was_well(machine, layout, cut_off) -> None:
    with held(machine, layout) as holder:
        holder.first_line()
    said = len(machine.said)
    before = sorted(machine.at(layout.backups_dir).iterdir())
    with held(machine, layout) as holder:
        holder.first_line()
        assert sorted(machine.at(layout.backups_dir).iterdir()) == before
        assert not [one for one in machine.said[said:] if "docker stop" in one]
