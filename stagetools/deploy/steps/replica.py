"""The replica of the database: set up, watched, told of."""

from stagetools.deploy.commands.backup import replica
from stagetools.deploy.facts import Facts
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.outcome import Outcome, changed
from stagetools.deploy.replicas import Replication, parse_replication
from stagetools.errors import CommandFailed, StageError

__all__ = ["install", "is_set_up", "row", "trouble", "watch"]

_KEY = "key="  # what an sftp server must know


def is_set_up(site: Site, facts: Facts) -> bool:
    """Whether `install` would find nothing to do."""
    return facts.replica == replica.digest(site.layout, site.config.replica.url)


def install(site: Site, on_line: OnLine) -> Outcome:
    """Leave the replica as deploy.toml has it, or none."""
    wanted = site.config.replica
    if not wanted.url:
        site.run(replica.take_away(site.layout))
        return changed("none any more; what was sent stays where it is")
    host, port = wanted.ssh
    command = replica.install(
        site.layout, wanted.url, directory=wanted.directory, host=host, port=port
    )
    try:
        site.run(command, on_line=on_line)
    except CommandFailed as error:
        raise _refused(site, error) from error
    return changed(f"every change of the database is sent to {wanted.url}")


def _refused(site: Site, error: CommandFailed) -> StageError:
    url = site.config.replica.url
    if error.status != replica.UNREACHED:
        return StageError(
            "Replica: it could not be set up.",
            remedy="Read the last lines below, then deploy again. A site that needs none has"
            " no replica table in deploy.toml.",
        )
    keys = [line for line in error.output.splitlines() if line.startswith(_KEY)]
    return StageError(
        f"Replica: {url} cannot be reached.",
        remedy=_remedy(url, keys[0].removeprefix(_KEY) if keys else ""),
    )


def _remedy(url: str, key: str) -> str:
    if key:
        return f"Its authorized_keys must have this line; then deploy again: {key}"
    if url.startswith("file:"):
        return "Let its parent directories be root's alone, then deploy again."
    return (
        "Give its credentials, then deploy again: inv env.set LITESTREAM_ACCESS_KEY_ID"
        " LITESTREAM_SECRET_ACCESS_KEY"
    )


def watch(site: Site, facts: Facts) -> Replication:
    """How the replica stands; nothing is asked where there is none."""
    if not facts.replica:
        return Replication()
    return parse_replication(site.run(replica.watch(site.layout)))


def row(site: Site, found: Replication) -> str:
    """What `inv status` says of it; nothing where none is and none should be."""
    wanted = site.config.replica.url
    if not found.url:
        return "not set up: inv deploy does it" if wanted else ""
    other = f" (deploy.toml has {wanted or 'none'}: inv deploy)"
    return found.row + (other if wanted != found.url else "")


def trouble(site: Site, found: Replication) -> StageError | None:
    """What `inv status` ends with where the replica needs somebody."""
    stage = site.config.stage_name
    named = "" if stage == "prod" else f" --stage {stage}"
    if site.config.replica.url and not found.url:
        return StageError(
            f"{site.name} has no replica yet, and deploy.toml names a place for one.",
            untouched="The site goes on serving.",
            remedy=f"Set it up: inv deploy{named}",
        )
    if not (troubles := found.troubles()):
        return None
    return StageError(
        f"The replica of {site.name} needs your attention: {'; '.join(troubles)}.",
        untouched="The site goes on serving.",
        remedy=f"Read what Litestream says: inv logs{named} --grep level=ERROR",
    )
