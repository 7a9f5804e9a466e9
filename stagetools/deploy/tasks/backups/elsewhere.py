"""Whether a site is on another server than the one where a first deploy is about to begin.

git knows where it was, and each of those servers whether it is there. A deploy of a site that is
on its server already asks nobody.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stagetools.deploy.config import StageConfig
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.facts import Facts
from stagetools.deploy.steps import server
from stagetools.deploy.tasks.backups.before import (
    LOST,
    OLD_HOST,
    is_cut_off,
    servers_before,
)
from stagetools.deploy.tasks.session import Destination, Session, open_session
from stagetools.errors import StageError, UsageError

__all__ = ["only_a_person_agrees", "opened", "refuse_empty_beside"]


@contextmanager
def opened(to: Destination, config: StageConfig) -> Iterator[Session]:
    """The stage on a server on which it was: how `to` reaches its own says nothing of that."""
    there = replace(to, config=config, accept="", connected=lambda: None)
    with open_session(there, aside=True) as old:
        yield old


def refuse_empty_beside(file: Path, session: Session) -> None:
    """Raise where visitors would get an empty site, and the one with the data is elsewhere.

    A person is asked where nobody can say so: a server that `file` had does not answer, or git
    does not have what it was before.
    """
    to = Destination(
        system=session.layout.system, config=session.config, terminal=session.terminal
    )
    unknown = []
    for config in servers_before(file, session.config):
        try:
            with opened(to, config) as old:
                _refuse_where_it_is(session, old, server.look(old))
        except ElsewhereError:
            raise
        except StageError:  # it is silent, or another machine by now
            unknown.append(config.host)
    if unknown:
        _ask_about(session, unknown)
    elif is_cut_off(file):
        _ask_about_history(session)


class ElsewhereError(UsageError):
    """The site is on another server."""


def _refuse_where_it_is(session: Session, old: Session, facts: Facts) -> None:
    here, stage = session.host.address.rpartition("@")[2], _stage(session)
    moved = f"{session.name} has moved from {old.host.address} to {facts.moved}"
    anew = f" To begin with an empty database: {OLD_HOST}={LOST} inv deploy{stage}."
    if facts.release:
        what = f"{session.name} is on {old.host.address}, with its database."
        remedy = (
            f"To bring it to {here} with all that it has: inv deploy --restore{stage}. If {here}"
            " is the wrong server, give `host` in deploy.toml the other one's."
        )
    elif facts.moved in (here, session.config.host):
        what = f"{moved}, and nothing of it is there any more."
        remedy = (
            "To bring the newest of the backups elsewhere:"
            f" {OLD_HOST}={LOST} inv deploy --restore{stage}."
        )
    elif facts.moved:
        what = f"{moved}."
        remedy = (
            f"To bring it from there: {OLD_HOST}={facts.moved} inv deploy --restore"
            f"{stage}."
        )
    else:
        return
    raise ElsewhereError(
        f"{what} This would put an empty site on {here}.",
        untouched="Nothing was changed.",
        remedy=remedy + anew,
    )


def _ask_about(session: Session, hosts: Sequence[str]) -> None:
    names = " and ".join(hosts)
    _agree_to_an_empty_one(
        session,
        f"{names}, where {session.name} may have been before, cannot be asked whether it is"
        " there.",
    )


def _ask_about_history(session: Session) -> None:
    _agree_to_an_empty_one(
        session,
        f"git has the last commits alone here (a shallow clone), and cannot tell whether"
        f" {session.name} was on another server before; git fetch --unshallow, in CI"
        " fetch-depth: 0, brings the others.",
    )


def _agree_to_an_empty_one(session: Session, why: str) -> None:
    stage = _stage(session)
    question = (
        f"{why} This puts an empty site on {session.config.host}; inv deploy --restore{stage}"
        " brings one that lives, or the newest of the backups elsewhere. Continue with an"
        " empty one?"
    )
    only_a_person_agrees(session.terminal, question, f"inv deploy{stage}")


def only_a_person_agrees(terminal: Terminal, question: str, command: str) -> None:
    """Ask what --yes does not answer: two sites would live, or an empty one in place of one."""
    if terminal.dry:
        terminal.say(question)
    elif not terminal.can_ask:
        raise StageError(
            question,
            untouched="Nothing was answered, so nothing was done.",
            remedy=f"Answer in a terminal, or beforehand: {OLD_HOST}={LOST} {command}."
            " --yes does not answer this.",
        )
    elif not terminal.confirm(question):
        raise StageError("Not done, as you said.", untouched="Nothing was changed.")


def _stage(session: Session) -> str:
    """What to type for the stage, after the task."""
    name = session.config.stage_name
    return "" if name == "prod" else f" --stage {name}"
