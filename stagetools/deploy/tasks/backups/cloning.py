"""`inv clone`: one stage's database and uploads in another stage of the project.

As a restore, it fills directories of a release to come, where nobody sees them: there the
database is judged and migrated, and the project's own command `anonymise` runs. One rename
then switches release, database and uploads together.
"""

from contextlib import ExitStack

from stagetools.deploy.commands import data
from stagetools.deploy.console.terminal import Step
from stagetools.deploy.facts import Facts
from stagetools.deploy.outcome import Outcome, changed, size, unchanged
from stagetools.deploy.steps import backup as backups
from stagetools.deploy.steps import clone as steps
from stagetools.deploy.steps import database, lock, preflight, release
from stagetools.deploy.steps import server as servers
from stagetools.deploy.tasks.backups import backing_up
from stagetools.deploy.tasks.backups.restoring import (
    FromBackup,
    Source,
    differences,
    refuse_others,
)
from stagetools.deploy.tasks.relaunch import look_at_serving
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import LockLost, StageError, UsageError
from stagetools.naming.system import Stage, System
from stagetools.utils import get_expected_system_from_name

__all__ = ["clone", "refuse"]

_COPIES = (
    3  # of the database on the target's disk: as it arrives, migrated, in its backup
)


def refuse(source: str, target: str, here: System) -> None:
    """UsageError for stages that cannot be meant; `here` is the project's on this machine."""
    if not (source and target):
        raise UsageError(
            "Two stages are needed: whose data, and where they go.",
            untouched="Nothing was changed.",
            remedy="Write inv clone --from prod --to qual.",
        )
    system = get_expected_system_from_name(f"{here.configuration}_{target}")
    if system.stage is Stage.PRODUCTION:
        raise UsageError(
            f"{system.name} is production: no other stage's data go there.",
            untouched="Nothing was changed.",
            remedy="Name another stage after --to. An earlier database of its own comes back"
            " with inv restore.",
        )
    if source == target:
        raise UsageError(
            f"{system.name} cannot be cloned onto itself.",
            untouched="Nothing was changed.",
            remedy="Name two stages: inv clone --from prod --to qual.",
        )


def clone(source: Session, target: Session, *, wait: float = 0) -> None:
    """Serve a copy of the source's data as the target, whose own are kept in a backup."""
    for one in (source, target):
        _set_up(one)
    serving = servers.look(target).release
    hook = steps.can_anonymise(target, serving)
    there = _agree(source, target, hook=hook)
    try:
        backing_up.backup(target, later=True)
    except StageError as error:
        error.untouched = error.untouched or f"{target.name} serves its own data."
        raise
    with ExitStack() as until_switched, ExitStack() as until_copied:
        held = _both(source, target, until_copied, until_switched, wait)
        facts = look_at_serving(target)
        if facts.release != serving:
            raise StageError(
                f"{facts.release} was put before the users of {target.name} meanwhile.",
                untouched="Nothing was changed.",
                remedy="Clone again.",
            )
        change = Clone(target, held[1], facts, source, held[0], until_copied)
        change.hook, change.there = hook, there
        change.run(facts.release)
    target.terminal.conclude(
        f"{target.name} serves the data of {source.name}, as {change.name}."
    )


def _set_up(one: Session) -> None:
    """What copies the data is part of the backups; a server of an older version lacks that.

    Nobody has asked to have anything set up there, on production perhaps.
    """
    facts = servers.look(one)
    if facts.elsewhere:
        raise UsageError(
            f"The database of {one.name} is {facts.elsewhere}, the project's own: inv clone"
            " copies SQLite alone.",
            untouched="Nothing was changed.",
            remedy="Copy it with its own tools; inv backup --download brings the uploads.",
        )
    is_prepared = servers.is_prepared(facts)
    if facts.release and is_prepared and backups.is_set_up(one, facts):
        return
    if facts.release:
        one.terminal.agree(
            f"A clone needs the backups of {one.name} on {one.host.address} as this version"
            " and deploy.toml have them: restic, a key, and a timer that makes one each"
            " night. They are set up now; what serves is not touched. Continue?"
        )
    if facts.release and not is_prepared:
        _prepare(one)
    backing_up.set_up(one)


def _prepare(one: Session) -> None:
    with (
        locked(one, "prepares a clone") as held,
        one.terminal.step("Account") as step,
    ):
        step.end(servers.ensure_account(one.under(held)))


def _agree(source: Session, target: Session, *, hook: bool) -> steps.Stage:
    """Say what would be replaced, by rows and bytes, and ask; what was said of the source."""
    there, here = steps.look(source), steps.look(target)
    _refuse_moved(target, here)
    _refuse_full(target, there)
    for line in differences(
        here.contents, there.contents, f"in {source.config.stage_name}"
    ):
        target.terminal.say(line)
    anonymised = (
        f"The project's command {steps.ANONYMISE} runs on the copy before anybody sees it."
        if hook
        else f"The project has no command {steps.ANONYMISE}: the data stay as they are."
    )
    target.terminal.agree(
        f"The database ({size(here.contents.bytes)}) and the uploads ({size(here.uploads)})"
        f" of {target.name} on {target.host.address} will be replaced by those of"
        f" {source.name} ({size(there.contents.bytes)}, {size(there.uploads)}); a backup is"
        f" made first. {anonymised} Continue?"
    )
    return there


def _refuse_moved(target: Session, here: steps.Stage) -> None:
    if here.moved:
        raise StageError(
            f"{target.layout.media_dir} is a link that was made by hand: its uploads cannot be"
            " replaced in one step with the database.",
            untouched="Nothing was changed.",
            remedy="Make it a directory, on the same disk as the database, then clone again.",
        )


def _refuse_full(target: Session, there: steps.Stage) -> None:
    if not target.terminal.dry:
        needed = _COPIES * there.contents.bytes + there.uploads
        free = servers.look(target).disk_free
        preflight.refuse_too_small_a_disk(target, free, needed, "the clone")


def _both(
    source: Session,
    target: Session,
    until_copied: ExitStack,
    until_switched: ExitStack,
    wait: float,
) -> tuple[lock.Held, lock.Held]:
    """The locks of source and target, taken by the order of their names.

    So no two clones wait for each other. The source's goes as soon as it was copied.
    """
    held: dict[str, lock.Held] = {}
    for one in sorted((source, target), key=lambda session: session.name):
        does = f"clones {source.name} into {target.name}"
        until = until_copied if one is source else until_switched
        held[one.name] = until.enter_context(locked(one, does, wait=wait))
    return held[source.name], held[target.name]


class Clone(FromBackup):
    """The release that serves, on another stage's data."""

    why = "clone"
    hook = False
    there: steps.Stage

    def __init__(
        self,
        session: Session,
        held: lock.Held,
        facts: Facts,
        origin: Session,
        origin_held: lock.Held,
        until_copied: ExitStack,
    ) -> None:
        super().__init__(session, held, facts, Source(name=origin.name))
        self.from_, self.from_held = origin, origin_held
        self.until_copied = until_copied

    def run(self, old: str) -> None:
        """Nothing live is touched before the switch."""
        with self.undone_on_failure():
            self.prepare(old)
            self.step("Copy", self.copy)
            self.step("Migrate", self.migrate)
            self.step("Anonymise", self.anonymise)
            self.serve_other()

    def duplicate(self, old: str) -> Outcome:
        """As for any launch, with uploads of the release's own."""
        outcome = super().duplicate(old)
        media = self.session.layout.media_copy(self.name)
        release.configure(self.session, self.facts, self.name, self.data_dir, media)
        return outcome

    def copy(self, step: Step) -> Outcome:
        """Bring database and uploads, which nobody changes by a deploy meanwhile."""
        preflight.refuse_running_commands(self.session)
        self.found, self.live = steps.copy_database(
            self.from_, self.session, self.name, self.there
        )
        if not self.session.terminal.dry:
            self.refuse_others()
        uploads = steps.copy_uploads(self.from_, self.session, self.name, self.there)
        self._let_source_go()
        return changed(f"{size(self.found.bytes)} of database and {uploads} came")

    def _let_source_go(self) -> None:
        try:
            self.from_held.check()
        except LockLost:
            raise StageError(
                f"Copy: the lock of {self.from_.name} was lost, so that it may have changed"
                " while it was copied.",
                remedy="Clone again.",
            ) from None
        self.until_copied.close()

    def refuse_others(self) -> None:
        """Raise for a schema that the target's release does not know yet."""
        known = database.known(self.session, self.name)
        refuse_others(
            self.from_.name,
            self.found.migrations,
            known,
            self.live.migrations,
            remedy=f"Deploy what {self.from_.config.stage_name} serves to"
            f" {self.session.config.stage_name} first, then clone again.",
        )
        self.lacks = sorted(set(known) - set(self.found.migrations))

    def anonymise(self, step: Step) -> Outcome:
        if not self.hook:
            return unchanged(f"the project has no command {steps.ANONYMISE}")
        return steps.anonymise(self.session, self.name, step.line)

    def keep_old(self, step: Step) -> Outcome:
        """Let `media` lead to what serves; the uploads of before are in the backup."""
        self.session.run(data.adopt_uploads(self.session.layout))
        return super().keep_old(step)
