"""Looking at the server, preparing it, and holding its lock."""

from collections.abc import Sequence

from stagetools.deploy.layout import PROXY_DIR, Layout
from stagetools.deploy.limits import LOCK
from stagetools.deploy.shell import Command, looks, script, sh

__all__ = ["docker_repository", "ensure_account", "hold_lock", "install", "look"]


def look(layout: Layout) -> Command:
    """Print what the steps decide on, one `key=value` a line; changes nothing."""
    command = script(
        """
        . /etc/os-release
        echo "os=$ID"; echo "os_version=${VERSION_ID:-}"; echo "os_codename=${VERSION_CODENAME:-}"
        echo "now=$(date -u +%Y%m%d-%H%M%S)"
        echo "newest=$(ls "$3" 2>/dev/null | sed -n 's/[.]manifest$//p' | tail -n 1)"
        echo "cores=$(nproc)"
        echo "memory_kb=$(sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)"
        echo "disk_free_kb=$(df -kP / | awk 'NR==2 {print $4}')"
        echo "disk_size_kb=$(df -kP / | awk 'NR==2 {print $2}')"
        echo "systemd=$(test -d /run/systemd/system && echo yes || true)"
        echo "database=$(stat -c %s "$6" 2>/dev/null || true)"
        echo "uid=$(id -u "$1" 2>/dev/null || true)"
        echo "gid=$(id -g "$1" 2>/dev/null || true)"
        echo "env=$(sha256sum <"$2" 2>/dev/null | cut -c1-64 || true)"
        echo "domains=$(test -f "$4/site" && tr '\\n' ' ' <"$4/site" || true)"
        current=$(readlink "$4/current.sock" 2>/dev/null || true)
        release=${current#run/}; release=${release%.sock}
        echo "release=$release"
        # not echo: a dash's reads the backslash of a Windows user's name as an escape
        test -z "$release" || printf 'record=%s\\n' "$(cat "$3/$release.json" 2>/dev/null || true)"
        echo "taken_ports=$(ss -Hltnp 'sport = :80 or sport = :443' 2>/dev/null |
          sed -n 's/.*users:(("\\([^"]*\\)".*/\\1/p' | sort -u | tr '\\n' ' ')"
        printf 'authority=%s\\n' "$(tr '\\n' '|' 2>/dev/null <"$5/authority.caddy" || true)"
        echo "proxy_version=$(cat "$5/version" 2>/dev/null || true)"
        echo "proxy=$(cat "$5/compose.yaml" "$5/Caddyfile" 2>/dev/null | sha256sum | cut -c1-64)"
        if docker version --format 'docker={{.Server.Version}}' 2>/dev/null; then
          docker compose version --short 2>/dev/null | sed 's/^/compose=/' || true
          docker buildx version >/dev/null 2>&1 && echo buildx=yes || true
          docker ps --all --no-trunc --filter label=stagetools.system \
            --filter label=com.docker.compose.oneoff=False --format \
            'container={{.ID}} {{.Label "stagetools.system"}} {{.Label "stagetools.release"}} {{.State}} {{.Status}}'
        fi
        """,
        layout.system.name,
        layout.env_file,
        layout.releases_dir,
        layout.site_dir,
        PROXY_DIR,
        layout.system.database_sqlite_path,
    )
    return looks(command)


def install(packages: Sequence[str]) -> Command:
    """Install Debian packages, waiting for another installer to finish first."""
    return script(
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


def docker_repository(os: str, codename: str) -> Command:
    """Add Docker's own apt repository, as docs.docker.com/engine/install/debian has it."""
    return script(
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


def ensure_account(layout: Layout) -> Command:
    """The installation's user, directories and secrets; says `created` for what was missing."""
    return script(
        """
        name=$1 home=$2 env=$3 releases=$4 site=$5
        if ! id -u "$name" >/dev/null 2>&1; then
          useradd --system --user-group --no-create-home --home-dir "$home" --shell /usr/sbin/nologin "$name"
          echo "created user $name"
        fi
        install -d -m 0755 /srv/stagetools /srv/stagetools/web /srv/stagetools/web/sites \
          /srv/stagetools/web/hosts "$site"
        install -d -o "$name" -g "$name" -m 0750 "$home" "$site/run"
        shift 5
        install -d -o "$name" -g "$name" -m 0750 "$@"
        install -d -m 0755 "$releases"
        if ! test -s "$env"; then
          umask 077
          printf 'SECRET_KEY="%s"\\n' "$(head -c 48 /dev/urandom | base64 -w0 | tr '+/' '-_')" >"$env.new"
          mv "$env.new" "$env"
          echo "created secrets"
        fi
        """,
        layout.system.user,
        layout.home,
        layout.env_file,
        layout.releases_dir,
        layout.site_dir,
        layout.data_dir,
        layout.media_dir,
        layout.backups_dir,
        layout.assets_dir,
    )


def hold_lock(layout: Layout, who: str, wait: float) -> Command:
    """Say `held` and hold the lock while this process hears from us; else say who has it.

    It is waited for so many seconds. A line with words says what is being done.

    The holder dies with its standard input, and also when no line comes for
    `LOCK.silence` seconds: a dropped network ends no process by itself.
    """
    return script(
        """
        mkdir -p "${1%/*}"
        exec 9>>"$1"
        flock --wait "$4" 9 || { tr '\\n' ' ' <"$1.who"; echo; exit 75; }
        from=${SSH_CONNECTION:+ from ${SSH_CONNECTION%% *}}
        echo "$$" >"$1.pid"; echo "$2$from" >"$1.who"
        echo held
        while IFS= read -r -t "$3" line; do
          test -z "$line" || printf '%s\\n' "$2$from" "now: $line" >"$1.who"
        done
        """,
        layout.lock_file,
        who,
        LOCK.silence,
        wait,
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
