"""Serving again what was built before: `inv rollback`, `inv restart`, a changed environment."""

from stagetools.deploy.change import Change
from stagetools.deploy.facts import Record, named
from stagetools.deploy.stage import Stage, locked
from stagetools.deploy.steps import Outcome, database, lock, release, server
from stagetools.deploy.terminal import Step
from stagetools.errors import StageError, UsageError

__all__ = ["releases", "restart", "rollback", "serve_again"]


def releases(stage: Stage) -> list[Record]:
    """The releases that are kept, the newest first."""
    return release.known(stage.host, stage.layout)


def restart(stage: Stage, *, wait: float = 0) -> None:
    """Serve the same release from a new container, with the environment as it is now."""
    with locked(stage, "restarts", wait=wait) as held:
        name = serve_again(stage, held, "restart")
    stage.terminal.conclude(f"{stage.name} serves {name}.")


def serve_again(stage: Stage, held: lock.Held, why: str) -> str:
    """The same for one who holds the lock already; the new release's name."""
    facts = server.look(stage.host, stage.layout)
    if not facts.release:
        raise _nothing_serves(stage)
    again = Relaunch(stage, held, facts)
    again.why = why
    with again.leaving_nothing():
        again.run(facts.release)
    return again.name


def rollback(
    stage: Stage, *, to: str = "", restore_database: bool = False, wait: float = 0
) -> None:
    """Serve an earlier release again, and bring the database back to what it knows."""
    with locked(stage, "rolls back", wait=wait) as held:
        facts = server.look(stage.host, stage.layout)
        if not facts.release:
            raise _nothing_serves(stage)
        kept = releases(stage)
        target = _named(kept, to) if to else _before(kept, facts.record)
        back = Rollback(Change(stage, held, facts), kept, target)
        back.restore = restore_database
        with back.leaving_nothing():
            back.run(target.release)
    stage.terminal.conclude(
        f"{stage.name} serves {target.made_of} again, as {back.name}."
    )


def _before(kept: list[Record], current: Record | None) -> Record:
    """The newest release built before the one that serves; so a second rollback goes on."""
    serving = current.made_of if current else "~"
    for record in kept:
        if record.size and record.made_of < serving:
            return record
    raise UsageError(
        "There is no earlier release to roll back to.",
        remedy="inv releases lists them.",
    )


def _named(kept: list[Record], name: str) -> Record:
    found = named([r for r in kept if r.size], name)
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


def _nothing_serves(stage: Stage) -> StageError:
    return StageError(
        f"{stage.name} does not run on {stage.host.address}.",
        remedy=f"Deploy it: inv deploy --stage {stage.config.stage_name}",
    )


class Relaunch(Change):
    """The same image and files under a new name, and so a new container."""

    why = "restart"

    def run(self, old: str) -> None:
        """Prepare, then go live."""
        self.prepare(old)
        self.step("Start", self.start)
        self.go_live()

    def prepare(self, old: str) -> None:
        """Leave the files and the image of `old` under the new name."""
        source = self.source_of(old)
        self.origin = source.made_of if source else old
        # made_of in its name, so that names tell what is the same
        self.name = self.new_name(self.origin.rpartition("-")[2])
        release.again(self.host, self.layout, old, self.name)
        release.configure(self.host, self.layout, self.facts, self.config, self.name)

    def source_of(self, old: str) -> Record | None:
        """The record of the release that is launched again."""
        return self.facts.record


class Rollback(Relaunch):
    """An older release, and the database as it knows it."""

    why = "rollback"
    restore = False

    def __init__(self, change: Change, kept: list[Record], target: Record) -> None:
        super().__init__(change.stage, change.held, change.facts)
        self.kept, self.target = kept, target
        self.names: list[str] = []

    def run(self, old: str) -> None:
        """Undo first what the older release cannot live with; afterwards what it can."""
        self.prepare(old)
        if self.restore:
            self.run_with_snapshot()
            return
        undo = self.look_at_database()
        if undo.unknown and undo.first:
            self.undo_migrations(undo)
        self.step("Start", self.start)
        self.go_live()
        if undo.unknown and not undo.first:
            self.undo_migrations(undo)

    def source_of(self, old: str) -> Record | None:
        return self.target

    def tree_digest(self) -> str:
        return self.target.tree

    def commit(self) -> str:
        return self.target.commit

    def look_at_database(self) -> database.Undo:
        """What the older release does not know; refused when it cannot be undone."""
        self.names = database.known(self.host, self.layout, self.name)
        undo = database.plan_undo(
            self.host, self.layout, self.facts.release, self.names
        )
        if undo.irreversible:
            raise StageError(
                f"{self.target.release} cannot serve again: the database has"
                f" {', '.join(undo.unknown)}, and this cannot be undone:"
                f" {'; '.join(undo.irreversible)}.",
                untouched=f"{self.facts.release} goes on serving.",
                remedy="Deploy a mended release; or, if losing what was written since is"
                " right: inv rollback --restore-database, which says first how much.",
            )
        if undo.unknown:
            self.stage.terminal.agree(
                f"This undoes {', '.join(undo.unknown)}, and with them what their columns"
                " and tables hold (a snapshot is kept). Go on?"
            )
        return undo

    def undo_migrations(self, undo: database.Undo) -> None:
        newer = self.facts.release
        if (
            undo.first
        ):  # the release that can undo still has its container's image: always
            self.step("Rehearse", lambda _: self.rehearse_undo(newer))
        self.step("Snapshot", lambda _: self.snapshot(newer))
        self.step("Undo", lambda _: self.undo(newer))

    def rehearse_undo(self, newer: str) -> Outcome:
        return database.rehearse_undo(self.host, self.layout, newer, self.names)

    def snapshot(self, newer: str) -> Outcome:
        name = f"before-{self.name}"
        return Outcome(True, database.snapshot(self.host, self.layout, newer, name))

    def undo(self, newer: str) -> Outcome:
        return database.undo(self.host, self.layout, newer, self.names)

    # --- with a snapshot in the database's place ---------------------------------------

    def run_with_snapshot(self) -> None:
        """The snapshot from before the first migration that came after the older release."""
        snapshot = self.snapshot_to_restore()
        lost = database.snapshot_age(self.host, self.layout, snapshot)
        self.stage.terminal.agree(
            f"All that was written in the last {lost} is lost from the live database"
            f" (a copy of it is kept first). Restore {snapshot} and roll back?"
        )
        self.step("Snapshot", lambda _: self.snapshot(self.facts.release))
        self.step("Restore", lambda step: self.restore_snapshot(step, snapshot))
        self.step("Prune", self.prune)

    def snapshot_to_restore(self) -> str:
        migrated = [
            r.release
            for r in self.kept
            if r.migrations and r.release > self.target.made_of
        ]
        if not migrated:
            raise UsageError(
                f"No deploy since {self.target.release} has migrated the database.",
                remedy="Roll back without --restore-database: nothing is lost that way.",
            )
        return f"before-{min(migrated)}"

    def restore_snapshot(self, step: Step, snapshot: str) -> Outcome:
        """Hold the visitors at the proxy, replace the database, serve the older release.

        They wait (15 s at the most) instead of failing; the old container leaves first,
        for its open connections would keep the old file.
        """
        old = self.facts.serving(self.stage.name)
        if old is None:
            raise _nothing_serves(self.stage)
        release.pause(self.host, self.layout, old)
        try:
            database.restore(self.host, self.layout, snapshot, keep=self.name)
            if sick := self.start_and_ask():
                database.restore_back(self.host, self.layout, keep=self.name)
                raise release.refuse(self.host, self.layout, self.container, sick)
        except BaseException:
            release.resume(self.host, self.layout, old)
            raise
        self.switch(step)
        release.discard(self.host, old.id)
        return Outcome(True, f"{snapshot} is the database; {self.name} serves")
