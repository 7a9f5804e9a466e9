"""What a server keeps of its releases: listing, naming again, pruning."""

from stagetools.deploy.commands.backup import replica
from stagetools.deploy.hashed import TYPES, Sent
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, looks, named, script, script_file

__all__ = ["duplicate", "keep_hashed", "prune", "records"]

_MOST_BYTES, _MOST_FILES = 256 * 2**20, 20_000  # of static files that the proxy sends


@named
def records(layout: Layout) -> Command:
    """Every record, a line of JSON each, the newest first, with the size of its image."""
    command = script_file("records.sh", layout.releases_dir, layout.system.name)
    return looks(command)


@named
def duplicate(layout: Layout, old: str, new: str) -> Command:
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


@named
def keep_hashed(layout: Layout, release: str, container: str, sent: Sent) -> Command:
    """Keep root's own copies of the release's hashed files, and let the proxy send them.

    Fails, and says why, where there are too many of them; then the site sends them, as ever.
    """
    return script_file(
        "assets.sh",
        layout.site_dir,
        release,
        container,
        sent.manifest,
        "|".join(TYPES),
        _MOST_BYTES,
        _MOST_FILES,
        *sent.names,
    )


@named
def prune(
    layout: Layout, *, serving: str, keep: int, snapshots: int, cache: str
) -> Command:
    """Remove what no kept release needs, of this installation alone.

    Kept are what `serving` names, the newest launch of each of the `keep` builds that went
    live last, and of the build before the one that serves: a changed environment is a
    launch, and takes no build's place. With them stay their images, sources and sockets,
    the hashed files that they use, the database directories that they name, and the
    `snapshots` newest snapshots of each kind; of others what they migrated is remembered,
    as long as a kept release is older. `cache` bounds the engine's own build cache, which
    is no installation's.
    """
    return script_file(
        "prune.sh",
        layout.system.name,
        layout.home,
        layout.releases_dir,
        layout.run_dir,
        layout.assets_dir,
        layout.backups_dir,
        serving,
        keep,
        snapshots,
        cache,
        replica.script_path(layout),
    )
