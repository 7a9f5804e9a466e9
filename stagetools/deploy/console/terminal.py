"""What a person, or a log file, sees of a task: steps with their times, and errors in words."""

import getpass
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, NoReturn

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from stagetools.deploy.outcome import Outcome
from stagetools.errors import CommandFailed, StageError, UsageError

__all__ = [
    "Step",
    "Terminal",
    "ignore_interrupts",
    "number",
    "reports_errors",
    "uninterrupted",
]

_TAIL = 6  # lines of a running command shown below its step
_TITLE = 10  # columns
_UNBOUNDED = 10_000  # columns, for what is measured first
# What a terminal obeys instead of showing it: CSI and OSC sequences, and other control characters.
_OBEYED = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def _shown(text: str, style: str = "") -> Text:
    """The text without markup, and without orders: a site may have written it, hostile or not."""
    return Text(_OBEYED.sub("", text), style=style)


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
            self._terminal.console.print(_shown(f"  | {text}"), soft_wrap=True)

    def progress(self, done: int, total: int) -> None:
        """So many of so many bytes."""
        self.done, self.total = done, total

    def __rich__(self) -> RenderableType:
        row = _row()
        bar: RenderableType = _shown(self.outcome, style="dim")
        if self.total:
            bar = ProgressBar(total=self.total, completed=self.done, width=30)
        row.add_row(self._spinner, self.title, bar, Text(self.elapsed, style="dim"))
        width = max(self._terminal.console.width - 6, 20)
        tail = [_shown(f"    {text[:width]}", style="dim") for text in self.lines]
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
        _forget_output()


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
        self.console.print(_shown(text, style), soft_wrap=True)

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
            columns.add_row(*map(_shown, row))
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
            raise _failed_in(f"{title}: ", error) from error
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
            _shown(text),  # no markup: it may hold brackets of its own
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
                "Not done, as you said.", untouched="The live release goes on serving."
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


def number(option: str, text: object, *, least: int = 0) -> int:
    """A whole number that was typed for an option; UsageError for anything else."""
    try:
        value = int(str(text))
    except ValueError:
        value = least - 1
    if value < least:
        raise UsageError(
            f"{option} must be a whole number, at least {least}; not {text!r}.",
            untouched="Nothing was changed.",
            remedy=f"Write {option} {least + 30}, for example.",
        )
    return value


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no Ctrl-C break into what undoes a change."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def ignore_interrupts() -> None:
    """Let one who presses Ctrl-C once more, while the program ends, see no traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def reports_errors(task: Callable[..., None]) -> Callable[..., None]:
    """Let a task end in words and an exit status, never in a traceback."""

    @wraps(task)
    def wrapper(*args: Any, **options: Any) -> None:
        try:
            task(*args, **options)
        except StageError as error:
            _tell(error)
        except KeyboardInterrupt as error:
            ignore_interrupts()
            words = str(error) or "inv status says what serves."
            Console(stderr=True).print(f"Interrupted. {words}", style="red")
            sys.exit(130)
        except BrokenPipeError:  # whoever read the output has seen enough
            _forget_output()
            sys.exit(141)  # as a shell has it: 128 and SIGPIPE
        except Exception as error:
            if os.environ.get("STAGETOOLS_TRACEBACK"):
                raise
            _tell(_unforeseen(error))

    return wrapper


def _failed_in(title: str, error: CommandFailed) -> StageError:
    """A failure that no step has words for; the server's own follow."""
    how = f"with exit status {error.status}" if error.status >= 0 else "by a signal"
    read = "Read its last lines below, then" if error.output else "It printed nothing:"
    return StageError(
        f"{title}{'a' if title else 'A'} command on the server ended {how}.",
        remedy=f"{read} run the same command again.",
    )


def _unforeseen(error: Exception) -> StageError:
    """A mistake of ours, or a file or program of this machine."""
    return StageError(
        f"{type(error).__name__}: {error or 'no message'}.",
        untouched="This error was not expected. inv status says what serves.",
        remedy="To report it: the same command, with STAGETOOLS_TRACEBACK=1 before it,"
        " shows where it happened.",
    )


def _tell(error: StageError) -> NoReturn:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    cause = error if isinstance(error, CommandFailed) else error.__cause__
    if isinstance(error, CommandFailed):
        untouched = error.untouched
        error = _failed_in("", error)
        error.untouched = untouched
    console.print(_shown(error.what, style="bold red"))
    for part in (error.untouched, error.remedy):
        if part:
            console.print(_shown(part))
    if isinstance(cause, CommandFailed):
        if cause.command:
            console.print(_shown(f"The command was {cause.command}."))
        if cause.output:
            console.print(_shown(cause.output, style="dim"))
    sys.exit(error.exit_code)


def _forget_output() -> None:
    """Write to nobody from now on: Python's own last flush would complain."""
    with suppress(OSError, ValueError):
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, sys.stdout.fileno())
