"""What every change of the serving release has in common: start, ask, switch, drain."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from stagetools.deploy.commands import compose, data, traffic
from stagetools.deploy.console.failures import uninterrupted
from stagetools.deploy.console.terminal import Step
from stagetools.deploy.facts import Facts, Record, engine_name
from stagetools.deploy.hashed import Sent
from stagetools.deploy.limits import HEALTH
from stagetools.deploy.outcome import Outcome
from stagetools.deploy.shell import alone, sh
from stagetools.deploy.standing import Standing
from stagetools.deploy.steps import lock, proxy, release, server
from stagetools.deploy.tasks.session import Session, person, utc_now
from stagetools.errors import (
    CommandFailed,
    ConnectionFailed,
    Interrupted,
    LockLost,
    StageError,
)

__all__ = ["Change"]


_STAMP = "%Y%m%d-%H%M%S"


class Change:
    """From the release that serves to another one, which is called `name`."""

    why = "deploy"
    exact = False  # whether it must know all migrations that the database has

    def __init__(self, session: Session, held: lock.Held, facts: Facts) -> None:
        self.session, self.held, self.facts = session.under(held), held, facts
        self.standing = Standing(before=facts.release, serves=facts.release)
        self.name = self.container = self.origin = ""
        self.remarks: list[str] = []  # what was no reason to refuse a release
        self.frozen = ""  # the container whose visitors wait, once it is frozen
        self.sent: Sent | None = (
            None  # with hashed static files, if the proxy can do so
        )
        self.migrations: tuple[str, ...] = ()
        # the engine of a database that is the project's own; an older release cannot tell
        self.database = facts.record.database if facts.record else ""
        self.agreed = False  # to another database than the one before
        self.live_at = 0.0  # by the monotonic clock; 0 until the switch

    def step(self, title: str, action: Callable[[Step], Outcome]) -> None:
        """Run one step, unless the server has given us up; the lock says which one."""
        self.held.check()
        self.held.does(title)
        with self.session.terminal.step(title) as step:
            step.end(action(step))

    def bring_up_to_date(self) -> None:
        """Leave the account's directories as this version of stagetools has them."""
        if not server.is_prepared(self.facts):
            self.step("Account", self.account)

    def account(self, step: Step) -> Outcome:
        outcome = server.ensure_account(self.session)
        self.facts = server.look(self.session)
        return outcome

    def go_live(self) -> None:
        """Put the healthy release before the users, and let the one before leave."""
        self.ask_about_engine(self.database)
        self.step("Switch", self.switch)
        self.step("Drain", self.drain)
        self.step("Prune", self.prune)

    # --- when it fails ----------------------------------------------------------------

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Put back what a failed change has done, and say what stands after that.

        What it has brought goes, too, or many failed ones would fill the disk.
        """
        try:
            yield
        except LockLost:
            raise  # the server belongs to somebody else now
        except ConnectionFailed as error:
            self.standing.lost = True  # the lock's holder there puts back by itself
            error.untouched = self.standing.words()
            raise
        except StageError as error:
            with uninterrupted():
                self.put_back(error)
            error.untouched = self.standing.words()
            raise
        except KeyboardInterrupt:
            with uninterrupted():
                self.put_back()
            raise Interrupted(
                "Interrupted.",
                untouched=self.standing.words(),
                remedy="Try again: nothing needs to be cleaned up.",
            ) from None

    def put_back(self, error: StageError | None = None) -> None:
        """Undo what can be undone; `standing` says what could not."""
        if isinstance(error, release.SwitchedBack):
            self.standing.serves = self.standing.before
        undoing = (
            self._settle,
            self._find_out,
            self._resume,
            self._take_away,
            self._prune,
        )
        for undo in undoing:
            self.attempt(undo)

    def attempt(self, undo: Callable[[], object]) -> None:
        """One part of `put_back`, while the lock is ours."""
        try:
            self.held.check()  # else it may be somebody else's that is taken away
            undo()
        except (ConnectionFailed, LockLost):
            self.standing.lost = True
        except StageError:
            pass  # the next task does it

    def _settle(self) -> None:
        """After Ctrl-C the command that it broke into still runs on the server."""
        self.session.run(alone(sh("true")))

    def _find_out(self) -> None:
        """Where the answer to a switch was lost, the server knows it."""
        if self.standing.switching:
            if server.look(self.session).release == self.name:
                self.standing.switched(self.name)
            self.standing.switching = False

    def _resume(self) -> None:
        if self.standing.held or self.frozen:
            self.session.run(traffic.resume(self.session.layout))
            self.standing.held = False

    def _take_away(self) -> None:
        serves = self.standing.serves == self.name or self.standing.switching
        if self.name and not serves:
            self.session.run(compose.sweep(self.session.layout, self.name))
            self.session.run(data.discard(self.session.layout, self.name))

    def _prune(self) -> None:
        if self.name and not self.standing.switching:
            serving = {self.standing.before, self.standing.serves}
            release.prune(self.session, " ".join(sorted(serving - {""})))

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

    @property
    def data_dir(self) -> PurePosixPath:
        """The database directory of the release to come."""
        return self.facts.data_dir

    def start(self, step: Step) -> Outcome:
        """Start and ask; a release that is not well is removed, and says why."""
        if sick := self.start_and_ask():
            raise release.refuse(self.session, self.container, sick)
        return self.healthy()

    def start_and_ask(self) -> release.Unhealthy | None:
        serving = self.facts.release
        self.container = release.start_beside(self.session, self.name, serving)
        return self.ask()

    def ask(self, limit: float = HEALTH.start) -> release.Unhealthy | None:
        return release.probe(
            self.session,
            self.name,
            self.container,
            limit=limit,
            exact=self.exact,
            remark=self.remarks.append,
            told=self.sends,
            engine=self.has_database,
        )

    def sends(self, sent: Sent | None) -> None:
        """Remember what the release sends with its hashed static files."""
        self.sent = sent

    def has_database(self, vendor: str) -> None:
        """Remember which engine the release's database has, where it tells."""
        if vendor:
            self.database = "" if vendor == "sqlite" else vendor

    def ask_about_engine(self, now: str) -> None:
        """Ask, once, before visitors get another database than what they wrote is in.

        A record of a version that could not tell has no engine; without a file it was not SQLite.
        """
        record = self.facts.record
        before = record.database if record else now
        if self.agreed or now == before or not (before or self.facts.database):
            return
        old, new = (engine_name(one) or "SQLite" for one in (before, now))
        self.session.terminal.agree(
            f"The database was {old} and is {new} now: what is in the former is not in the"
            " latter, unless somebody has brought it there. Continue with the latter?"
        )
        self.agreed = True

    def healthy(self) -> Outcome:
        asked = " and ".join(["/healthz", *self.session.config.probe])
        return Outcome(True, "; ".join([f"{asked} answered", *self.remarks[-1:]]))

    def switch(self, step: Step) -> Outcome:
        proxy.claim_domains(self.session, self.facts)
        self.standing.switching = True
        try:
            outcome = release.switch(self.session, self.record(), held=self.frozen)
        except (CommandFailed, StageError) as error:
            if not isinstance(error, ConnectionFailed | LockLost):
                self._find_out()
            raise
        self.standing.switched(self.name)
        self.live_at = time.monotonic()
        return outcome

    def drain(self, step: Step) -> Outcome:
        old = self.facts.serving(self.session.name)
        limit = self.session.config.drain
        return release.drain_and_stop(
            self.session, old, self.name, self.container, limit=limit
        )

    def prune(self, step: Step) -> Outcome:
        outcome, why = release.prune(self.session, self.name), ""
        if self.sent:
            why = release.keep_hashed(
                self.session, self.name, self.container, self.sent
            )
        return Outcome(outcome.changed, outcome.text + why)

    # --- what is remembered of it -----------------------------------------------------

    def fingerprint(self) -> str:
        """Of sources, configuration and environment: all that a release is made of."""
        made_of = f"{self.tree_digest()} {self.session.config.made_of} {self.facts.env}"
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
            database=self.database,
        )
