"""Moving a site to another server: what leads visitors on, and what comes along."""

from collections.abc import Sequence

from stagetools.deploy.commands.backup import replica
from stagetools.deploy.layout import Layout
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
    "LATE",
    "come_back",
    "expect",
    "expect_no_more",
    "forward",
    "gone",
    "lead_no_more",
    "leave",
    "roots",
    "send_certificates",
    "send_environment",
    "take_certificates",
    "take_environment",
]

LATE = 67
"""The exit status of `leave` when the visitors it was for wait no longer."""


@named
def send_environment(layout: Layout) -> Command:
    """Print the environment file, secrets and all."""
    return looks(sh("cat", layout.env_file))


@named
def take_environment(layout: Layout) -> Command:
    """Put standard input in the place of the environment file of a site that does not serve."""
    return script(
        """
        case $(readlink "$1" || true) in ''|run/moved.sock) ;; *) echo "A release serves here already." >&2; exit 1 ;; esac
        umask 077; cat >"$2.new"; test -s "$2.new"; sync "$2.new"; mv -T "$2.new" "$2"
        """,
        layout.current,
        layout.env_file,
    )


@named
def send_certificates(domains: Sequence[str]) -> Command:
    """Print the domains' certificates, with their keys, as a tar file."""
    return loosely(script_file("certificates.sh", "send", *domains))


@named
def take_certificates(domains: Sequence[str]) -> Command:
    """Keep such a tar file where the proxy looks; what is newer there stays."""
    return script_file("certificates.sh", "take", *domains)


@named
def roots() -> Command:
    """Print the certificate of the proxy's own authority, if it has one."""
    return prints(script_file("certificates.sh", "roots"), "")


@named
def forward(
    layout: Layout, release: str, *, to: str, tls: bool, domain: str
) -> Command:
    """Start what will lead visitors on to another server, and try it; nobody is led yet.

    Standard input is the certificates that this server may show. Fails with why it does not answer.
    """
    system = layout.system
    command = script_file(
        "forward.sh",
        layout.overlays_dir,
        system.name,
        system.container,
        system.user,
        layout.site_dir,
        f"{system.name}:{release}",
        f"[{to}]" if ":" in to else to,
        "yes" if tls else "no",
        domain,
    )
    return loosely(command)


@named
def leave(layout: Layout, release: str, container: str, *, to: str) -> Command:
    """Serve nobody here any more: one rename, on disk before it returns.

    Exits `LATE` where the visitors of the frozen container were let go meanwhile.
    """
    return script_file(
        "leave.sh",
        *(layout.site_dir, release, container, layout.hold_file),
        to,
        layout.system.name,
    )


@named
def come_back(layout: Layout) -> Command:
    """Undo `leave` and `forward`."""
    return script_file(
        "come_back.sh",
        layout.site_dir,
        layout.system.name,
        layout.system.container,
    )


@named
def gone(layout: Layout) -> Command:
    """End all that could still write to the database of a site that has left."""
    return script_file(
        "gone.sh",
        layout.system.name,
        layout.system.container,
        layout.hold_file,
        replica.own_dir(layout),
        replica.meta_dir(layout),
        layout.system.user,
        replica.container(layout),
        script_text("replica_away.sh"),
    )


@named
def expect(layout: Layout, source: str) -> Command:
    """On a server to which the site comes: no other deploy begins."""
    return script(
        """printf '%s\\n' "$2" >"$1/arriving"; sync -f "$1/arriving" """,
        layout.site_dir,
        source,
    )


@named
def lead_no_more(layout: Layout) -> Command:
    """On a server to which the site comes back: nobody is led on any more."""
    return script(
        """
        test "$(readlink "$1/current.sock")" != run/moved.sock || rm -f "$1/current.sock"
        rm -f "$1/moved" "$1/run/moved.sock"; docker rm --force "$2-moved" >/dev/null 2>&1 || true
        """,
        layout.site_dir,
        layout.system.container,
    )


@named
def expect_no_more(layout: Layout) -> Command:
    """The site is here, or stays where it was: any task may begin."""
    return sh("rm", "-f", layout.site_dir / "arriving")
