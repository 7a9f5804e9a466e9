"""A release: built, started beside the one that serves, asked, and put before the users."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from stagetools.deploy.commands import compose, files, releases, traffic
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Container, Facts, Record
from stagetools.deploy.hashed import Sent
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.limits import HEALTH, KEEP, SHUTDOWN
from stagetools.deploy.outcome import Outcome, changed, unchanged
from stagetools.deploy.shell import Command
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "SwitchedBack",
    "Unhealthy",
    "build",
    "configuration",
    "configure",
    "create_beside",
    "cut_off",
    "discard",
    "drain_and_stop",
    "duplicate",
    "engine_of",
    "hold",
    "keep_hashed",
    "known",
    "leave",
    "pages",
    "probe",
    "prune",
    "refuse",
    "said_by_probe",
    "start_beside",
    "switch",
    "trouble",
]

_REMARK = "200 ok, but "  # as stagetools.health has it, and stagetools.probe
_MOST_WORKERS = 8  # gunicorn processes chosen by us; each costs some 60 MB


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """Why a release must not serve, and its last lines."""

    said: str
    logs: str


def configuration(
    site: Site,
    facts: Facts,
    release: str,
    data_dir: PurePosixPath,
    media_dir: PurePosixPath | None = None,
) -> str:
    """What compose.yaml's variables stand for in this release, whose database is in `data_dir`.

    `media_dir` is for uploads that are not the installation's yet.
    """
    config, layout = site.config, site.layout
    workers = config.workers or min(max(2, facts.cores), _MOST_WORKERS)
    values = {
        "STAGETOOLS_SYSTEM": site.name,
        "STAGETOOLS_RELEASE": release,
        "STAGETOOLS_USER": f"{facts.uid}:{facts.gid}",
        "STAGETOOLS_HOME": layout.home,
        "STAGETOOLS_DATA": data_dir,
        "STAGETOOLS_REHEARSAL_NETWORK": (
            "bridge" if config.rehearsal_network else "none"
        ),
        "STAGETOOLS_RUN_DIR": layout.run_dir,
        "STAGETOOLS_TLS": "off" if config.tls == "off" else "on",
        "ALLOWED_HOSTS": ",".join(config.domains),
        "WEB_CONCURRENCY": workers,
        "STAGETOOLS_PROCESSES": config.processes,
        "STAGETOOLS_MEMORY": config.memory_bytes or facts.memory * 3 // 4,
    }
    if media_dir:
        values["STAGETOOLS_MEDIA"] = media_dir
    return "".join(f"{name}={value}\n" for name, value in values.items())


def configure(
    site: Site,
    facts: Facts,
    release: str,
    data_dir: PurePosixPath,
    media_dir: PurePosixPath | None = None,
) -> None:
    """Write the release's configuration beside its files."""
    text = configuration(site, facts, release, data_dir, media_dir)
    site.run(files.write_text(site.layout.compose_env(release)), stdin=text.encode())


def build(site: Site, release: str, on_line: OnLine) -> Outcome:
    """Leave the release's image; what serves goes on while it is built."""
    try:
        site.run(compose.build(site.layout, release), on_line=on_line)
    except CommandFailed as error:
        raise StageError(
            "Build: the image could not be built.",
            remedy="Fix what the last lines below say, then deploy again.",
        ) from error
    return changed(f"image {site.name}:{release}")


def duplicate(site: Site, old: str, new: str) -> Outcome:
    """Leave a release made of what `old` was made of, under a name of its own."""
    site.run(releases.duplicate(site.layout, old, new))
    return changed(f"{new} is {old} again")


def start_beside(site: Site, release: str, serving: str) -> str:
    """Start the release without any visitor; its container's id."""
    return _container(site, compose.start_beside(site.layout, release, serving=serving))


def create_beside(site: Site, release: str, serving: str) -> str:
    """Make the release's container without starting it; its id."""
    return _container(
        site, compose.create_beside(site.layout, release, serving=serving)
    )


def _container(site: Site, command: Command) -> str:
    try:
        return site.run(command).split()[0]
    except (CommandFailed, IndexError) as error:
        raise StageError(
            "Start: the release's container does not start.",
            remedy="Read what Docker says below.",
        ) from error


def probe(
    site: Site,
    release: str,
    container: str,
    *,
    limit: float = HEALTH.start,
    exact: bool = False,
    remark: Callable[[str], None] = lambda words: None,
    told: Callable[[Sent | None], None] = lambda sent: None,
    engine: Callable[[str], None] = lambda vendor: None,
) -> Unhealthy | None:
    """Ask the release's own socket until it is well; why not, when it never is.

    `limit` is in seconds. `exact` refuses a database with migrations that it does not know;
    else `remark` is told of these. `told` gets what it sends with its hashed static files,
    and `engine` what its database is.
    It is asked for the pages of deploy.toml as well. Releases of older versions of
    stagetools cannot be asked for these (exit 2), and are asked how they are alone.
    """
    words = [str(site.layout.socket(release)), "--limit", str(limit)]
    words += ["--refusals", str(HEALTH.refusals)]
    try:
        try:
            more = ["--exact"] if exact else []
            asked = compose.probe(container, *words, *more, *pages(site.config))
            output = site.run(asked)
            told(Sent.parse(output))
            engine(engine_of(output))
            said = said_by_probe(output)
            if said.startswith(_REMARK):
                remark(said.removeprefix(_REMARK))
        except CommandFailed as error:
            if error.status != 2:
                raise
            site.run(compose.probe(container, *words))
    except CommandFailed as error:
        said = said_by_probe(error.output) or "it ended while it started"
        return Unhealthy(said, site.run(compose.last_lines(container, 15)).strip())
    return None


def engine_of(output: str) -> str:
    """The engine of the database, as a probe told it; empty for a release that cannot tell.

    The site itself has said so: a word is taken, and nothing else.
    """
    try:
        said = json.loads(output.splitlines()[0]).get("database", "")
    except (ValueError, IndexError, AttributeError):
        return ""
    return said if re.fullmatch(r"[a-z0-9_]{1,30}", str(said)) else ""


def pages(config: StageConfig) -> list[str]:
    """The words that let a probe ask for the pages of deploy.toml."""
    words = [word for page in config.probe for word in ("--page", page)]
    secure = [] if config.tls == "off" else ["--secure"]
    return [*words, "--host", config.domains[0], *secure] if words else []


def trouble(site: Site, serving: Container) -> str:
    """Why the release that serves is not as it should be, in a few words, or nothing.

    Its database must be at just the migrations that it knows, and its pages answer.
    """
    socket = str(site.layout.socket(serving.release))
    words = [socket, "--limit", str(HEALTH.status), "--refusals", "1"]
    try:
        try:
            site.run(compose.probe(serving.id, *words, "--exact", *pages(site.config)))
        except CommandFailed as error:
            if error.status != 2:  # an older version of stagetools
                raise
            site.run(compose.probe(serving.id, *words))
    except CommandFailed as error:
        return said_by_probe(error.output) or "no answer"
    return ""


def refuse(site: Site, container: str, sick: Unhealthy) -> StageError:
    """Remove a container that never served; the error that says why."""
    site.run(compose.discard(container))
    error = StageError(
        f"Health: the new release is not healthy: {sick.said}.",
        remedy="Fix what its last lines below say, then deploy again.",
    )
    error.__cause__ = CommandFailed("", status=1, output=sick.logs)
    return error


def discard(site: Site, container: str) -> None:
    """Remove a container that never served."""
    site.run(compose.discard(container))


def said_by_probe(output: str) -> str:
    """The answer that a failed probe had, or nothing."""
    try:
        return str(json.loads(output.splitlines()[0])["said"])
    except (IndexError, ValueError, KeyError, TypeError):
        return ""


def switch(site: Site, entry: Record, *, held: str = "") -> Outcome:
    """Put the release before the users, and remember that.

    `held` is the frozen container whose visitors wait meanwhile.
    """
    command = traffic.switch(site.layout, entry.release, held=held)
    try:
        site.run(command, stdin=entry.to_json().encode())
    except CommandFailed as error:
        if error.status != traffic.LATE:
            raise
        raise StageError(
            "Switch: the visitors had waited too long, so the previous release goes on serving.",
            remedy="Try again at a quieter time.",
        ) from None
    return changed(f"{entry.release} serves")


def drain_and_stop(
    site: Site,
    old: Container | None,
    release: str,
    new: str,
    *,
    limit: int,
) -> Outcome:
    """Let the release that served before finish its requests, then stop it.

    Unless `new`, the container of `release`, has failed meanwhile: then the old one serves
    again, and the new one is forgotten; raises SwitchedBack. `limit` is in seconds.
    """
    if old is None:
        return unchanged("no release served before")
    late = _late(site.run(traffic.drain(site.layout, old.release, limit)), limit)
    if sick := _failed_since(site, new):
        site.run(traffic.switch_back(site.layout, old.release, forget=release))
        refused = refuse(site, new, sick)
        raise SwitchedBack(refused.what, remedy=refused.remedy) from refused.__cause__
    site.run(compose.stop(old.id))
    return changed(f"{old.release} stopped{late}")


def leave(site: Site, old: Container, *, limit: int) -> Outcome:
    """Let the release that served before finish its requests, then stop it."""
    late = _late(site.run(traffic.drain(site.layout, old.release, limit)), limit)
    site.run(compose.stop(old.id))
    return changed(f"{old.release} stopped{late}")


def cut_off(said: str) -> str:
    """In words, how many requests a drain did not wait for; nothing where it was none."""
    busy = _busy(said)
    return f"; {busy} cut off, still under way" if busy else ""


def _late(said: str, limit: int) -> str:
    """The same where gunicorn is stopped, which gives them some time more."""
    busy = _busy(said)
    more = SHUTDOWN.graceful
    return (
        f"; {busy} still under way after {limit} s, and cut off if {more} s more were not enough"
        if busy
        else ""
    )


def _busy(said: str) -> str:
    word, _, count = said.strip().partition(" ")
    many = count or "some"
    return f"{many} request{'' if many == '1' else 's'}" if word == "busy" else ""


class SwitchedBack(StageError):  # noqa: N818 - what happened is its name
    """The release that served before serves again."""


def hold(site: Site, old: Container, *, drain: int, at_most: int) -> str:
    """Let visitors wait at the proxy, and freeze the release once it is idle.

    After `drain` seconds it is frozen as it is; what was cut off, in words. After `at_most`
    seconds (0: no limit) the server lets them go by itself.
    """
    site.run(traffic.hold(site.layout, old.release, old.id, at_most))
    cut = cut_off(site.run(traffic.drain(site.layout, old.release, drain)))
    site.run(compose.freeze(site.layout, old.id))
    return cut


def _failed_since(site: Site, container: str) -> Unhealthy | None:
    state = site.run(compose.last_lines(container, 15)).strip()
    if state.endswith("container running, exit code 0, restarts 0"):
        return None
    return Unhealthy("it ended after the switch", state)


def known(site: Site) -> list[Record]:
    """The releases that went live and are kept, the newest first."""
    found = []
    for line in site.run(releases.records(site.layout)).splitlines():
        size, _, text = line.partition("\t")
        if entry := Record.parse(text):
            found.append(entry.with_size(int(size or 0)))
    return found


def keep_hashed(site: Site, release: str, container: str, sent: Sent) -> str:
    """Let the proxy send the release's hashed files; in words, why it does not."""
    try:
        site.run(releases.keep_hashed(site.layout, release, container, sent))
    except CommandFailed as error:
        why = (error.output.splitlines() or ["it did not say why"])[-1]
        return f"; the site sends its static files itself: {why}"
    return ""


def prune(site: Site, serving: str) -> Outcome:
    """Remove what no kept release needs."""
    command = releases.prune(
        site.layout,
        serving=serving,
        keep=KEEP.releases,
        snapshots=KEEP.snapshots,
        cache=KEEP.build_cache,
    )
    site.run(command)
    return changed(
        f"at most {KEEP.releases} releases and {KEEP.snapshots} snapshots stay"
    )
