"""`inv remove` takes one stage away, and only it; `inv unlock` frees a lock by force."""

from stagetools.deploy.commands import proxy, removal
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import CommandFailed, StageError, UsageError

__all__ = ["remove", "unlock"]


def remove(session: Session, *, name: str = "") -> None:
    """Remove the installation from its server, and keep a last copy of its database."""
    if session.terminal.dry:
        name = session.name
    elif not name and session.terminal.can_ask:
        name = (
            session.terminal.ask(
                f"This removes {session.name} from {session.host.address}: site, uploads, backups."
                " A last copy of the database is kept. Type its name to go on:"
            )
            or ""
        )
    if name != session.name:
        raise UsageError(
            f"Nothing was removed: the name {session.name} was not given.",
            remedy=f"inv remove --stage {session.config.stage_name} --name {session.name}",
        )
    taken = locked(session, "removes it", moved=True)
    with taken as held, session.terminal.step("Remove") as step:
        ours = session.under(held)
        try:
            ours.run(proxy.except_site(session.layout, ""))
            said = ours.run(removal.remove(session.layout), on_line=step.line)
        except CommandFailed as error:
            raise StageError(
                f"{session.name} could not be removed completely.",
                untouched="Other stages were not touched.",
                remedy="Read the last lines below, then try again.",
            ) from error
        step.outcome = f"{session.name} is gone; {said.strip().splitlines()[-1]}"


def unlock(session: Session) -> None:
    """End the process that holds the stage's lock, whoever's it is."""
    session.terminal.say(session.run(removal.unlock(session.layout)).strip())
