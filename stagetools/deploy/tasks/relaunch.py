"""The release that serves, from a new container: `inv restart`, a changed environment."""

from stagetools.deploy.facts import Facts, Record
from stagetools.deploy.outcome import Outcome
from stagetools.deploy.steps import lock, preflight, release, server
from stagetools.deploy.tasks.change import Change
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import StageError

__all__ = ["Relaunch", "launch", "look_at_serving", "restart"]


def restart(session: Session, *, wait: float = 0) -> None:
    """Serve the same release from a new container, with the environment as it is now."""
    with locked(session, "restarts", wait=wait) as held:
        name = launch(session, held, "restart")
    session.terminal.conclude(f"{session.name} serves {name}.")


def launch(session: Session, held: lock.Held, why: str) -> str:
    """The same for one who holds the lock already; the new release's name."""
    facts = look_at_serving(session)
    change = Relaunch(session, held, facts)
    change.why = why
    change.run(facts.release)
    return change.name


def look_at_serving(session: Session) -> Facts:
    """The server as it stands; raises where no release serves."""
    facts = server.look(session)
    if not facts.release:
        raise StageError(
            f"{session.name} does not run on {session.host.address}.",
            remedy=f"Deploy it: inv deploy --stage {session.config.stage_name}",
        )
    return facts


class Relaunch(Change):
    """The same image and files under a new name, and so a new container."""

    why = "restart"

    def run(self, old: str) -> None:
        """Prepare, then go live."""
        with self.undone_on_failure():
            self.prepare(old)
            self.step("Start", self.start)
            self.go_live()

    def prepare(self, old: str) -> None:
        """Leave the files and the image of `old` under the new name."""
        preflight.refuse_taken_domains(self.session, self.facts)
        self.bring_up_to_date()
        source = self.source_of(old)
        self.origin = source.made_of if source else old
        # made_of in its name, so that names tell what is the same
        self.name = self.new_name(self.origin.rpartition("-")[2])
        self.step("Prepare", lambda _: self.duplicate(old))

    def duplicate(self, old: str) -> Outcome:
        outcome = release.duplicate(self.session, old, self.name)
        release.configure(self.session, self.facts, self.name, self.data_dir)
        return outcome

    def source_of(self, old: str) -> Record | None:
        """The record of the release that is launched again."""
        return self.facts.record
