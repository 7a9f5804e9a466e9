"""A change of the database that the release which serves could not live with.

It is made on a copy, in a directory of the new release's own, and rehearsed there first. Then
visitors wait at the proxy while the serving release is frozen, its files are copied, changed,
and the new release starts on them; one rename switches release and database together. Until
that rename nothing live has changed: whatever fails, or is cut off, the old one goes on.
"""

import time
from pathlib import PurePosixPath

from stagetools.deploy.commands import compose, data, traffic
from stagetools.deploy.console.terminal import Step
from stagetools.deploy.limits import HEALTH, HOLD
from stagetools.deploy.outcome import Outcome, changed
from stagetools.deploy.steps import database, preflight, release
from stagetools.deploy.tasks.change import Change
from stagetools.errors import StageError

__all__ = ["OnCopy"]


class OnCopy(Change):
    """A change that may be made on a copy of the database."""

    verb = "Migrate"
    on_copy = False
    """Whether the release gets a database directory of its own."""
    snapshot_name = ""
    expected = 0.0
    """Seconds for which visitors will wait: the rehearsal's, its copying and its start too."""
    _held_at = 0.0
    _patient = False

    @property
    def data_dir(self) -> PurePosixPath:
        """The database directory of the release to come."""
        if self.on_copy:
            return self.session.layout.data_copy(self.name)
        return self.facts.data_dir

    def change_copy(self, step: Step, *, rehearsal: bool) -> database.Rehearsal:
        """Change the database in the directory of the release to come."""
        raise NotImplementedError

    def snapshot(self, step: Step) -> Outcome:
        """Keep a copy of the live database, made with the code of the release named."""
        self.snapshot_name = f"before-{self.name}"
        self.standing.snapshot = database.snapshot(
            self.session, self.makes_snapshots, self.snapshot_name
        )
        return changed(self.standing.snapshot)

    @property
    def makes_snapshots(self) -> str:
        """The release whose image copies the database."""
        return self.facts.release

    # --- first without any visitor ----------------------------------------------------

    def rehearse_on_copy(self, step: Step) -> Outcome:
        """Change a snapshot, start the release on it, ask it; then halt it again."""
        started = time.monotonic()
        self.seed()
        rehearsal = self.change_copy(step, rehearsal=True)
        self.expected = time.monotonic() - started
        self.container = release.create_beside(
            self.session, self.name, self.facts.release
        )
        started = time.monotonic()
        self.start_halted()
        self.expected += time.monotonic() - started
        self.session.run(compose.halt(self.container))
        return rehearsal.outcome

    def seed(self) -> None:
        """Give the release to come a directory with the snapshot as its database."""
        preflight.refuse_running_commands(self.session)
        self.on_copy = True
        live = self.facts.data_dir
        command = data.seed(
            self.session.layout, self.name, live=live, snapshot=self.snapshot_name
        )
        self.session.run(command)
        release.configure(self.session, self.facts, self.name, self.data_dir)

    def start_halted(self, limit: float = HEALTH.start) -> None:
        """Start the container that was made, and raise if it is not well by then."""
        self.session.run(compose.start(self.container))
        if sick := self.ask(limit):
            raise release.refuse(self.session, self.container, sick)

    # --- then while the visitors wait ---------------------------------------------------

    def serve_copy(self) -> None:
        """Hold, copy, change, start, switch: in this order, and undone in any other."""
        self.step("Hold", self.hold)
        self.step(self.verb, self.change_held)
        self.step("Start", self.start_held)
        self.step("Switch", self.switch)
        self.step("Clean up", self.leave_old)
        self.step("Prune", self.prune)

    def hold(self, step: Step) -> Outcome:
        """Visitors wait from here on, and nothing is written any more."""
        old, cut = self.facts.serving(self.session.name), ""
        self._held_at = time.monotonic()
        if old:
            self.standing.held = True
            at_most = 0 if self._patient else HOLD.at_most
            cut = release.hold(self.session, old, drain=HOLD.drain, at_most=at_most)
            self.frozen = old.id
        preflight.refuse_running_commands(self.session)
        live = self.facts.data_dir
        self.session.run(data.copy(self.session.layout, self.name, live=live))
        return changed(f"visitors wait; the database was copied{cut}")

    def change_held(self, step: Step) -> Outcome:
        return self.change_copy(step, rehearsal=False).outcome

    def start_held(self, step: Step) -> Outcome:
        self.start_halted(HEALTH.start if self._patient else self._time_left())
        self._time_left()
        # one that was about to begin when visitors were held wrote to the other database
        preflight.refuse_running_commands(self.session)
        return self.healthy()

    def _time_left(self) -> float:
        """Seconds until the server lets the visitors go; raises where it has.

        Better they get an answer of the old release than none.
        """
        waited = time.monotonic() - self._held_at
        if self.frozen and not self._patient and waited > HOLD.at_most:
            raise StageError(
                f"Visitors have waited for {waited:.0f} s, longer than the rehearsal took"
                f" ({self.expected:.0f} s).",
                remedy="Try again at a quieter time.",
            )
        return round(max(1, HOLD.at_most - waited), 1)

    def agree_to_wait(self) -> None:
        """Ask before visitors wait longer than the proxy lets them without an error."""
        if self.expected <= HOLD.change:
            return
        self.session.terminal.agree(
            f"Visitors will wait for about {self.expected:.0f} s, and get an error after"
            f" {HOLD.proxy} s. Continue?"
        )
        self._patient = True

    def leave_old(self, step: Step) -> Outcome:
        """Remove the frozen release, and keep its database as a backup."""
        old = self.facts.serving(self.session.name)
        self.session.run(traffic.resume(self.session.layout))
        self.retire()
        stopped = f"{old.release} stopped; " if old else ""
        where = self.session.layout.backups_dir
        return changed(f"{stopped}its database is kept in {where}")

    def _resume(self) -> None:
        super()._resume()
        if self.frozen and self.standing.serves == self.name:
            self.retire()

    def retire(self) -> None:
        """Keep what was the live database, now that another one is."""
        self.session.run(data.retire(self.session.layout, live=self.data_dir))
