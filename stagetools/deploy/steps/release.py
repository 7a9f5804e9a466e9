"""A release: built, started beside the one that serves, asked, and put before the users."""

import json
from dataclasses import dataclass

from stagetools.deploy.commands import compose, files, releases, site
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Container, Facts, Record
from stagetools.deploy.host import Host, OnLine
from stagetools.deploy.layout import Layout
from stagetools.deploy.limits import HEALTH, KEEP
from stagetools.deploy.steps import Outcome, changed, still_serves, unchanged
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "Sick",
    "again",
    "build",
    "configuration",
    "configure",
    "discard",
    "drain_and_stop",
    "known",
    "pause",
    "probe",
    "prune",
    "refuse",
    "resume",
    "said_by_probe",
    "start_beside",
    "switch",
]

_MOST_WORKERS = 8  # gunicorn processes chosen by us; each costs some 60 MB


@dataclass(frozen=True, slots=True)
class Sick:
    """Why a release must not serve, and its last lines."""

    said: str
    logs: str


def configuration(
    layout: Layout, facts: Facts, config: StageConfig, release: str
) -> str:
    """What compose.yaml's variables stand for in this release."""
    workers = config.workers or min(max(2, facts.cores), _MOST_WORKERS)
    values = {
        "STAGETOOLS_SYSTEM": layout.system.name,
        "STAGETOOLS_RELEASE": release,
        "STAGETOOLS_USER": f"{facts.uid}:{facts.gid}",
        "STAGETOOLS_HOME": layout.home,
        "STAGETOOLS_RUN_DIR": layout.run_dir,
        "STAGETOOLS_TLS": "off" if config.tls == "off" else "on",
        "ALLOWED_HOSTS": ",".join(config.domains),
        "WEB_CONCURRENCY": workers,
        "STAGETOOLS_PROCESSES": config.processes,
        "STAGETOOLS_MEMORY": config.memory_bytes or facts.memory * 3 // 4,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def configure(
    host: Host, layout: Layout, facts: Facts, config: StageConfig, release: str
) -> None:
    """Write the release's configuration beside its files."""
    text = configuration(layout, facts, config, release)
    host.run(files.write_text(layout.compose_env(release)), stdin=text.encode())


def build(host: Host, layout: Layout, release: str, on_line: OnLine) -> Outcome:
    """Leave the release's image; what serves goes on while it is built."""
    try:
        host.run(compose.build(layout, release), on_line=on_line)
    except CommandFailed as error:
        raise StageError(
            "Build: the image could not be built.",
            untouched=still_serves(layout),
            remedy="Mend what the last lines below say, then deploy again.",
        ) from error
    return changed(f"image {layout.system.name}:{release}")


def again(host: Host, layout: Layout, old: str, new: str) -> Outcome:
    """Leave a release made of what `old` was made of, under a name of its own."""
    host.run(releases.again(layout, old, new))
    return changed(f"{new} is {old} again")


def start_beside(host: Host, layout: Layout, release: str, serving: str) -> str:
    """Start the release without any visitor; its container's id."""
    try:
        command = compose.start_beside(layout, release, serving=serving)
        return host.run(command).split()[0]
    except (CommandFailed, IndexError) as error:
        raise StageError(
            "Start: the release's container does not start.",
            untouched=still_serves(layout),
            remedy="Read what Docker says below.",
        ) from error


def probe(host: Host, layout: Layout, release: str, container: str) -> Sick | None:
    """Ask the release's own socket until it is well; why not, when it never is."""
    words = [str(layout.socket(release)), "--limit", str(HEALTH.start)]
    words += ["--refusals", str(HEALTH.refusals)]
    try:
        host.run(compose.probe(container, *words))
    except CommandFailed as error:
        said = said_by_probe(error.output) or "it ended while it started"
        return Sick(said, host.run(compose.last_lines(container, 15)).strip())
    return None


def refuse(host: Host, layout: Layout, container: str, sick: Sick) -> StageError:
    """Remove a container that never served; the error that says why."""
    host.run(compose.discard(container))
    error = StageError(
        f"Health: the new release is not healthy: {sick.said}.",
        untouched=still_serves(layout),
        remedy="Mend what its last lines below say, then deploy again.",
    )
    error.__cause__ = CommandFailed("", status=1, output=sick.logs)
    return error


def discard(host: Host, container: str) -> None:
    """Remove a container that never served."""
    host.run(compose.discard(container))


def said_by_probe(output: str) -> str:
    """The answer that a failed probe had, or nothing."""
    try:
        return str(json.loads(output.splitlines()[0])["said"])
    except (IndexError, ValueError, KeyError, TypeError):
        return ""


def switch(host: Host, layout: Layout, entry: Record) -> Outcome:
    """Put the release before the users, and remember that."""
    host.run(site.switch(layout, entry.release), stdin=entry.to_json().encode())
    return changed(f"{entry.release} serves")


def drain_and_stop(
    host: Host, layout: Layout, old: Container | None, release: str, new: str
) -> Outcome:
    """Let the release that served before finish its requests, then stop it.

    Unless `new`, the container of `release`, has failed meanwhile: then the old one serves
    again, and the new one is forgotten.
    """
    if old is None:
        return unchanged("none served before")
    host.run(site.drain(layout, old.release))
    if sick := _failed_since(host, new):
        host.run(site.switch_back(layout, old.release, forget=release))
        raise refuse(host, layout, new, sick)
    host.run(compose.stop(old.id))
    return changed(f"{old.release} stopped")


def pause(host: Host, layout: Layout, old: Container) -> None:
    """Keep visitors waiting at the proxy, and stop the release once it is idle."""
    host.run(site.pause(layout))
    host.run(site.drain(layout, old.release))
    host.run(compose.halt(old.id))


def resume(host: Host, layout: Layout, old: Container) -> None:
    """Let the stopped release serve again."""
    host.run(compose.go_on(old.id))
    host.run(site.resume(layout))


def _failed_since(host: Host, container: str) -> Sick | None:
    state = host.run(compose.last_lines(container, 15)).strip()
    if state.endswith("container running, exit code 0, restarts 0"):
        return None
    return Sick("it ended after the switch", state)


def known(host: Host, layout: Layout) -> list[Record]:
    """The releases that went live and are kept, the newest first."""
    found = []
    for line in host.run(releases.records(layout)).splitlines():
        size, _, text = line.partition("\t")
        if entry := Record.parse(text):
            found.append(entry.with_size(int(size or 0)))
    return found


def prune(host: Host, layout: Layout, serving: str) -> Outcome:
    """Remove what no kept release needs."""
    command = releases.prune(
        layout,
        serving=serving,
        keep=KEEP.releases,
        snapshots=KEEP.snapshots,
        cache=KEEP.build_cache,
    )
    host.run(command)
    return changed(f"{KEEP.releases} releases and {KEEP.snapshots} snapshots kept")
