"""What a deploy uploads: the files that git would track, less what must never travel."""

import gzip
import hashlib
import io
import os
import re
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from stagetools.errors import ConfigError, StageError

__all__ = [
    "Entry",
    "LeftOut",
    "Manifest",
    "archive",
    "file_member",
    "packed",
    "read_tree",
]

Member = tuple[tarfile.TarInfo, bytes]
"""What a tar says of a file or a link, and the file's content."""

# Kept back even where somebody committed them: a server makes its own.
_SECRETS = re.compile(r"(?:^|/)\.env(?:\..*)?$")
_BUT = re.compile(r"(?:^|/)\.env\.(?:example|sample|template)$")
# Only what git tracks is meant to travel: others are what the site on this machine wrote.
_DATABASE = re.compile(r"\.(?:sqlite3?|db)(?:-(?:wal|shm|journal))?$")
_BUNDLE = re.compile(r"\.(?:p12|pfx|jks|keystore)$")
_KEY_FILE = re.compile(
    r"(?:^|/)(?:.*\.(?:pem|key|ppk)|id_(?:rsa|dsa|ecdsa|ed25519)(?:\..*)?)$"
)
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File-")
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
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


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """A path that stays on this machine, and why."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path} ({self.why})"


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that one release is made of; equal manifests are equal trees."""

    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...] = field(default=(), compare=False)

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


def read_tree(root: Path, upload: Sequence[str] = ()) -> Manifest:
    """The manifest of what git would track below `root`, a repository or not yet one.

    `upload` are patterns of paths that travel although they look like secrets. A `*` stops at
    `/` and takes no name that begins with a dot.
    """
    entries, left_out = [], []
    for path, tracked in dict(_listed(root)).items():
        found = _look_at(root, path, tracked, _is_wanted(path, tracked, upload))
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif found:
            entries.append(found)
    return Manifest(tuple(sorted(entries)), tuple(sorted(left_out)))


def archive(root: Path, entries: Iterable[Entry]) -> bytes:
    """A gzipped tar of `entries`, as they are below `root`."""
    return packed(_member(root, entry) for entry in entries)


def packed(members: Iterable[Member]) -> bytes:
    """A gzipped tar, with no owner, no time, and no mode but the run bit.

    The same members give the same bytes: what has arrived of them need not be sent again.
    """
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def file_member(path: str, content: bytes, *, runs: bool = False) -> Member:
    """A file, as `packed` takes it."""
    info = tarfile.TarInfo(path)
    info.mode = 0o755 if runs else 0o644
    return info, content


def _member(root: Path, entry: Entry) -> Member:
    path = root / entry.path
    if entry.kind == "l":
        link = tarfile.TarInfo(entry.path)
        link.type, link.linkname = tarfile.SYMTYPE, str(path.readlink())
        return link, b""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.digest:
        raise StageError(
            f"{entry.path} changed while it was read.",
            untouched="Nothing was uploaded.",
            remedy="Deploy again once your editor or build is done.",
        )
    return file_member(entry.path, content, runs=entry.kind == "x")


# What git tracks, with the mode that it has in the index; other files are a bare path.
_STAGED = re.compile(r"(\d{6}) [0-9a-f]+ \d\t(.*)", re.DOTALL)
_SUBMODULE = "160000"


def _listed(root: Path, below: str = "") -> Iterator[tuple[str, bool]]:
    """Files but ignored ones, as git itself sees them, and whether it tracks them."""
    listing = ["ls-files", "--stage", "--others", "--exclude-standard", "-z"]
    if _has_repository(root):
        yield from _parted(root, below, _git(root, *listing))
        return
    with tempfile.TemporaryDirectory() as empty:
        _git(root, "init", "--quiet", empty)
        where = [f"--git-dir={empty}/.git", f"--work-tree={root}"]
        yield from _parted(root, below, _git(root, *where, *listing))


def _parted(root: Path, below: str, lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    for line in lines:
        staged = _STAGED.fullmatch(line)
        if staged and staged[1] == _SUBMODULE:
            yield from _of_submodule(root / staged[2], f"{below}{staged[2]}")
        else:
            yield below + (staged[2] if staged else line), bool(staged)


def _of_submodule(module: Path, path: str) -> Iterator[tuple[str, bool]]:
    if not (module / ".git").exists():
        raise ConfigError(
            f"{path} is a submodule, and its files are not here.",
            untouched="Nothing was uploaded.",
            remedy="Get them first: git submodule update --init --recursive",
        )
    yield from _listed(module, f"{path}/")


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


def _look_at(
    root: Path, path: str, tracked: bool, wanted: bool
) -> Entry | LeftOut | None:
    """What becomes of one path; None where nothing is there, but in git's index."""
    if path.endswith("/"):
        return LeftOut(path, "a repository of its own: git submodule add takes it in")
    if not wanted and (why := _kept_back(path, tracked)):
        return LeftOut(path, why)
    if _CONTROL.search(path):
        raise ConfigError(
            f"{path!r}: a file's name may not contain a line break or control character."
        )
    try:
        return _entry(root / path, path, wanted)
    except FileNotFoundError:
        return None  # deleted in the working tree, still in git's index
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.",
            untouched="Nothing was uploaded.",
            remedy="Change its permissions, or let git ignore it.",
        ) from None


def _is_wanted(path: str, tracked: bool, upload: Sequence[str]) -> bool:
    """Whether a pattern lets the path out; a secret or a database only where it spells all of it."""
    if path in upload:
        return True
    is_loose = _is_secret(path) or (_DATABASE.search(path) and not tracked)
    return not is_loose and any(_fits(path, pattern) for pattern in upload)


def _fits(path: str, pattern: str) -> bool:
    names, parts = path.split("/"), pattern.split("/")
    return len(names) == len(parts) and all(
        fnmatchcase(name, part) and (part[:1] == "." or name[:1] != ".")
        for name, part in zip(names, parts, strict=True)
    )


def _is_secret(path: str) -> bool:
    return bool(_SECRETS.search(path)) and not _BUT.search(path)


def _kept_back(path: str, tracked: bool) -> str:
    """Why a path never travels, by its name alone; or nothing."""
    if _is_secret(path):
        return "secrets: inv env.set gives them to the server"
    if _BUNDLE.search(path):
        return "it contains a private key"
    if _DATABASE.search(path) and not tracked:
        return "a database that git does not track"
    return ""


def _entry(file: Path, path: str, wanted: bool) -> Entry | LeftOut | None:
    status = os.lstat(file)
    if stat.S_ISLNK(status.st_mode):
        return Entry(
            path, "l", hashlib.sha256(os.fsencode(file.readlink())).hexdigest()
        )
    if not stat.S_ISREG(status.st_mode):
        return None  # a folder in a file's place, a socket: no part of a release
    content = file.read_bytes()
    if content.startswith(_POINTER):
        raise ConfigError(
            f"{path} is a pointer of Git LFS, and the file itself is not here.",
            untouched="Nothing was uploaded.",
            remedy="Get it first: git lfs install, then git lfs pull",
        )
    if not wanted and _is_private_key(path, content):
        return LeftOut(path, "it contains a private key")
    kind = "x" if status.st_mode & stat.S_IXUSR else "f"
    return Entry(path, kind, hashlib.sha256(content).hexdigest())


def _is_private_key(path: str, content: bytes) -> bool:
    """A key itself, and no program or page that only speaks of one."""
    if _KEY_FILE.search(path):
        return bool(_KEY.search(content))
    return bool(_KEY.match(content.lstrip()[:100]))
