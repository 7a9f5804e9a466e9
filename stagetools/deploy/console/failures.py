"""How a task ends that does not end well: in words and an exit status, never in a traceback."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, NoReturn

from rich.console import Console

from stagetools.deploy.console.shown import shown
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "failed_in",
    "for_stage",
    "forget_output",
    "ignore_interrupts",
    "reports_errors",
    "uninterrupted",
]


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


# A task of tasks.py that takes --stage, where the words that follow do not name one already.
_TASK = re.compile(
    r"\binv (?!clone\b|dev\b|test\b|check\b)([a-z]+(?:\.[a-z]+)?)\b(?![^.;:`\n]* --stage )"
)


def for_stage(text: str, stage: str) -> str:
    """Words that name tasks, as whoever works on that stage has to type them."""
    return text if stage == "prod" else _TASK.sub(rf"inv \1 --stage {stage}", text)


def reports_errors(task: Callable[..., None]) -> Callable[..., None]:
    """Let a task end in words and an exit status, never in a traceback."""

    @wraps(task)
    def wrapper(*args: Any, **options: Any) -> None:
        stage = str(options.get("stage", "prod"))
        try:
            task(*args, **options)
        except StageError as error:
            _tell(error, stage)
        except KeyboardInterrupt as error:
            ignore_interrupts()
            words = for_stage(str(error) or "inv status says what serves.", stage)
            Console(stderr=True).print(f"Interrupted. {words}", style="red")
            sys.exit(130)
        except BrokenPipeError:  # whoever read the output has seen enough
            forget_output()
            sys.exit(141)  # as a shell has it: 128 and SIGPIPE
        except Exception as error:
            if os.environ.get("STAGETOOLS_TRACEBACK"):
                raise
            _tell(_unforeseen(error), stage)

    return wrapper


def failed_in(title: str, error: CommandFailed) -> StageError:
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


def _tell(error: StageError, stage: str) -> NoReturn:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    cause = error if isinstance(error, CommandFailed) else error.__cause__
    if isinstance(error, CommandFailed):
        untouched = error.untouched
        error = failed_in("", error)
        error.untouched = untouched
    console.print(shown(for_stage(error.what, stage), style="bold red"))
    for part in (error.untouched, error.remedy):
        if part:
            console.print(shown(for_stage(part, stage)))
    if isinstance(cause, CommandFailed):
        if cause.command:
            console.print(shown(f"The command was {cause.command}."))
        if cause.output:
            console.print(shown(cause.output, style="dim"))
    sys.exit(error.exit_code)


def forget_output() -> None:
    """Write to nobody from now on: Python's own last flush would complain."""
    with suppress(OSError, ValueError):
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, sys.stdout.fileno())
