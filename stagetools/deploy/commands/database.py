"""Asking a release's own image about the database: `python -m stagetools.database`."""

from pathlib import PurePosixPath

from stagetools.deploy.commands.compose import Overlay, compose_words
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, prints, script, sh

__all__ = ["Overlay", "end", "run"]


_TIMED = '{"migration": "<migration>", "seconds": 0}\n'
# As stagetools.database prints them: the longest way, where there are migrations.
_EXAMPLES = {
    "plan": '{"pending": ["<migration>"], "breaking": [], "size": 0, "sqlite": true}',
    "known": '{"known": []}',
    "rehearse": '{"copied": 0}\n' + _TIMED + '{"rehearsed": 0}',
    "snapshot": '{"snapshot": "<snapshot>"}',
    "migrate": _TIMED + '{"migrated": 0}',
    "unknown": '{"unknown": ["<migration>"], "breaking": [["<migration>", ""]],'
    ' "irreversible": []}',
    "rehearse-reverse": '{"reversed": 0}',
    "reverse": '{"reversed": 0}',
}


def _container(layout: Layout) -> str:
    return f"{layout.system.container}-database"


def end(layout: Layout) -> Command:
    """End whatever `run` started and left running."""
    return sh("docker", "rm", "--force", _container(layout))


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
    """
    name = _container(layout)
    once = ("--progress", "quiet", "run", "--rm", "--no-deps", "--no-TTY")
    command = script(
        """
        name=$1; shift
        docker rm --force "$name" >/dev/null 2>&1 || true
        exec "$@"
        """,
        name,
        # its answers are this machine's to read: among the site's own lines they hide those
        *("env", "STAGETOOLS_LOG=none"),
        *compose_words(layout, release, *once, overlay=overlay, data=data),
        *("--name", name, "web", "python", "-m", "stagetools.database"),
        *words,
    )
    return prints(command, _EXAMPLES.get(words[0], ""))
