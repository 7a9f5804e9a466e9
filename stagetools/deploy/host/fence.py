"""Whoever has lost the lock changes nothing more: the server itself looks at each command.

A client can be stopped for an hour between two of its commands, by a laptop's lid for one;
meanwhile its lock is somebody else's. So the one who gets the lock writes down a token
(`scripts/hold_lock.sh`), and each command that changes something runs only while that is
still its own client's. It holds a lock of its own meanwhile, which the next task waits for:
a command runs before the next task begins, or not at all.
"""

import shlex
from dataclasses import dataclass, field, replace

from stagetools.deploy.host.host import Background, Host, OnLine, OnSent, Reads, Writes
from stagetools.deploy.layout import Layout
from stagetools.deploy.limits import LOCK
from stagetools.deploy.shell import Command
from stagetools.errors import CommandFailed, ConnectionFailed, LockLost

__all__ = ["LOST", "FencedHost", "fenced", "lost", "unfenced"]

LOST = 76
"""The exit status when the lock is somebody else's by now."""

# The file is opened in the command's own process, so the lock lasts as long as that does.
_CHECK = (
    'test -s "$1.token"||exit 76;exec 8>>"$1.work";flock {};read -r t <"$1.token"||:;'
    'test "$t" = "$2"||exit 76;{}shift 2;exec "$@"'
)
_CHECKS = {
    (loose, alone): _CHECK.format(
        "-x -w 30 8" if alone else "-s 8", "exec 8>&-;" if loose else ""
    )
    for loose in (False, True)
    for alone in (False, True)
}


def fenced(command: Command, layout: Layout, token: str) -> Command:
    """The same command, which exits `LOST` unless the token is still the lock's."""
    words = (
        "sh",
        "-c",
        _CHECKS[command.loose, command.alone],
        "fence",
        str(layout.fence),
        token,
    )
    return replace(command, text=f"{shlex.join(words)} {command.text}")


def unfenced(text: str) -> str:
    """The command in a text that `fenced` made, or the text itself."""
    for check in _CHECKS.values():
        start = f"{shlex.join(('sh', '-c', check, 'fence'))} "
        if text.startswith(start):
            return text.removeprefix(start).split(" ", 2)[2]
    return text


def lost() -> LockLost:
    """The error that ends a task whose lock is gone."""
    return LockLost(
        f"The lock on the server was lost: it had not heard from here for {LOCK.silence} s,"
        " or somebody ended this task with `inv unlock`.",
        untouched="The server refuses all further commands of this task, so nothing was"
        " changed since then.",
        remedy="`inv status` says what serves. Start again when nobody else is at work.",
    )


@dataclass(slots=True)
class FencedHost:
    """A Host that changes nothing once the lock is somebody else's."""

    host: Host
    layout: Layout
    token: str
    holder: Background | None = None  # of the lock
    address: str = field(init=False)
    _lost: bool = False

    def __post_init__(self) -> None:
        self.address = self.host.address

    def run(
        self,
        command: Command,
        *,
        stdin: bytes | Reads = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        """As the host does it; raises LockLost where the server refuses."""
        if self._lost and not command.looks:
            raise lost()
        if not command.looks:
            command = fenced(command, self.layout, self.token)
        try:
            return self.host.run(command, stdin=stdin, on_line=on_line, on_sent=on_sent)
        except CommandFailed as error:
            # what fails then may fail for what the next task does
            is_gone = self.holder is not None and self.holder.is_over()
            if not is_gone and (error.status != LOST or command.looks):
                raise
            self._lost = True
            raise lost() from None
        except ConnectionFailed:
            # a heartbeat may have crossed the holder's end, and sshd hangs up on that
            if self.holder is None or not self.holder.was_ended():
                raise
            self._lost = True
            raise lost() from None

    def receive(self, command: Command, to: Writes) -> None:
        self.host.receive(command, to)

    def start(self, command: Command) -> Background:
        return self.host.start(command)

    def interact(
        self, command: Command, *, terminal: bool, on_line: OnLine | None = None
    ) -> int:
        return self.host.interact(command, terminal=terminal, on_line=on_line)
