"""What every change of the serving release has in common: start, ask, switch, drain."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from stagetools.deploy.facts import Facts, Record
from stagetools.deploy.stage import Stage, person, utc_now
from stagetools.deploy.steps import Outcome, lock, proxy, release
from stagetools.deploy.terminal import Step
from stagetools.errors import StageError

__all__ = ["Change"]


_STAMP = "%Y%m%d-%H%M%S"


class Change:
    """From the release that serves to another one, which is called `name`."""

    why = "deploy"

    def __init__(self, stage: Stage, held: lock.Held, facts: Facts) -> None:
        self.stage, self.held, self.facts = stage.under(held), held, facts
        self.host, self.layout, self.config = (
            self.stage.host,
            stage.layout,
            stage.config,
        )
        self.name = self.container = self.origin = ""
        self.migrations: tuple[str, ...] = ()
        self.live_at = 0.0  # by the monotonic clock; 0 until the switch

    def step(self, title: str, action: Callable[[Step], Outcome]) -> None:
        """Run one step, unless the server has given us up; the lock says which one."""
        self.held.check()
        self.held.does(title)
        with self.stage.terminal.step(title) as step:
            step.end(action(step))

    def go_live(self) -> None:
        """Put the healthy release before the users, and let the one before leave."""
        self.step("Switch", self.switch)
        self.step("Drain", self.drain)
        self.step("Prune", self.prune)

    @contextmanager
    def leaving_nothing(self) -> Iterator[None]:
        """Take what a failed change has brought away again, or many would fill the disk."""
        try:
            yield
        except StageError:
            kept = (
                f"{self.facts.release} {self.name}"
                if self.live_at
                else self.facts.release
            )
            with suppress(StageError):
                self.held.check()  # else it may be somebody else's that is taken away
                release.prune(self.host, self.layout, kept)
            raise

    def new_name(self, fingerprint: str) -> str:
        """Unique for each change, not for each commit: an environment may change alone.

        Names sort by age. The time is the server's, and goes on from the newest name when
        the server's clock was put back.
        """
        now = datetime.strptime(self.facts.now, _STAMP).replace(tzinfo=UTC)
        if self.facts.newest:
            newest = datetime.strptime(self.facts.newest[:15], _STAMP)
            now = max(now, newest.replace(tzinfo=UTC) + timedelta(seconds=1))
        return f"{now:{_STAMP}}-{fingerprint[:7]}"

    # --- the steps --------------------------------------------------------------------

    def start(self, step: Step) -> Outcome:
        """Start and ask; a release that is not well is removed, and says why."""
        if sick := self.start_and_ask():
            raise release.refuse(self.host, self.layout, self.container, sick)
        return self.healthy()

    def start_and_ask(self) -> release.Sick | None:
        serving = self.facts.release
        self.container = release.start_beside(
            self.host, self.layout, self.name, serving
        )
        try:
            return release.probe(self.host, self.layout, self.name, self.container)
        except BaseException:  # Ctrl-C, too: nobody approved it, so it goes
            with suppress(StageError):
                release.discard(self.host, self.container)
            raise

    def healthy(self) -> Outcome:
        return Outcome(True, "/healthz answers 200")

    def switch(self, step: Step) -> Outcome:
        proxy.claim_domains(self.host, self.layout, self.facts, self.config)
        outcome = release.switch(self.host, self.layout, self.record())
        self.live_at = time.monotonic()
        return outcome

    def drain(self, step: Step) -> Outcome:
        old = self.facts.serving(self.stage.name)
        return release.drain_and_stop(
            self.host, self.layout, old, self.name, self.container
        )

    def prune(self, step: Step) -> Outcome:
        return release.prune(self.host, self.layout, self.name)

    # --- what is remembered of it -----------------------------------------------------

    def fingerprint(self) -> str:
        """Of sources, configuration and environment: all that a release is made of."""
        made_of = f"{self.tree_digest()} {self.config.made_of} {self.facts.env}"
        return hashlib.sha256(made_of.encode()).hexdigest()

    def tree_digest(self) -> str:
        """Of the sources alone."""
        return self.facts.record.tree if self.facts.record else ""

    def commit(self) -> str:
        return self.facts.record.commit if self.facts.record else ""

    def record(self) -> Record:
        return Record(
            release=self.name,
            fingerprint=self.fingerprint(),
            tree=self.tree_digest(),
            who=person(),
            commit=self.commit(),
            at=utc_now().isoformat(),
            origin=self.origin,
            why=self.why,
            migrations=self.migrations,
        )
