"""What the proxy sees of an installation, and the proxy itself."""

from collections.abc import Sequence

from stagetools.deploy.layout import PROXY_DIR, WEB_DIR, Layout
from stagetools.deploy.limits import SHUTDOWN
from stagetools.deploy.shell import Command, script

__all__ = ["TAKEN", "claim_domains", "drain", "start_proxy", "switch", "visit"]


TAKEN = 65
"""The exit status of `claim_domains` when another installation has a domain."""


def start_proxy(authority: str) -> Command:
    """Unpack the proxy's files from standard input (a tar) and start or renew it.

    `authority` is how certificates are made on this server; the first stage decides.
    """
    return script(
        """
        exec 9>/run/lock/stagetools-proxy.lock; flock 9
        install -d "$1" "$1/sites"; cd "$1"
        tar -x --no-same-owner -f -
        test -f authority.caddy || printf '%s\\n' "$2" >authority.caddy
        docker compose --progress quiet up --detach --wait 2>&1
        """,
        PROXY_DIR,
        authority,
    )


def claim_domains(layout: Layout, domains: Sequence[str], *, tls: bool) -> Command:
    """Let the proxy find the installation under these domains, and under no other.

    Exits `TAKEN` and prints `<domain> <installation>` when another one has a domain already.
    """
    return script(
        """
        web=$1 name=$2 tls=$3 taken=$4; shift 4
        site=$web/sites/$name
        for domain in "$@"; do
          there=$(readlink "$web/hosts/$domain" || true)
          case $there in ''|"../sites/$name") ;; *) echo "$domain ${there##*/}"; exit "$taken" ;; esac
        done
        if test "$tls" = yes; then : >"$site/tls"; else rm -f "$site/tls"; fi
        for domain in "$@"; do ln -sfn "../sites/$name" "$web/hosts/$domain"; done
        for link in "$web"/hosts/*; do
          test "$(readlink "$link" || true)" = "../sites/$name" || continue
          domain=${link##*/}
          case " $* " in *" $domain "*) ;; *) rm -f "$link" ;; esac
        done
        printf '%s\\n' "$@" >"$site/site"
        """,
        WEB_DIR,
        layout.system.name,
        "yes" if tls else "no",
        TAKEN,
        *domains,
    )


def switch(layout: Layout, release: str) -> Command:
    """Send all new requests to the release: one rename(2), on disk before it returns."""
    return script(
        """
        cd "$1"; test -S "run/$2.sock"
        ln -sfn "run/$2.sock" next.sock; mv -T next.sock current.sock; sync -f .
        """,
        layout.site_dir,
        release,
    )


def drain(layout: Layout, release: str) -> Command:
    """Wait until no connection to the release's socket is left; print `busy` if some stay.

    The kernel books a connection to a unix socket under the network namespace of the one
    who connects: the proxy's, which is the server's own. Waiting for a fixed time instead
    lost 2,888 requests when the processor was starved.
    """
    return script(
        """
        end=$(( $(date +%s) + $2 ))
        while grep -q " $1$" /proc/net/unix; do
          test "$(date +%s)" -lt "$end" || { echo busy; exit 0; }
          sleep 0.05
        done
        """,
        layout.socket(release),
        SHUTDOWN.drain,
    )


def visit(image: str, url: str, limit: float) -> Command:
    """Ask for the page once, from the server itself, so that its certificate is made."""
    return script(
        'docker run --rm --network host --read-only "$1" python -m stagetools.probe "$2" --at 127.0.0.1 --limit "$3"',
        image,
        url,
        limit,
    )
