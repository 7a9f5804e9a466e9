"""Looking at the server, preparing it, and holding its lock."""

from collections.abc import Sequence

from stagetools.deploy.commands.backup import replica
from stagetools.deploy.layout import LAYOUT, PROXY_DIR, Layout
from stagetools.deploy.limits import LOCK
from stagetools.deploy.shell import (
    Command,
    looks,
    loosely,
    named,
    prints,
    script,
    script_file,
    script_text,
    sh,
)

__all__ = [
    "DAEMON_JSON",
    "daemon_json",
    "docker_repository",
    "ensure_account",
    "hold_lock",
    "install",
    "look",
    "set_engine",
    "swarm",
]

DAEMON_JSON = "/etc/docker/daemon.json"


@named
def look(layout: Layout) -> Command:
    """Print what the steps decide on, one `key=value` a line; changes nothing."""
    command = script_file(
        "look.sh",
        layout.system.name,
        layout.env_file,
        layout.releases_dir,
        layout.site_dir,
        PROXY_DIR,
        layout.home,
        layout.system.database_sqlite_path,
        LAYOUT,
        layout.overlays_dir,
    )
    return looks(command)


@named
def install(packages: Sequence[str]) -> Command:
    """Install Debian packages, waiting for another installer to finish first."""
    return loosely(script_file("install.sh", *packages, after="apt.sh"))


@named
def docker_repository(os: str, codename: str) -> Command:
    """Add Docker's own apt repository, as docs.docker.com/engine/install/debian has it."""
    command = script_file("docker_repository.sh", os, codename, after="apt.sh")
    return loosely(command)


@named
def daemon_json() -> Command:
    """Print the engine's own configuration file, or nothing where there is none."""
    return looks(script('test ! -f "$1" || cat "$1"', DAEMON_JSON))


@named
def swarm() -> Command:
    """Print `active` on a server that is part of a swarm, which excludes live-restore."""
    return looks(sh("docker", "info", "--format", "{{.Swarm.LocalNodeState}}"))


@named
def set_engine(version: int, restore: str) -> Command:
    """Give the engine what sites share, and its daemon.json anew from standard input, if any.

    What came of live-restore is printed; with the version, it is what `look` tells from then on.
    """
    return prints(script_file("engine.sh", version, restore), restore)


@named
def ensure_account(layout: Layout) -> Command:
    """The installation's user, directories and secrets; says `created` for what was missing."""
    return script_file(
        "account.sh",
        layout.system.user,
        layout.home,
        layout.env_file,
        layout.releases_dir,
        layout.site_dir,
        LAYOUT,
        layout.media_dir,
        layout.data_dir,
        layout.backups_dir,
        layout.assets_dir,
    )


@named
def hold_lock(
    layout: Layout, who: str, wait: float, token: str, *, moved: bool = False
) -> Command:
    """Say `held` and hold the lock while this process hears from us; else say who has it.

    Or `moved <to>`, where the site is on another server by now, unless `moved` allows that.

    It is waited for so many seconds. A line with words says what is being done; a line
    with a dot, that all is over. Only commands with our token run meanwhile (fence.py).

    The holder dies with its standard input, and also when for
    `LOCK.silence` seconds no line comes, nor a byte of an upload: a dropped network ends no process by itself. Before it goes it
    undoes what we have left half done.
    """
    return script_file(
        "hold_lock.sh",
        layout.fence,
        who,
        LOCK.silence,
        wait,
        token,
        layout.home,
        layout.site_dir,
        f"{layout.system.container}-database",
        layout.system.user,
        "yes" if moved else "",
        layout.database_name,
        layout.backups_dir,
        replica.script_path(layout),
        "".join(map(script_text, ("as_account.sh", "kept.sh", "retire.sh"))),
        interpreter="bash",
        after="adopt_uploads.sh",
    )


@named
def addresses() -> Command:
    """The server's own addresses, parted by spaces."""
    return looks(sh("hostname", "--all-ip-addresses"))


@named
def resolve(domain: str) -> Command:
    """The addresses that the server's resolver has for a domain, a line each."""
    return looks(script("getent ahosts \"$1\" | cut -d' ' -f1 | sort -u", domain))


@named
def uptime() -> Command:
    """Since when the server runs, as a person reads it."""
    return looks(sh("uptime", "--pretty"))
