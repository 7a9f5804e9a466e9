"""Asking a release's own image about the database: `python -m stagetools.database`."""

from dataclasses import replace
from pathlib import PurePosixPath

from stagetools.database import protocol
from stagetools.deploy.commands.compose import Overlay, compose_words
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, named, prints, script, sh

__all__ = ["Overlay", "commands", "end", "manage", "run"]


_ONCE = ("--progress", "quiet", "run", "--rm", "--no-deps", "--no-TTY")
_PLAN = protocol.Plan(pending=("<migration>",))
_TIMED = protocol.Migration(migration="<migration>", seconds=0)
_UNKNOWN = protocol.Unknown(
    unknown=("<migration>",), breaking=(protocol.Finding("<migration>", ""),)
)
# For a dry run: the longest way, where there are migrations.
_EXAMPLES: dict[str, tuple[protocol.Value, ...]] = {
    "plan": (_PLAN,),
    "known": (protocol.Known(known=()),),
    "rehearse": (protocol.Copied(copied=0), _TIMED, protocol.Rehearsed(rehearsed=0)),
    "snapshot": (protocol.Snapshot(snapshot="<snapshot>"),),
    "migrate": (_TIMED, protocol.Migrated(migrated=0)),
    "unknown": (_UNKNOWN,),
    "reverse": (_TIMED, protocol.Reversed(reversed=0)),
}


def _container(layout: Layout) -> str:
    return f"{layout.system.container}-database"


@named
def end(layout: Layout) -> Command:
    """End whatever `run` started and left running."""
    return sh("docker", "rm", "--force", _container(layout))


@named
def run(
    layout: Layout,
    release: str,
    *words: str,
    overlay: Overlay = "task",
    data: PurePosixPath | None = None,
) -> Command:
    """Run one command of `stagetools.database` in a container of the release.

    Its name is always the same: what an interrupted deploy left running is ended first, so
    that two migrations never meet. `data` is a database directory other than the release's.
    What it says is named by its word: `database.migrate`, or `rehearsal.migrate`.
    """
    command = _alone(
        layout, release, "stagetools.database", *words, overlay=overlay, data=data
    )
    room = "rehearsal" if overlay == "rehearse" else "database"
    named_for = replace(command, name=f"{room}.{words[0]}")
    examples = _EXAMPLES.get(words[0], ())
    return prints(named_for, "\n".join(map(protocol.line, examples)))


@named
def manage(layout: Layout, release: str, *words: str) -> Command:
    """Run a command of manage.py on the database of a release that serves nobody.

    The same container, and so nothing meets it there, and it ends with the task.
    """
    return _alone(layout, release, "stagetools.manage", *words)


@named
def commands(layout: Layout, release: str) -> Command:
    """Print the names of all commands that the release's manage.py has."""
    command = sh(
        *("env", "STAGETOOLS_LOG=none"),
        *compose_words(layout, release, *_ONCE, overlay="rehearse"),
        *("web", "python", "-m", "stagetools.manage", "help", "--commands"),
    )
    return prints(command, "anonymise\nmigrate")


def _alone(
    layout: Layout,
    release: str,
    module: str,
    *words: str,
    overlay: Overlay = "task",
    data: PurePosixPath | None = None,
) -> Command:
    name = _container(layout)
    return script(
        """
        name=$1; shift
        docker rm --force "$name" >/dev/null 2>&1 || true
        exec "$@"
        """,
        name,
        # its answers are this machine's to read: among the site's own lines they hide those
        *("env", "STAGETOOLS_LOG=none"),
        *compose_words(layout, release, *_ONCE, overlay=overlay, data=data),
        *("--name", name, "web", "python", "-m", module),
        *words,
    )
