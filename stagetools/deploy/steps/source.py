"""The release's files on the server."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stagetools.deploy.commands import files
from stagetools.deploy.host import Host, OnSent
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import Outcome, changed
from stagetools.deploy.tree import Entry, Manifest, archive

__all__ = ["Target", "size", "upload"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where an upload goes, and the release whose files it starts from (or none)."""

    layout: Layout
    release: str
    base: str


def upload(
    host: Host, to: Target, root: Path, tree: Manifest, settings: str, on_sent: OnSent
) -> Outcome:
    """Leave the tree in the release's directory; send only what the base has not.

    `settings` is what compose.yaml's variables stand for, and goes beside it.
    """
    old = Manifest(())
    if to.base:
        old = Manifest.parse(host.run(files.read_text(to.layout.manifest(to.base))))
    news, gone = tree.changed_since(old), tree.removed_since(old)
    # what changed is unlinked too: the base's file is the same inode
    removed = b"".join(os.fsencode(path) + b"\0" for path in [*gone, *_paths(news)])
    parts = [settings.encode(), os.fsencode(Manifest(news).text), removed]
    stream = f"{' '.join(str(len(part)) for part in parts)}\n".encode()
    stream += b"".join(parts) + archive(root, news)
    base = to.base if old.entries else ""
    command = files.receive_tree(to.layout, to.release, base=base)
    host.run(command, stdin=stream, on_sent=on_sent)
    return changed(f"{len(news)} of {len(tree.entries)} files, {size(len(stream))}")


def _paths(entries: Iterable[Entry]) -> list[str]:
    return [entry.path for entry in entries]


def size(count: int) -> str:
    """Bytes as a person reads them, in powers of 1000."""
    amount, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while amount >= 1000 and unit != "GB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
