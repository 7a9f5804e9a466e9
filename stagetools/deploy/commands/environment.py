"""The installation's environment file: read, changed and written on the server."""

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, named, script

__all__ = ["approve", "read", "write"]


@named
def read(layout: Layout) -> Command:
    """Print the environment file."""
    return looks(script('cat "$1"', layout.env_file))


@named
def write(layout: Layout, size: int) -> Command:
    """Replace the environment file by standard input, of `size` bytes, whole or not at all.

    The one before is kept beside it, as `env.before`, until `approve` or a switch: whoever
    finds it there puts it back, for its successor was never served.
    """
    return script(
        """
        umask 077
        test ! -e "$1" || { cp "$1" "$1.kept"; sync "$1.kept"; mv -T "$1.kept" "$1.before"; }
        cat >"$1.new"; test "$(stat -c %s "$1.new")" = "$2"; sync "$1.new"; mv -T "$1.new" "$1"
        """,
        layout.env_file,
        size,
    )


@named
def approve(layout: Layout) -> Command:
    """Forget the environment file from before `write`."""
    return script('rm -f "$1.before"', layout.env_file)
