"""A living site comes to this server: all is prepared while the old one serves.

Then the old one's visitors wait while the database is copied for the last time. Two renames
follow: by the first the old server serves nobody any more, by the second the new one begins. So
at no time do both, and until the first whatever fails, or is cut off, the old one goes on.
"""

import time
from collections.abc import Sequence
from typing import Any

from stagetools.deploy.commands import compose, data, traffic
from stagetools.deploy.commands.backup import move
from stagetools.deploy.console.failures import uninterrupted
from stagetools.deploy.console.terminal import Step
from stagetools.deploy.facts import Container, Facts
from stagetools.deploy.limits import HEALTH, HOLD
from stagetools.deploy.outcome import Outcome, changed, size
from stagetools.deploy.shell import alone, sh
from stagetools.deploy.standing import Moving
from stagetools.deploy.steps import clone, database, preflight, proxy, release
from stagetools.deploy.steps import server as servers
from stagetools.deploy.steps.elsewhere import move as steps
from stagetools.deploy.tasks import pipeline
from stagetools.deploy.tasks.backups.before import LOST, OLD_HOST
from stagetools.deploy.tasks.backups.restoring import refuse_others
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import StageError, UsageError

__all__ = ["Move"]

_UNTOUCHED = "Nothing of the site was changed."
_COPIES = (
    3  # of the database on the new server's disk: as it arrives, migrated, in a backup
)


class Move(pipeline.Deploy):
    """A first deploy, to which another server's site comes."""

    why = "move"
    verb = "Copy"

    def __init__(self, *args: Any, old: Session, there: Facts) -> None:
        super().__init__(*args)
        self.old, self.there = old, there
        self.to = self.session.host.address.rpartition("@")[2]
        self.was_gone = bool(there.moved)  # an earlier attempt was cut off
        # an old database may be here: after a failure, too, only a move or a restore may serve
        self.is_guarded = bool(self.facts.moved or self.facts.arriving)
        self.is_first = False  # its administrators are in the database
        self.on_copy = True
        self.waited = 0.0
        self.standing: Moving = Moving(
            serves=self.facts.release,
            old=old.host.address,
            new=self.session.host.address,
            leaves=self.was_gone,
        )

    def run(self) -> None:
        """Every step in its order; nothing serves here before `Switch`."""
        does = f"moves it to {self.to}"
        with locked(self.old, does, moved=True) as held:
            self.old = self.old.under(held)
            self.look_again()
            self._refuse_elsewhere()
            if self.facts.release:
                self.finish()
            else:
                self.look_and_move()
        self.keep_all()
        self._say_what_comes_next()

    def keep_domains(self) -> None:
        """Visit each: none of them has been here."""
        self.step("Visit", self.visit)

    def look_again(self) -> None:
        """While somebody was asked, another move may have begun, or ended."""
        self.there = servers.look(self.old)
        self.was_gone = self.standing.leaves = bool(self.there.moved)

    def _refuse_elsewhere(self) -> None:
        self._refuse_another_place()
        self._refuse_two()
        if self.was_gone and not self.facts.release and not self.facts.arriving:
            raise UsageError(
                f"{self.session.name} has moved from {self.old.host.address} to {self.to}, and"
                f" {self.to} has nothing of it any more. What is left on"
                f" {self.old.host.address} is as old as that move.",
                untouched=_UNTOUCHED,
                remedy="To bring the newest of the backups elsewhere instead:"
                f" {OLD_HOST}={LOST} inv deploy --restore.",
            )

    def _refuse_another_place(self) -> None:
        if self.was_gone and self.there.moved != self.to:
            raise UsageError(
                f"{self.session.name} has moved from {self.old.host.address} to"
                f" {self.there.moved}, and not to {self.to}.",
                untouched=_UNTOUCHED,
                remedy=f"To move it from there: {OLD_HOST}={self.there.moved} inv deploy"
                " --restore.",
            )

    def _refuse_two(self) -> None:
        if self.facts.release and not self.was_gone:
            raise UsageError(
                f"{self.session.name} serves on {self.session.host.address} already, and on"
                f" {self.old.host.address}, too.",
                untouched=_UNTOUCHED,
                remedy="If both are names of one server, or somebody has just moved it: inv"
                " deploy. If this is the wrong server, give `host` in deploy.toml the new"
                " one's.",
            )

    def look_and_move(self) -> None:
        preflight.refuse_taken_domains(self.session, self.facts)
        preflight.refuse_full_disk(self.facts)
        if not self.was_gone:
            self._refuse_too_small_a_disk()
        with self.undone_on_failure():
            self.prepare_server()
            self.step("Secrets", self.secrets)
            self.step("Upload", self.upload)
            self.step("Build", self.build)
            self.step("Backups", self.vault)
            self.step("Uploads", self.uploads)
            self.step("Rehearse", self.rehearse_here)
            self.step("Forward", self.forward)
            self.agree_to_wait()
            self.step("Hold", self.hold)
            self.step("Copy", self.copy)
            self.step("Migrate", self.migrate)
            self.step("Start", self.start_held)
            self.step("Switch", self.switch)
            self.step("Clean up", self.leave_old)
            self.step("Prune", self.prune)

    def finish(self) -> None:
        """The site has come already, and somebody was cut off after that."""
        self.name, self.on_copy = self.facts.release, False
        self.container = getattr(self.facts.serving(self.session.name), "id", "")
        with self.undone_on_failure():
            self.step("Clean up", self.leave_old)

    def _refuse_too_small_a_disk(self) -> None:
        there = clone.look(self.old)
        if not self.session.terminal.dry:
            needed = _COPIES * there.contents.bytes + there.uploads + there.vault
            preflight.refuse_too_small_a_disk(
                self.session, self.facts.disk_free, needed, "the move"
            )

    # --- while the old server serves ----------------------------------------------------

    @property
    def serving(self) -> Container:
        """What serves on the old server."""
        if found := self.there.serving(self.old.name):
            return found
        raise StageError(
            f"{self.old.name} does not run on {self.old.host.address}.",
            remedy="Start it there first: give `host` the old server again, then inv restart.",
        )

    def secrets(self, step: Step) -> Outcome:
        outcome = steps.bring_secrets(self.old, self.session)
        self.facts = servers.look(self.session)
        return outcome

    def vault(self, step: Step) -> Outcome:
        return steps.bring_vault(self.old, self.session, step.line)

    def uploads(self, step: Step) -> Outcome:
        sent = steps.bring_uploads(self.old, self.session)
        return changed(f"{sent} came; what comes until the hold follows")

    def rehearse_here(self, step: Step) -> Outcome:
        """Bring a first copy, migrate it, start the release on it; then halt it again."""
        started = time.monotonic()
        self.bring()
        self.migrate_as_needed(step, rehearsal=True)
        self.container = release.create_beside(self.session, self.name, "")
        self.start_halted()
        self.expected = time.monotonic() - started
        self.session.run(compose.halt(self.container))
        return changed(f"the release is well on a first copy ({self.expected:.0f} s)")

    def bring(self) -> None:
        """A copy of the database; refused where the release does not know it."""
        self.found = steps.bring_database(self.old, self.session, self.name)
        if self.session.terminal.dry:
            return
        self.known = self.known or database.known(self.session, self.name)
        refuse_others(self.old.name, self.found.migrations, self.known, remedy=_REMEDY)
        self.lacks = bool(set(self.known) - set(self.found.migrations))

    def migrate_as_needed(self, step: Step, *, rehearsal: bool) -> Outcome:
        if not self.lacks:
            return Outcome(False, "it has every migration of the release")
        return database.migrate_copy(
            self.session, self.name, step.line, rehearsal=rehearsal
        ).outcome

    def forward(self, step: Step) -> Outcome:
        """Let this server's proxy know the domains, and the old one lead there."""
        away = self.old.host.address.rpartition("@")[2]
        self.session.run(move.expect(self.session.layout, away))
        proxy.claim_domains(self.session, self.facts)
        if self.session.config.tls == "acme":
            steps.bring_certificates(self.old, self.session)
        if self.was_gone:
            return Outcome(False, f"{self.old.host.address} leads visitors on already")
        return steps.forward(self.old, self.session, self.serving.release, self.to)

    # --- while the visitors wait ----------------------------------------------------------

    def hold(self, step: Step) -> Outcome:
        if (
            self.is_guarded
        ):  # it may have led visitors on to where they wait from here on
            self.session.run(move.lead_no_more(self.session.layout))
        if self.was_gone:
            preflight.refuse_running_commands(self.old)
            return Outcome(False, f"{self.old.host.address} serves nobody any more")
        self._held_at = time.monotonic()
        self.standing.held = True
        at_most = 0 if self._patient else HOLD.at_most
        cut = steps.hold(self.old, self.serving, at_most=at_most)
        preflight.refuse_running_commands(self.old)
        return changed(f"visitors of {self.old.host.address} wait{cut}")

    def copy(self, step: Step) -> Outcome:
        """All of it, now that nobody writes."""
        self.bring()
        sent = steps.bring_uploads(self.old, self.session, held=True)
        rows = sum(many or 0 for many in self.found.tables.values())
        return changed(
            f"the database with {rows} rows, {size(self.found.bytes)}, the same as there;"
            f" {sent} more"
        )

    def migrate(self, step: Step) -> Outcome:
        return self.migrate_as_needed(step, rehearsal=False)

    def start_held(self, step: Step) -> Outcome:
        limit = HEALTH.start
        if not self._patient and not self.was_gone:
            limit = max(1, HOLD.at_most - (time.monotonic() - self._held_at))
        self.start_halted(round(limit, 1))
        # one that began as the last look was taken, and would have written after the copy
        preflight.refuse_running_commands(self.old)
        return self.healthy()

    def switch(self, step: Step) -> Outcome:
        """First nobody there, then everybody here."""
        with uninterrupted():
            if not self.was_gone:
                self.standing.leaves = True
                steps.leave(self.old, self.serving, self.to)
            self.standing.switching = True
            outcome = release.switch(self.session, self.record())
            self.standing.switched(self.name)
            self.live_at = time.monotonic()
        if self.was_gone:
            return outcome
        self.waited = self.live_at - self._held_at
        return changed(f"{outcome.text}; visitors waited for {self.waited:.1f} s")

    def leave_old(self, step: Step) -> Outcome:
        """Let nothing go on there that could write, and keep here what lay in the way."""
        self.old.run(move.gone(self.old.layout))
        self.session.run(data.retire(self.session.layout, live=self.data_dir))
        self.session.run(move.lead_no_more(self.session.layout))
        self.session.run(move.expect_no_more(self.session.layout))
        return changed(
            f"{self.old.host.address} leads visitors on; its files stay until inv remove"
        )

    # --- when it fails --------------------------------------------------------------------

    def put_back(self, error: StageError | None = None) -> None:
        """The old server serves again, unless this one does."""
        for undo in (self._settle, self._settle_there, self._find_out):
            self.attempt(undo)
        if not self.standing.serves and not self.standing.switching:
            for undo in (self._come_back, self._take_away, self._prune):
                self.attempt(undo)

    def _settle_there(self) -> None:
        self.old.run(alone(sh("true")))

    def _come_back(self) -> None:
        if self.was_gone:
            return
        self.old.run(move.come_back(self.old.layout))
        self.standing.leaves = False
        self.old.run(traffic.resume(self.old.layout))
        self.standing.held = False
        if not self.is_guarded:
            self.session.run(move.expect_no_more(self.session.layout))

    def _say_what_comes_next(self) -> None:
        if self.session.terminal.dry:
            return
        names = ", ".join(self.session.config.domains)
        self.session.terminal.say(
            f"Now give {names} the address {self.to} in DNS. Until that is seen everywhere,"
            f" {self.old.host.address} leads visitors on to here: let it run."
        )

    known: Sequence[str] = ()
    """The release's own migrations."""
    lacks = False
    """Whether the release has migrations that the database has not."""


_REMEDY = "Check out the commit that the old server has, then type inv deploy --restore again."
