"""What a task that has lost the lock may still do, and what is undone after it: real scripts."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from stagetools.deploy.commands import removal
from stagetools.deploy.host.fence import FencedHost, fenced, unfenced
from stagetools.deploy.shell import looks, loosely, script, sh
from stagetools.errors import CommandFailed, ConnectionFailed, LockLost
from tests.commands.machine import until
from tests.commands.test_lock import held
from tests.steps.scripted import ScriptedHolder, ScriptedHost

pytestmark = pytest.mark.usefixtures("machine")
OLD, NEW = "20260131-070000-0000000", "20260131-080000-1111111"


@pytest.fixture
def token(machine, layout):
    """Where the token lies whose commands may run."""
    return machine.at(f"{layout.fence}.token")


@pytest.fixture
def host(machine, layout) -> FencedHost:
    return FencedHost(machine, layout, "t1")


@pytest.fixture(autouse=True)
def _docker(machine) -> None:
    machine.program("docker", "true")


def begin(machine, command) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["sh", "-c", machine.text(command)], env=machine.environment, cwd=machine.root
    )


def kill(machine, layout, holder) -> None:
    """End the holder without a word, as a lack of memory does."""
    pid = int(machine.at(f"{layout.fence}.lock.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    holder.wait()


# --- whose commands run ---------------------------------------------------------------------


def test_a_command_runs_while_its_task_has_the_lock(machine, layout, host) -> None:
    awkward = "it's; $HOME \\n"
    with held(machine, layout) as first:
        first.first_line()
        assert host.run(sh("printf", "%s", awkward)) == awkward
        assert host.run(script("cat"), stdin=b"what is sent") == "what is sent"


def test_what_a_command_says_of_itself_is_left_alone(machine, layout, host) -> None:
    with held(machine, layout) as first:
        first.first_line()
        with pytest.raises(CommandFailed) as caught:
            host.run(script("echo no; exit 3"))
    assert (caught.value.status, caught.value.output) == (3, "no\n")


@pytest.mark.parametrize("loose", [False, True])
def test_it_changes_nothing_once_the_lock_is_somebody_elses(
    machine, layout, host, loose: bool
) -> None:
    change = sh("touch", machine.root / "changed")
    with held(machine, layout, token="t2") as second:
        second.first_line()
        with pytest.raises(LockLost) as caught:
            host.run(loosely(change) if loose else change)
    assert not (machine.root / "changed").exists()
    assert "silen" in caught.value.what or "had not heard" in caught.value.what
    assert caught.value.untouched
    assert caught.value.remedy


def test_nor_once_its_own_holder_has_gone(machine, layout, host, token) -> None:
    with held(machine, layout) as first:
        first.first_line()
        first.close()
    assert not token.exists()
    with pytest.raises(LockLost):
        host.run(sh("touch", machine.root / "changed"))
    assert not (machine.root / "changed").exists()


def test_what_only_looks_is_still_answered(machine, layout, host) -> None:
    assert host.run(looks(sh("echo", "seen"))) == "seen\n"


def test_after_a_refusal_the_server_is_not_asked_again(machine, layout, host) -> None:
    with pytest.raises(LockLost):
        host.run(sh("true"))
    with held(machine, layout) as first:
        first.first_line()
        with pytest.raises(LockLost):
            host.run(sh("true"))


def test_what_fails_once_the_holder_has_gone_fails_for_that(machine, layout) -> None:
    """The next task may have removed what is asked."""
    host = FencedHost(machine, layout, "t1", ScriptedHolder("held", over=True))
    with pytest.raises(LockLost):
        host.run(looks(sh("false")))


@pytest.mark.parametrize(
    ("ended", "what"), [(True, LockLost), (False, ConnectionFailed)]
)
def test_a_connection_that_ends_after_the_holder_did_has_lost_the_lock(
    layout, ended: bool, what: type[Exception]
) -> None:
    """sshd hangs up on a heartbeat that crosses the holder's end."""
    host = ScriptedHost({"true": ConnectionFailed("The connection was lost.")})
    with pytest.raises(what):
        FencedHost(host, layout, "t1", ScriptedHolder("held", over=ended)).run(
            sh("true")
        )


def test_what_is_fenced_can_be_read_without_the_fence(layout) -> None:
    for command in (sh("echo", "it's"), loosely(script("true", "a b"))):
        assert unfenced(fenced(command, layout, "t1").text) == command.text
        assert unfenced(command.text) == command.text


# --- the next task begins when the commands of the one before have ended ---------------------


def test_the_next_task_begins_after_a_command_that_still_runs(
    machine, layout, token
) -> None:
    with held(machine, layout) as first:
        first.first_line()
        slow = begin(machine, fenced(script("sleep 1.5; echo >done"), layout, "t1"))
        until(lambda: machine.at(f"{layout.fence}.work").exists())
        time.sleep(0.2)
        kill(machine, layout, first)
        with held(machine, layout, token="t2") as second:
            assert second.first_line() == "held"
            assert (machine.root / "done").exists()
        slow.wait()


def test_it_does_not_wait_for_what_harms_nobody(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        build = begin(
            machine, fenced(loosely(script("echo >begun; sleep 8")), layout, "t1")
        )
        until(lambda: (machine.root / "begun").exists())
        first.close()
        with held(machine, layout, token="t2") as second:
            assert second.first_line() == "held"
            assert build.poll() is None
        build.kill()
        build.wait()


def test_a_migration_of_a_task_that_is_gone_is_ended(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        first.close()
    assert machine.said == ["docker rm --force shop-prod-database"]


def test_a_task_that_ended_well_has_none(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        first.send(".\n")
        assert first.wait() == 0
    assert machine.said == []


def test_nor_is_one_looked_for_before_the_next_task(machine, layout) -> None:
    test_a_task_that_ended_well_has_none(machine, layout)
    test_a_task_that_ended_well_has_none(machine, layout)


def test_but_where_the_holder_was_killed_the_next_task_looks(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        kill(machine, layout, first)
    with held(machine, layout, token="t2") as second:
        assert second.first_line() == "held"
        assert machine.said == ["docker rm --force shop-prod-database"]


def test_who_comes_while_a_dead_task_is_cleaned_up_waits(machine, layout) -> None:
    machine.program("docker", "sleep 2.5")
    with held(machine, layout) as first:
        first.first_line()
        first.process.stdin.close()
        with held(machine, layout, token="t2") as second:
            assert second.first_line() == "held"


def test_unlocking_ends_the_commands_that_still_run(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        hung = begin(machine, fenced(script("echo >begun; sleep 8"), layout, "t1"))
        until(lambda: (machine.root / "begun").exists())
        said = machine.run(removal.unlock(layout))
        assert said.startswith("The lock was held by: ann@desk deploys")
        assert hung.wait(5) != 0
        with held(machine, layout, token="t2") as second:
            assert second.first_line() == "held"


# --- what was left half done ------------------------------------------------------------------


class Holding:
    """Visitors wait for a release that is paused, and its socket is out of the way."""

    def __init__(self, machine, layout) -> None:
        self.site = machine.at(layout.site_dir)
        self.hold = machine.at(f"{layout.fence}.hold")
        self.current = self.site / "current.sock"
        self.current.symlink_to(f"run/{OLD}.sock")
        listener = socket.socket(socket.AF_UNIX)
        os.chdir(self.site / "run")  # a socket's path may have 108 bytes
        listener.bind(f"{OLD}.held")
        listener.close()
        self.hold.write_text(f"old-id {OLD}\n")

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.site / "run").iterdir())


@pytest.fixture
def holding(machine, layout, monkeypatch) -> Holding:
    monkeypatch.chdir(machine.root)
    return Holding(machine, layout)


def end_by_silence(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        first.close()


def end_by_the_next_task(machine, layout) -> None:
    with held(machine, layout, token="t2") as second:
        assert second.first_line() == "held"
        second.send(".\n")
        second.wait()


def end_by_unlocking(machine, layout) -> None:
    with held(machine, layout) as first:
        first.first_line()
        machine.run(removal.unlock(layout))
        first.wait()


ENDS = [end_by_silence, end_by_the_next_task, end_by_unlocking]


@pytest.mark.parametrize("end", ENDS)
def test_a_release_that_was_held_serves_again(machine, layout, holding, end) -> None:
    machine.program("sleep", 'test "$1" = 60 || exec /bin/sleep "$@"')  # no minute
    end(machine, layout)
    assert holding.names() == [f"{OLD}.sock"]
    assert "docker unpause old-id" in machine.said
    assert not holding.hold.exists()
    assert holding.current.readlink() == Path(f"run/{OLD}.sock")
    until((holding.site / "unheld").exists)


@pytest.mark.parametrize("end", ENDS)
def test_after_the_switch_the_held_one_is_taken_away(
    machine, layout, holding, end
) -> None:
    holding.current.unlink()
    holding.current.symlink_to(f"run/{NEW}.sock")
    (holding.site / "run" / f"{NEW}.sock").touch()
    end(machine, layout)
    assert holding.names() == [f"{NEW}.sock"]
    assert "docker rm --force old-id" in machine.said
    assert not holding.hold.exists()


def test_a_release_that_has_begun_anew_keeps_its_own_socket(
    machine, layout, holding
) -> None:
    socket_ = holding.site / "run" / f"{OLD}.sock"
    socket_.write_text("bound after a restart of the engine")
    end_by_the_next_task(machine, layout)
    assert socket_.read_text() == "bound after a restart of the engine"


def test_what_a_power_cut_left_of_a_hold_is_taken_away(
    machine, layout, holding
) -> None:
    holding.hold.unlink()  # it was in memory
    (holding.site / "run" / f"{OLD}.sock").touch()
    (holding.site / "run" / "a directory.held").mkdir()  # a site may make what it likes
    end_by_the_next_task(machine, layout)
    assert holding.names() == [f"{OLD}.sock", "a directory.held"]


def test_a_container_that_is_not_paused_is_no_error(machine, layout, holding) -> None:
    machine.program("docker", "exit 1")
    end_by_the_next_task(machine, layout)
    assert holding.names() == [f"{OLD}.sock"]


@pytest.mark.parametrize("end", ENDS)
def test_an_environment_that_was_not_accepted_goes_back(machine, layout, end) -> None:
    env = machine.at(layout.env_file)
    env.write_text("KEY=refused\n")
    env.with_name("env.before").write_text("KEY=good\n")
    end(machine, layout)
    assert env.read_text() == "KEY=good\n"
    assert not env.with_name("env.before").exists()
