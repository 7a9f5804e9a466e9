"""The installation's own compose project: building, starting beside, stopping."""

from collections.abc import Sequence

from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command, script, sh

__all__ = [
    "build",
    "discard",
    "last_lines",
    "one_off",
    "run_inside",
    "start_beside",
    "stop",
    "sweep",
]


def _compose(layout: Layout, release: str, *words: str) -> tuple[object, ...]:
    return (
        *("docker", "compose", "--project-name", layout.system.container),
        *("--project-directory", layout.source(release)),
        *("--env-file", layout.compose_env(release)),
        *words,
    )


def build(layout: Layout, release: str) -> Command:
    """Build the release's image, the builder's own lines as they come."""
    return sh(*_compose(layout, release, "--progress", "plain", "build", "web"))


def one_off(layout: Layout, release: str, *words: str, tty: bool = False) -> Command:
    """Run one command in a container of its own, beside whatever serves."""
    options = ["--rm", "--no-deps", *([] if tty else ["--no-TTY"])]
    return sh(
        *_compose(
            layout, release, "--progress", "quiet", "run", *options, "web", *words
        )
    )


def start_beside(layout: Layout, release: str) -> Command:
    """Start the release's container, leave every other as it is, and print its id."""
    return script(
        """
        project=$1 release=$2; shift 2
        mine="--filter label=com.docker.compose.project=$project
          --filter label=com.docker.compose.service=web --filter label=com.docker.compose.oneoff=False"
        there=$(docker ps --all --quiet $mine | wc -l)
        "$@" --progress quiet up --detach --no-deps --no-recreate --no-build \
          --scale "web=$((there + 1))" web >&2
        docker ps --all --quiet --no-trunc $mine --filter "label=stagetools.release=$release"
        """,
        layout.system.container,
        release,
        *_compose(layout, release),
    )


def sweep(layout: Layout, keep: str) -> Command:
    """Remove every web container but those of the release `keep`; print what went.

    An interrupted deploy leaves them: nobody approved them, and none may take over.
    """
    return script(
        """
        docker ps --all --filter "label=com.docker.compose.project=$1" \
          --filter label=com.docker.compose.service=web \
          --filter label=com.docker.compose.oneoff=False \
          --format '{{.ID}} {{.Label "stagetools.release"}}' |
        while read -r id release; do
          test "$release" = "$2" || { docker rm --force "$id" >/dev/null; echo "$release"; }
        done
        """,
        layout.system.container,
        keep,
    )


def stop(container: str) -> Command:
    """Stop one container, with the grace that compose.yaml gives it, and remove it."""
    return script('docker stop "$1" >/dev/null; docker rm "$1" >/dev/null', container)


def discard(container: str) -> Command:
    """Remove a container that never served, at once."""
    return sh("docker", "rm", "--force", container)


def run_inside(container: str, words: Sequence[str], *, tty: bool = False) -> Command:
    """Run a command in a container that runs already."""
    return sh(
        "docker",
        "exec",
        "--interactive",
        *(["--tty"] if tty else []),
        container,
        *words,
    )


def last_lines(container: str, count: int) -> Command:
    """The container's last lines, both outputs, and how it stands."""
    return script(
        """
        docker logs --tail "$2" "$1" 2>&1
        docker inspect --format 'container {{.State.Status}}, exit code {{.State.ExitCode}}, restarts {{.RestartCount}}' "$1"
        """,
        container,
        count,
    )
