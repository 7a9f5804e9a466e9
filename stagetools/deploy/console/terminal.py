"""What a person, or a log file, sees of a task: steps with their times, and questions."""

import getpass
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from stagetools.deploy.console.failures import failed_in, forget_output
from stagetools.deploy.console.shown import shown
from stagetools.deploy.outcome import Outcome
from stagetools.errors import CommandFailed, StageError, UsageError

__all__ = [
    "Step",
    "Terminal",
]

_TAIL = 6  # lines of a running command shown below its step
_TITLE = 10  # columns
_UNBOUNDED = 10_000  # columns, for what is measured first


class Step:
    """One step while it runs: its lines, its progress, and what came of it."""

    def __init__(self, title: str, terminal: "Terminal") -> None:
        self.title, self.outcome = title, ""
        self.mark, self.style = "✓", "green"
        self.started = time.monotonic()
        self.lines: deque[str] = deque(maxlen=_TAIL)
        self.done = self.total = 0
        self._terminal = terminal
        self._spinner = Spinner("dots", style="cyan")

    @property
    def elapsed(self) -> str:
        return f"{time.monotonic() - self.started:.1f} s"

    def end(self, outcome: Outcome) -> None:
        self.outcome = outcome.text
        if outcome.comes_again:
            self.mark, self.style = "·", "yellow"
        elif not outcome.changed:
            self.mark, self.style = "=", "dim"

    def line(self, text: str) -> None:
        """A line of the command that runs: the last few live, all of them in a log file."""
        self.lines.append(text)
        if not self._terminal.live:
            self._terminal.console.print(shown(f"  | {text}"), soft_wrap=True)

    def progress(self, done: int, total: int) -> None:
        """So many of so many bytes."""
        self.done, self.total = done, total

    def __rich__(self) -> RenderableType:
        row = _row()
        bar: RenderableType = shown(self.outcome, style="dim")
        if self.total:
            bar = ProgressBar(total=self.total, completed=self.done, width=30)
        row.add_row(self._spinner, self.title, bar, Text(self.elapsed, style="dim"))
        width = max(self._terminal.console.width - 6, 20)
        tail = [shown(f"    {text[:width]}", style="dim") for text in self.lines]
        return Group(row, *tail)


def _row() -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=2)
    table.add_column(width=_TITLE)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    return table


class _Console(Console):
    """A console whose reader may go (`inv deploy | head`): what was begun goes on unseen."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        forget_output()


class Terminal:
    """Prints the steps: live where a person looks on, plain lines where not."""

    dry = False
    """Whether nothing is to be changed."""

    def __init__(self, console: Console | None = None, *, yes: bool = False) -> None:
        self.yes = yes
        self.console = console or _Console(highlight=False)
        self.live = self.console.is_terminal
        self._shown: Live | None = None

    def head(self, text: str) -> None:
        self.console.print(Text(text, style="bold"))

    def say(self, text: str, style: str = "") -> None:
        self.console.print(shown(text, style), soft_wrap=True)

    def table(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[str]],
        narrow: Callable[..., str],
    ) -> None:
        """Rows in columns; each as `narrow` has it where a person's terminal is too narrow.

        A log file has the columns however wide they are.
        """
        columns = Table(*heads, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for row in rows:
            columns.add_row(*map(shown, row))
        wide = self.console.options.update(max_width=_UNBOUNDED)
        wide = wide.update(width=self.console.measure(columns, options=wide).maximum)
        if self.live and wide.max_width > self.console.width:
            for row in rows:
                self.say(narrow(*row))
            return
        for line in self.console.render_lines(columns, wide):
            self.say("".join(segment.text for segment in line).rstrip())

    def conclude(self, text: str) -> None:
        """Say what a task has come to."""
        self.say(text, "bold green")

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show the step while it runs, and one line of it when it is over."""
        step = Step(title, self)
        try:
            if self.live:
                with Live(
                    step, console=self.console, transient=True, refresh_per_second=12
                ) as self._shown:
                    yield step
            else:
                yield step
        except CommandFailed as error:
            self._close(step, "✗", "red", "failed")
            raise failed_in(f"{title}: ", error) from error
        except BaseException:
            self._close(step, "✗", "red", "failed")
            raise
        finally:
            self._shown = None
        self._close(step, step.mark, step.style, step.outcome)

    def _close(self, step: Step, mark: str, style: str, text: str) -> None:
        if not self.live:
            self.say(f"{mark} {step.title}: {text} ({step.elapsed})")
            return
        row = _row()
        row.add_row(
            Text(f" {mark}", style=style),
            step.title,
            shown(text),  # no markup: it may hold brackets of its own
            Text(step.elapsed, style="dim"),
        )
        self.console.print(row)

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer."""
        return sys.stdin is not None and sys.stdin.isatty() and self.live

    def would(self, text: str) -> None:
        """Say what a dry run would do here; nothing in a real one."""

    def agree(self, question: str, *, flag: str = "") -> None:
        """Go on only if a person, or --yes, agrees; StageError otherwise.

        `flag` is another option that answers this question beforehand.
        """
        if self.yes:
            self.say(f"{question} Yes, says --yes.")
            return
        if not self.can_ask:
            raise StageError(
                question,
                untouched="Nothing was answered, so nothing was done.",
                remedy=f"Answer in a terminal, or beforehand with {flag or '--yes'}.",
            )
        if not self.confirm(question):
            raise StageError(
                "Not done, as you said.",
                untouched="Whatever serves now goes on serving.",
            )

    def ask(self, question: str, default: str = "") -> str | None:
        """An answer, or None where nobody can give one."""
        if not self.can_ask:
            return None
        if self._shown:
            self._shown.stop()
        hint = f" [{default}]" if default else ""
        try:
            typed = self.console.input(f"{escape(question + hint)} ").strip()
        except EOFError:  # Ctrl-D
            self.say("")
            return None
        if self._shown:
            self._shown.start()
        return typed or default

    def ask_secret(self, name: str) -> str:
        """A value that is not shown while it is typed; without a terminal, standard input."""
        with suppress(EOFError):
            if self.can_ask:
                return getpass.getpass(f"{name}: ")
            if sys.stdin and (line := sys.stdin.readline()):
                return line.rstrip("\n")
        raise UsageError(
            f"No value was given for {name}.",
            untouched="Nothing was changed.",
            remedy=f"Write it in the command ({name}=VALUE), or on its standard input.",
        )

    def confirm(self, question: str) -> bool:
        """Whether a person says yes."""
        return (self.ask(f"{question} (yes/no)") or "no").lower() in ("y", "yes")
