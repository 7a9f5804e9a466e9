"""In place of a lost server: what lay elsewhere comes to a new one, before anything serves there."""

from collections.abc import Mapping

from stagetools.deploy.commands.backup import repository, setup
from stagetools.deploy.facts import engine_name
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.outcome import Outcome, changed, size, unchanged
from stagetools.deploy.shell import Secret
from stagetools.deploy.steps.backup import Contents, Entry, backups_in, words
from stagetools.errors import CommandFailed, StageError

__all__ = ["fetch", "revive"]


def fetch(
    site: Site, key: Secret, credentials: Mapping[str, Secret], on_line: OnLine
) -> Entry:
    """Leave restic, its repository with the newest backup elsewhere, and that one's environment."""
    lines = [key.reveal(), *(f"{n}={v.reveal()}" for n, v in credentials.items())]
    given = "".join(f"{line}\n" for line in lines).encode()
    told = words(site)
    prepare = setup.install_in_place_of_lost(
        site.layout, keep=told["keep"], to=told["to"]
    )
    try:
        site.run(prepare, on_line=on_line)
        said = site.run(repository.fetch(site.layout), stdin=given)
    except CommandFailed as error:
        raise _refused("Fetch", error) from error
    [found] = backups_in(said)
    return found


def revive(site: Site, release: str, backup: str) -> tuple[Outcome, Contents]:
    """Put the backup's database where the release will look for it."""
    try:
        said = site.run(repository.revive(site.layout, release, backup))
    except CommandFailed as error:
        raise _refused("Restore", error) from error
    found = Contents.parse(said.split("found=", 1)[1])
    if found.engine:
        own = f"{engine_name(found.engine)} is the project's own"
        return unchanged(f"the backup has no database: {own}"), found
    rows = sum(many or 0 for many in found.tables.values())
    return changed(f"the database with {rows} rows, {size(found.bytes)}"), found


def _refused(step: str, error: CommandFailed) -> StageError:
    said = [line for line in error.output.splitlines() if line.strip()]
    return StageError(
        f"{step}: {said[-1] if said else 'the server printed no reason.'}",
        remedy="Fix that, then type inv deploy --restore again: it begins anew.",
    )
