"""`--dry-run`: what each step would do, in words; with `--verbose` every remote command.

What only looks is run, so that the steps decide on the server as it stands. What would change
it is not run, and a step that reads its output is told an example of that. Nor is a command
about something that only an example names (`<container>`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from stagetools.deploy.console.terminal import Step, Terminal
from stagetools.deploy.host.host import Background, Host, OnLine, OnSent, Reads, Writes
from stagetools.deploy.shell import Command, as_root

__all__ = ["WOULD", "DryHost", "DryTerminal"]

_TITLE = 10  # columns

_MADE_UP = re.compile(r"<[a-z]+>")
WOULD = {
    "Connect": "looks at the server",
    "Docker": "installs Docker, or brings its settings up to date",
    "Account": "creates the site's account and directories, or brings them up to date",
    "Proxy": "starts or updates the proxy, which all sites of the server share",
    "Upload": "sends the files that the server does not have yet",
    "Fetch": "brings the newest backup of those elsewhere, and its environment file",
    "Build": "builds the image",
    "Prepare": "makes a new release from an image that is there",
    "Start": "starts the new release beside the live one, and checks its pages",
    "Snapshot": "keeps a copy of the live database",
    "Rehearse": "tries the migrations on a copy of the database",
    "Hold": "lets visitors wait, for some seconds",
    "Migrate": "applies the migrations",
    "Undo": "undoes the migrations that the earlier release does not know",
    "Restore": "takes the earlier database into a directory of its own",
    "Switch": "sends visitors to the new release",
    "Drain": "lets the previous release finish its requests, then stops it",
    "Clean up": "removes the previous release, and keeps its database as a backup",
    "Prune": "deletes releases, images and snapshots that are no longer kept",
    "Backups": "sets up the backups: restic, a repository with its key, timers",
    "Replica": "lets Litestream send every change of the database elsewhere, or ends that",
    "Copy": "copies the other one's database and uploads, for nobody to see yet",
    "Secrets": "brings the environment file of the old server, secrets and all",
    "Forward": "prepares the old server's proxy to lead visitors on to the new one",
    "Anonymise": "runs the project's command anonymise on the copy, where there is one",
    "Backup": "copies the database, the uploads and the environment as they are now",
    "Uploads": "brings back the uploads that the backup has and the server has not",
    "Push": "sends the files that the uploads on the server lack",
    "Download": "brings the backup here, as plain files",
    "Verify": "reads the latest backup as if it were restored",
    "Visit": "visits the new domains, so that their certificates are issued now",
    "Remove": "deletes the site with its uploads and backups, and keeps its database",
}
"""What each step does, for those who ask before they let it."""


class DryTerminal(Terminal):
    """Prints what each step would do, in plain lines, and asks nothing."""

    dry = True

    def __init__(
        self, console: Console | None = None, *, verbose: bool = False
    ) -> None:
        super().__init__(console)
        self.live, self.verbose = False, verbose

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Print what it does; with `verbose` the commands follow. There is no outcome."""
        if self.verbose:
            self.console.print(Text(title, style="bold"))
        else:
            self.say(f"{title:<{_TITLE}} {WOULD[title]}")
        yield Step(title, self) if self.verbose else _Quiet(title, self)

    def would(self, text: str) -> None:
        self.say(f"{'':<{_TITLE}} {text}")

    def agree(self, question: str, *, flag: str = "") -> None:
        """Print what would be asked."""
        self.say(f"{'':<{_TITLE}} would ask: {question}")

    def conclude(self, text: str) -> None:
        """Keep quiet: it has not come to that."""


class _Quiet(Step):
    """A step of a plan: the lines of its commands would be made up."""

    def line(self, text: str) -> None: ...


class DryHost:
    """A server that is looked at, and not changed."""

    def __init__(self, host: Host, terminal: DryTerminal, *, needs_sudo: bool) -> None:
        self._host, self._terminal, self._sudo = host, terminal, needs_sudo
        self.address = host.address
        self._made_up: set[str] = set()
        self._count = 0

    def run(
        self,
        command: Command,
        *,
        stdin: bytes | Reads = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        """Look, or print the command and give an example of its output."""
        if command.looks and not any(word in command.text for word in self._made_up):
            return self._host.run(command, stdin=stdin, on_line=on_line)
        self._show(command)
        self._count += 1
        if stdin:
            what = f"{len(stdin):,} bytes" if isinstance(stdin, bytes) else "all that"
            self._detail(f"  with {what} on its standard input")
        if command.prints:
            self._detail(f"  as if it printed: {command.prints}")
            self._made_up.update(_MADE_UP.findall(command.prints))
        if on_line:
            for line in command.prints.splitlines():
                on_line(line)
        return command.prints

    def receive(self, command: Command, to: Writes) -> None:
        self._show(command)

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
        more = "" if self._terminal.verbose else " The commands: --dry-run --verbose"
        more = more if self._count else " There is nothing to do."
        self._terminal.say(f"A dry run: nothing was changed.{more}")

    def _show(self, command: Command) -> None:
        exact = as_root(command) if self._sudo else command
        if command.name:
            self._detail(f"# {command.name}")
        self._detail(f"$ {exact.text}")

    def _detail(self, text: str) -> None:
        if self._terminal.verbose:
            self._terminal.say(text)


class _Nothing:
    """The lock that a dry run does not take."""

    def first_line(self) -> str:
        return "held"

    def send(self, text: str) -> None: ...

    def is_over(self) -> bool:
        return False

    def was_ended(self) -> bool:
        return False

    def close(self) -> None: ...
