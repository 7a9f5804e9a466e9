"""`--dry-run`: every remote command, printed instead of run; nothing is changed.

What only looks is run, so that the steps decide on the server as it stands. What would change
it is printed, and a step that reads its output is told an example of that. A command about
something that only an example names (`<container>`) is printed too.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from stagetools.deploy.host import Background, Host, OnLine, OnSent
from stagetools.deploy.shell import Command, as_root
from stagetools.deploy.terminal import Step, Terminal

__all__ = ["DryHost", "DryTerminal"]

_MADE_UP = re.compile(r"<[a-z]+>")


class DryTerminal(Terminal):
    """Prints what each step would do, in plain lines, and asks nothing."""

    dry = True

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self.live = False

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Print the title; the commands follow, and no outcome: there is none."""
        self.console.print(Text(title, style="bold"))
        yield Step(title, self)

    def agree(self, question: str) -> None:
        """Print what would be asked."""
        self.say(f"  asked here: {question}")

    def conclude(self, text: str) -> None:
        """Keep quiet: it has not come to that."""


class DryHost:
    """A server that is looked at, and not changed."""

    def __init__(self, host: Host, terminal: Terminal, *, needs_sudo: bool) -> None:
        self._host, self._terminal, self._sudo = host, terminal, needs_sudo
        self.address = host.address
        self._made_up: set[str] = set()
        self._count = 0

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        """Look, or print the command and give an example of its output."""
        if command.looks and not any(word in command.text for word in self._made_up):
            return self._host.run(command, stdin=stdin, on_line=on_line)
        self._show(command)
        self._count += 1
        if stdin:
            self._terminal.say(f"  with {len(stdin):,} bytes on its standard input")
        if command.prints:
            self._terminal.say(f"  as if it printed: {command.prints}")
            self._made_up.update(_MADE_UP.findall(command.prints))
        if on_line:
            for line in command.prints.splitlines():
                on_line(line)
        return command.prints

    def start(self, command: Command) -> Background:
        """Print the command, which is the lock's, as if it had begun well."""
        self._show(command)
        return _Nothing()

    def interact(
        self, command: Command, *, terminal: bool, on_line: OnLine | None = None
    ) -> int:
        self._show(command)
        return 0

    def end(self) -> None:
        """Say that it was a dry run, and whether a real one would change anything."""
        would = "" if self._count else " There is nothing to be done."
        self._terminal.say(f"A dry run: nothing was changed.{would}")

    def _show(self, command: Command) -> None:
        exact = as_root(command) if self._sudo else command
        self._terminal.say(f"$ {exact.text}")


class _Nothing:
    """The lock that a dry run does not take."""

    def first_line(self) -> str:
        return "held"

    def send(self, text: str) -> None: ...

    def is_over(self) -> bool:
        return False

    def close(self) -> None: ...
