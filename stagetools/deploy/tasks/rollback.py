"""An earlier release again, and the database as it knows it: `inv rollback`."""

from contextlib import suppress

from stagetools.database.protocol import Unknown
from stagetools.deploy.console.terminal import Step
from stagetools.deploy.facts import Facts, Record, named
from stagetools.deploy.limits import HOLD
from stagetools.deploy.outcome import Outcome
from stagetools.deploy.steps import database, lock, release
from stagetools.deploy.tasks.on_copy import OnCopy
from stagetools.deploy.tasks.relaunch import Relaunch, look_at_serving
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import CommandFailed, StageError, UsageError

__all__ = ["Restore", "Rollback", "roll_back"]


def roll_back(
    session: Session, *, to: str = "", restore_database: bool = False, wait: float = 0
) -> None:
    """Serve an earlier release again, and bring the database back to what it knows."""
    with locked(session, "rolls back", wait=wait) as held:
        facts = look_at_serving(session)
        records = release.known(session)
        target = _named(records, to) if to else _before(records, facts.record)
        way = Restore if restore_database else Rollback
        back = way(session, held, facts, records, target)
        back.run(target.release)
    session.terminal.conclude(
        f"{session.name} serves {target.made_of} again, as {back.name}."
    )


def _before(records: list[Record], current: Record | None) -> Record:
    """The newest release built before the one that serves; so a second rollback goes on."""
    serving = current.made_of if current else "~"
    for record in records:
        if record.size and record.made_of < serving:
            return record
    raise UsageError(
        "There is no earlier release to roll back to.",
        remedy="inv releases lists them.",
    )


def _named(records: list[Record], name: str) -> Record:
    found = named([r for r in records if r.size], name)
    if not found:
        raise UsageError(
            f"There is no release {name!r} on the server.",
            remedy="inv releases lists them; name one as it is written there, its last"
            " seven characters, its commit, or the beginning of one of these.",
        )
    if len({r.clean_commit or r.made_of for r in found}) > 1:
        builds = dict.fromkeys(r.made_of for r in found)
        raise UsageError(
            f"{name!r} may be one of several releases: {', '.join(builds)}.",
            remedy="Name one of them as it is written here.",
        )
    return found[0]


class Rollback(OnCopy, Relaunch):
    """An older release, and the database as it knows it."""

    why = "rollback"
    verb = "Undo"
    exact = True

    def __init__(
        self,
        session: Session,
        held: lock.Held,
        facts: Facts,
        records: list[Record],
        target: Record,
    ) -> None:
        super().__init__(session, held, facts)
        self.records, self.target = records, target
        # which may be of a version that could not tell; without a file it was not SQLite
        if target.database or facts.database:
            self.database = target.database
        self.names: list[str] = []

    def run(self, old: str) -> None:
        """Undo on a copy what the older release does not know."""
        with self.undone_on_failure():
            self.prepare(old)
            undo = self.look_at_database()
            self.ask_about_engine(self.database)
            if not undo.unknown:
                self.step("Start", self.start)
                self.go_live()
                return
            self.step("Snapshot", self.snapshot)
            self.step("Rehearse", self.rehearse_on_copy)
            self.agree_to_wait()
            self.serve_copy()

    def source_of(self, old: str) -> Record | None:
        return self.target

    def tree_digest(self) -> str:
        return self.target.tree

    def commit(self) -> str:
        return self.target.commit

    def look_at_database(self) -> Unknown:
        """What the older release does not know; refused when it cannot be undone."""
        undo = self._unknown()
        if undo.unknown and not undo.sqlite:
            raise self._cannot_undo_elsewhere(undo)
        if undo.irreversible:
            raise StageError(
                f"{self.target.release} cannot serve again: the database has"
                f" {', '.join(undo.unknown)}, and this cannot be undone:"
                f" {'; '.join(map(str, undo.irreversible))}.",
                remedy="Deploy a fixed release; or, if losing what was written since is"
                " right: inv rollback --restore-database, which says first how much.",
            )
        if undo.unknown:
            self.session.terminal.agree(
                f"This undoes {', '.join(undo.unknown)}: what their columns and tables"
                " contain is deleted (a snapshot is kept). Continue?"
            )
        return undo

    def _cannot_undo_elsewhere(self, undo: Unknown) -> StageError:
        return StageError(
            f"{self.target.release} does not know {', '.join(undo.unknown)}, and the"
            " database is not SQLite: there is no copy on which they could be undone.",
            remedy="Deploy a fixed release."
            if undo.irreversible
            else "Deploy a fixed release; or make a dump of the database, undo them by"
            " hand (inv manage migrate APP MIGRATION), and roll back again.",
        )

    def _unknown(self) -> Unknown:
        newer = self.facts.release
        try:
            self.names = database.known(self.session, self.name)
            return database.plan_undo(self.session, newer, self.names)
        except CommandFailed as error:
            raise StageError(
                f"Which migrations {self.target.release} does not know could not be found out.",
                remedy="Read the last lines below, then roll back again.",
            ) from error

    def change_copy(self, step: Step, *, rehearsal: bool) -> database.Rehearsal:
        """Undo with the newer release's code, and look whether all of it is undone."""
        newer, on = self.facts.release, self.data_dir
        done = database.undo_on_copy(
            self.session, newer, self.names, on=on, rehearsal=rehearsal
        )
        if rehearsal:
            left = database.plan_undo(self.session, newer, self.names, on=on).unknown
            if left and not self.session.terminal.dry:
                raise StageError(
                    f"Undo: {', '.join(left)} would stay applied.",
                    remedy="Roll back with --restore-database, or deploy a fixed release.",
                )
        return done


class Restore(Rollback):
    """An older release, with the database from before the migrations that came after it."""

    def run(self, old: str) -> None:
        """Nobody waits: all that is written until the switch is lost, as was said before."""
        if self.facts.elsewhere:
            raise UsageError(
                f"The database is {self.facts.elsewhere}, the project's own: there is no"
                " snapshot of it to restore.",
                untouched="Nothing was changed.",
                remedy="Restore it with its own tools, then roll back without"
                " --restore-database.",
            )
        with self.undone_on_failure():
            self.snapshot_name = self.snapshot_to_restore()
            lost = database.snapshot_age(self.session, self.snapshot_name)
            self.session.terminal.agree(
                f"Everything that was written in the last {lost} will be lost from the live"
                f" database (a copy is kept). Restore {self.snapshot_name} and roll back?"
            )
            self.prepare(old)
            self.step("Restore", self.restore)
            self.serve_other()

    def serve_other(self) -> None:
        """Put the release before the users, on the database that lies in its directory."""
        self.step("Start", self.start)
        self.step("Switch", self.switch)
        self.step("Drain", self.drain)
        self.step("Clean up", self.keep_old)
        self.step("Prune", self.prune)

    def snapshot_to_restore(self) -> str:
        """That from before the first migration since the older release served last.

        It may have served again meanwhile, by a rollback: what was written then is in it.
        """
        served = max(
            r.release for r in self.records if r.made_of == self.target.made_of
        )
        migrated = [
            r.release for r in self.records if r.migrations and r.release > served
        ]
        if not migrated:
            raise UsageError(
                f"No deploy since {self.target.release} has migrated the database.",
                remedy="Roll back without --restore-database: nothing is lost that way.",
            )
        return f"before-{min(migrated)}"

    def restore(self, step: Step) -> Outcome:
        self.seed()
        return Outcome(True, f"{self.snapshot_name} is in {self.data_dir}")

    def drain(self, step: Step) -> Outcome:
        """As ever, but there is no way back to a database that is behind by now."""
        old = self.facts.serving(self.session.name)
        if old is None:
            return Outcome(False, "no release served before")
        limit = self.session.config.drain
        return release.leave(self.session, old, limit=limit)

    def _resume(self) -> None:
        """Keep the database before also where what follows the switch did not end.

        There is no way back, and the next restore but one would let `prune` remove it.
        """
        super()._resume()
        if self.standing.serves != self.name:
            return
        if old := self.facts.serving(self.session.name):
            with suppress(CommandFailed):  # it may be gone already
                release.leave(self.session, old, limit=HOLD.drain)
        self.retire()

    def keep_old(self, step: Step) -> Outcome:
        self.retire()
        where = self.session.layout.backups_dir
        return Outcome(True, f"the database before is in {where}")
