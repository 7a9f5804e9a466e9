"""The release's files on the server."""

from pathlib import Path

from stagetools.deploy.commands import files
from stagetools.deploy.host import Host, OnSent
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import Outcome, changed
from stagetools.deploy.tree import Manifest, archive

__all__ = ["upload"]


def upload(
    host: Host,
    layout: Layout,
    root: Path,
    tree: Manifest,
    *,
    release: str,
    base: str,
    on_sent: OnSent,
) -> Outcome:
    """Leave the tree in the release's directory; send what the release `base` has not."""
    old = (
        Manifest.parse(host.run(files.read_text(layout.manifest(base))))
        if base
        else Manifest(())
    )
    base = base if old.entries else ""
    news, gone = tree.changed_since(old), tree.removed_since(old)
    # A path that stays but changes its content is unlinked too: the base's file is the same inode.
    listed = tree.text.encode()
    removed = b"".join(
        path.encode() + b"\0" for path in [*gone, *(e.path for e in news)]
    )
    packed = archive(root, news)
    stream = f"{len(listed)} {len(removed)}\n".encode() + listed + removed + packed
    host.run(
        files.receive_tree(layout, release, base=base), stdin=stream, on_sent=on_sent
    )
    return changed(f"{len(news)} of {len(tree.entries)} files, {size(len(stream))}")


def size(count: int) -> str:
    """Bytes as a person reads them, in powers of 1000."""
    amount, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while amount >= 1000 and unit != "GB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
