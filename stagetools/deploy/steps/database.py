"""The database's part of a deploy: rehearse on a copy, snapshot, migrate; or undo."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from stagetools.deploy.commands import data, database
from stagetools.deploy.facts import span
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.standing import Standing
from stagetools.deploy.steps import Outcome, changed, unchanged
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "Plan",
    "Rehearsal",
    "Undo",
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
class Plan:
    """What a release will do to the database."""

    pending: tuple[str, ...]
    breaking: tuple[str, ...]  # in words: what the release before cannot live with
    unforeseeable: tuple[str, ...]  # in words: what nobody can know that of
    sqlite: bool

    @property
    def wants_a_copy(self) -> bool:
        """Whether the release before must not meet what comes of it."""
        return self.sqlite and bool(self.breaking or self.unforeseeable)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of migrating a copy, and how long that took."""

    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class Undo:
    """What must be undone for an older release."""

    unknown: tuple[str, ...]
    irreversible: tuple[str, ...]


def plan(site: Site, release: str) -> Plan:
    """Which migrations the release would apply; changes nothing."""
    said = _ask(site, release, "plan")
    return Plan(
        tuple(said["pending"]),
        _words(said["breaking"]),
        _words(said.get("unforeseeable", ())),
        said["sqlite"],
    )


def try_plan(site: Site, release: str) -> Plan | None:
    """The same, or None where the release's code cannot even say that."""
    try:
        return plan(site, release)
    except CommandFailed:
        return None


def known(site: Site, release: str) -> list[str]:
    """The migrations that the release's code has."""
    return list(_ask(site, release, "known")["known"])


def plan_undo(
    site: Site,
    release: str,
    names: Sequence[str],
    *,
    on: PurePosixPath | None = None,
) -> Undo:
    """What `release` would have to undo for one that knows only `names`.

    `on` is a database directory other than the release's own.
    """
    said = _ask(site, release, "unknown", stdin=json.dumps(list(names)), data_dir=on)
    return Undo(tuple(said["unknown"]), _words(said["irreversible"]))


def rehearse(site: Site, release: str, on_line: OnLine) -> Rehearsal:
    """Migrate a copy of the live database, and start the site on it."""
    said: list[dict[str, Any]] = []
    try:
        _follow(site, release, on_line, said, "rehearse", overlay="rehearse")
    except CommandFailed as error:
        raise _refused_in_rehearsal(said) from error
    seconds, listed = _timed(said)
    copied = float(said[0]["copied"])
    return Rehearsal(changed(f"{listed}, on a copy made in {copied:.2f} s"), seconds)


def migrate_copy(
    site: Site, release: str, on_line: OnLine, *, rehearsal: bool
) -> Rehearsal:
    """Migrate the database in the release's own directory, where nobody else is."""
    said: list[dict[str, Any]] = []
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


def _refused_in_rehearsal(said: Sequence[dict[str, Any]]) -> StageError:
    return _refused(said, "Rehearse: the migrations fail on a copy of the database.")


def _refused(said: Sequence[dict[str, Any]], what: str) -> StageError:
    failed = next((str(v["failed"]) for v in said if "failed" in v), "")
    return StageError(
        f"{what} It is {failed}." if failed else what,
        remedy="Fix what the last lines below say, then deploy again.",
    )


def _timed(said: Sequence[dict[str, Any]]) -> tuple[float, str]:
    each = [value for value in said if "migration" in value]
    listed = ", ".join(
        f"{value['migration']} {value['seconds']:.2f} s" for value in each
    )
    return sum(float(value["seconds"]) for value in each), listed


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
            f"The live release is not compatible with these migrations: {'; '.join(plan.breaking)}."
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
    return str(_ask(site, release, "snapshot", name)["snapshot"])


def migrate(
    site: Site, release: str, standing: Standing, on_line: OnLine
) -> tuple[Outcome, tuple[str, ...]]:
    """Migrate the live database with the release's own code; what was applied."""
    said: list[dict[str, Any]] = []
    standing.migrating = True
    try:
        _follow(site, release, on_line, said, "migrate")
    except BaseException as error:
        standing.applied = _applied(said)
        failed: dict[str, Any] = next((v for v in said if "failed" in v), {})
        standing.migrating = not failed  # it did not end by itself
        standing.partly = "" if failed.get("atomic", True) else failed["failed"]
        if not isinstance(error, CommandFailed):
            raise
        raise _refused(
            said, "Migrate: a migration failed on the live database."
        ) from error
    standing.migrating = False
    standing.applied = _applied(said)
    if not standing.applied:
        return unchanged("nothing to apply"), ()
    seconds = float(said[-1]["migrated"])
    applied = tuple(standing.applied)
    return changed(f"{len(applied)} applied in {seconds:.2f} s"), applied


def _applied(said: Sequence[dict[str, Any]]) -> list[str]:
    return [str(value["migration"]) for value in said if "migration" in value]


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
            site, release, "reverse", stdin=json.dumps(list(names)),
            data_dir=on, overlay="rehearse" if rehearsal else "task",
        )  # fmt: skip
    except CommandFailed as error:
        raise StageError(
            "Undo: the migrations cannot be undone on a copy of the database.",
            remedy="Deploy a fixed release instead, or roll back with --restore-database.",
        ) from error
    seconds = float(said["reversed"])
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


_RESULTS = {"plan": "pending", "reverse": "reversed"}
"""The key that a command's result has; others have one of their own name."""


def _ask(
    site: Site,
    release: str,
    *words: str,
    stdin: str = "",
    data_dir: PurePosixPath | None = None,
    overlay: database.Overlay = "task",
) -> dict[str, Any]:
    """The result of one command, among whatever lines the project itself printed."""
    command = database.run(site.layout, release, *words, overlay=overlay, data=data_dir)
    said = site.run(command, stdin=stdin.encode())
    for line in reversed(said.splitlines()):
        value = _object(line)
        if value is not None and _RESULTS.get(words[0], words[0]) in value:
            return value
    raise CommandFailed(
        f"{site.host.address}: stagetools.database {words[0]} printed no result",
        status=0,
        output=said,
    )


def _follow(
    site: Site,
    release: str,
    on_line: OnLine,
    values: list[dict[str, Any]],
    *words: str,
    overlay: database.Overlay = "task",
) -> None:
    """Append each value as it comes; each line goes on to `on_line` as well, in words."""

    def line(text: str) -> None:
        if (value := _value(text)) is not None:
            values.append(value)
            text = ", ".join(f"{key} {what}" for key, what in value.items())
        on_line(text)

    try:
        site.run(
            database.run(site.layout, release, *words, overlay=overlay), on_line=line
        )
    except KeyboardInterrupt:  # an endless migration, perhaps: it ends with us
        with suppress(StageError):
            site.run(database.end(site.layout))
        raise


_VALUES = (
    {"copied"},
    {"migration", "seconds"},
    {"rehearsed"},
    {"migrated"},
    {"failed", "atomic"},
)


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _value(line: str) -> dict[str, Any] | None:
    """What stagetools.database said; None for a line of the project's own, in JSON or not."""
    value = _object(line)
    return value if value is not None and value.keys() in _VALUES else None


def _words(pairs: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(f"{migration} {what}" for migration, what in pairs)
