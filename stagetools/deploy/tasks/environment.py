"""`inv env.list`, `env.get`, `env.set`, `env.unset`: values that live on the server alone."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from stagetools.deploy.commands import environment
from stagetools.deploy.console.failures import uninterrupted
from stagetools.deploy.facts import Facts
from stagetools.deploy.shell import Secret
from stagetools.deploy.steps import server
from stagetools.deploy.tasks import relaunch
from stagetools.deploy.tasks.session import Session, locked
from stagetools.errors import ConnectionFailed, LockLost, StageError, UsageError

__all__ = [
    "line_of",
    "list_names",
    "names",
    "replaced",
    "set_values",
    "show_value",
    "unset",
    "value_of",
]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A value, or any other line of a file that a person may have written by hand: comments, values
# without quotes, values over several lines. As compose-go's dotenv reads them.
_ITEM = re.compile(
    r"""
    (?: [ \t]* (?:export[ \t]+)? (?P<name>[A-Za-z_][\w.-]*) [ \t]* [=:] [ \t]*
        (?: "(?:[^"\\]|\\.)*"[^\n]* | '[^']*'[^\n]* | [^\n]* )
    | [^\n]* ) (?:\n|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n"}
# What the deploy itself sets for each release; a value here would be ignored.
_OURS = re.compile(
    r"STAGETOOLS_(?:SYSTEM|RELEASE|BIND|TLS)|ALLOWED_HOSTS|WEB_CONCURRENCY|STATIC_ROOT"
)


def line_of(name: str, secret: Secret) -> str:
    """In double quotes, and escaped as Compose reads them. docs.docker.com, "env_file" """
    value = "".join(_ESCAPES.get(char, char) for char in secret.reveal())
    return f'{name}="{value}"\n'


def names(text: str) -> list[str]:
    """Every name that an environment file gives a value, in its order."""
    return list(dict.fromkeys(name for name, _ in _items(text) if name))


def replaced(text: str, name: str, line: str) -> str:
    """The file with `line` in the place of the value, or at its end; all else as it was."""
    parts, there = [], False
    for found, raw in _items(text):
        if found == name:
            raw, there = "" if there else line, True
        parts.append(raw)
    whole = "".join(parts)
    if not there:
        whole += ("\n" if whole and not whole.endswith("\n") else "") + line
    if line and name not in names(whole):
        raise StageError(
            "The environment file on the server has a quote that is not closed.",
            untouched="Nothing was changed.",
            remedy="Fix the file there first: inv ssh",
        )
    return whole


def _items(text: str) -> Iterator[tuple[str, str]]:
    """Each value's name and its raw text; no name where a line is no value."""
    for found in _ITEM.finditer(text):
        if found[0]:
            yield found["name"] or "", found[0]


def list_names(session: Session) -> None:
    """Print each name, its value masked."""
    facts = server.look(session)
    for name in names(_read(session, facts).reveal()):
        session.terminal.say(f"{name}=***")


def show_value(session: Session, name: str) -> None:
    """Print one value as the site gets it: on standard output, for `$(…)` too."""
    text = _read(session, server.look(session)).reveal()
    if name not in names(text):
        raise _not_set(session, name, text)
    print(value_of(text, name))  # noqa: T201 - it is what was asked for, as it is


def value_of(text: str, name: str) -> str:
    """The value that the file gives a name, without its quotes; the last one counts."""
    raw = [raw for found, raw in _items(text) if found == name][-1]
    value = re.sub(r"^[^=:]*[=:][ \t]*", "", raw.rstrip("\n"))
    if quoted := re.match(r'"((?:[^"\\]|\\.)*)"', value, re.DOTALL):
        return re.sub(r"\\(.)", _unescaped, quoted[1], flags=re.DOTALL)
    if quoted := re.match("'([^']*)'", value):
        return quoted[1]
    return re.sub(r"(?:^|[ \t]+)#.*", "", value).strip()


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1])


def set_values(session: Session, assignments: Sequence[str]) -> None:
    """Set values, then serve the same release with them: no request fails.

    `KEY` alone asks for the value, so that it is in no history and no process list.
    """
    if not assignments:
        raise UsageError(
            "No value was given.", remedy="Write inv env.set KEY=VALUE, or KEY alone."
        )
    ask = session.terminal.ask_secret
    values = dict(_split(assignment, ask) for assignment in assignments)

    def edit(text: str) -> str:
        for name, value in values.items():
            text = replaced(text, name, line_of(name, value))
        return text

    _change(session, edit, f"{', '.join(values)} set")


def unset(session: Session, name: str) -> None:
    """Remove a value, then serve the same release without it."""

    def edit(text: str) -> str:
        if name not in names(text):
            raise _not_set(session, name, text)
        return replaced(text, name, "")

    if not server.look(session).env:
        raise _not_there(session)
    _change(session, edit, f"{name} unset")


def _change(session: Session, edit: Callable[[str], str], what: str) -> None:
    """Write the file, and serve with it; where that is refused, the file is as it was."""
    with locked(session, "changes the environment") as held:
        ours = session.under(held)
        facts = server.look(ours)
        first = not facts.env  # before the first deploy
        if first or not facts.home_is_roots:
            server.ensure_account(ours)
        before = Secret("") if first and session.terminal.dry else _text(ours)
        session.terminal.would(f"changes the environment file: {what}")
        _write(ours, edit(before.reveal()))
        if not facts.release:
            ours.run(environment.approve(ours.layout))
            session.terminal.conclude(f"{what} on the server.")
            return
        try:
            name = relaunch.launch(session, held, "env")
        except BaseException as error:
            with uninterrupted():
                _put_back(ours, before, facts.release, error)
            raise
        ours.run(environment.approve(ours.layout))
    session.terminal.conclude(f"{what} on the server; {session.name} serves {name}.")


def _put_back(
    session: Session, before: Secret, serving: str, error: BaseException
) -> None:
    """Restore the file unless the new release serves with it; say which it was."""
    said = "The server puts its environment file back as it was."
    with suppress(ConnectionFailed, LockLost):
        if server.look(session).release == serving:
            _write(session, before.reveal())
            session.run(environment.approve(session.layout))
            said = "The environment file is as it was before."
        else:
            said = (
                "The environment file is changed, and the new release serves with it."
            )
    if isinstance(error, StageError):
        error.untouched = f"{error.untouched} {said}".strip()


def _split(assignment: str, ask: Callable[[str], str]) -> tuple[str, Secret]:
    name, equals, value = assignment.partition("=")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not KEY=VALUE.", remedy="Write inv env.set KEY=VALUE."
        )
    if _OURS.fullmatch(name):
        raise UsageError(
            f"{name} is set by each deploy.",
            remedy="It comes from deploy.toml, or from the installation's name.",
        )
    value = value if equals else ask(name)
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise UsageError(
            f"The value of {name} is not text: it contains NUL, or is not UTF-8."
        )
    return name, Secret(value)


def _read(session: Session, facts: Facts) -> Secret:
    if not facts.env:
        raise _not_there(session)
    return _text(session)


def _text(session: Session) -> Secret:
    text = session.run(environment.read(session.layout))
    if "\N{REPLACEMENT CHARACTER}" in text:
        raise StageError(
            f"{session.layout.env_file} on the server contains bytes that are not UTF-8.",
            untouched="Nothing was changed.",
            remedy="Fix the file there first: inv ssh",
        )
    return Secret(text)


def _not_set(session: Session, name: str, text: str) -> UsageError:
    return UsageError(
        f"{name} is not set for {session.name}.",
        remedy=f"These are set: {', '.join(names(text))}.",
    )


def _not_there(session: Session) -> UsageError:
    return UsageError(
        f"{session.name} is not on {session.host.address} yet.",
        remedy=f"Deploy it first: inv deploy --stage {session.config.stage_name}",
    )


def _write(session: Session, text: str) -> None:
    content = (text or "# no values\n").encode()
    session.run(environment.write(session.layout, len(content)), stdin=content)
