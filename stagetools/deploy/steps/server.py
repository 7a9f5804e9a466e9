"""The server itself: Docker, the installation's account, the proxy."""

from stagetools.deploy.commands import server
from stagetools.deploy.facts import Facts, parse_facts
from stagetools.deploy.host import Host, OnLine
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import Outcome, changed, unchanged
from stagetools.errors import StageError

__all__ = ["bootstrap", "ensure_account", "look"]

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


def look(host: Host, layout: Layout) -> Facts:
    """The server as it stands."""
    return parse_facts(host.run(server.look(layout)))


def packages(facts: Facts) -> tuple[str, ...]:
    """What to install for Docker with Compose v2 and Buildx; raises for other systems."""
    if own := _DISTRIBUTION.get((facts.os, facts.os_version)):
        return (*own, "iptables", "ca-certificates")
    if facts.os in ("debian", "ubuntu"):
        return (*_DOCKERS_OWN, "iptables", "ca-certificates")
    raise StageError(
        f"Docker cannot be installed here: {facts.os} {facts.os_version} is neither Debian nor Ubuntu.",
        untouched="Nothing was changed.",
        remedy="Install Docker with Compose v2 and Buildx by hand, then deploy again.",
    )


def bootstrap(host: Host, facts: Facts, on_line: OnLine) -> Outcome:
    """Leave a Docker engine with Compose v2 and Buildx; install only what is missing."""
    if facts.docker and facts.compose and facts.buildx:
        return unchanged(f"Docker {facts.docker} is there")
    if not facts.systemd:
        raise StageError(
            "The server does not run systemd.",
            untouched="Nothing was changed.",
            remedy="Take one that does: any Debian or Ubuntu, on a machine of its own.",
        )
    wanted = packages(facts)
    if _DOCKERS_OWN[0] in wanted:
        host.run(server.docker_repository(facts.os, facts.os_codename), on_line=on_line)
    host.run(server.install(wanted), on_line=on_line)
    return changed(f"Docker installed: {', '.join(wanted[:3])}")


def ensure_account(host: Host, layout: Layout) -> Outcome:
    """Leave the installation's user, directories and secrets; make only what is missing."""
    made = host.run(server.ensure_account(layout)).replace("created ", "").split("\n")
    made = [what for what in made if what]
    if not made:
        return unchanged(f"{layout.home} is as it should be")
    return changed(f"made {', '.join(made)} in {layout.home}")
