"""The database's part of a deploy: rehearse on a copy, snapshot, migrate; or undo."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from stagetools.database import protocol
from stagetools.database.protocol import Plan, Unknown
from stagetools.deploy.commands import data, database
from stagetools.deploy.facts import span
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.outcome import Outcome, changed, unchanged
from stagetools.deploy.standing import Standing
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "Rehearsal",
    "agree",
    "known",
    "migrate",
    "migrate_copy",
    "plan",
    "plan_undo",
    "rehearse",
    "snapshot",
    "snapshot_age",
    "try_plan",
    "undo_on_copy",
]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of migrating a copy, and how long that took."""

    outcome: Outcome
    seconds: float


def plan(site: Site, release: str) -> Plan:
    """Which migrations the release would apply; changes nothing."""
    return _ask(site, release, Plan, "plan")


def try_plan(site: Site, release: str) -> Plan | None:
    """The same, or None where the release's code cannot even say that."""
    try:
        return plan(site, release)
    except CommandFailed:
        return None


def known(site: Site, release: str) -> list[str]:
    """The migrations that the release's code has."""
    return list(_ask(site, release, protocol.Known, "known").known)


def plan_undo(
    site: Site,
    release: str,
    names: Sequence[str],
    *,
    on: PurePosixPath | None = None,
) -> Unknown:
    """What `release` would have to undo for one that knows only `names`.

    `on` is a database directory other than the release's own.
    """
    return _ask(
        site, release, Unknown, "unknown",
        stdin=protocol.names_from(names), data_dir=on,
    )  # fmt: skip


def rehearse(site: Site, release: str, on_line: OnLine) -> Rehearsal:
    """Migrate a copy of the live database, and start the site on it."""
    said = protocol.Reader()
    try:
        _follow(site, release, on_line, said, "rehearse", overlay="rehearse")
    except CommandFailed as error:
        raise _refused_in_rehearsal(said) from error
    seconds, listed = _timed(said)
    copied = said.result(protocol.Copied)
    where = f"a copy made in {copied.copied:.2f} s" if copied else "a copy"
    return Rehearsal(changed(f"{listed}, on {where}"), seconds)


def migrate_copy(
    site: Site, release: str, on_line: OnLine, *, rehearsal: bool
) -> Rehearsal:
    """Migrate the database in the release's own directory, where nobody else is."""
    said = protocol.Reader()
    try:
        _follow(
            site, release, on_line, said, "migrate",
            overlay="rehearse" if rehearsal else "task",
        )  # fmt: skip
    except CommandFailed as error:
        if rehearsal:
            raise _refused_in_rehearsal(said) from error
        raise _refused(
            said, "Migrate: a migration failed on the copy that was to be live."
        ) from error
    seconds, listed = _timed(said)
    return Rehearsal(changed(f"{listed}, on a copy"), seconds)


def _refused_in_rehearsal(said: protocol.Reader) -> StageError:
    return _refused(said, "Rehearse: the migrations fail on a copy of the database.")


def _refused(said: protocol.Reader, what: str) -> StageError:
    failed = said.all(protocol.Failed)
    return StageError(
        f"{what} It is {failed[0].failed}." if failed else what,
        remedy="Fix what the last lines below say, then deploy again.",
    )


def _timed(said: protocol.Reader) -> tuple[float, str]:
    said.check()
    each = said.all(protocol.Migration)
    listed = ", ".join(f"{one.migration} {one.seconds:.2f} s" for one in each)
    return sum(one.seconds for one in each), listed


def agree(
    plan: Plan,
    rehearsal: Rehearsal,
    limit: float,
    ask: Callable[..., None],
    *,
    wait: float = 0,
    allow_breaking: bool = False,
) -> None:
    """Ask before what visitors would notice; `ask` raises unless the answer is yes.

    `allow_breaking` is an answer given beforehand. `wait` is for how many seconds all
    visitors will wait; 0 where the live database is migrated while they are served.
    """
    if plan.breaking and not wait and not allow_breaking:
        ask(
            f"The live release is not compatible with these migrations: {'; '.join(map(str, plan.breaking))}."
            " Until the switch, some of its requests may fail. Where no simpler way is"
            " named, make it two deploys: first add what is new, later remove what is"
            " old. Continue?",
            flag="--allow-breaking",
        )
    if rehearsal.seconds > limit:
        who, seconds = ("visitors", wait) if wait else ("writers", rehearsal.seconds)
        ask(
            f"The migrations will keep {who} waiting for about {seconds:.1f} s"
            f" (migration_limit in deploy.toml is {limit} s). Continue?"
        )


def snapshot(site: Site, release: str, name: str) -> str:
    """Keep a copy of the live database; its path."""
    return _ask(site, release, protocol.Snapshot, "snapshot", name).snapshot


def migrate(
    site: Site, release: str, standing: Standing, on_line: OnLine
) -> tuple[Outcome, tuple[str, ...]]:
    """Migrate the live database with the release's own code; what was applied."""
    said = protocol.Reader()
    standing.migrating = True
    try:
        _follow(site, release, on_line, said, "migrate")
    except BaseException as error:
        standing.applied = _applied(said)
        failed = said.all(protocol.Failed)
        standing.migrating = not failed  # it did not end by itself
        standing.partly = next((one.failed for one in failed if not one.atomic), "")
        if not isinstance(error, CommandFailed):
            raise
        raise _refused(
            said, "Migrate: a migration failed on the live database."
        ) from error
    standing.migrating = False
    standing.applied = _applied(said)
    if not standing.applied:
        return unchanged("nothing to apply"), ()
    done = said.result(protocol.Migrated)
    took = f" in {done.migrated:.2f} s" if done else ""
    return changed(f"{len(standing.applied)} applied{took}"), tuple(standing.applied)


def _applied(said: protocol.Reader) -> list[str]:
    return [one.migration for one in said.all(protocol.Migration)]


def undo_on_copy(
    site: Site,
    release: str,
    names: Sequence[str],
    *,
    on: PurePosixPath,
    rehearsal: bool,
) -> Rehearsal:
    """Undo in the directory `on`, with the code of `release`, what `names` does not hold."""
    try:
        said = _ask(
            site, release, protocol.Reversed, "reverse",
            stdin=protocol.names_from(names), data_dir=on,
            overlay="rehearse" if rehearsal else "task",
        )  # fmt: skip
    except CommandFailed as error:
        raise StageError(
            "Undo: the migrations cannot be undone on a copy of the database.",
            remedy="Deploy a fixed release instead, or roll back with --restore-database.",
        ) from error
    seconds = said.reversed
    return Rehearsal(changed(f"undone on a copy in {seconds:.2f} s"), seconds)


def snapshot_age(site: Site, name: str) -> str:
    """How old a snapshot is, as a person reads it."""
    try:
        seconds = int(site.run(data.snapshot_age(site.layout, name)))
    except CommandFailed:
        raise StageError(
            f"The snapshot {name} is no longer kept.",
            remedy="Roll back without --restore-database.",
        ) from None
    return span(seconds)


V = TypeVar("V", bound=protocol.Value)


def _ask(
    site: Site,
    release: str,
    kind: type[V],
    *words: str,
    stdin: str = "",
    data_dir: PurePosixPath | None = None,
    overlay: database.Overlay = "task",
) -> V:
    """The result of one command, among whatever lines the project itself printed."""
    command = database.run(site.layout, release, *words, overlay=overlay, data=data_dir)
    output = site.run(command, stdin=stdin.encode())
    said = protocol.Reader()
    for line in output.splitlines():
        said.take(line)
    if (result := said.result(kind)) is not None:
        return result
    raise CommandFailed(
        f"{site.host.address}: stagetools.database {words[0]} printed no result",
        status=0,
        output=output,
    )


def _follow(
    site: Site,
    release: str,
    on_line: OnLine,
    said: protocol.Reader,
    *words: str,
    overlay: database.Overlay = "task",
) -> None:
    """Read each line as it comes; it goes on to `on_line`, as a person reads it."""
    command = database.run(site.layout, release, *words, overlay=overlay)
    try:
        site.run(command, on_line=lambda line: on_line(said.take(line)))
    except KeyboardInterrupt:  # an endless migration, perhaps: it ends with us
        with suppress(StageError):
            site.run(database.end(site.layout))
        raise
