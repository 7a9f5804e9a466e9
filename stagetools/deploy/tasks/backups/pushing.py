"""`inv media.push DIR`: files of this machine among the uploads of the site.

What a project has gathered elsewhere comes with it so. None that is there is replaced, and none
is removed; all are whole on the server before one gets its name, so it can be typed again.
"""

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from stagetools.deploy.commands.backup import repository
from stagetools.deploy.limits import DISK
from stagetools.deploy.outcome import Outcome, changed, counted, size, unchanged
from stagetools.deploy.tasks.backups import backing_up
from stagetools.deploy.tasks.relaunch import look_at_serving
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import CommandFailed, StageError, UsageError

__all__ = ["Tar", "files_in", "push"]

_PIECE = 64 * 1024  # bytes
_IN_FLIGHT = ".tmp"  # of a `media` here: uploads that are not whole
_LAST = f"{_IN_FLIGHT}/whole"  # and an empty file that comes last, as the server has it


@dataclass(slots=True)
class Tar:
    """A tar file of files below `root`, made while it is read: it is never here as a whole."""

    root: Path
    names: Sequence[str]
    wrong: str = ""  # why it ended before its end
    _pieces: Iterator[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._pieces = self._all()

    def read(self, size: int, /) -> bytes:  # each piece is smaller
        """Never raises: whoever sends it has another one to tell; see `wrong`."""
        try:
            return next(self._pieces, b"")
        except OSError as error:
            self.wrong = f"{error.filename or 'a file'} cannot be read: {error.strerror or error}"
            self._pieces = iter(())
            return b""

    def _all(self) -> Iterator[bytes]:
        for name in self.names:
            yield from self._one(name)
        yield tarfile.TarInfo(_LAST).tobuf(tarfile.PAX_FORMAT)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _one(self, name: str) -> Iterator[bytes]:
        path = self.root / name
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            info = tarfile.TarInfo(name)
            info.size, info.mtime = status.st_size, int(status.st_mtime)
            yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            left = status.st_size
            while left and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece
        if left:
            raise OSError(0, "it became shorter meanwhile", str(path))
        if rest := -status.st_size % tarfile.BLOCKSIZE:
            yield bytes(rest)


def files_in(folder: Path) -> tuple[list[str], int, int]:
    """The paths of all files below a folder, their bytes, and how many links there are."""
    names, total, links = [], 0, 0
    for root, folders, files in os.walk(folder, onerror=_refuse):
        if Path(root) == folder and _IN_FLIGHT in folders:
            folders.remove(_IN_FLIGHT)
        links += sum((Path(root) / name).is_symlink() for name in (*folders, *files))
        for name in files:
            path = Path(root) / name
            if path.is_file() and not path.is_symlink():
                names.append(path.relative_to(folder).as_posix())
                total += path.stat().st_size
    return sorted(names), total, links


def _refuse(error: OSError) -> NoReturn:
    raise UsageError(
        f"{error.filename} cannot be read: {error.strerror}.",
        untouched="Nothing was changed.",
        remedy="Let your account read it, or take it out of that directory.",
    ) from error


def push(session: Session, directory: str, *, wait: float = 0) -> None:
    """Add the files below a directory to the uploads."""
    folder = Path(directory)
    is_one = bool(directory) and folder.is_dir()
    names, total, links = files_in(folder) if is_one else ([], 0, 0)
    if not names:
        raise UsageError(
            f"{directory or 'No directory'} has no file to send.",
            untouched="Nothing was changed.",
            remedy="Name the directory that your own MEDIA_ROOT is: inv media.push media",
        )
    backing_up.set_up(session)  # the server's script for uploads is a part of them
    with locked(session, "adds uploads", wait=wait) as held:
        ours = session.under(held)
        look_at_serving(ours)
        with session.terminal.step("Push") as step:
            step.end(_send(ours, Tar(folder, names), total))
    if links:
        session.terminal.say(f"Left out: {counted(links, 'link')} among the files.")


def _send(session: Session, tar: Tar, total: int) -> Outcome:
    many = len(tar.names)
    at_most = DISK.at_most(total, many)
    try:
        pushes = repository.push(session.layout, at_most=at_most, total=total)
        said = session.run(pushes, stdin=tar)
    except CommandFailed as error:
        raise _not_sent(tar.wrong or _last(error)) from error
    added = int(said.rpartition("uploads=")[2])
    if not added and not session.terminal.dry:
        return unchanged(f"all {many} were there already")
    stay = f"; {many - added} were there already, and stay" if added < many else ""
    return changed(f"{counted(added, 'file')} added, of {size(total)} in all{stay}")


def _last(error: CommandFailed) -> str:
    return (error.output.splitlines() or ["the server printed no reason"])[-1]


def _not_sent(why: str) -> StageError:
    return StageError(
        f"Push: {why.rstrip('.')}.",
        untouched="The site goes on serving, and no upload of it was replaced or removed.",
        remedy="Fix that, then type it again: what has arrived is not written twice.",
    )
