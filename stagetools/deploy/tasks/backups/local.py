"""`inv backup --download`: a backup as plain files on this machine, which has to bear what comes."""

import errno
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO

from stagetools.deploy.commands.backup import repository
from stagetools.deploy.limits import DISK
from stagetools.deploy.outcome import counted, size
from stagetools.deploy.steps import backup as steps
from stagetools.deploy.tasks.backups.backing_up import named, refuse_without
from stagetools.deploy.tasks.session import Session
from stagetools.errors import StageError, UsageError

__all__ = ["download", "leads_away"]

_NAMES = 10**9  # bytes of a tar file for the names of a million files
_BLOCK = 512  # bytes that each member has at least
_LOOK = 16 * 10**6  # bytes between two looks at how much is free
_MEDIA = re.compile(r"media(-\d{8}-\d{6}-[0-9a-z]+)?")


def download(session: Session, folder: str, what: str) -> None:
    """Bring a backup here, as plain files in a directory of their own below `folder`."""
    refuse_without(session)
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
