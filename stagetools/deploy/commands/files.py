"""Sources and records: what is written below the installation's directories."""

from pathlib import PurePosixPath

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, loosely, named, script, script_file

__all__ = ["arrived", "read_text", "receive_part", "receive_tree", "write_text"]


@named
def arrived(layout: Layout, digest: str) -> Command:
    """Print how many bytes of an archive have arrived, and their SHA-256; 0 where none has."""
    command = script(
        """
        if test -s "$1"; then echo "$(stat -c %s "$1") $(sha256sum <"$1" | cut -c1-64)"; else echo 0; fi
        """,
        layout.incoming(digest),
    )
    return looks(command)


@named
def receive_part(layout: Layout, digest: str, *, have: int) -> Command:
    """Append standard input to the first `have` bytes of an archive that have arrived."""
    return loosely(script_file("receive_part.sh", layout.incoming(digest), have))


@named
def receive_tree(
    layout: Layout, release: str, *, base: str, digest: str = ""
) -> Command:
    """Unpack an upload into the release's directory, which appears whole or not at all.

    `digest` names an archive that has arrived already; else it is part of standard input.
    """
    command = script_file(
        "receive_tree.sh",
        layout.source(release),
        layout.source(base) if base else "",
        layout.incoming(digest).parent,
        digest,
        interpreter="bash",
    )
    return loosely(command)


@named
def write_text(path: PurePosixPath, *, mode: str = "0644") -> Command:
    """Replace a file by what comes on standard input, whole or not at all."""
    return script(
        """
        umask 077; cat >"$1.new"; chmod "$2" "$1.new"; mv -T "$1.new" "$1"
        """,
        path,
        mode,
    )


@named
def read_text(path: PurePosixPath) -> Command:
    """Print a file, or nothing where there is none."""
    return looks(script('test ! -f "$1" || cat "$1"', path))
