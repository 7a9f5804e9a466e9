"""The server's one proxy, and how it finds an installation."""

import hashlib
from pathlib import Path

from stagetools.deploy.commands import proxy, traffic
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.layout import Layout
from stagetools.deploy.limits import HEALTH
from stagetools.deploy.outcome import Outcome, changed, unchanged
from stagetools.deploy.shell import Command
from stagetools.deploy.steps.release import said_by_probe
from stagetools.deploy.tree import file_member, packed
from stagetools.errors import CommandFailed, StageError

__all__ = ["claim", "claim_domains", "ensure_proxy", "is_ready", "visit"]

_FILES = ("compose.yaml", "Caddyfile")  # in the order in which their hash is taken
VERSION = 4
"""Of these files. One server's projects may come from several versions of the template: the
newest files stay, whoever deploys."""
_DEFAULT = "# Caddy's own choice of ACME authorities"
_PUBLIC = "https://acme-v02.api.letsencrypt.org/directory"  # the first of them
_SYSTEMS_ROOTS = "/etc/ssl/certs/ca-certificates.crt"  # of Caddy's image


def authority(config: StageConfig) -> str:
    """How all certificates of a server are made, in the words of Caddy's global options."""
    if config.tls == "off":
        return ""
    if config.tls == "internal":
        return "cert_issuer internal"
    options = [f"email {config.email}"] if config.email else []
    if config.acme_ca:
        options.append(f"acme_ca {config.acme_ca}")
    if config.acme_ca_root:
        options.append(f"acme_ca_root {_root_path(config)}")
    return "\n".join(options) or _DEFAULT


def is_ready(facts: Facts, config: StageConfig) -> bool:
    """Whether the proxy runs, configured as this version of stagetools or a later one does it."""
    has_authority = bool(facts.authority or not authority(config))
    alone = facts.proxy_runs and not facts.taken_ports
    return has_authority and alone and not facts.follows_links and _is_current(facts)


def _is_current(facts: Facts) -> bool:
    if facts.proxy_version != VERSION:
        return facts.proxy_version > VERSION
    return facts.proxy == hashlib.sha256(b"".join(_files().values())).hexdigest()


def ensure_proxy(site: Site, facts: Facts, on_line: OnLine) -> Outcome:
    """Leave the server's one proxy running, with an authority for its certificates.

    To renew it is no outage: another takes over before it leaves.
    """
    config, wanted = site.config, authority(site.config)
    if is_ready(facts, config):
        return unchanged("Caddy is there")
    if facts.taken_ports:
        raise StageError(
            f"Another program has port 80 or 443: {', '.join(facts.taken_ports)}.",
            untouched="Neither it nor any site was changed.",
            remedy="Stop and disable it (systemctl disable --now NAME, or docker rm --force"
            " NAME for a container), then deploy again.",
        )
    try:
        site.run(proxy.ensure(wanted, VERSION), stdin=_archive(config), on_line=on_line)
    except CommandFailed as error:
        raise StageError(
            "The proxy does not start.",
            untouched="No site was changed; a proxy that ran before goes on.",
            remedy="Read what Caddy says below.",
        ) from error
    return changed("Caddy runs on ports 80 and 443")


def claim_domains(site: Site, facts: Facts) -> None:
    """Let the proxy find the installation under its domains; raise if another has one."""
    try:
        site.run(claim(site.layout, site.config))
        snippet = exception(facts, site.config)
        site.run(proxy.except_site(site.layout, snippet, *_root(site.config)))
    except CommandFailed as error:
        raise _refused(error) from error


def claim(layout: Layout, config: StageConfig) -> Command:
    """What tells the proxy of the stage."""
    return traffic.claim_domains(
        layout,
        config.domains,
        tls=config.tls != "off",
        max_body=config.max_body_bytes,
    )


def exception(facts: Facts, config: StageConfig) -> str:
    """A snippet for a stage whose certificates are made otherwise than the server's.

    The proxy finds sites without being told of them, and goes on as it is when they come
    and go; the price is one authority for all. An exception is worth renewing it.
    """
    wanted = authority(config)
    if not wanted or wanted == facts.authority.strip():
        return ""
    names = ", ".join(f"https://{domain}" for domain in config.domains)
    issuer = "".join(f"\t\t{line}\n" for line in _issuer(facts, config))
    return f"{names} {{\n\ttls {{\n{issuer}\t}}\n\timport known\n\timport site\n}}\n"


def _issuer(facts: Facts, config: StageConfig) -> list[str]:
    """All of it: what is left unsaid would be taken from the server's own authority."""
    if config.tls == "internal":
        return ["issuer internal"]
    lines = ["issuer acme {", f"\tdir {config.acme_ca or _PUBLIC}"]
    if config.email:
        lines.append(f"\temail {config.email}")
    if root := _root_path(config):
        lines.append(f"\ttrusted_roots {root}")
    elif "acme_ca_root" in facts.authority:
        lines.append(f"\ttrusted_roots {_SYSTEMS_ROOTS}")
    return [*lines, "}"]


def visit(site: Site, release: str, container: str) -> Outcome:
    """Make the first visit to each domain, so that no visitor waits for a certificate."""
    config = site.config
    scheme = "http" if config.tls == "off" else "https"
    for domain in config.domains:
        try:
            site.run(proxy.visit(container, f"{scheme}://{domain}", HEALTH.certificate))
        except CommandFailed as error:
            raise StageError(
                f"Visit: {domain} does not answer over {scheme}: {said_by_probe(error.output)}.",
                untouched=f"The release {release} runs, and serves the domains that answer.",
                remedy=f"Does DNS point {domain} to this server, and are ports 80 and 443 open?"
                " Fix that: the certificate is then issued at the next visit.",
            ) from None
    return changed(f"{', '.join(config.domains)} answers over {scheme}")


def _refused(error: CommandFailed) -> StageError:
    words = error.output.split()
    if error.status == traffic.TAKEN and len(words) == 2:
        return StageError(
            f"{words[0]} belongs to {words[1]} on this server.",
            remedy=f"Take it out of one of the two: domains in deploy.toml, here or of {words[1]}.",
        )
    refuses = error.status == proxy.REFUSED
    return StageError(
        "The proxy refuses the site's configuration."
        if refuses
        else "The proxy could not be renewed with the site's configuration.",
        remedy="Read what Caddy says below.",
    )


def _root(config: StageConfig) -> tuple[str, ...]:
    """The name and the text of the certificate of an authority that is not public."""
    return (_root_name(config), config.acme_root) if config.acme_ca_root else ()


def _root_path(config: StageConfig) -> str:
    return f"/etc/caddy/{_root_name(config)}" if config.acme_ca_root else ""


def _root_name(config: StageConfig) -> str:
    content = config.acme_root.encode()
    return f"acme-root-{hashlib.sha256(content).hexdigest()[:12]}.pem"


def _files() -> dict[str, bytes]:
    folder = Path(__file__).parents[1] / "proxy"
    return {name: (folder / name).read_bytes() for name in _FILES}


def _archive(config: StageConfig) -> bytes:
    """The proxy's files, and the root of an ACME authority that is not public."""
    files = _files()
    if config.acme_ca_root:
        files[_root_name(config)] = config.acme_root.encode()
    return packed(file_member(name, content) for name, content in files.items())
