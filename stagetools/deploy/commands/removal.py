"""Taking an installation, or its lock, away."""

from stagetools.deploy.layout import ROOT, WEB_DIR, Layout
from stagetools.deploy.shell import Command, prints, script

__all__ = ["remove", "unlock"]


def remove(layout: Layout) -> Command:
    """Remove containers, images, site, account and files; keep the database in a safe place."""
    command = script(
        """
        name=$1 project=$2 home=$3 database=$4 web=$5 kept=$6
        for link in "$web"/hosts/*; do
          test "$(readlink "$link" || true)" != "../sites/$name" || rm -f "$link"
        done
        docker ps --all --quiet --filter "label=com.docker.compose.project=$project" | xargs -r docker stop >/dev/null
        docker ps --all --quiet --filter "label=com.docker.compose.project=$project" | xargs -r docker rm --force --volumes >/dev/null
        docker network ls --quiet --filter "label=com.docker.compose.project=$project" | xargs -r docker network rm >/dev/null
        said="it had no database"
        if test -s "$database"; then
          install -d -m 0700 "$kept"
          to=$kept/$name-$(date -u +%Y%m%d-%H%M%S).sqlite3
          for suffix in '' -wal; do
            test ! -e "$database$suffix" || install -m 0600 "$database$suffix" "$to$suffix"
          done
          sync -f "$to"; said="its database is kept as $to"
        fi
        rm -rf "$web/sites/$name"
        docker image ls --format '{{.Repository}}:{{.Tag}}' "$name" | xargs -r docker image rm --force >/dev/null
        userdel "$name" 2>/dev/null || true
        rm -rf "$home"
        echo "$said"
        """,
        layout.system.name,
        layout.system.container,
        layout.home,
        layout.system.database_sqlite_path,
        WEB_DIR,
        ROOT / "kept",
    )
    return prints(command, "its database is kept as <copy>")


def unlock(layout: Layout) -> Command:
    """End the lock's holder, and say whose it was."""
    return script(
        """
        if flock --nonblock "$1" true 2>/dev/null; then echo "Nobody held the lock."; exit 0; fi
        kill "$(cat "$1.pid")"
        flock --wait 5 "$1" true
        echo "The lock was held by: $(tr '\\n' ' ' <"$1.who")"
        """,
        layout.lock_file,
    )
