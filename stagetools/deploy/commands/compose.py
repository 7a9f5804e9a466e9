"""The installation's own compose project: building, starting beside, stopping."""

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from stagetools.deploy.commands.backup import replica
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import (
    Command,
    looks,
    loosely,
    named,
    prints,
    script,
    script_file,
    script_text,
    sh,
)

__all__ = [
    "OVERLAYS",
    "Overlay",
    "build",
    "compose_words",
    "create_beside",
    "discard",
    "freeze",
    "halt",
    "interrupt",
    "last_lines",
    "manage",
    "managing",
    "probe",
    "run_inside",
    "start",
    "start_beside",
    "stop",
    "sweep",
    "write_overlays",
]

Overlay = Literal["serve", "task", "rehearse"]
"""What a container of the release is for; each is a file in `overlays/`."""


def _overlays() -> dict[str, str]:
    folder = Path(__file__).parents[1] / "overlays"
    names = get_args(Overlay)
    return {name: (folder / f"{name}.yaml").read_text("utf-8") for name in names}


_TEXTS = _overlays()
OVERLAYS = hashlib.sha256("".join(_TEXTS.values()).encode()).hexdigest()
"""SHA-256 of the overlays, as `commands.server.look` takes it of those on the server."""

_MINE = script_text("mine.sh")


def compose_words(
    layout: Layout,
    release: str,
    *words: str,
    overlay: Overlay = "serve",
    data: PurePosixPath | None = None,
) -> tuple[object, ...]:
    """`docker compose …` as it is said of one release.

    The files are named, so that a docker-compose.override.yml of the developer's own machine
    is never merged in. `data` is a database directory other than the release's own.
    """
    source = layout.source(release)
    return (
        *(("env", f"STAGETOOLS_DATA={data}") if data else ()),
        *("docker", "compose", "--project-name", layout.system.container),
        *("--project-directory", source),
        *("--file", source / "compose.yaml", "--file", layout.overlay(overlay)),
        *("--env-file", layout.compose_env(release)),
        *words,
    )


@named
def write_overlays(layout: Layout) -> Command:
    """Leave the overlays on the server, where only root may write."""
    return script(
        """
        dir=$1; shift
        install -d -m 0755 "$dir"
        for name in serve task rehearse; do
          printf '%s' "$1" >"$dir/$name.new"; mv -T "$dir/$name.new" "$dir/$name.yaml"; shift
        done
        """,
        layout.overlays_dir,
        *(_TEXTS[name] for name in get_args(Overlay)),
    )


@named
def build(layout: Layout, release: str) -> Command:
    """Build the release's image, the builder's own lines as they come."""
    words = compose_words(layout, release, "--progress", "plain", "build", "web")
    return loosely(sh(*words))


@named
def start_beside(layout: Layout, release: str, *, serving: str) -> Command:
    """Start the release's container beside that of `serving`, and print its id.

    Containers of any other release go first: an interrupted deploy left them, nobody
    approved them, and none may take over. They leave as in any stop, for one of them may
    be finishing a request.
    """
    return _beside(layout, release, serving, "up", "--detach")


@named
def create_beside(layout: Layout, release: str, *, serving: str) -> Command:
    """The same, but the container is only made, and starts with `start`.

    While another container is frozen Compose can start none, but the engine can.
    """
    return _beside(layout, release, serving, "up", "--no-start")


def _beside(layout: Layout, release: str, serving: str, *how: str) -> Command:
    command = script_file(
        "beside.sh",
        layout.system.container,
        release,
        serving,
        *compose_words(layout, release, "--progress", "quiet", *how),
        after="mine.sh",
    )
    return prints(command, "<container>")


@named
def start(container: str) -> Command:
    """Start a container that was made or halted."""
    return sh("docker", "start", container)


@named
def freeze(layout: Layout, container: str) -> Command:
    """Let no process of the container go on; what it has written stays as it is.

    Nor does a replica go on, which writes to the database, too.
    """
    return script(
        'docker pause "$1"; test ! -f "$2" || sh "$2" pause',
        container,
        replica.script_path(layout),
    )


@named
def probe(container: str, *words: str) -> Command:
    """Ask the container's release how it is; fails when it is not well, or ends."""
    words = ("python", "-m", "stagetools.probe", *words)
    return looks(sh("docker", "exec", container, *words))


@named
def stop(container: str) -> Command:
    """Stop one container, with the grace that compose.yaml gives it, and remove it."""
    return script('docker stop "$1" >/dev/null; docker rm "$1" >/dev/null', container)


@named
def halt(container: str) -> Command:
    """Stop one container that serves nobody; it may start again."""
    return sh("docker", "stop", container)


@named
def discard(container: str) -> Command:
    """Remove a container that never served, at once."""
    return sh("docker", "rm", "--force", container)


@named
def sweep(layout: Layout, release: str) -> Command:
    """Remove every container of a release that does not serve, at once."""
    return script(
        _MINE
        + """
        docker ps --all --quiet $mine --filter "label=stagetools.release=$2" |
          xargs -r docker rm --force >/dev/null
        """,
        layout.system.container,
        release,
    )


@named
def run_inside(container: str, words: Sequence[str], *, tty: bool = False) -> Command:
    """Run a command in a container that runs already."""
    flags = ["--interactive", *(["--tty"] if tty else [])]
    return sh("docker", "exec", *flags, container, *words)


@named
def manage(
    layout: Layout, release: str, name: str, words: Sequence[str], *, tty: bool
) -> Command:
    """Run a command of manage.py in a container of its own, called `name`.

    It outlives the release's container, and so a deploy that stops that. What it prints is
    for whoever typed it, a dump of all customers perhaps, and not for the journal. It is
    not begun while visitors wait for another database: what it wrote would be lost.
    """
    flags = ["--rm", "--no-deps", "--name", name, *([] if tty else ["--no-TTY"])]
    flags += ["--label", f"stagetools.manage={words[0]}"]
    return script(
        """
        test ! -e "$1.hold" || { echo "$2 is being changed right now: try again in a minute." >&2; exit 75; }
        shift 2; exec "$@"
        """,
        layout.fence,
        layout.system.name,
        *("env", "STAGETOOLS_LOG=none"),
        *compose_words(layout, release, "--progress", "quiet", "run", *flags),
        *("web", "python", "-m", "stagetools.manage", *words),
    )


@named
def managing(layout: Layout) -> Command:
    """Print each command of `manage` that runs or is about to, and where, one a line."""
    labels = (
        f"label=com.docker.compose.project={layout.system.container}",
        "label=stagetools.manage",
    )
    filters = [word for label in labels for word in ("--filter", label)]
    form = '{{.Label "stagetools.manage"}} (container {{.Names}})'
    return looks(sh("docker", "ps", "--all", *filters, "--format", form))


@named
def interrupt(name: str) -> Command:
    """End a container of `manage` as Ctrl-C does, and by force 5 s later."""
    return script(
        """
        for _ in 1 2 3 4 5 6; do # it may be about to be made
          docker kill --signal INT "$1" >/dev/null 2>&1 && break; sleep 0.5
        done
        timeout 5 docker wait "$1" >/dev/null 2>&1 || true
        docker rm --force "$1" >/dev/null 2>&1 || true
        """,
        name,
    )


@named
def last_lines(container: str, count: int) -> Command:
    """The container's last lines, both outputs, and how it stands."""
    command = script(
        """
        docker logs --tail "$2" "$1" 2>&1
        docker inspect --format \
          'container {{.State.Status}}, exit code {{.State.ExitCode}}, restarts {{.RestartCount}}' "$1"
        """,
        container,
        count,
    )
    return prints(looks(command), "container running, exit code 0, restarts 0")
