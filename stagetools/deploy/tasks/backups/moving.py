"""`inv deploy --restore` while the old server lives: which one that is, and whether it may move.

Nothing is guessed where a wrong answer would let two sites serve, or an old database.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts
from stagetools.deploy.steps import server as servers
from stagetools.deploy.tasks import pipeline
from stagetools.deploy.tasks.backups import backing_up, elsewhere
from stagetools.deploy.tasks.backups.arrival import Move
from stagetools.deploy.tasks.backups.before import LOST, OLD_HOST, servers_before
from stagetools.deploy.tasks.session import Destination, Session
from stagetools.errors import ConnectionFailed, UsageError

__all__ = ["moves"]


def moves(root: Path, to: Destination, **options: Any) -> bool:
    """Move the site if it lives on another server; whether it did."""
    silent: list[str] = []
    befores = servers_before(root / "deploy.toml", to.config)
    if not befores and os.environ.get(OLD_HOST) != LOST:
        to.terminal.say(
            f"git does not tell on which server {to.system.name} was before. If it still serves"
            f" there, stop this: {OLD_HOST}=HOST inv deploy --restore moves it."
        )
    with ExitStack() as opened:
        for config in befores:
            old = _reached(opened, to, config)
            if old is None:
                silent.append(config.host)
                continue
            facts = servers.look(old)
            if facts.release or facts.moved:
                _refuse_to_choose(old, silent)
                _move(root, to, old, facts, **options)
                return True
            to.terminal.say(f"{old.name} is not on {old.host.address} any more.")
    if silent:
        _agree_that_they_are_lost(to, silent)
    return False


def _refuse_to_choose(old: Session, silent: Sequence[str]) -> None:
    """Raise where a later server is silent: this one's database may be an old one."""
    if silent:
        raise UsageError(
            f"{old.name} is on {old.host.address}, and was on {' and '.join(silent)} after"
            " that, which does not answer.",
            untouched="Nothing was changed.",
            remedy=f"If it serves on the former: {OLD_HOST}={old.config.host} inv deploy"
            f" --restore moves it. If the latter is lost: {OLD_HOST}={LOST} brings the newest"
            " of the backups elsewhere.",
        )


def _reached(opened: ExitStack, to: Destination, config: StageConfig) -> Session | None:
    """A session there, or None where nobody answers."""
    try:
        return opened.enter_context(elsewhere.opened(to, config))
    except (ConnectionFailed, UsageError) as error:
        if isinstance(error.__cause__, OSError):
            return None
        error.remedy += f" {config.host} is a server on which {to.system.name} was."
        error.remedy += f" If it is lost: {OLD_HOST}={LOST} inv deploy --restore."
        raise


def _agree_that_they_are_lost(to: Destination, hosts: Sequence[str]) -> None:
    """No option agrees to it beforehand: a backup beside a site that lives is a second site."""
    names = " and ".join(hosts)
    question = (
        f"{names}, where {to.system.name} was before, does not answer. If it is lost, the"
        " newest backup of those elsewhere comes to the new server, and what was written"
        " after that is lost. If it still serves, both would. Is it lost?"
    )
    elsewhere.only_a_person_agrees(to.terminal, question, "inv deploy --restore")


def _move(
    root: Path, to: Destination, old: Session, facts: Facts, **options: Any
) -> None:
    if facts.elsewhere:
        raise UsageError(
            f"The database of {old.name} is {facts.elsewhere}, the project's own: inv"
            " deploy --restore moves SQLite alone.",
            untouched="Nothing was changed.",
            remedy="Give the new server the old one's environment (inv env.get KEY) and"
            " uploads (inv backup --download, inv media.push); then inv deploy.",
        )
    if facts.release:
        to.terminal.agree(
            f"{old.name} serves on {old.host.address}. It will move to {to.config.host} with its"
            " database, uploads, backups and secrets. Visitors wait for some seconds"
            " meanwhile, and are led on from then on. Continue?"
        )
        backing_up.set_up(old)
    make = partial(Move, old=old, there=facts)
    pipeline.deploy(root, to, make=make, moved=True, **options)
