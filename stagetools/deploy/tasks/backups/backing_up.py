"""`inv backup` and `inv backups`: making backups, trying them, telling of them."""

from datetime import UTC, datetime

from stagetools.deploy.backups import SLACK, Result, Timer, Watch
from stagetools.deploy.commands.backup import repository
from stagetools.deploy.facts import span
from stagetools.deploy.outcome import size
from stagetools.deploy.steps import backup as steps
from stagetools.deploy.steps import server
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import CommandFailed, StageError, UsageError

__all__ = [
    "backup",
    "backups",
    "named",
    "not_well",
    "refuse_without",
    "rows",
    "set_up",
    "show_key",
    "show_new_key",
    "verify",
]


def backup(session: Session, *, later: bool = False) -> None:
    """Make a backup now; set backups up first where they are not.

    `later` is for a task that waits for it, and not for hours until it lies elsewhere, too.
    """
    set_up(session)
    try:
        with session.terminal.step("Backup") as step:
            step.end(steps.make(session, step.line, later=later))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "The backup may go on on the server: inv backups lists it once it is complete."
        ) from None


def verify(session: Session) -> None:
    """Read the latest backup as if it were restored."""
    refuse_without(session)
    with session.terminal.step("Verify") as step:
        step.end(steps.drill(session, step.line))


def backups(session: Session) -> None:
    """Print every backup, the newest first."""
    refuse_without(session)
    heads = ("backup", "when (UTC)", "size", "kind", "where", "last drill")
    session.terminal.table(heads, [_row(one) for one in entries(session)], _in_lines)


def _row(one: steps.Entry) -> tuple[str, ...]:
    drilled = f"{one.drilled:%Y-%m-%d %H:%M}" if one.drilled else ""
    when = f"{one.at:%Y-%m-%d %H:%M:%S}"
    return one.name, when, size(one.bytes), one.kind, one.where, drilled


def _in_lines(
    name: str, when: str, length: str, kind: str, where: str, drilled: str
) -> str:
    """A backup where the terminal is narrower than the table."""
    drill = f"\n  last drill {drilled}" if drilled else ""
    return f"{name}  {kind}\n  {when} UTC, {length}, {where}{drill}"


def entries(session: Session) -> list[steps.Entry]:
    """Every backup and kept copy; StageError where they cannot be read."""
    try:
        return steps.listed(session)
    except CommandFailed as error:
        raise StageError(
            "The backups cannot be listed.",
            untouched="Nothing was changed.",
            remedy="Read restic's last lines below: the key or the repository may be damaged.",
        ) from error


def named(session: Session, what: str) -> steps.Entry:
    """The backup or the copy that `inv backups` lists under that name, or the latest backup."""
    there = entries(session)
    backups = [one for one in there if one.is_backup]
    latest = [*(one for one in backups if not one.ahead), *backups][:1]
    found = latest if what == "latest" else [one for one in there if one.name == what]
    if not found:
        raise UsageError(
            "There is no backup yet."
            if what == "latest"
            else f"There is no backup {what!r}.",
            untouched="Nothing was changed.",
            remedy="inv backups lists them; inv backup makes one.",
        )
    return found[0]


def show_key(session: Session) -> None:
    """Print the key that opens the backups, and nothing else."""
    refuse_without(session)
    session.terminal.say(session.run(repository.key(session.layout)).strip())


def show_new_key(session: Session) -> None:
    """Show it once to a person; a log that others read has no place for it."""
    say = session.terminal.say
    say(
        "The backups have a key. Keep it outside of the server, in a password manager:"
        " whoever has lost the server needs it to open backups that lie elsewhere."
    )
    if session.terminal.can_ask:
        show_key(session)
    say("inv backup --key prints it.")


def refuse_without(session: Session) -> None:
    """Raise where backups were never set up."""
    if not steps.watch(session).since:
        raise StageError(
            f"{session.name} has no backups on {session.host.address}.",
            untouched="Nothing was changed.",
            remedy="inv deploy sets them up, and so does inv backup.",
        )


def set_up(session: Session) -> None:
    """Set backups up as a deploy does, on a server to which an older version has deployed."""
    facts = server.look(session)
    if not facts.release:
        raise StageError(
            f"{session.name} does not run on {session.host.address}: there is nothing to back up.",
            untouched="Nothing was changed.",
            remedy=f"Deploy it: inv deploy --stage {session.config.stage_name}",
        )
    if steps.is_set_up(session, facts):
        return
    with (
        locked(session, "sets up its backups") as held,
        session.terminal.step("Backups") as step,
    ):
        outcome, is_new = steps.install(session.under(held), step.line)
        step.end(outcome)
    if is_new and not session.terminal.dry:
        show_new_key(session)


# --- in `inv status` --------------------------------------------------------------------------


def rows(watch: Watch) -> dict[str, str]:
    """What `inv status` says of backups, by the row's name."""
    if not watch.since or watch.unfinished:
        return {"backup": "not set up: inv deploy does it"}
    last = _told(watch, watch.backup, watch.timer)
    if watch.elsewhere is not None:
        last += f"; elsewhere {_ago(watch.now, watch.elsewhere)}"
    drill = _told(watch, watch.drill, watch.drill_timer)
    return {"backup": last, "drill": drill}


def _ago(now: int, at: int) -> str:
    if at > now + SLACK:
        return "dated in the future"
    return f"{span(max(0, now - at))} ago" if at else "none yet"


def _told(watch: Watch, last: Result, timer: Timer) -> str:
    good = _ago(watch.now, last.good)
    failed = f"; failed {span(watch.now - last.ended)} ago" if last.said else ""
    if not watch.wanted:
        return f"{good}{failed}; by hand alone"
    at = datetime.fromtimestamp(timer.next, UTC)
    following = f"; the next one {at:%Y-%m-%d %H:%M} UTC" if timer.next else ""
    return f"{good}{failed}{following}"


def not_well(session: Session, watch: Watch) -> StageError:
    """What `inv status` ends with where backups need somebody."""
    stage = session.config.stage_name
    named = "" if stage == "prod" else f" --stage {stage}"
    remedy = f"Try again and read what it says: inv backup{named}, then inv backup --verify{named}"
    if watch.unfinished:
        remedy = f"Set them up: inv deploy{named}"
    return StageError(
        f"The backups of {session.name} need your attention: {'; '.join(watch.troubles())}.",
        untouched="The site goes on serving.",
        remedy=remedy,
    )
