"""`inv remove` takes one stage away, and only it; `inv unlock` frees a lock by force."""

from stagetools.deploy.commands import proxy, removal
from stagetools.deploy.tasks.stage import Stage, locked
from stagetools.errors import CommandFailed, StageError, UsageError

__all__ = ["remove", "unlock"]


def remove(stage: Stage, *, name: str = "") -> None:
    """Remove the installation from its server, and keep a last copy of its database."""
    if stage.terminal.dry:
        name = stage.name
    elif not name and stage.terminal.can_ask:
        name = (
            stage.terminal.ask(
                f"This removes {stage.name} from {stage.host.address}: site, uploads, backups."
                " A last copy of the database is kept. Type its name to go on:"
            )
            or ""
        )
    if name != stage.name:
        raise UsageError(
            f"Nothing was removed: the name {stage.name} was not given.",
            remedy=f"inv remove --stage {stage.config.stage_name} --name {stage.name}",
        )
    with locked(stage, "removes it") as held, stage.terminal.step("Remove") as step:
        host = stage.under(held).host
        try:
            host.run(proxy.except_site(stage.layout, ""))
            kept = host.run(removal.remove(stage.layout), on_line=step.line)
        except CommandFailed as error:
            raise StageError(
                f"{stage.name} could not be removed completely.",
                untouched="Other stages were not touched.",
                remedy="Read the last lines below, then try again.",
            ) from error
        step.outcome = f"{stage.name} is gone; {kept.strip().splitlines()[-1]}"


def unlock(stage: Stage) -> None:
    """End the process that holds the stage's lock, whoever's it is."""
    stage.terminal.say(stage.host.run(removal.unlock(stage.layout)).strip())
