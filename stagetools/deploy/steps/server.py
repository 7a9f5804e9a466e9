"""The server itself: Docker, the installation's account, the proxy."""

import hashlib
import io
import tarfile
from importlib import resources

from stagetools.deploy.commands import server, site
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts, parse_facts
from stagetools.deploy.host import Host, OnLine
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import Outcome, changed, unchanged
from stagetools.errors import CommandFailed, StageError

__all__ = ["bootstrap", "ensure_account", "ensure_proxy", "look", "proxy_is_current"]

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
_PROXY_FILES = (
    "compose.yaml",
    "Caddyfile",
)  # in the order in which their hash is taken


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
            "The server does not run systemd.", untouched="Nothing was changed."
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


def authority(config: StageConfig) -> str:
    """How the server makes certificates for this stage, in Caddy's words."""
    match config.tls:
        case "internal":
            return "cert_issuer internal"
        case "acme":
            return (
                f"email {config.email}" if config.email else "# Caddy's default: ACME"
            )
        case _:
            return ""


def proxy_is_current(facts: Facts) -> bool:
    """Whether the server's proxy is configured as this version of stagetools does it."""
    return facts.proxy == hashlib.sha256(b"".join(_proxy_files().values())).hexdigest()


def ensure_proxy(
    host: Host, facts: Facts, config: StageConfig, on_line: OnLine
) -> Outcome:
    """Leave the server's one proxy running, with one authority for its certificates."""
    wanted = authority(config)
    if (
        wanted
        and facts.authority
        and (config.tls == "internal")
        != (facts.authority == authority(StageConfig(stage_name="", tls="internal")))
    ):
        raise StageError(
            f'This server makes its certificates otherwise ("{facts.authority}") than'
            f' tls = "{config.tls}" says.',
            untouched="Nothing was changed.",
            remedy="Give the stages of one server the same tls.",
        )
    if proxy_is_current(facts) and (facts.authority or not wanted):
        return unchanged("Caddy is there")
    try:
        host.run(site.start_proxy(wanted), stdin=_proxy_archive(), on_line=on_line)
    except CommandFailed as error:
        raise StageError(
            "The proxy does not start.",
            untouched="No site was changed.",
            remedy="Is another program (nginx, apache2) on port 80 or 443? Stop it, then deploy again.",
        ) from error
    return changed("Caddy started on ports 80 and 443")


def _proxy_files() -> dict[str, bytes]:
    folder = resources.files("stagetools.deploy") / "proxy"
    return {name: (folder / name).read_bytes() for name in _PROXY_FILES}


def _proxy_archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in _proxy_files().items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
