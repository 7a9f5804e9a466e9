"""Words as people type them: `inv manage showmigrations shop`, `inv env.set A=1 B=2`.

Invoke gives a positional argument one word, reads what follows as the name of a task, and
gives what follows `--` to nobody. So the words are put into options before it reads them.
"""

import shlex
from collections.abc import Collection, Sequence
from typing import Any

from stagetools.errors import UsageError

__all__ = ["as_options", "number", "take"]

_WITH_VALUE = ("--stage", "-s")
_FLAGS = {
    "manage": (),
    "env.set": ("--dry-run", "-d", "--verbose", "-e"),
    "restore": (),
    "backup": (),
}
_HELP = ("--help", "-h")
_PLAIN = {"restore": "--what", "backup": "--name"}
_PLAIN_VALUES = ("--at", "--wait", "--download", "--name", "--what")


def take(program: Any, tasks: Collection[str]) -> None:
    """Rewrite what Invoke's `program` has not read yet; for when tasks.py is loaded."""
    core = getattr(program, "core", None)
    if core is not None:
        argv = list(program.argv)
        after = argv[argv.index("--") + 1 :] if "--" in argv else []
        core.unparsed[:] = as_options(core.unparsed, after, tasks)


def as_options(
    typed: Sequence[str], after: Sequence[str], tasks: Collection[str]
) -> list[str]:
    """What was typed, and after `--`; the words of some tasks as those tasks' options."""
    for place, word in enumerate(typed):
        if word in _FLAGS:
            before, rest = list(typed[: place + 1]), typed[place + 1 :]
            if word == "manage":
                return before + _of_manage(rest, after)
            if word in _PLAIN:
                return before + _with_a_plain_word(rest, _PLAIN[word], tasks)
            return before + _of_env_set(rest, after, tasks)
    return list(typed)


def _of_manage(typed: Sequence[str], after: Sequence[str]) -> list[str]:
    """All words are the command's; only `--stage` is ours, until `--`."""
    own: list[str] = []
    words: list[str] = []
    waiting = list(typed)
    while waiting:
        if not words and waiting[0] in _HELP:
            return waiting
        taken = _own(waiting, "manage")
        (own if taken else words).extend(waiting[: taken or 1])
        del waiting[: taken or 1]
    words += after
    if not words:
        return own
    return [*own, "--command", words[0] if len(words) == 1 else shlex.join(words)]


def _of_env_set(
    typed: Sequence[str], after: Sequence[str], tasks: Collection[str]
) -> list[str]:
    """Each word is a value; another task's name ends them."""
    options, waiting = [], list(typed)
    while waiting and waiting[0] not in tasks:
        taken = _own(waiting, "env.set")
        if taken or waiting[0].startswith("-"):
            options += waiting[: taken or 1]
        else:
            options += ["--value", waiting[0]]
        del waiting[: taken or 1]
    return options + [part for word in after for part in ("--value", word)] + waiting


def _with_a_plain_word(
    typed: Sequence[str], option: str, tasks: Collection[str]
) -> list[str]:
    """The first word that is no option, nor the value of one, is the option's."""
    options, waiting = [], list(typed)
    while waiting and waiting[0].startswith("-"):
        many = 2 if waiting[0] in (*_WITH_VALUE, *_PLAIN_VALUES) else 1
        options += waiting[:many]
        del waiting[:many]
    if waiting and waiting[0] not in tasks:
        options.append(option)
    return options + waiting


def _own(waiting: Sequence[str], task: str) -> int:
    """How many of the words are an option of the task itself, at the beginning."""
    first = waiting[0]
    if first in _FLAGS[task] or first.startswith("--stage="):
        return 1
    return min(2, len(waiting)) if first in _WITH_VALUE else 0


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
