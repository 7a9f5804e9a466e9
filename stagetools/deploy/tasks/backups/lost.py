"""`inv deploy --restore`: a site in place of one whose server is lost.

A first deploy, to which the newest of the backups elsewhere brings its environment, database and
uploads. Nothing serves before all of that is there, and whatever fails can be typed again.
"""

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stagetools.deploy.commands.backup import move
from stagetools.deploy.console.terminal import Step, Terminal
from stagetools.deploy.facts import span
from stagetools.deploy.outcome import Outcome, changed
from stagetools.deploy.shell import Secret
from stagetools.deploy.steps import backup, database, lost, server
from stagetools.deploy.tasks import pipeline
from stagetools.deploy.tasks.backups import moving
from stagetools.deploy.tasks.backups.restoring import refuse_others
from stagetools.deploy.tasks.session import Destination, utc_now
from stagetools.errors import UsageError

__all__ = ["KEY", "Revive", "deploy"]

KEY = "STAGETOOLS_BACKUP_KEY"
"""Of the environment of whoever deploys; else the key is asked for."""

# What restic asks of the one who opens such a place, and what it reads besides.
_NEEDS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "b2": ("B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"),
    "azure": ("AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"),
}
_MAY = {
    "s3": r"AWS_[A-Z_]+",
    "b2": r"B2_[A-Z_]+",
    "azure": r"AZURE_[A-Z_]+",
    "gs": r"GOOGLE_[A-Z_]+",
    "swift": r"(OS|ST)_[A-Z_]+",
    "rest": r"RESTIC_REST_[A-Z_]+",
}


def deploy(root: Path, to: Destination, **options: Any) -> None:
    """Put the working tree, with what was backed up elsewhere, on a server in place of a lost one.

    Where the old one lives, it is that one's site that comes.
    """
    if moving.moves(root, to, **options):
        return
    place = to.config.backup.to
    if not place:
        raise UsageError(
            "deploy.toml names no place elsewhere, so there is nothing to bring back.",
            untouched="Nothing was changed.",
            remedy=f"Give `to` in [stages.{to.config.stage_name}.backup] the place of the"
            " backups. With a database in a file: inv deploy, then inv restore FILE.",
        )
    key, credentials = given(place, to.terminal)
    make = partial(Revive, key=key, credentials=credentials)
    # what a move has left here is old: whoever asked for this was told so, or has said so
    pipeline.deploy(root, to, make=make, moved=True, **options)


def given(place: str, terminal: Terminal) -> tuple[Secret, Mapping[str, Secret]]:
    """The key and what the place asks for: of the environment, else of the one who types."""
    if terminal.dry:
        return Secret(""), {}
    kind = place.partition(":")[0]
    may = re.compile(_MAY.get(kind, "(?!)"))
    found = {name: value for name, value in os.environ.items() if may.fullmatch(name)}
    if found:
        terminal.say(f"{place}: with {', '.join(sorted(found))} of this environment.")
    key = os.environ.get(KEY) or terminal.ask_secret(KEY)
    for name in _NEEDS.get(kind, ()):
        found[name] = found.get(name) or terminal.ask_secret(name)
    return Secret(key.strip()), {name: Secret(value) for name, value in found.items()}


_REMEDY = "Check out the commit that the lost server had, then type inv deploy --restore again."


class Revive(pipeline.Deploy):
    """A first deploy that begins with a backup."""

    why = "restore"

    def __init__(
        self, *args: Any, key: Secret, credentials: Mapping[str, Secret]
    ) -> None:
        super().__init__(*args)
        self.key, self.credentials = key, credentials
        self.is_first = False  # its administrators are in the database
        self.moved_before = bool(self.facts.moved or self.facts.arriving)

    def run(self) -> None:
        if self.facts.release:
            raise UsageError(
                f"{self.session.name} serves on {self.session.host.address} already.",
                untouched="Nothing was changed.",
                remedy="To set up the backups or the replica that it lacks: inv deploy. To"
                " put what lies elsewhere in place of an empty site: inv remove, then inv"
                " deploy --restore. To bring another backup of it back: inv restore. If"
                " this is the wrong server, give `host` in deploy.toml the new one's.",
            )
        super().run()

    def prepare_server(self) -> None:
        super().prepare_server()
        self.step("Fetch", self.fetch)

    def serve(self) -> None:
        self.step("Restore", self.restore)
        self.step("Uploads", self.uploads)
        if self.moved_before:
            self.session.run(move.lead_no_more(self.session.layout))
        super().serve()
        if self.moved_before:
            self.session.run(move.expect_no_more(self.session.layout))

    def fetch(self, step: Step) -> Outcome:
        self.backup = lost.fetch(self.session, self.key, self.credentials, step.line)
        self.facts = server.look(self.session)  # of the environment file
        ago = span(int((utc_now() - self.backup.at).total_seconds()))
        return changed(
            f"{self.backup.name} of {self.backup.at:%Y-%m-%d %H:%M:%S} UTC, {ago} ago:"
            " what was written after that is lost"
        )

    def restore(self, step: Step) -> Outcome:
        outcome, found = lost.revive(self.session, self.name, self.backup.name)
        if not found.engine and not self.session.terminal.dry:
            known = database.known(self.session, self.name)
            refuse_others(self.backup.name, found.migrations, known, remedy=_REMEDY)
        return outcome

    def uploads(self, step: Step) -> Outcome:
        return backup.put_back(self.session, self.backup.name)
