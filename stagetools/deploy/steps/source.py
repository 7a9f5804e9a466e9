"""The release's files on the server."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagetools.deploy.commands import files
from stagetools.deploy.host.host import OnSent
from stagetools.deploy.host.site import Site
from stagetools.deploy.outcome import Outcome, changed, size
from stagetools.deploy.tree import Entry, LeftOut, Manifest, archive

__all__ = ["Target", "upload"]

_AT_ONCE = 64_000  # bytes: fewer arrive within the lock's patience even at 6 kB/s
_NAMED = 3  # of the paths that are left out; inv check names them all


@dataclass(frozen=True, slots=True)
class Target:
    """Where an upload goes, and the release whose files it starts from (or none)."""

    release: str
    base: str


def upload(
    site: Site, to: Target, root: Path, tree: Manifest, settings: str, on_sent: OnSent
) -> Outcome:
    """Leave the tree in the release's directory; send only what the base has not.

    An archive that takes its time arrives in a file first: what has arrived of it when the
    connection is lost is not sent again.
    `settings` is what compose.yaml's variables stand for, and goes beside it.
    """
    old = Manifest(())
    if to.base:
        old = Manifest.parse(site.run(files.read_text(site.layout.manifest(to.base))))
    differing, dropped = tree.changed_since(old), tree.removed_since(old)
    # what changed is unlinked too: the base's file is the same inode
    removed = b"".join(
        os.fsencode(path) + b"\0" for path in [*dropped, *_paths(differing)]
    )
    parts = [settings.encode(), os.fsencode(Manifest(differing).text), removed]
    stream = f"{' '.join(str(len(part)) for part in parts)}\n".encode()
    stream += b"".join(parts)
    content, digest, had = archive(root, differing), "", 0
    if len(content) > _AT_ONCE:
        digest, had = _send_archive(site, content, on_sent)
    else:
        stream += content
    base = to.base if old.entries else ""
    command = files.receive_tree(site.layout, to.release, base=base, digest=digest)
    site.run(command, stdin=stream, on_sent=on_sent)
    count = len(stream) + (len(content) - had if digest else 0)
    sent = f"{len(differing)} of {len(tree.entries)} files, {size(count)}"
    sent += f" ({size(had)} had arrived before)" if had else ""
    return changed(f"{sent}{_not_sent(tree.left_out)}")


def _send_archive(site: Site, content: bytes, on_sent: OnSent) -> tuple[str, int]:
    """Leave the archive on the server; its SHA-256, and how much of it was there already."""
    digest = hashlib.sha256(content).hexdigest()
    count, _, there = site.run(files.arrived(site.layout, digest)).partition(" ")
    had = int(count or 0)
    if hashlib.sha256(content[:had]).hexdigest() != there.strip():
        had = 0  # a power cut may have left zeros in it

    def on_rest_sent(done: int, _: int) -> None:
        on_sent(had + done, len(content))

    command = files.receive_part(site.layout, digest, have=had)
    site.run(command, stdin=content[had:], on_sent=on_rest_sent)
    return digest, had


def _not_sent(left_out: Sequence[LeftOut]) -> str:
    """What stayed on this machine; all of it where that is a line, else where to read it."""
    if not left_out:
        return ""
    named = "; ".join(map(str, left_out[:_NAMED]))
    more = len(left_out) - _NAMED
    rest = f"; and {more} more: inv check" if more > 0 else ""
    return f"; left out: {named}{rest}; `upload` in deploy.toml sends such a file"


def _paths(entries: Iterable[Entry]) -> list[str]:
    return [entry.path for entry in entries]
