"""The server itself: Docker, the installation's account, the proxy."""

import json

from stagetools.deploy.commands import compose, server
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts, parse_facts
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.outcome import Outcome, changed, unchanged
from stagetools.errors import StageError

__all__ = ["ENGINE", "bootstrap", "ensure_account", "is_prepared", "is_ready", "look"]

ENGINE = 1
"""Of what `engine.sh` sets, remembered on the server; raise it where that changes."""

# Where the distribution's own packages bring Compose v2 and Buildx; apt says which exist.
_DISTRIBUTION = {
    ("debian", "13"): ("docker.io", "docker-cli", "docker-compose", "docker-buildx"),
    ("ubuntu", "24.04"): ("docker.io", "docker-compose-v2", "docker-buildx"),
    ("ubuntu", "25.10"): ("docker.io", "docker-compose-v2", "docker-buildx"),
    ("ubuntu", "26.04"): ("docker.io", "docker-compose-v2", "docker-buildx"),
}
_DOCKERS_OWN = (
    "docker-ce",
    "docker-ce-cli",
    "containerd.io",
    "docker-buildx-plugin",
    "docker-compose-plugin",
)

_BESIDE = ("iptables", "ca-certificates", "restic")  # the last for backups, at one go


def look(site: Site) -> Facts:
    """The server as it stands."""
    return parse_facts(site.run(server.look(site.layout)))


def packages(facts: Facts) -> tuple[str, ...]:
    """What to install for Docker with Compose v2 and Buildx; raises for other systems."""
    if own := _DISTRIBUTION.get((facts.os, facts.os_version)):
        return (*own, *_BESIDE)
    if facts.os in ("debian", "ubuntu"):
        return (*_DOCKERS_OWN, *_BESIDE)
    raise StageError(
        f"Docker cannot be installed here: {facts.os} {facts.os_version} is neither Debian nor Ubuntu.",
        untouched="Nothing was changed.",
        remedy="Install Docker with Compose v2 and Buildx by hand, then deploy again.",
    )


def is_ready(facts: Facts, config: StageConfig) -> bool:
    """Whether `bootstrap` and `ensure_account` would find nothing to do."""
    return facts.is_ready and _engine_is_set(facts, config)


def _engine_is_set(facts: Facts, config: StageConfig) -> bool:
    version, _, restore = facts.engine.partition(" ")
    is_wanted = config.live_restore and restore == "off"
    return version.isdecimal() and int(version) >= ENGINE and not is_wanted


def bootstrap(site: Site, facts: Facts, on_line: OnLine) -> Outcome:
    """Leave a Docker engine with Compose v2 and Buildx; install only what is missing."""
    is_there = bool(facts.docker and facts.compose and facts.buildx)
    if is_there and _engine_is_set(facts, site.config):
        return unchanged(f"Docker {facts.docker} is there")
    if is_there:
        return changed(f"Docker {facts.docker} is there, {_set(site, is_new=False)}")
    if not facts.systemd:
        raise StageError(
            "The server does not run systemd.",
            untouched="Nothing was changed.",
            remedy="Use one that does: any Debian or Ubuntu, on a machine of its own.",
        )
    wanted = packages(facts)
    if _DOCKERS_OWN[0] in wanted:
        site.run(server.docker_repository(facts.os, facts.os_codename), on_line=on_line)
    site.run(server.install(wanted), on_line=on_line)
    return changed(
        f"Docker installed: {', '.join(wanted[:3])}, {_set(site, is_new=True)}"
    )


def _set(site: Site, *, is_new: bool) -> str:
    """Set what all sites share of the engine; in words, what came of live-restore."""
    restore, text = _live_restore(site, is_new=is_new)
    said = site.run(server.set_engine(ENGINE, restore), stdin=text.encode())
    return {
        "live-restore": "sites go on while it restarts",
        "swarm": "in a swarm: a restart of it ends all sites",
    }.get(said.strip(), "its daemon.json as it was")


def _live_restore(site: Site, *, is_new: bool) -> tuple[str, str]:
    """What is done about live-restore, and the daemon.json for that, or nothing.

    What somebody has set there stays, and so does a file that we cannot read.
    """
    if not site.config.live_restore:
        return "off", ""
    if not is_new and site.run(server.swarm()).strip() not in ("", "inactive"):
        return "swarm", ""
    text = site.run(server.daemon_json())
    with_it = add_live_restore(text)
    return ("live-restore", with_it) if with_it else ("theirs", "")


def add_live_restore(text: str) -> str:
    """A daemon.json with live-restore, else as it was; nothing where it says so or is none."""
    try:
        settings = json.loads(text) if text.strip() else {}
    except ValueError:
        return ""
    if not isinstance(settings, dict) or "live-restore" in settings:
        return ""
    if not settings:
        return '{\n  "live-restore": true\n}\n'
    before, brace, after = text.partition("{")
    return f'{before}{brace}\n  "live-restore": true,{after}'


def is_prepared(facts: Facts) -> bool:
    """Whether the account and all that is root's beside it are as this version has them."""
    return facts.is_ready and facts.overlays == compose.OVERLAYS


def ensure_account(site: Site) -> Outcome:
    """Leave the installation's user, directories and secrets; make only what is missing."""
    site.run(compose.write_overlays(site.layout))
    made = (
        site.run(server.ensure_account(site.layout)).replace("created ", "").split("\n")
    )
    made = [what for what in made if what]
    if not made:
        return unchanged(f"{site.layout.home} is as it should be")
    return changed(f"made {', '.join(made)} in {site.layout.home}")
