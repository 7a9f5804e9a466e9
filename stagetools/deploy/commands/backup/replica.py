"""The replica of an installation's database: set up, followed, watched, brought back."""

import hashlib
from pathlib import Path, PurePosixPath

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import (
    Command,
    looks,
    loosely,
    named,
    script,
    script_file,
    script_text,
    script_with,
)

__all__ = [
    "UNREACHED",
    "container",
    "digest",
    "install",
    "script_path",
    "take_away",
    "watch",
]

UNREACHED = 66
"""The exit status of `install` where nothing can be read at the URL."""
_FILES = ("replica.yaml", "replica_place.yaml", "litestream.yaml")


def container(layout: Layout) -> str:
    """`shop-prod-replica`, which is its compose project, too."""
    return f"{layout.system.container}-replica"


def own_dir(layout: Layout) -> PurePosixPath:
    """`/srv/stagetools/stages/shop_prod/replica`, root's own."""
    return layout.overlays_dir / "replica"


def script_path(layout: Layout) -> PurePosixPath:
    """`/srv/stagetools/stages/shop_prod/replica/replica.sh`, where there is a replica."""
    return own_dir(layout) / "replica.sh"


def meta_dir(layout: Layout) -> PurePosixPath:
    """`/home/shop_prod/replica`: what Litestream remembers, a directory for each database."""
    return layout.home / "replica"


@named
def install(
    layout: Layout, url: str, *, directory: str = "", host: str = "", port: int = 0
) -> Command:
    """Leave a container that sends every change of the database to the URL.

    `directory` is that of a `file://` URL, `host` and `port` are those of an `sftp://` one.
    Exits `UNREACHED`, and prints `key=<line>` where an sftp server must know that.
    """
    command = script_file(
        "replica_install.sh",
        own_dir(layout),
        layout.system.user,
        layout.system.name,
        url,
        digest(layout, url),
        directory,
        host,
        port,
        UNREACHED,
        layout.site_dir,
        _script(layout, url, directory),
        *(_text(name) for name in _FILES),
    )
    return loosely(command)


@named
def take_away(layout: Layout) -> Command:
    """Remove all that `install` has left; what lies at the URL stays."""
    return script_file(
        "replica_away.sh",
        own_dir(layout),
        meta_dir(layout),
        layout.system.user,
        layout.system.name,
        container(layout),
    )


@named
def watch(layout: Layout) -> Command:
    """Print how the replica stands; nothing where there is none."""
    return looks(script('test ! -f "$1" || exec sh "$1" watch', script_path(layout)))


def digest(layout: Layout, url: str) -> str:
    """SHA-256 of all that `install` leaves, as `look` tells it from then on; "" without a URL."""
    if not url:
        return ""
    parts = (url, _script(layout, url, ""), *(_text(name) for name in _FILES))
    whole = "\0".join((*parts, script_text("replica_install.sh")))
    return hashlib.sha256(whole.encode()).hexdigest()


def _text(name: str) -> str:
    return (Path(__file__).parents[2] / "overlays" / name).read_text("utf-8")


def _script(layout: Layout, url: str, directory: str) -> str:
    """`replica.sh` with its values before it: systemd calls it without a client."""
    return script_with(
        "replica.sh",
        own=own_dir(layout),
        meta=meta_dir(layout),
        name=layout.system.name,
        user=layout.system.user,
        container=container(layout),
        home=layout.home,
        site=layout.site_dir,
        releases=layout.releases_dir,
        env=layout.env_file,
        base=layout.fence,
        database=layout.database_name,
        url=url,
        place=directory,
    )
