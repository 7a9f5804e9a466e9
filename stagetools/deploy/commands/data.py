"""Database directories: `data`, and the copies on which a database is changed.

The account may write in them, and so may whoever took over its containers: all that is done
there is done as the account, which reaches nothing that is not its own anyway.
"""

from pathlib import PurePosixPath

from stagetools.deploy.commands.backup import replica
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import (
    Command,
    looks,
    named,
    prints,
    script,
    script_file,
    script_text,
)

__all__ = ["adopt_uploads", "copy", "discard", "retire", "seed", "snapshot_age"]

_AS_ACCOUNT = script_text("as_account.sh")
_ADOPT_UPLOADS = script_text("adopt_uploads.sh")


@named
def seed(
    layout: Layout, release: str, *, live: PurePosixPath, snapshot: str
) -> Command:
    """Leave the release a directory of its own with a snapshot as its database.

    Whatever else lies beside the live database comes along.
    """
    return script(
        _AS_ACCOUNT
        + """
        to=$2 live=$3 name=$4 snapshot=$5
        rm -rf -- "$to"; install -d -o "$user" -g "$user" -m 0750 "$to"
        as find "$live/" -mindepth 1 -maxdepth 1 ! -name "$name*" -exec cp -a -t "$to" {} +
        as cp -- "$snapshot" "$to/$name"; as sync "$to/$name"
        """,
        layout.system.user,
        layout.data_copy(release),
        live,
        layout.database_name,
        layout.backups_dir / f"{snapshot}.sqlite3",
    )


@named
def copy(layout: Layout, release: str, *, live: PurePosixPath) -> Command:
    """Bring the release's directory to what the live one is, on the disk when it returns.

    Nobody may be writing there. The switch comes next, and would outlive a power cut that
    what is copied does not.
    """
    return script(
        _AS_ACCOUNT
        + """
        to=$2 live=$3
        as find "$to/" -mindepth 1 -delete
        as cp -a --reflink=auto -- "$live/." "$to/"
        as find "$to/" '(' -type f -o -type d ')' -exec sync -- {} +
        """,
        layout.system.user,
        layout.data_copy(release),
        live,
    )


@named
def discard(layout: Layout, release: str) -> Command:
    """Remove the directories of a release that never served: database, and a clone's uploads.

    What still writes there, for a client that is gone, does not keep them.
    """
    return script(
        _AS_ACCOUNT
        + """
        for dir in "$2" "$3"; do
          test -d "$dir" || continue
          as find "$dir/" -mindepth 1 -delete || true; rm -rf -- "$dir"
        done
        """,
        layout.system.user,
        layout.data_copy(release),
        layout.media_copy(release),
    )


@named
def adopt_uploads(layout: Layout) -> Command:
    """Let `media` lead to the uploads that the serving release has brought, if it has.

    Those of before lie in a directory that `prune` removes.
    """
    return script(
        _ADOPT_UPLOADS + 'adopt_uploads "$1" "$2"',
        layout.home,
        layout.site_dir,
    )


@named
def retire(layout: Layout, *, live: PurePosixPath) -> Command:
    """Keep the databases of directories that are not live any more, and let these go.

    `data` leads people to the live one. The kept ones are `backups/replaced-….sqlite3`.
    """
    return script_file(
        "retire.sh",
        layout.system.user,
        layout.home,
        live,
        layout.database_name,
        layout.backups_dir,
        replica.script_path(layout),
        after="as_account.sh kept.sh",
    )


@named
def snapshot_age(layout: Layout, snapshot: str) -> Command:
    """Print how many seconds ago a snapshot was made; fails when it is not there."""
    command = script(
        'test -f "$1"; test ! -L "$1"; echo $(( $(date +%s) - $(stat -c %Y "$1") ))',
        layout.backups_dir / f"{snapshot}.sqlite3",
    )
    return prints(looks(command), "0")
