"""One task at a time changes a stage."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stagetools.deploy.commands import server
from stagetools.deploy.host import fence
from stagetools.deploy.host.host import Background, Host
from stagetools.deploy.host.site import Site
from stagetools.deploy.limits import LOCK
from stagetools.errors import LockHeld, StageError

__all__ = ["Held", "hold"]


class Held:
    """The lock while it is ours; `host` changes the server only as long as it is."""

    def __init__(self, holder: Background, host: Host) -> None:
        self._holder, self.host = holder, host
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def _beat(self) -> None:
        while not self._over.wait(LOCK.beat):
            try:
                self._holder.send("\n")
            except OSError:
                return  # the connection is gone, and the lock with it

    def does(self, what: str) -> None:
        """Tell whoever is refused which step we are at."""
        with suppress(OSError):
            self._holder.send(f"{what}\n")

    def check(self) -> None:
        """Raise if the server no longer believes that we are alive."""
        if self._holder.is_over():
            raise fence.lost()

    def release(self, *, well: bool) -> None:
        """Give the lock back; where all went well, there is nothing to clean up."""
        self._over.set()
        if well:
            with suppress(OSError):
                self._holder.send(".\n")
        self._holder.close()


@contextmanager
def hold(
    site: Site, who: str, *, wait: float = 0, moved: bool = False
) -> Iterator[Held]:
    """Hold the stage's lock for a block, or raise LockHeld with the one who has it.

    Of a site that has moved to another server only with `moved`: an old database is here.
    """
    token = secrets.token_hex(8)
    holder = site.host.start(
        server.hold_lock(site.layout, who, wait, token, moved=moved)
    )
    said = holder.first_line()
    if said != "held":
        holder.close()
        _refuse_moved(site, said)
        raise LockHeld(
            f"{site.name} is being changed right now: {said or 'somebody holds its lock'}.",
            untouched="Nothing was changed.",
            remedy="Try again when that is over, or let --wait SECONDS wait for it.",
        )
    held = Held(holder, fence.FencedHost(site.host, site.layout, token, holder))
    try:
        yield held
    except BaseException:
        held.release(well=False)
        raise
    held.release(well=True)


def _refuse_moved(site: Site, said: str) -> None:
    word, _, to = said.partition(" ")
    if word == "arriving":
        raise StageError(
            f"{site.name} was about to come to {site.host.address} from {to}, when that was cut off.",
            untouched="Nothing was changed.",
            remedy="inv deploy --restore goes on with it. If the site still serves there, and is"
            " to stay: give `host` in deploy.toml that server again.",
        )
    if word == "moved":
        raise StageError(
            f"{site.name} has moved from {site.host.address} to {to}: what lies here is old.",
            untouched="Nothing was changed. Whoever comes here is led on to there.",
            remedy="Give `host` in deploy.toml the new server again. To move back: inv deploy"
            " --restore. When no domain leads here any more: inv remove.",
        )
