"""Whether a site is on another server than the one where a first deploy is about to begin.

git knows where it was, and each of those servers whether it is there. A deploy of a site that is
on its server already asks nobody.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts
from stagetools.deploy.steps import server
from stagetools.deploy.tasks.backups.before import LOST, OLD_HOST, servers_before
from stagetools.deploy.tasks.session import Destination, Session, open_session
from stagetools.errors import StageError, UsageError

__all__ = ["opened", "refuse_empty_beside"]


@contextmanager
def opened(to: Destination, config: StageConfig) -> Iterator[Session]:
    """The stage on a server on which it was: how `to` reaches its own says nothing of that."""
    there = replace(to, config=config, accept="", connected=lambda: None)
    with open_session(there, aside=True) as old:
        yield old


def refuse_empty_beside(file: Path, session: Session) -> None:
    """Raise where visitors would get an empty site, and the one with the data is elsewhere.

    A person is asked where nobody can say so, for a server that `file` had does not answer.
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
    try:
        session.terminal.agree(
            f"{names}, where {session.name} may have been before, cannot be asked whether it"
            " is there. This puts an empty site on"
            f" {session.config.host}; inv deploy --restore{_stage(session)} brings one that"
            " lives, or the newest of the backups elsewhere. Continue with an empty one?"
        )
    except StageError as error:
        error.untouched = "Nothing was changed."
        raise


def _stage(session: Session) -> str:
    """What to type for the stage, after the task."""
    name = session.config.stage_name
    return "" if name == "prod" else f" --stage {name}"
