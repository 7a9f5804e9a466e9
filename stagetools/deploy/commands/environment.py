"""The installation's environment file: read, changed and written on the server."""

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, script

__all__ = ["read", "write"]


def read(layout: Layout) -> Command:
    """Print the environment file."""
    return looks(script('cat "$1"', layout.env_file))


def write(layout: Layout) -> Command:
    """Replace the environment file by what comes on standard input, whole or not at all."""
    return script(
        'umask 077; cat >"$1.new"; test -s "$1.new"; sync "$1.new"; mv -T "$1.new" "$1"',
        layout.env_file,
    )
