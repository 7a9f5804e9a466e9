"""`inv backup` and `inv backups`: making backups, trying them, telling of them."""

import errno
import os
import re
import shutil
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

from stagetools.deploy.backups import SLACK, Result, Timer, Watch
from stagetools.deploy.commands.backup import repository
from stagetools.deploy.facts import span
from stagetools.deploy.limits import DISK
from stagetools.deploy.outcome import counted, size
from stagetools.deploy.steps import backup as steps
from stagetools.deploy.steps import server
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import CommandFailed, StageError, UsageError

__all__ = [
    "backup",
    "backups",
    "download",
    "named",
    "not_well",
    "rows",
    "set_up",
    "show_key",
    "show_new_key",
    "verify",
]


_NAMES = 10**9  # bytes of a tar file for the names of a million files
_BLOCK = 512  # bytes that each member has at least
_LOOK = 16 * 10**6  # bytes between two looks at how much is free
_MEDIA = re.compile(r"media(-\d{8}-\d{6}-[0-9a-z]+)?")


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
    _refuse_without(session)
    with session.terminal.step("Verify") as step:
        step.end(steps.drill(session, step.line))


def backups(session: Session) -> None:
    """Print every backup, the newest first."""
    _refuse_without(session)
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


def download(session: Session, folder: str, what: str) -> None:
    """Bring a backup here, as plain files in a directory of their own below `folder`."""
    _refuse_without(session)
    one = named(session, what)
    to = Path(folder) / f"{session.name}-{one.at:%Y%m%d-%H%M%S}-{one.name}"
    if to.exists():
        raise UsageError(
            f"{to} is there already.",
            untouched="Nothing was changed.",
            remedy="It may be this very backup; else remove it, or name another directory.",
        )
    _refuse_full(Path(folder), one)
    with session.terminal.step("Download") as step:
        if not session.terminal.dry:
            try:
                many = _unpacked(session, one, to)
            except OSError as error:
                raise StageError(
                    f"Download: {to} cannot be written: {error.strerror}.",
                    remedy="Make room there, or name another directory.",
                ) from error
            except tarfile.TarError as error:
                raise StageError(
                    f"Download: what came is no backup: {error}. It was removed.",
                    remedy="inv backup --verify says whether the latest one is whole.",
                ) from error
            step.outcome = f"{counted(many, 'file')} in {to}"


def _refuse_full(folder: Path, one: steps.Entry) -> None:
    """Raise where it does not fit: what comes is kept until it is unpacked beside it."""
    while not folder.exists():
        folder = folder.parent
    needed = 2 * one.bytes + DISK.reserve
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UsageError(
            f"{one.name} may need {size(needed)} here; the disk has {size(free)} free.",
            untouched="Nothing was changed.",
            remedy="Make room there, or name another directory.",
        )


class _Budget:
    """What may be written: twice what was announced, names, and never the disk's reserve."""

    def __init__(self, folder: Path, announced: int) -> None:
        self._folder = folder
        self._left = DISK.at_most(2 * announced) + _NAMES
        self._unseen = _LOOK  # bytes since the disk was looked at

    def spend(self, many: int) -> None:
        """Raises where there is no more."""
        self._left -= many
        self._unseen += many
        if self._left < 0:
            raise StageError(
                "Download: more comes than the server had said. What came was removed.",
                remedy="inv backup --verify says whether the latest one is whole.",
            )
        if self._unseen > _LOOK:
            self._unseen = 0
            if shutil.disk_usage(self._folder).free < DISK.reserve:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Bounded:
    """A file that takes no more than the budget has."""

    def __init__(self, file: IO[bytes], budget: _Budget) -> None:
        self._file, self._budget = file, budget

    def write(self, data: bytes, /) -> int:
        self._budget.spend(len(data))
        return self._file.write(data)


def _unpacked(session: Session, one: steps.Entry, to: Path) -> int:
    """How many files were unpacked; only root's own words say where, and no link is made."""
    part = to.with_name(f"{to.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=to.parent) as file:
            bounded = _Bounded(file, _Budget(to.parent, one.bytes))
            session.host.receive(repository.dump(session.layout, one.name), bounded)
            file.seek(0)
            part.mkdir(mode=0o700)
            budget = _Budget(part, one.bytes)
            # nothing compressed: what comes is bounded, and what became of it would not be
            with tarfile.open(fileobj=file, mode="r:") as archive:
                many = sum(_unpack(archive, each, part, budget) for each in archive)
        part.rename(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return many


def _unpack(
    archive: tarfile.TarFile, member: tarfile.TarInfo, to: Path, budget: _Budget
) -> int:
    """`now/…` as it is, and below `media/` what has another path: the uploads."""
    place = PurePosixPath("/") / member.name
    parts = place.parts[1:]
    budget.spend(_BLOCK)
    if not member.isfile() or any(leads_away(part) for part in parts):
        return 0
    parts = parts[1:] if parts[0] == "now" else ("media", *_below_media(parts))
    path = to.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content  # noqa: S101 - it is a file
    with content, path.open("xb") as file:
        path.chmod(0o600)
        # a sparse one is larger than what came of it
        shutil.copyfileobj(content, _Bounded(file, budget))
    return 1


def leads_away(part: str, *, on_windows: bool = os.name == "nt") -> bool:
    """Whether a part of a path leaves its directory."""
    return (
        part == ".."
        or "\0" in part
        or (on_windows and bool(re.search(r"[\\:]|[^ -\U0010ffff]", part)))
    )


def _below_media(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Without the directory on the server: `media`, a clone's `media-…`, or where a link leads."""
    places = [place for place, name in enumerate(parts) if _MEDIA.fullmatch(name)]
    return parts[places[0] + 1 :] if places else parts


def show_key(session: Session) -> None:
    """Print the key that opens the backups, and nothing else."""
    _refuse_without(session)
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


def _refuse_without(session: Session) -> None:
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
