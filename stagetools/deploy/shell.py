"""The one place that quotes: commands are built from words, never from sentences."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec

__all__ = [
    "Command",
    "Secret",
    "alone",
    "as_root",
    "looks",
    "loosely",
    "named",
    "prints",
    "script",
    "script_file",
    "script_text",
    "script_with",
    "sh",
]

Words = ParamSpec("Words")


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that no output shows; `reveal()` gives it to a file or to standard input."""

    _value: str

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Command:
    """A command line for a POSIX shell, every word in it quoted already."""

    text: str
    name: str = ""  # of what it does, as a builder was called: traffic.switch
    looks: bool = False  # it changes nothing: a dry run runs it
    prints: str = ""  # such as this, which a dry run takes for its output
    loose: bool = False  # it may go on when the lock is lost; see fence.py
    alone: bool = False  # it begins once no other one of the same task runs

    def __str__(self) -> str:
        return self.text


def sh(*words: object) -> Command:
    """Quote each word; refuse a Secret, for `ps` shows arguments to every user."""
    if any(isinstance(word, Secret) for word in words):
        raise TypeError(f"{words[0]}: pass a secret on stdin, not as an argument")
    return Command(shlex.join(str(word) for word in words))


def script(text: str, *values: object, interpreter: str = "sh") -> Command:
    """A constant script that meets its values as "$1", "$2": no value becomes code.

    It stops at the first command that fails, and at a variable that nobody set.
    """
    return sh(interpreter, "-euc", text.strip("\n"), "stagetools", *values)


def script_file(
    name: str, *values: object, interpreter: str = "sh", after: str = ""
) -> Command:
    """The script of that name in `scripts/`, which meets its values as "$1", "$2".

    `after` has the names of others there, whose functions it uses.
    """
    text = "".join(map(script_text, [*after.split(), name]))
    return script(text, *values, interpreter=interpreter)


@cache
def script_text(name: str) -> str:
    """The script of that name, for one that starts another."""
    return (Path(__file__).parent / "scripts" / name).read_text("utf-8")


def script_with(name: str, /, **values: object) -> str:
    """The script of that name with its values before it, for whoever calls it without a client."""
    head = "".join(f"{key}={shlex.quote(str(to))}\n" for key, to in values.items())
    return head + script_text(name)


def named(builder: Callable[Words, Command]) -> Callable[Words, Command]:
    """Let a builder's commands bear its name, `traffic.switch`, unless they have one."""
    name = f"{builder.__module__.partition('.commands.')[2]}.{builder.__name__}"

    @wraps(builder)
    def build(*args: Words.args, **options: Words.kwargs) -> Command:
        command = builder(*args, **options)
        return command if command.name else replace(command, name=name)

    return build


def as_root(command: Command) -> Command:
    """The same command for an account that may sudo without a password."""
    return replace(command, text=f"sudo -n -- {command.text}")


def looks(command: Command) -> Command:
    """Mark a command that changes nothing."""
    return replace(command, looks=True)


def loosely(command: Command) -> Command:
    """Mark a long command that harms nobody when it goes on after the lock was lost."""
    return replace(command, loose=True)


def alone(command: Command) -> Command:
    """Mark a command that waits until what the same task has begun is over."""
    return replace(command, alone=True)


def prints(command: Command, example: str) -> Command:
    """Say what a command prints, for whoever reads its output without running it."""
    return replace(command, prints=example)
