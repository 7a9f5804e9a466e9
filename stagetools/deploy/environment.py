"""`inv env.list`, `env.set`, `env.unset`: values that live on the server alone."""

import re
from collections.abc import Callable

from stagetools.deploy import relaunch
from stagetools.deploy.commands import environment
from stagetools.deploy.shell import Secret
from stagetools.deploy.stage import Stage, locked
from stagetools.deploy.steps import server
from stagetools.errors import StageError, UsageError

__all__ = ["list_names", "parse", "render", "set_value", "unset"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r'^(?P<name>\w+)="(?P<value>(?:[^"\\]|\\.)*)"$', re.M)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n"}
# What the deploy itself sets for each release; a value here would be ignored.
_OURS = re.compile(
    r"STAGETOOLS_(?:SYSTEM|RELEASE|BIND|TLS)|ALLOWED_HOSTS|WEB_CONCURRENCY|STATIC_ROOT"
)


def parse(text: str) -> dict[str, Secret]:
    """The values of an environment file that `render` wrote."""
    plain = {escaped: char for char, escaped in _ESCAPES.items()}

    def read(found: re.Match[str]) -> str:
        return plain.get(found[0], found[0])

    return {
        line["name"]: Secret(re.sub(r"\\.", read, line["value"]))
        for line in _LINE.finditer(text)
    }


def render(values: dict[str, Secret]) -> str:
    """In double quotes, and escaped as Compose reads them. docs.docker.com, "env_file" """
    return "".join(
        f'{name}="{"".join(_ESCAPES.get(c, c) for c in secret.reveal())}"\n'
        for name, secret in values.items()
    )


def list_names(stage: Stage) -> None:
    """Print each name, its value masked."""
    for name in _read(stage):
        stage.terminal.say(f"{name}=***")


def set_value(stage: Stage, assignment: str) -> None:
    """Set a value, then serve the same release with it: no request fails.

    `KEY` alone asks for the value, so that it is in no history and no process list.
    """
    name, value = _split(assignment, stage.terminal.ask_secret)
    with locked(stage, "changes the environment") as held:
        ours = stage.under(held)
        if not server.look(ours.host, ours.layout).env:  # before the first deploy
            server.ensure_account(ours.host, ours.layout)
        _write(ours, _read(ours) | {name: value})
    _serve_with(stage, f"{name} set")


def unset(stage: Stage, name: str) -> None:
    """Remove a value, then serve the same release without it."""
    with locked(stage, "changes the environment") as held:
        values = _read(stage)
        if name not in values:
            raise UsageError(
                f"{name} is not set for {stage.name}.",
                remedy=f"Set are {', '.join(values)}.",
            )
        _write(stage.under(held), {k: v for k, v in values.items() if k != name})
    _serve_with(stage, f"{name} unset")


def _split(assignment: str, ask: Callable[[str], str]) -> tuple[str, Secret]:
    name, equals, value = assignment.partition("=")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not KEY=VALUE.", remedy="Write inv env.set KEY=VALUE."
        )
    if _OURS.fullmatch(name):
        raise UsageError(
            f"{name} is worked out at each deploy.",
            remedy="Its source is deploy.toml, or the installation's name.",
        )
    value = value if equals else ask(name)
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise UsageError(
            f"The value of {name} is no text: it holds NUL, or is not UTF-8."
        )
    return name, Secret(value)


def _read(stage: Stage) -> dict[str, Secret]:
    if not server.look(stage.host, stage.layout).env:
        raise UsageError(
            f"{stage.name} is not on {stage.host.address} yet.",
            remedy=f"Deploy it first: inv deploy --stage {stage.config.stage_name}",
        )
    return parse(stage.host.run(environment.read(stage.layout)))


def _write(stage: Stage, values: dict[str, Secret]) -> None:
    stage.host.run(environment.write(stage.layout), stdin=render(values).encode())


def _serve_with(stage: Stage, what: str) -> None:
    stage.terminal.conclude(f"{what} on the server.")
    if not server.look(stage.host, stage.layout).release:
        return
    try:
        relaunch.restart(stage, why="env")
    except StageError as error:
        error.untouched += (
            " The file on the server stays changed: the next release reads it."
        )
        raise
