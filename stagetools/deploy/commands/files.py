"""Sources and records: what is written below the installation's directories."""

from pathlib import PurePosixPath

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, loosely, script, sh

__all__ = ["read_text", "receive_tree", "write_text"]


def receive_tree(layout: Layout, release: str, *, base: str) -> Command:
    """Unpack an upload into the release's directory, which appears whole or not at all.

    Standard input: a line with three lengths in bytes; then the settings, the lines that
    the manifest gains and the list of paths to remove, each ended by a NUL; then a gzipped tar.
    With `base`, the files of that release are the starting point, linked and not copied, and
    so are the other lines of its manifest: all of them would outweigh most changes.
    """
    command = script(
        """
        source=$1 base=$2 part=$1.part
        rm -rf "$part"
        if test -n "$base"; then cp -al "$base" "$part"; else mkdir "$part"; fi
        IFS=' ' read -r settings listed removed
        head -c "$settings" >"$source.env"
        head -c "$listed" >"$part.listed"
        head -c "$removed" >"$part.removed"
        { if test -n "$base"; then
            tr '\\0' '\\n' <"$part.removed" |
              LC_ALL=C awk 'part == 1 {gone[$0]; next} !(substr($0, 68) in gone)' part=1 - part=2 "$base.manifest"
          fi; cat "$part.listed"; } >"$source.manifest"
        ( cd "$part" && xargs -0 -r rm -rf -- ) <"$part.removed"
        rm -f "$part.removed" "$part.listed"
        tar -x -z --no-same-owner --same-permissions --recursive-unlink -C "$part" -f -
        find "$part" -mindepth 1 -type d -empty -delete
        rm -rf "$source"; mv -T "$part" "$source"
        """,
        layout.source(release),
        layout.source(base) if base else "",
        interpreter="bash",
    )
    return loosely(command)


def write_text(path: PurePosixPath, *, mode: str = "0644") -> Command:
    """Replace a file by what comes on standard input, whole or not at all."""
    return script(
        """
        umask 077; cat >"$1.new"; chmod "$2" "$1.new"; mv -T "$1.new" "$1"
        """,
        path,
        mode,
    )


def read_text(path: PurePosixPath) -> Command:
    """Print a file, or nothing where there is none."""
    return looks(script('test ! -f "$1" || cat "$1"', path))


def remove(*paths: PurePosixPath) -> Command:
    """Remove files and directories; those that are not there are no error."""
    return sh("rm", "-rf", "--", *paths)
