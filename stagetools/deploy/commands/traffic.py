"""What the proxy sees of an installation: its domains, and the release that serves."""

from collections.abc import Sequence

from stagetools.deploy.layout import WEB_DIR, Layout
from stagetools.deploy.shell import (
    Command,
    loosely,
    named,
    script,
    script_file,
    script_text,
)

__all__ = [
    "LATE",
    "TAKEN",
    "claim_domains",
    "drain",
    "hold",
    "resume",
    "switch",
    "switch_back",
]

LATE = 67
"""The exit status of `switch` when the visitors it was for wait no longer."""
TAKEN = 65
"""The exit status of `claim_domains` when another installation has a domain."""


@named
def claim_domains(
    layout: Layout, domains: Sequence[str], *, tls: bool, max_body: int
) -> Command:
    """Let the proxy find the installation under these domains, and under no other.

    `max_body` is the largest body that it lets through, in bytes. That its visitors wait no
    longer than for a start is said as well, unless they are held right now. Exits `TAKEN` and
    prints `<domain> <installation>` when another one has a domain already; then nothing was
    claimed.
    """
    return script_file(
        "claim_domains.sh",
        WEB_DIR,
        layout.system.name,
        "yes" if tls else "no",
        _limit(max_body),
        TAKEN,
        layout.hold_file,
        *domains,
    )


def _limit(max_body: int) -> str:
    """The name by which the proxy knows the limit: so many bytes, and its step above them."""
    return f"max_body_{max_body}_{min(max((max_body - 1).bit_length(), 20), 40)}"


@named
def switch(layout: Layout, release: str, *, held: str = "") -> Command:
    """Send all new requests to the release: one rename(2), on disk before it returns.

    Standard input is the release's record, written first: what serves is always known.
    Where the visitors of the container `held` wait, it must still be frozen, for what it had
    written since it was copied would be lost; exits `LATE` where they were let go meanwhile.
    A changed environment is approved by this.
    """
    return script_file(
        "switch.sh",
        layout.site_dir,
        release,
        layout.record(release),
        held,
        layout.env_file,
        layout.hold_file,
    )


@named
def switch_back(layout: Layout, release: str, *, forget: str) -> Command:
    """Send all new requests to a release that has served before, and still runs.

    The record of the one that failed goes: no rollback leads to it.
    """
    return script(
        """
        cd "$1"
        test -S "run/$2.sock" || { echo "The socket of $2 is gone: its own code removed it." >&2; exit 1; }
        ln -sfn "run/$2.sock" next.sock; mv -T next.sock current.sock
        rm -f "$3"; sync -f .
        """,
        layout.site_dir,
        release,
        layout.record(forget),
    )


@named
def hold(layout: Layout, release: str, container: str, limit: int) -> Command:
    """Let visitors wait at the proxy, for so many seconds at most; 0 is no limit.

    When these are over the server lets them go by itself, and a switch is refused.
    """
    return script_file(
        "hold.sh",
        *(layout.site_dir, release, container, layout.hold_file),
        limit,
        script_text("resume.sh"),
    )


@named
def resume(layout: Layout) -> Command:
    """Let the held release go on; or remove it, where another one serves already."""
    return script_file("resume.sh", layout.site_dir, layout.hold_file)


@named
def drain(layout: Layout, release: str, limit: int) -> Command:
    """Wait until no connection to the release's socket is left; print `busy N` if N stay.

    After `limit` seconds, that is. Waiting for a fixed time instead lost 2,888 requests when
    the processor was starved.
    """
    command = script_file(
        "drain.sh", layout.socket(release), limit, layout.system.name, release
    )
    return loosely(command)
