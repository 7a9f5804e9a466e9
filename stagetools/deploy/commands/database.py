"""Asking a release's own image about the database: `python -m stagetools.database`."""

from stagetools.deploy.commands.compose import compose_words
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, script

__all__ = ["run"]


def run(layout: Layout, release: str, *words: str) -> Command:
    """Run one command of `stagetools.database` in a container of the release.

    Its name is always the same: what an interrupted deploy left running is ended first, so
    that two migrations never meet.
    """
    name = f"{layout.system.container}-database"
    return script(
        """
        name=$1; shift
        docker rm --force "$name" >/dev/null 2>&1 || true
        exec "$@"
        """,
        name,
        *compose_words(
            layout, release, "--progress", "quiet", "run", "--rm", "--no-deps"
        ),
        *("--no-TTY", "--name", name, "web", "python", "-m", "stagetools.database"),
        *words,
    )
