"""`inv deploy`, as prose: each step looks first, and changes only what differs."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stagetools.database.protocol import Plan
from stagetools.deploy.commands import data
from stagetools.deploy.config import StageConfig
from stagetools.deploy.console.terminal import Step
from stagetools.deploy.facts import Facts, engine_name
from stagetools.deploy.limits import HOLD
from stagetools.deploy.outcome import Outcome, counted
from stagetools.deploy.steps import (
    backup,
    database,
    lock,
    preflight,
    proxy,
    release,
    replica,
    server,
    source,
)
from stagetools.deploy.tasks import beside
from stagetools.deploy.tasks.backups import backing_up, elsewhere
from stagetools.deploy.tasks.on_copy import OnCopy
from stagetools.deploy.tasks.session import (
    Destination,
    Session,
    commit_of,
    locked,
    open_session,
)
from stagetools.deploy.tree import Manifest, read_tree
from stagetools.errors import ConnectionFailed, LockLost, StageError

__all__ = ["Deploy", "deploy"]


def deploy(
    root: Path,
    to: Destination,
    *,
    wait: float = 0,
    allow_breaking: bool = False,
    make: "Callable[..., Deploy] | None" = None,
    moved: bool = False,
) -> None:
    """Put the working tree at `root` before the stage's users; `make` is for another `Deploy`.

    `moved` allows a server that the site has left.
    """
    started = time.monotonic()
    config, terminal = to.config, to.terminal
    terminal.head(f"{to.system.name} → {config.url}")
    preflight.refuse_placeholders(config)
    beside.refuse_foreign(root)
    preflight.refuse_other_services(root)
    opened = open_session(to, shown=True)
    with opened as session, ThreadPoolExecutor(1) as meanwhile:
        # not before: `connected` keeps the server's name in deploy.toml, which is in it
        tree = meanwhile.submit(read_tree, root, config.upload)
        with locked(session, "deploys", wait=wait, moved=moved) as held:
            facts = server.look(session)
            change = (make or Deploy)(session, held, facts, root, tree.result())
            change.allow_breaking = allow_breaking
            change.run()
    done = f"{time.monotonic() - started:.1f} s"
    if change.live_at:
        live = f"{change.live_at - started:.1f} s"
        words = f"{config.url} was live after {live}, and all was done after {done}."
    else:
        serving = f"{facts.release} serves {config.url}"
        what = "The release has not" if change.has_new_backups else "Nothing has"
        words = f"{what} changed: {serving}. Seen in {done}."
    terminal.conclude(words)
    if change.database and change.database != (facts.record and facts.record.database):
        terminal.say(own_database(engine_name(change.database)))
    if change.is_first and not terminal.dry:
        terminal.say(f"Its first administrator: {first_administrator(config)}")


def first_administrator(config: StageConfig) -> str:
    """What to type once the site is there."""
    stage = "" if config.stage_name == "prod" else f" --stage {config.stage_name}"
    return f"inv manage createsuperuser{stage}"


def own_database(name: str) -> str:
    """What is not done for a database that is no file of the installation's."""
    return (
        f"The database is {name}, which is the project's own: its migrations are not"
        " rehearsed, and no copy of it is made before them, nor by a backup, which has the"
        " uploads and the environment. Back it up with its own tools."
    )


class Deploy(OnCopy):
    """One deploy, from what was seen on the server to what serves there."""

    def __init__(
        self,
        session: Session,
        held: lock.Held,
        facts: Facts,
        root: Path,
        tree: Manifest,
    ) -> None:
        super().__init__(session, held, facts)
        self.root, self.tree = root, tree
        self.allow_breaking = False
        self.is_first = not facts.release
        self.has_new_backups = False  # or a replica: set up, or otherwise than before
        self.has_new_key = False  # of theirs: nobody has seen it

    def run(self) -> None:
        """Every step in its order."""
        if self.nothing_changed():
            self.keep_all()
            return
        self.refuse_elsewhere()
        preflight.refuse_taken_domains(self.session, self.facts)
        preflight.refuse_full_disk(self.facts)
        found = preflight.refuse_wrong_dns(self.session, self.facts)
        preflight.ask_about_closed_ports(found, self.session.terminal.agree)
        with self.undone_on_failure():
            self.prepare_server()
            self.step("Upload", self.upload)
            self.step("Build", self.build)
            self.serve()
        self.keep_all()

    def refuse_elsewhere(self) -> None:
        """A first deploy begins with an empty database: see that there is no other one."""
        if self.is_first:
            elsewhere.refuse_empty_beside(self.root / "deploy.toml", self.session)

    def keep_all(self) -> None:
        """What the site needs besides: a domain that does not answer keeps none from it."""
        self.keep_backups()  # before what fails while a domain has no certificate yet
        try:
            self.keep_domains()
        except (ConnectionFailed, LockLost):
            raise
        except StageError as silent:
            self.keep_replica_too(silent)
            raise
        self.keep_replica()  # after it: a new place refuses until it knows the site's key

    def keep_replica_too(self, silent: StageError) -> None:
        """Where that fails as well, its error names the other one."""
        try:
            self.keep_replica()
        except StageError as error:
            error.what = f"{error.what} {silent.what}"
            raise

    def keep_backups(self) -> None:
        """Set them up as deploy.toml says; the site serves, and does not wait for that."""
        if not backup.is_set_up(self.session, self.facts):
            with self.undone_on_failure():
                self.step("Backups", self.backups)
            self.has_new_backups = True
            if self.has_new_key and not self.session.terminal.dry:
                backing_up.show_new_key(self.session)  # now: what follows may fail

    def keep_domains(self) -> None:
        """Visit the site where one is new, or has not answered yet: then nobody was told so."""
        facts, config = self.facts, self.session.config
        unseen = set(config.domains) - set(facts.domains)
        if config.tls != "off":
            unseen |= set(config.domains) & set(facts.uncertified)
        if unseen:
            self.step("Visit", self.visit)

    def keep_replica(self) -> None:
        """The same for a replica."""
        if self.database and self.session.config.replica.url:
            self.session.terminal.say(
                "The replica table of deploy.toml is for SQLite: there is no replica of"
                f" {engine_name(self.database)}."
            )
        elif not replica.is_set_up(self.session, self.facts):
            with self.undone_on_failure():
                self.step("Replica", self.replica)
            self.has_new_backups = True

    def prepare_server(self) -> None:
        """What a first deploy does, and later ones find done."""
        if not server.is_ready(self.facts, self.session.config):
            self.step("Docker", self.bootstrap)
        self.bring_up_to_date()
        if not proxy.is_ready(self.facts, self.session.config):
            self.step("Proxy", self.proxy)

    def serve(self) -> None:
        """Leave the release serving, on a database that has its migrations.

        Most deploys bring no migration, and a release that is healthy on the live
        database has none pending: so it is started first, and asked. Only one that is
        not healthy is worth the second that it takes to look for migrations.
        """
        if self.facts.release:
            self.step("Start", self.try_start)
        else:
            self.migrate_live()
        if self.session.terminal.dry and self.facts.release:
            self.session.terminal.say("Only if it needs migrations first:")
            self.plan = database.plan(self.session, self.name)
        if self.plan is not None and self.serve_migrated(self.plan):
            return
        self.go_live()

    def serve_migrated(self, plan: Plan) -> bool:
        """Migrate as the plan has it; whether the release serves already."""
        if not self.session.terminal.dry:  # whose plan is made up
            own = self.database or "another one"  # it tells which once it has started
            self.ask_about_engine("" if plan.sqlite else own)
        if plan.wants_a_copy:
            why = "; ".join(map(str, [*plan.breaking, *plan.unforeseeable]))
            self.session.terminal.say(
                f"The live release may not be compatible with these migrations: {why}."
                " So visitors will wait while a copy of the database is migrated."
            )
            self.step("Snapshot", self.snapshot)
            self.step("Rehearse", self.rehearse_on_copy)
            if self.expected <= HOLD.change:
                self.agree(wait=self.expected)
                self.serve_copy()
                return True
            self.forget_copy()  # too long for visitors to wait: while they are served
        elif plan.sqlite:
            self.step("Rehearse", self.rehearse)
            self.step("Snapshot", self.snapshot)
        else:
            self.session.terminal.say(
                "The database is not SQLite: no rehearsal, no snapshot. The migrations go"
                " to the live one at once."
            )
        self.agree()
        self.migrate_live()
        return False

    def migrate_live(self) -> None:
        self.step("Migrate", self.migrate)
        self.step("Start", self.start)

    def agree(self, *, wait: float = 0) -> None:
        """Ask before what visitors would notice."""
        assert self.plan is not None  # noqa: S101 - serve asked
        limit, ask = self.session.config.migration_limit, self.session.terminal.agree
        database.agree(
            self.plan,
            self.rehearsal,
            limit,
            ask,
            wait=wait,
            allow_breaking=self.allow_breaking,
        )

    def forget_copy(self) -> None:
        release.discard(self.session, self.container)
        self.container, self.on_copy = "", False
        self.session.run(data.discard(self.session.layout, self.name))
        release.configure(self.session, self.facts, self.name, self.data_dir)

    def nothing_changed(self) -> bool:
        """Whether the release that serves was made of just this, and is well."""
        serving = self.facts.serving(self.session.name)
        return (
            self.facts.record is not None
            and self.facts.record.fingerprint == self.fingerprint()
            and serving is not None
            and server.is_prepared(self.facts)
            and server.is_ready(self.facts, self.session.config)
            and proxy.is_ready(self.facts, self.session.config)
            and not release.trouble(self.session, serving)
        )

    def tree_digest(self) -> str:
        return self.tree.digest

    def commit(self) -> str:
        return commit_of(self.root)

    # --- the steps --------------------------------------------------------------------

    plan: Plan | None = None
    """What the release will do to the database, once it is known to do anything."""
    rehearsal = database.Rehearsal(Outcome(False, ""), 0)

    @property
    def makes_snapshots(self) -> str:
        return self.name

    def bootstrap(self, step: Step) -> Outcome:
        return server.bootstrap(self.session, self.facts, step.line)

    def proxy(self, step: Step) -> Outcome:
        outcome = proxy.ensure_proxy(self.session, self.facts, step.line)
        self.facts = server.look(self.session)
        return outcome

    def upload(self, step: Step) -> Outcome:
        self.name = self.new_name(self.fingerprint())
        to = source.Target(self.name, base=self.facts.release)
        settings = release.configuration(
            self.session, self.facts, self.name, self.data_dir
        )
        return source.upload(
            self.session, to, self.root, self.tree, settings, step.progress
        )

    def build(self, step: Step) -> Outcome:
        return release.build(self.session, self.name, step.line)

    def try_start(self, step: Step) -> Outcome:
        """Start; when that is not well, look whether migrations are what it lacks."""
        sick = self.start_and_ask()
        if sick is None:
            return self.healthy()
        plan = database.try_plan(self.session, self.name)
        if plan is None or not plan.pending:
            raise release.refuse(self.session, self.container, sick)
        release.discard(self.session, self.container)
        self.container, self.plan = "", plan
        many = counted(len(plan.pending), "migration")
        return Outcome(False, f"needs {many} first", comes_again=True)

    def rehearse(self, step: Step) -> Outcome:
        self.rehearsal = database.rehearse(self.session, self.name, step.line)
        return self.rehearsal.outcome

    def change_copy(self, step: Step, *, rehearsal: bool) -> database.Rehearsal:
        done = database.migrate_copy(
            self.session, self.name, step.line, rehearsal=rehearsal
        )
        self.rehearsal = done
        if not rehearsal and self.plan:
            self.migrations = self.plan.pending
        return done

    def migrate(self, step: Step) -> Outcome:
        outcome, self.migrations = database.migrate(
            self.session, self.name, self.standing, step.line
        )
        return outcome

    def backups(self, step: Step) -> Outcome:
        outcome, self.has_new_key = backup.install(self.session, step.line)
        return outcome

    def replica(self, step: Step) -> Outcome:
        return replica.install(self.session, step.line)

    def visit(self, step: Step) -> Outcome:
        serving = self.facts.serving(self.session.name)
        container = self.container or (serving.id if serving else "")
        return proxy.visit(self.session, self.name or self.facts.release, container)
