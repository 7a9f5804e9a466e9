"""Asking a release's own image about the database: `python -m stagetools.database`."""

from stagetools.deploy.commands.compose import compose_words
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, prints, script, sh

__all__ = ["end", "put_back", "restore", "run", "snapshot_age"]


_TIMED = '{"migration": "<migration>", "seconds": 0}\n'
# As stagetools.database prints them: the longest way, where there are migrations.
_EXAMPLES = {
    "plan": '{"pending": ["<migration>"], "breaking": [], "size": 0, "sqlite": true}',
    "known": '{"known": []}',
    "rehearse": '{"copied": 0}\n' + _TIMED + '{"rehearsed": 0}',
    "snapshot": '{"snapshot": "<snapshot>"}',
    "migrate": _TIMED + '{"migrated": 0}',
    "unknown": '{"unknown": ["<migration>"], "breaking": [["<migration>", ""]],'
    ' "irreversible": []}',
    "rehearse-reverse": '{"reversed": 0}',
    "reverse": '{"reversed": 0}',
}


def _container(layout: Layout) -> str:
    return f"{layout.system.container}-database"


def end(layout: Layout) -> Command:
    """End whatever `run` started and left running."""
    return sh("docker", "rm", "--force", _container(layout))


def run(layout: Layout, release: str, *words: str) -> Command:
    """Run one command of `stagetools.database` in a container of the release.

    Its name is always the same: what an interrupted deploy left running is ended first, so
    that two migrations never meet.
    """
    name = _container(layout)
    command = script(
        """
        name=$1; shift
        docker rm --force "$name" >/dev/null 2>&1 || true
        exec "$@"
        """,
        name,
        *compose_words(
            layout, release, "--progress", "quiet", "run", "--rm", "--no-deps"
        ),
        # a release that serves has no way to the snapshots; what works on the database has
        *("--volume", f"{layout.backups_dir}:{layout.backups_dir}"),
        *("--no-TTY", "--name", name, "web", "python", "-m", "stagetools.database"),
        *words,
    )
    return prints(command, _EXAMPLES.get(words[0], ""))


# The file and what SQLite keeps beside it, from $1 to $2; what is not there is no error.
_MOVE = """
move() { for suffix in '' -wal -shm; do
  test ! -e "$1$suffix" || mv "$1$suffix" "$2$suffix"
done; }
"""


def restore(layout: Layout, snapshot: str, keep: str) -> Command:
    """Put a snapshot in the database's place, and keep the database as `replaced-<keep>`.

    Nothing may have the database open.
    """
    return script(
        _MOVE
        + """
        live=$1 backups=$2 snapshot=$2/$3.sqlite3 kept=$2/replaced-$4.sqlite3 user=$5
        test -s "$snapshot"
        install -o "$user" -g "$user" -m 0640 "$snapshot" "$live.new"; sync "$live.new"
        move "$live" "$kept"; mv "$live.new" "$live"; sync -f "$live"
        """,
        layout.system.database_sqlite_path,
        layout.backups_dir,
        snapshot,
        keep,
        layout.system.user,
    )


def put_back(layout: Layout, keep: str) -> Command:
    """Undo `restore`."""
    return script(
        _MOVE + 'rm -f "$1" "$1-wal" "$1-shm"; move "$2" "$1"; sync -f "$1"',
        layout.system.database_sqlite_path,
        layout.backups_dir / f"replaced-{keep}.sqlite3",
    )


def snapshot_age(layout: Layout, snapshot: str) -> Command:
    """Print how many seconds ago a snapshot was made; fails when it is not there."""
    command = script(
        'echo $(( $(date +%s) - $(stat -c %Y "$1") ))',
        layout.backups_dir / f"{snapshot}.sqlite3",
    )
    return looks(command)
