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
reload() {
  docker compose exec --no-TTY caddy caddy reload --config /etc/caddy/Caddyfile \
    --adapter caddyfile --address unix//run/caddy/admin.sock
}
exec 9>/run/lock/stagetools-proxy.lock; flock 9
"""


def ensure(authority: str) -> Command:
    """Unpack the proxy's files from standard input (a tar), and start or renew it.

    `authority` is how certificates are made on this server; the first stage that makes
    any decides. A running proxy is reloaded only when its files differ.
    """
    return script(
        _ADOPT
        + """
        dir=$1 refused=$3
        install -d -m 0755 /srv/stagetools /srv/stagetools/web "$dir" "$dir/sites"; cd "$dir"
        running=$(docker compose --project-name stagetools-proxy ps --quiet --status running 2>/dev/null || true)
        rm -f ./*.new; tar -x --no-same-owner --transform 's/$/.new/' -f -
        if test -n "$2" && ! test -f authority.caddy; then
          printf '%s\\n' "$2" >authority.caddy.new
        fi
        adopt $(ls -- *.new | sed 's/[.]new$//')
        docker compose --progress quiet up --detach --wait 2>&1
        test -z "$running" || reload
        """,
        PROXY_DIR,
        authority,
        REFUSED,
    )


def except_site(layout: Layout, snippet: str) -> Command:
    """Serve the installation by a snippet of its own; an empty one ends that.

    Nothing is reloaded when the snippet is there already.
    """
    return script(
        _ADOPT
        + """
        dir=$1 file=sites/$2.caddy refused=$4; cd "$dir"
        if test -z "$3"; then
          test -f "$file" || exit 0
          rm -f "$file"; reload; exit 0
        fi
        printf '%s' "$3" >"$file.new"
        if cmp -s "$file" "$file.new"; then rm "$file.new"; exit 0; fi
        adopt "$file"; reload
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
