"""What a deploy uploads: the files that git would track, less what must never travel."""

import hashlib
import io
import os
import re
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagetools.errors import ConfigError, StageError

__all__ = ["Entry", "Manifest", "archive", "read_tree"]

# Kept back even where somebody committed them: a server makes its own.
_NEVER = re.compile(
    r"(?:^|/)(?:\.env(?:\..*)?|.*\.(?:sqlite3?|db)(?:-(?:wal|shm|journal))?|.*\.(?:pem|key|p12|pfx)"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)(?:\..*)?)$"
)
_BUT = re.compile(r"(?:^|/)\.env\.(?:example|sample|template)$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One file or symbolic link: its path from the root, its kind, and its content's hash."""

    path: str
    kind: str  # "f" a file, "x" an executable one, "l" a symbolic link
    digest: str  # SHA-256 of the content, or of the link's target

    @property
    def line(self) -> str:
        return f"{self.digest} {self.kind} {self.path}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that one release is made of; equal manifests are equal trees."""

    entries: tuple[Entry, ...]

    @property
    def text(self) -> str:
        return "".join(f"{entry.line}\n" for entry in self.entries)

    @property
    def digest(self) -> str:
        return hashlib.sha256(os.fsencode(self.text)).hexdigest()

    @classmethod
    def parse(cls, text: str) -> "Manifest":
        """What `text` wrote; a line that is not an entry's makes it empty.

        So does a name that was not UTF-8, and came back without its bytes: a file that
        cannot be named cannot be removed either.
        """
        rows = [line.split(" ", 2) for line in text.removesuffix("\n").split("\n")]
        if "\N{REPLACEMENT CHARACTER}" in text or any(len(row) != 3 for row in rows):
            return cls(())
        return cls(tuple(Entry(path, kind, digest) for digest, kind, path in rows))

    def changed_since(self, old: "Manifest") -> tuple[Entry, ...]:
        """The entries that `old` lacks or has otherwise."""
        known = set(old.entries)
        return tuple(entry for entry in self.entries if entry not in known)

    def removed_since(self, old: "Manifest") -> tuple[str, ...]:
        """The paths that `old` has and this one does not."""
        paths = {entry.path for entry in self.entries}
        return tuple(entry.path for entry in old.entries if entry.path not in paths)


def read_tree(root: Path) -> Manifest:
    """The manifest of what git would track below `root`, a repository or not yet one."""
    return Manifest(tuple(sorted(_entries(root, _tracked(root)))))


def archive(root: Path, entries: Iterable[Entry]) -> bytes:
    """A gzipped tar of `entries`, with no owner and no mode but the run bit.

    All of them carry the time of this moment: BuildKit takes a file of the same size and
    time for the same file, and would build the old one again.
    """
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT
    ) as tar:
        now = time.time()
        for entry in entries:
            _add(tar, root, entry, now)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, root: Path, entry: Entry, now: float) -> None:
    path = root / entry.path
    info = tarfile.TarInfo(entry.path)
    info.mtime = now
    if entry.kind == "l":
        info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
        tar.addfile(info)
        return
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.digest:
        raise StageError(
            f"{entry.path} changed while it was read.",
            untouched="Nothing was uploaded.",
            remedy="Deploy again once your editor or build is done.",
        )
    info.size, info.mode = len(content), 0o755 if entry.kind == "x" else 0o644
    tar.addfile(info, io.BytesIO(content))


def _tracked(root: Path) -> list[str]:
    """Tracked and untracked files but ignored ones, as git itself sees them."""
    listing = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if _has_repository(root):
        return _git(root, *listing)
    with tempfile.TemporaryDirectory() as empty:
        _git(root, "init", "--quiet", empty)
        return _git(root, f"--git-dir={empty}/.git", f"--work-tree={root}", *listing)


def _has_repository(root: Path) -> bool:
    """Whether `root` is a repository, or a folder of one that does not ignore it."""
    if (root / ".git").exists():
        return True
    words = ["git", "check-ignore", "--quiet", "."]
    try:
        done = subprocess.run(words, cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return False  # which the next command says
    return done.returncode == 1  # 0: ignored; 128: no repository


def _git(root: Path, *words: str) -> list[str]:
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, check=True
        )
    except FileNotFoundError:
        raise ConfigError(
            "git is not installed; it says which files to upload."
        ) from None
    except subprocess.CalledProcessError as error:
        raise ConfigError(
            f"git failed: {error.stderr.decode(errors='replace').strip()}"
        ) from None
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def _entries(root: Path, paths: Iterable[str]) -> Iterator[Entry]:
    for path in dict.fromkeys(paths):
        if _NEVER.search(path) and not _BUT.search(path):
            continue
        if _CONTROL.search(path):
            raise ConfigError(
                f"{path!r}: a file's name may hold no line break or control character."
            )
        try:
            status = os.lstat(root / path)
        except FileNotFoundError:
            continue  # deleted in the working tree, still in git's index
        if entry := _entry(root / path, path, status):
            yield entry


def _entry(file: Path, path: str, status: os.stat_result) -> Entry | None:
    if stat.S_ISLNK(status.st_mode):
        return Entry(
            path, "l", hashlib.sha256(os.fsencode(file.readlink())).hexdigest()
        )
    if stat.S_ISREG(status.st_mode):
        kind = "x" if status.st_mode & stat.S_IXUSR else "f"
        return Entry(path, kind, hashlib.sha256(file.read_bytes()).hexdigest())
    return None  # a submodule's folder, a socket: nothing that a release is made of
