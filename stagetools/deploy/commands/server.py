"""Looking at the server, preparing it, and holding its lock."""

from collections.abc import Sequence

from stagetools.deploy.layout import LAYOUT, PROXY_DIR, Layout
from stagetools.deploy.limits import LOCK
from stagetools.deploy.shell import Command, looks, loosely, script, script_file, sh

__all__ = ["docker_repository", "ensure_account", "hold_lock", "install", "look"]


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
    )
    return looks(command)


def install(packages: Sequence[str]) -> Command:
    """Install Debian packages, waiting for another installer to finish first."""
    command = script(
        """
        export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
        apt-get -o DPkg::Lock::Timeout=300 -q update
        apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -q install -y --no-install-recommends "$@"
        systemctl enable --now docker 2>/dev/null || true
        for _ in $(seq 60); do docker info >/dev/null 2>&1 && exit 0; sleep 0.5; done
        echo "The Docker engine does not start: journalctl -u docker" >&2; exit 1
        """,
        *packages,
    )
    return loosely(command)


def docker_repository(os: str, codename: str) -> Command:
    """Add Docker's own apt repository, as docs.docker.com/engine/install/debian has it."""
    command = script(
        """
        export DEBIAN_FRONTEND=noninteractive
        apt-get -o DPkg::Lock::Timeout=300 -q update
        apt-get -o DPkg::Lock::Timeout=300 -q install -y --no-install-recommends ca-certificates curl
        install -m 0755 -d /etc/apt/keyrings
        curl -fsSL "https://download.docker.com/linux/$1/gpg" -o /etc/apt/keyrings/docker.asc
        chmod a+r /etc/apt/keyrings/docker.asc
        echo "deb [arch=$(dpkg --print-architecture) signed-by=/etc/apt/keyrings/docker.asc]" \
          "https://download.docker.com/linux/$1 $2 stable" >/etc/apt/sources.list.d/docker.list
        """,
        os,
        codename,
    )
    return loosely(command)


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
        layout.data_dir,
        layout.media_dir,
        layout.backups_dir,
        layout.assets_dir,
    )


def hold_lock(layout: Layout, who: str, wait: float, token: str) -> Command:
    """Say `held` and hold the lock while this process hears from us; else say who has it.

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
        interpreter="bash",
    )


def addresses() -> Command:
    """The server's own addresses, parted by spaces."""
    return looks(sh("hostname", "--all-ip-addresses"))


def resolve(domain: str) -> Command:
    """The addresses that the server's resolver has for a domain, a line each."""
    return looks(script("getent ahosts \"$1\" | cut -d' ' -f1 | sort -u", domain))


def uptime() -> Command:
    """Since when the server runs, as a person reads it."""
    return looks(sh("uptime", "--pretty"))
