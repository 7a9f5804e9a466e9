"""A release: built, started beside the one that serves, asked, and put before the users."""

import json

from stagetools.deploy.commands import compose, files, site
from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts, Record
from stagetools.deploy.host import Host, OnLine
from stagetools.deploy.layout import Layout
from stagetools.deploy.limits import HEALTH
from stagetools.deploy.steps import Outcome, changed, unchanged
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "build",
    "claim_domains",
    "configure",
    "drain_and_stop",
    "migrate",
    "record",
    "start_beside",
    "sweep",
    "switch",
    "visit",
    "wait_until_healthy",
]

_MOST_WORKERS = 8  # gunicorn processes chosen by us; each costs some 60 MB


def configure(
    host: Host, layout: Layout, facts: Facts, config: StageConfig, release: str
) -> None:
    """Write what compose.yaml's variables stand for in this release."""
    values = {
        "STAGETOOLS_SYSTEM": layout.system.name,
        "STAGETOOLS_RELEASE": release,
        "STAGETOOLS_USER": f"{facts.uid}:{facts.gid}",
        "STAGETOOLS_HOME": layout.home,
        "STAGETOOLS_RUN_DIR": layout.run_dir,
        "STAGETOOLS_TLS": "off" if config.tls == "off" else "on",
        "ALLOWED_HOSTS": ",".join(config.domains),
        "WEB_CONCURRENCY": config.workers or min(max(2, facts.cores), _MOST_WORKERS),
    }
    text = "".join(f"{name}={value}\n" for name, value in values.items())
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


def migrate(host: Host, layout: Layout, release: str, on_line: OnLine) -> Outcome:
    """Apply the release's migrations with the release's own code."""
    words = ["python", "-m", "stagetools.manage", "migrate", "--no-input"]
    command = compose.one_off(layout, release, *words)
    applied = []

    def line(text: str) -> None:
        on_line(text)
        applied.append(text.strip().endswith("... OK"))

    try:
        host.run(command, on_line=line)
    except CommandFailed as error:
        raise StageError(
            "Migrate: a migration failed.",
            untouched=still_serves(layout)
            + " Migrations before the failing one stay applied.",
            remedy="Mend the migration, then deploy again.",
        ) from error
    count = sum(applied)
    return changed(f"{count} applied") if count else unchanged("nothing to apply")


def start_beside(host: Host, layout: Layout, release: str) -> str:
    """Start the release without any visitor; its container's id."""
    try:
        return host.run(compose.start_beside(layout, release)).split()[0]
    except (CommandFailed, IndexError) as error:
        raise StageError(
            "Start: the release's container does not start.",
            untouched=still_serves(layout),
        ) from error


def wait_until_healthy(
    host: Host, layout: Layout, release: str, container: str
) -> Outcome:
    """Ask the release's own socket until it is well; discard it and raise if it never is."""
    words = ["python", "-m", "stagetools.probe", str(layout.socket(release))]
    words += ["--limit", str(HEALTH.start), "--refusals", str(HEALTH.refusals)]
    try:
        host.run(compose.run_inside(container, words))
    except CommandFailed as error:
        said = _said(error.output)
        logs = host.run(compose.last_lines(container, 15))
        host.run(compose.discard(container))
        raise StageError(
            f"Health: the new release is not healthy: {said or 'it ended while it started'}.",
            untouched=still_serves(layout),
            remedy="Mend what its last lines below say, then deploy again.",
        ) from CommandFailed("", status=error.status, output=logs.strip())
    return changed("/healthz answers 200")


def _said(output: str) -> str:
    try:
        return str(json.loads(output.splitlines()[0])["said"])
    except (IndexError, ValueError, KeyError, TypeError):
        return ""


def claim_domains(host: Host, layout: Layout, config: StageConfig) -> None:
    """Let the proxy find the installation under its domains; raise if another has one."""
    try:
        host.run(site.claim_domains(layout, config.domains, tls=config.tls != "off"))
    except CommandFailed as error:
        if error.status != site.TAKEN:
            raise
        domain, other = error.output.split()
        raise StageError(
            f"{domain} belongs to {other} on this server.",
            untouched=still_serves(layout),
            remedy=f"Take it out of one of the two: domains in deploy.toml, here or of {other}.",
        ) from None


def switch(host: Host, layout: Layout, release: str) -> Outcome:
    """Put the release before the users."""
    host.run(site.switch(layout, release))
    return changed(f"{release} serves")


def sweep(host: Host, layout: Layout, serving: str) -> None:
    """Remove what an interrupted deploy left: nobody approved it."""
    host.run(compose.sweep(layout, keep=serving))


def drain_and_stop(host: Host, layout: Layout, before: Facts) -> Outcome:
    """Let the release that served before finish its requests, then stop it."""
    old = before.serving(layout.system.name)
    if old is None:
        return unchanged("none served before")
    host.run(site.drain(layout, old.release))
    host.run(compose.stop(old.id))
    return changed(f"{old.release} stopped")


def visit(host: Host, layout: Layout, config: StageConfig, release: str) -> Outcome:
    """Make the first visit to each domain, so that no visitor waits for a certificate."""
    image = f"{layout.system.name}:{release}"
    scheme = "http" if config.tls == "off" else "https"
    for domain in config.domains:
        try:
            host.run(site.visit(image, f"{scheme}://{domain}", HEALTH.certificate))
        except CommandFailed as error:
            raise StageError(
                f"Visit: {domain} does not answer over {scheme}: {_said(error.output)}.",
                untouched=f"The release {release} runs, and serves the domains that answer.",
                remedy=f"Does DNS point {domain} to this server, and are ports 80 and 443 open?"
                " Mend that: the certificate is then made at the next visit.",
            ) from None
    return changed(f"{', '.join(config.domains)}: answered over {scheme}")


def record(host: Host, layout: Layout, entry: Record) -> None:
    """Remember the deploy."""
    path = layout.record(entry.release)
    host.run(files.write_text(path), stdin=entry.to_json().encode())


def still_serves(layout: Layout) -> str:
    """The middle part of every error before the switch."""
    return f"What served {layout.system.name} before goes on serving; its data is untouched."
