"""The server's one proxy: its files, its authority for certificates, exceptions from it."""

from stagetools.deploy.layout import PROXY_DIR, Layout
from stagetools.deploy.shell import Command, named, script, script_file

__all__ = ["REFUSED", "ensure", "except_site", "visit"]

REFUSED = 65
"""The exit status when Caddy does not accept a configuration; the one before stays."""


@named
def ensure(authority: str, version: int) -> Command:
    """Unpack the proxy's files from standard input (a gzipped tar), and start or renew it.

    `authority` is how certificates are made on this server; the first stage that makes
    any decides. `version` is that of the files, remembered once a proxy runs with them.
    """
    return _proxy("ensure", authority, version)


@named
def except_site(layout: Layout, snippet: str, *root: str) -> Command:
    """Serve the installation by a snippet of its own; an empty one ends that.

    `root` is the name and the text of a certificate that the snippet needs beside it.
    The proxy stays as it is when the snippet is there already.
    """
    return _proxy("except", layout.system.name, snippet, *root)


def _proxy(*words: object) -> Command:
    return script_file("proxy.sh", PROXY_DIR, REFUSED, *words)


@named
def visit(container: str, url: str, limit: float) -> Command:
    """Ask for the page once, from the server itself, so that its certificate is made.

    The release's own container asks, with no more rights than it has anyway: its network's
    gateway is the server, where the proxy listens.
    """
    return script(
        """
        form='{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}'
        # shellcheck disable=SC2046 # a word for each network
        set -- "$1" "$2" "$3" $(docker inspect --format "$form" "$1")
        docker exec "$1" python -m stagetools.probe "$2" --at "$4" --limit "$3"
        """,
        container,
        url,
        limit,
    )
