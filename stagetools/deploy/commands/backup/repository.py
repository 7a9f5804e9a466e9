"""Asking an installation's backups: each is a word of `scripts/backup.sh` on the server."""

from stagetools.deploy.commands.backup.setup import script_path
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, loosely, named, prints, sh

__all__ = [
    "arrive",
    "count",
    "drill",
    "drop",
    "dump",
    "fetch",
    "files",
    "fill",
    "keep_vault",
    "key",
    "listed",
    "make",
    "pick",
    "push",
    "receive",
    "revive",
    "send_database",
    "send_picked",
    "send_uploads",
    "send_vault",
    "sent",
    "take",
    "take_key",
    "uploads",
    "watch",
]

_PATIENCE = 60  # seconds that somebody at a terminal waits for another backup to end


def _asked(layout: Layout, *words: object) -> Command:
    return sh("sh", script_path(layout), *words)


@named
def make(layout: Layout, *, later: bool = False) -> Command:
    """Make a backup by hand; `later` leaves it to the next one to send it elsewhere."""
    words = ("later",) if later else ()
    command = _asked(layout, "make", "hand", _PATIENCE, *words)
    return prints(command, "made=<backup> database=0 rows=0 media=0 added=0")


@named
def drill(layout: Layout) -> Command:
    """Read the latest backup as if it were restored."""
    return prints(
        _asked(layout, "drill", _PATIENCE), "drilled=<backup> database=0 rows=0"
    )


@named
def listed(layout: Layout) -> Command:
    """Print every backup, and the snapshots beside them."""
    return looks(_asked(layout, "list"))


@named
def watch(layout: Layout) -> Command:
    """Print how the backups stand; next to nothing where they were never set up."""
    script = script_path(layout)
    return looks(sh("sh", "-c", 'test ! -f "$1" || exec sh "$1" watch', "sh", script))


@named
def key(layout: Layout) -> Command:
    """Print the key that opens the backups."""
    return looks(_asked(layout, "key"))


@named
def dump(layout: Layout, backup: str) -> Command:
    """Print a backup as a tar file."""
    return looks(_asked(layout, "dump", backup))


_EXAMPLE = '{"bytes": 0, "rows": 0, "made": 0, "migrations": [], "tables": {}}'


@named
def take(layout: Layout, release: str, source: str, *, at_most: int = 0) -> Command:
    """Leave the release a database directory whose database is what `source` names.

    That is a backup, a copy in `backups/`, or `-` for standard input; `clone`, for another
    stage's, which comes without what its cache holds. What it holds is printed,
    and what the live one does; fails with why where it could not be served, or has more bytes
    than that; 0 are as many as the disk has room for.
    """
    command = _asked(layout, "take", release, source, at_most)
    return prints(loosely(command), f"found={_EXAMPLE}\nlive={_EXAMPLE}")


@named
def uploads(layout: Layout, backup: str) -> Command:
    """Bring back the uploads of a backup that are not there; print how many."""
    return prints(loosely(_asked(layout, "uploads", backup)), "uploads=0")


@named
def push(layout: Layout, *, at_most: int, total: int = 0) -> Command:
    """Add what the uploads lack of the tar file on standard input; print how many.

    It is refused where its files, `total` bytes, are more than the disk of the uploads has room for.
    """
    return prints(loosely(_asked(layout, "push", at_most, total)), "uploads=0")


@named
def fetch(layout: Layout) -> Command:
    """On a server in place of a lost one: bring the newest backup that lies elsewhere.

    The key is standard input's first line, and `NAME=VALUE` in the others is what that place
    asks for. The repository here has the backup then, and the environment file is the backup's.
    """
    example = '{"time": "1970-01-01T00:00:00Z", "id": "<backup>"}'
    return prints(loosely(_asked(layout, "fetch")), f"snapshots=[{example}]")


@named
def revive(layout: Layout, release: str, backup: str) -> Command:
    """There, too: put a backup's database where the release, which is built, will look for it."""
    return prints(
        loosely(_asked(layout, "revive", release, backup)), f"found={_EXAMPLE}"
    )


# --- for a clone ------------------------------------------------------------------------------


@named
def count(layout: Layout) -> Command:
    """Print what the live database, the uploads and the repository are."""
    command = loosely(_asked(layout, "count"))
    return prints(command, f"live={_EXAMPLE}\nuploads=0\nfiles=0\nmoved=\nvault=0")


@named
def send_database(layout: Layout) -> Command:
    """Print a consistent copy of the live database, byte for byte."""
    return loosely(_asked(layout, "send", "database"))


@named
def send_uploads(layout: Layout) -> Command:
    """Print the uploads as a tar file, without links."""
    return loosely(_asked(layout, "send", "uploads"))


@named
def receive(layout: Layout, release: str, *, at_most: int) -> Command:
    """Leave the release uploads of its own, as the tar file on standard input has them."""
    command = _asked(layout, "receive", release, at_most)
    return prints(loosely(command), "received=0")


# --- for a move to another server ---------------------------------------------------------------


@named
def sent(layout: Layout) -> Command:
    """Print what the database held that was sent last."""
    return prints(_asked(layout, "sent"), _EXAMPLE)


@named
def arrive(layout: Layout, release: str) -> Command:
    """Put the database on standard input where a release looks for it that does not serve yet."""
    return prints(loosely(_asked(layout, "arrive", release)), f"found={_EXAMPLE}")


@named
def files(layout: Layout) -> Command:
    """Print each upload's size, time and path, ended by a NUL."""
    return looks(_asked(layout, "files"))


@named
def pick(layout: Layout) -> Command:
    """Keep the paths on standard input, each ended by a NUL, for `send_picked`."""
    return _asked(layout, "pick")


@named
def send_picked(layout: Layout) -> Command:
    """Print these uploads as a tar file."""
    return loosely(_asked(layout, "send", "picked"))


@named
def fill(layout: Layout) -> Command:
    """Add the uploads of a tar file on standard input, or put them in the place of others."""
    return loosely(_asked(layout, "fill"))


@named
def drop(layout: Layout) -> Command:
    """Remove the uploads whose paths are on standard input, each ended by a NUL."""
    return _asked(layout, "drop")


@named
def send_vault(layout: Layout) -> Command:
    """Print the backups' repository, and the keys of the places elsewhere, as a tar file."""
    return loosely(_asked(layout, "send", "vault"))


@named
def keep_vault(layout: Layout) -> Command:
    """Take that from standard input, in place of what is there."""
    return loosely(_asked(layout, "keep_vault"))


@named
def take_key(layout: Layout) -> Command:
    """Take the key that opens the repository from standard input."""
    return _asked(layout, "take_key")
