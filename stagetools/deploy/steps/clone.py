"""One stage's data in another: looked at, copied from server to server, anonymised."""

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass

from stagetools.deploy.commands import database
from stagetools.deploy.commands.backup import repository
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.limits import DISK
from stagetools.deploy.outcome import Outcome, changed, counted
from stagetools.deploy.shell import Command
from stagetools.deploy.steps.backup import Contents
from stagetools.errors import CommandFailed, ConnectionFailed, StageError

__all__ = [
    "ANONYMISE",
    "Stage",
    "anonymise",
    "can_anonymise",
    "copy_database",
    "copy_uploads",
    "look",
    "pass_on",
]

ANONYMISE = "anonymise"
"""The project's own management command."""
_ALWAYS = "migrate"  # of every project's commands: a list without it is none
_WAITING = 4  # pieces of 256 kB, between the two connections
_PATIENCE = 5  # seconds for a sender that nobody listens to any more
_LOOK = 0.2  # seconds between two looks at whether the other side is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a stage has that is cloned, or replaced by a clone."""

    contents: Contents
    uploads: int  # bytes
    files: int = 0  # that they are in
    moved: bool = False  # `media` is a link of somebody's, to another disk perhaps
    vault: int = 0  # bytes of the repository with the backups


def look(site: Site) -> Stage:
    """Count the live database and the uploads."""
    try:
        said = site.run(repository.count(site.layout))
    except CommandFailed as error:
        if not error.output:
            raise
        raise StageError(
            f"The data of {site.name} cannot be read: {error.output.splitlines()[-1]}",
            untouched="Nothing was changed.",
            remedy="inv status says how the stage is.",
        ) from error
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return Stage(
        contents=Contents.parse(values["live"]),
        uploads=int(values["uploads"]),
        files=int(values["files"]),
        moved=values["moved"] == "yes",
        vault=int(values.get("vault") or 0),
    )


# --- from one server to the other ---------------------------------------------------------------


class _Pipe:
    """What one connection brings and the other takes: a megabyte of it at the most is here."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes] = queue.Queue(_WAITING)
        self._over = threading.Event()

    def write(self, data: bytes, /) -> int:
        """Raises BrokenPipeError when nobody reads any more."""
        while not self._over.is_set():
            with suppress(queue.Full):
                self._pieces.put(data, timeout=_LOOK)
                return len(data)
        raise BrokenPipeError

    def read(self, size: int, /) -> bytes:
        while not self._over.is_set():
            with suppress(queue.Empty):
                return self._pieces.get(timeout=_LOOK)
        return b""

    def end(self) -> None:
        """Nothing more comes."""
        with suppress(BrokenPipeError):
            self.write(b"")

    def close(self) -> None:
        """Nobody reads any more."""
        self._over.set()


def pass_on(source: Site, sends: Command, target: Site, takes: Command) -> str:
    """Give what a command prints on one server to another's on another; what that prints.

    It goes through this machine's memory, and no file is left here. Raises what the sender
    raises, for what was taken is then no whole.
    """
    pipe, failed = _Pipe(), list[BaseException]()

    def send() -> None:
        try:
            source.host.receive(sends, pipe)
        except BrokenPipeError:
            pass  # the other command ended, and its status says why
        except BaseException as error:  # raised below
            failed.append(error)
        pipe.end()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        said = target.run(takes, stdin=pipe)
    except CommandFailed:
        if failed:
            raise _ended(source, failed[0]) from None
        raise
    finally:
        pipe.close()
        sender.join(_PATIENCE)
    if failed:
        raise _ended(source, failed[0])
    return said


def _ended(source: Site, error: BaseException) -> BaseException:
    """Why the sender ended; a connection that is lost there is none of the target's."""
    if not isinstance(error, ConnectionFailed):
        return error
    return StageError(
        f"Copy: the connection to {source.host.address} was lost.",
        remedy="Clone again.",
    )


def copy_database(
    source: Site, target: Site, release: str, there: Stage
) -> tuple[Contents, Contents]:
    """Leave the release a copy of the source's; what that holds, and what the live one does.

    `there` is what the source has said of itself: much more than that is not taken.
    """
    sends = repository.send_database(source.layout)
    at_most = DISK.at_most(there.contents.bytes)
    takes = repository.take(target.layout, release, "clone", at_most=at_most)
    try:
        said = pass_on(source, sends, target, takes)
    except CommandFailed as error:
        raise _not_copied(source, "database", error) from error
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return Contents.parse(values["found"]), Contents.parse(values["live"])


def copy_uploads(source: Site, target: Site, release: str, there: Stage) -> str:
    """Leave the release a copy of the source's uploads; how many, in words."""
    sends = repository.send_uploads(source.layout)
    at_most = DISK.at_most(there.uploads, there.files)
    takes = repository.receive(target.layout, release, at_most=at_most)
    try:
        said = pass_on(source, sends, target, takes)
    except CommandFailed as error:
        raise _not_copied(source, "uploads", error) from error
    many = int(said.strip().rpartition("received=")[2])
    return counted(many, "upload")


def _not_copied(source: Site, what: str, error: CommandFailed) -> StageError:
    last = error.output.splitlines()[-1:] or ["it printed nothing"]
    return StageError(
        f"Copy: the {what} of {source.name} did not arrive whole: {last[0]}",
        remedy="Read the last lines below, then clone again.",
    )


# --- the project's own hook -----------------------------------------------------------------------


def can_anonymise(site: Site, release: str) -> bool:
    """Whether the release has the command; a list that cannot be read is no answer."""
    try:
        said = site.run(database.commands(site.layout, release))
    except CommandFailed as error:
        raise _unknown(site) from error
    names = set(said.split())
    if _ALWAYS not in names:
        raise _unknown(site)
    return ANONYMISE in names


def _unknown(site: Site) -> StageError:
    return StageError(
        f"Whether {site.name} has a command {ANONYMISE} could not be found out.",
        untouched="Nothing was changed.",
        remedy="Look at it: inv manage 'help --commands'",
    )


def anonymise(site: Site, release: str, on_line: OnLine) -> Outcome:
    """Run the project's command on the data of a release that serves nobody."""
    try:
        site.run(database.manage(site.layout, release, ANONYMISE), on_line=on_line)
    except KeyboardInterrupt:
        with suppress(StageError):
            site.run(database.end(site.layout))
        raise
    except CommandFailed as error:
        raise StageError(
            f"Anonymise: the project's command {ANONYMISE} failed on the copy, which is removed.",
            remedy="Fix what its last lines below say, deploy that, then clone again.",
        ) from error
    return changed(f"{ANONYMISE} has run on the copy")
