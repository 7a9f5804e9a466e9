"""What a server keeps of its releases: listing, naming again, pruning."""

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, script

__all__ = ["again", "prune", "records"]


def records(layout: Layout) -> Command:
    """Every record, a line of JSON each, the newest first, with the size of its image."""
    command = script(
        """
        cd "$1" 2>/dev/null || exit 0
        for file in $(ls -r -- *.json 2>/dev/null); do
          release=${file%.json}
          size=$(docker image inspect --format '{{.Size}}' "$2:$release" 2>/dev/null || true)
          printf '%s\\t%s\\n' "$size" "$(cat "$file")"
        done
        """,
        layout.releases_dir,
        layout.system.name,
    )
    return looks(command)


def again(layout: Layout, old: str, new: str) -> Command:
    """Give an older release's image and files a new name, under which they serve again."""
    return script(
        """
        releases=$1 image=$2 old=$3 new=$4
        docker tag "$image:$old" "$image:$new"
        cd "$releases"; rm -rf "$new.part"; cp -al "$old" "$new.part"
        cp "$old.manifest" "$new.manifest"; mv -T "$new.part" "$new"
        """,
        layout.releases_dir,
        layout.system.name,
        old,
        new,
    )


def prune(
    layout: Layout, *, serving: str, keep: int, snapshots: int, cache: str
) -> Command:
    """Remove what no kept release needs, of this installation alone.

    Kept are the `keep` newest releases that went live and the one that serves; with them
    go images, sources, records and sockets of all others, hashed files that none of them
    uses, and all but the `snapshots` newest snapshots. `cache` bounds the engine's own
    build cache, which is no installation's.
    """
    return script(
        """
        name=$1 releases=$2 run=$3 assets=$4 backups=$5 serving=$6 keep=$7 snapshots=$8 cache=$9
        cd "$releases"
        kept=" $serving $(ls -r -- *.json 2>/dev/null | head -n "$keep" | sed 's/[.]json$//' | tr '\\n' ' ') "
        for path in * "$run"/*.sock; do
          file=${path##*/}; release=${file%.part}
          for suffix in json env manifest sock new; do release=${release%."$suffix"}; done
          case $kept in *" $release "*) ;; *) rm -rf -- "$path" ;; esac
        done
        docker image ls --format '{{.Tag}}' "$name" | while read -r tag; do
          case $kept in *" $tag "*) ;; *) docker image rm "$name:$tag" >/dev/null || true ;; esac
        done
        oldest=$(ls -- *.manifest 2>/dev/null | head -n 1)
        test -z "$oldest" || find "$assets" -type f ! -newer "$oldest" -delete
        for kind in before replaced; do
          ls -r -- "$backups/$kind"-*.sqlite3 2>/dev/null | tail -n "+$((snapshots + 1))" |
            while IFS= read -r old; do rm -f -- "$old" "$old-wal" "$old-shm"; done
        done
        docker builder prune --force --keep-storage "$cache" >/dev/null 2>&1 || true
        """,
        layout.system.name,
        layout.releases_dir,
        layout.run_dir,
        layout.assets_dir,
        layout.backups_dir,
        serving,
        keep,
        snapshots,
        cache,
    )
