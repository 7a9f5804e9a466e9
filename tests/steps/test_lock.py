"""Who holds the lock, and what they are told."""

import pytest

from stagetools.deploy.commands import server
from stagetools.deploy.steps import lock
from stagetools.errors import LockHeld, LockLost
from tests.steps.scripted import ScriptedHost


def test_the_lock_is_held_for_the_block_and_no_longer(at, layout) -> None:
    host = ScriptedHost({})
    with lock.hold(at(host), "ann@desk deploys") as held:
        assert not host.holder.closed
    assert host.holder.closed
    assert host.holder.heard == [".\n"]
    token = held.host.token
    assert host.ran == [server.hold_lock(layout, "ann@desk deploys", 0, token).text]


def test_the_lock_is_given_back_when_the_block_fails(at) -> None:
    host = ScriptedHost({})
    with pytest.raises(KeyboardInterrupt), lock.hold(at(host), "ann"):
        raise KeyboardInterrupt
    assert host.holder.closed
    assert host.holder.heard == []  # the server looks what was left half done


def test_it_is_waited_for_as_long_as_was_said(at, layout) -> None:
    host = ScriptedHost({})
    with lock.hold(at(host), "ann", wait=30) as held:
        token = held.host.token
        assert host.ran == [server.hold_lock(layout, "ann", 30, token).text]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("bob@bus deploys now: Build", "is being changed right now: bob@bus deploys now: Build."),
        ("", "is being changed right now: somebody holds its lock."),
    ],
)  # fmt: skip
def test_the_second_is_told_who_has_it(at, refused, said: str, words: str) -> None:
    host = ScriptedHost({}, lock=said)
    error = refused(lock.hold(at(host), "ann").__enter__)
    assert isinstance(error, LockHeld)
    assert words in error.what
    assert "--wait" in error.remedy
    assert host.holder.closed


def test_whoever_is_refused_can_be_told_the_step(at) -> None:
    host = ScriptedHost({})
    with lock.hold(at(host), "ann") as held:
        held.does("Build")
        assert host.holder.heard == ["Build\n"]


def test_a_lock_that_was_lost_stops_the_next_step(at, refused) -> None:
    host = ScriptedHost({})
    with lock.hold(at(host), "ann") as held:
        held.check()
        host.holder.over = True
        error = refused(held.check)
    assert isinstance(error, LockLost)


def test_two_tasks_have_two_tokens(at) -> None:
    tokens = set()
    for _ in range(2):
        with lock.hold(at(ScriptedHost({})), "ann") as held:
            tokens.add(held.host.token)
    assert len(tokens) == 2


def test_a_dead_connection_is_no_error_of_its_own(at) -> None:
    """The step that runs says what happened; the lock keeps quiet."""
    host = ScriptedHost({})

    def fail(text: str) -> None:
        raise OSError

    with lock.hold(at(host), "ann") as held:
        host.holder.send = fail  # type: ignore[method-assign]
        held.does("Build")
