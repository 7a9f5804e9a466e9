"""The server's one proxy: its files, its authority for certificates, exceptions from it."""

from stagetools.deploy.layout import PROXY_DIR, Layout
from stagetools.deploy.shell import Command, script

__all__ = ["REFUSED", "ensure", "except_site", "visit"]

REFUSED = 65
"""The exit status when Caddy does not accept a configuration; the one before stays."""

# Each "FILE.new" becomes "FILE" if Caddy accepts the whole with them; else nothing has changed.
_ADOPT = r"""
adopt() {
  for file; do
    cp -p "$file" "$file.before" 2>/dev/null || rm -f "$file.before"
    mv "$file.new" "$file"
  done
  if ! docker run --rm --network none --volume "$dir:/etc/caddy:ro" caddy:2 \
      caddy validate --config /etc/caddy/Caddyfile --adapter caddyfile >"$dir/.said" 2>&1; then
    for file; do mv "$file.before" "$file" 2>/dev/null || rm -f "$file"; done
    tail -3 "$dir/.said"; exit "$refused"
  fi
  for file; do rm -f "$file.before"; done; rm -f "$dir/.said"
}
# Another Caddy beside the one that runs: both listen on the ports (SO_REUSEPORT). The old one
# tells its visitors to come by another connection, finishes what it has, and leaves. What may
# be lost is a request whose connection is being made at that moment (none of 8,056 in six
# renewals; one in almost each where the processor is starved). The file
# `version` is away meanwhile: whoever finds that it was interrupted does it again.
renew() {
  rm -f version
  compose() { docker compose --project-name stagetools-proxy --progress quiet "$@"; }
  all="docker ps --all --quiet --no-trunc --filter label=com.docker.compose.project=stagetools-proxy"
  old=$($all)
  if test -z "$old"; then
    compose up --detach --wait 2>&1; echo "$1" >version; return
  fi
  compose up --detach --no-recreate --scale "caddy=$(($(echo "$old" | wc -l) + 1))" 2>&1
  new=$($all | grep -vxF "$old")
  # it accepts this once it runs, and finds that nothing has changed
  for try in $(seq 30); do
    docker exec "$new" caddy reload --config /etc/caddy/Caddyfile --adapter caddyfile \
      --address unix//run/caddy/admin.sock >"$dir/.said" 2>&1 && break
    if test "$try" = 30; then
      docker logs --tail 5 "$new" 2>&1; docker rm --force "$new" >/dev/null; exit 1
    fi
    sleep 0.5
  done
  # connections that the old one has not accepted yet go to the new one. Linux, ip-sysctl
  migrate=/proc/sys/net/ipv4/tcp_migrate_req
  before=$(cat "$migrate" 2>/dev/null || echo none)
  test "$before" = none || echo 1 >"$migrate" 2>/dev/null || true
  docker stop $old >/dev/null; docker rm $old >/dev/null
  test "$before" = none || echo "$before" >"$migrate" 2>/dev/null || true
  rm -f "$dir/.said"; echo "$1" >version
}
exec 9>/run/lock/stagetools-proxy.lock; flock 9
"""


def ensure(authority: str, version: int) -> Command:
    """Unpack the proxy's files from standard input (a tar), and start or renew it.

    `authority` is how certificates are made on this server; the first stage that makes
    any decides. `version` is that of the files, remembered once a proxy runs with them.
    """
    return script(
        _ADOPT
        + """
        dir=$1 refused=$3
        install -d -m 0755 /srv/stagetools /srv/stagetools/web "$dir" "$dir/sites"; cd "$dir"
        rm -f ./*.new; tar -x --no-same-owner --transform 's/$/.new/' -f -
        if test -n "$2" && ! test -f authority.caddy; then
          printf '%s\\n' "$2" >authority.caddy.new
        fi
        adopt $(ls -- *.new | sed 's/[.]new$//')
        renew "$4"
        """,
        PROXY_DIR,
        authority,
        REFUSED,
        version,
    )


def except_site(layout: Layout, snippet: str) -> Command:
    """Serve the installation by a snippet of its own; an empty one ends that.

    The proxy stays as it is when the snippet is there already.
    """
    return script(
        _ADOPT
        + """
        dir=$1 file=sites/$2.caddy refused=$4
        test -n "$3" || test -f "$dir/$file" || exit 0
        cd "$dir"; version=$(cat version || echo 0)
        if test -z "$3"; then rm -f "$file"; renew "$version"; exit 0; fi
        printf '%s' "$3" >"$file.new"
        if cmp -s "$file" "$file.new"; then rm "$file.new"; exit 0; fi
        adopt "$file"; renew "$version"
        """,
        PROXY_DIR,
        layout.system.name,
        snippet,
        REFUSED,
    )


def visit(image: str, url: str, limit: float) -> Command:
    """Ask for the page once, from the server itself, so that its certificate is made."""
    return script(
        """
        docker run --rm --network host --read-only "$1" \
          python -m stagetools.probe "$2" --at 127.0.0.1 --limit "$3"
        """,
        image,
        url,
        limit,
    )
