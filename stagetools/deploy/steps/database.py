"""The database's part of a deploy: rehearse on a copy, snapshot, migrate; or undo."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from stagetools.deploy.commands import database
from stagetools.deploy.facts import span
from stagetools.deploy.host import Host, OnLine
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import Outcome, changed, unchanged
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "Plan",
    "Rehearsal",
    "Undo",
    "agree",
    "known",
    "migrate",
    "plan",
    "plan_undo",
    "rehearse",
    "rehearse_undo",
    "restore",
    "restore_back",
    "snapshot",
    "snapshot_age",
    "try_plan",
    "undo",
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a release will do to the database."""

    pending: tuple[str, ...]
    breaking: tuple[str, ...]  # in words: what the release before cannot live with
    size: int  # bytes of the database; 0 when there is none yet
    sqlite: bool


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of migrating a copy, and how long that took."""

    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class Undo:
    """What must be undone for an older release."""

    unknown: tuple[str, ...]
    first: (
        bool  # before the switch: the older release cannot live with the newer schema
    )
    irreversible: tuple[str, ...]


def plan(host: Host, layout: Layout, release: str) -> Plan:
    """Which migrations the release would apply; changes nothing."""
    said = _ask(host, layout, release, "plan")
    return Plan(
        tuple(said["pending"]), _words(said["breaking"]), said["size"], said["sqlite"]
    )


def try_plan(host: Host, layout: Layout, release: str) -> Plan | None:
    """The same, or None where the release's code cannot even say that."""
    try:
        return plan(host, layout, release)
    except CommandFailed:
        return None


def known(host: Host, layout: Layout, release: str) -> list[str]:
    """The migrations that the release's code has."""
    return list(_ask(host, layout, release, "known")["known"])


def plan_undo(host: Host, layout: Layout, release: str, names: Sequence[str]) -> Undo:
    """What `release` would have to undo for one that knows only `names`."""
    said = _ask(host, layout, release, "unknown", stdin=json.dumps(list(names)))
    return Undo(
        tuple(said["unknown"]), bool(said["breaking"]), _words(said["irreversible"])
    )


def rehearse(host: Host, layout: Layout, release: str, on_line: OnLine) -> Rehearsal:
    """Migrate a copy of the live database, and start the site on it."""
    try:
        said = _follow(host, layout, release, on_line, "rehearse")
    except CommandFailed as error:
        raise StageError(
            "Rehearse: the migrations fail on a copy of the database.",
            untouched="The live database was not touched, and what served goes on serving.",
            remedy="Mend what the last lines below say, then deploy again.",
        ) from error
    each = [value for value in said if "migration" in value]
    seconds = sum(float(value["seconds"]) for value in each)
    listed = ", ".join(
        f"{value['migration']} {value['seconds']:.2f} s" for value in each
    )
    copied = float(said[0]["copied"])
    return Rehearsal(changed(f"{listed}, on a copy made in {copied:.2f} s"), seconds)


def agree(
    plan: Plan, rehearsal: Rehearsal, limit: float, ask: Callable[[str], None]
) -> None:
    """Ask before what visitors would notice; `ask` raises unless the answer is yes."""
    if plan.breaking:
        ask(
            f"The release that serves cannot live with this: {'; '.join(plan.breaking)}."
            " Until the switch its requests to these may fail."
            " Better in two deploys: first expand, later contract. Go on?"
        )
    if rehearsal.seconds > limit:
        ask(
            f"The migrations will keep writers waiting for about {rehearsal.seconds:.1f} s"
            f" (migration_limit in deploy.toml is {limit} s). Go on?"
        )


def snapshot(host: Host, layout: Layout, release: str, name: str) -> str:
    """Keep a copy of the live database; its path."""
    return str(_ask(host, layout, release, "snapshot", name)["snapshot"])


def migrate(
    host: Host, layout: Layout, release: str, kept: str, on_line: OnLine
) -> tuple[Outcome, tuple[str, ...]]:
    """Migrate the live database with the release's own code; what was applied."""
    try:
        said = _follow(host, layout, release, on_line, "migrate")
    except CommandFailed as error:
        copy = f" As it was before: {kept}." if kept else ""
        raise StageError(
            "Migrate: a migration failed on the live database.",
            untouched="What served goes on serving. Migrations before the failing one stay"
            f" applied; the failing one was undone by its transaction.{copy}",
            remedy="Mend what the last lines below say, then deploy again.",
        ) from error
    applied = tuple(str(v["migration"]) for v in said if "migration" in v)
    if not applied:
        return unchanged("nothing to apply"), ()
    seconds = float(said[-1]["migrated"])
    return changed(f"{len(applied)} applied in {seconds:.2f} s"), applied


def rehearse_undo(
    host: Host, layout: Layout, release: str, names: Sequence[str]
) -> Outcome:
    """Undo on a copy what a release with only `names` does not know."""
    said = _undo(host, layout, release, names, "rehearse-reverse")
    return changed(f"undone on a copy in {said:.2f} s")


def undo(host: Host, layout: Layout, release: str, names: Sequence[str]) -> Outcome:
    """Undo it on the live database, with the newer release's code."""
    said = _undo(host, layout, release, names, "reverse")
    return changed(f"undone in {said:.2f} s")


def snapshot_age(host: Host, layout: Layout, name: str) -> str:
    """How old a snapshot is, as a person reads it."""
    try:
        seconds = int(host.run(database.snapshot_age(layout, name)))
    except CommandFailed:
        raise StageError(
            f"The snapshot {name} is no longer kept.",
            untouched="What served goes on serving.",
            remedy="Roll back without --restore-database.",
        ) from None
    return span(seconds)


def restore(host: Host, layout: Layout, name: str, *, keep: str) -> None:
    """Put the snapshot in the database's place; the database stays as `replaced-<keep>`."""
    host.run(database.restore(layout, name, keep))


def restore_back(host: Host, layout: Layout, *, keep: str) -> None:
    """Put the database back that `restore` replaced."""
    host.run(database.put_back(layout, keep))


def _undo(
    host: Host, layout: Layout, release: str, names: Sequence[str], how: str
) -> float:
    try:
        said = _ask(host, layout, release, how, stdin=json.dumps(list(names)))
    except CommandFailed as error:
        where = "a copy of the database" if how != "reverse" else "the live database"
        raise StageError(
            f"Undo: the migrations cannot be undone on {where}.",
            untouched="What served goes on serving.",
            remedy="Deploy a mended release instead, or roll back with --restore-database.",
        ) from error
    return float(said["reversed"])


def _ask(
    host: Host, layout: Layout, release: str, *words: str, stdin: str = ""
) -> dict[str, Any]:
    """The result of one command: the last line that it printed."""
    said = host.run(database.run(layout, release, *words), stdin=stdin.encode())
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


def _follow(
    host: Host, layout: Layout, release: str, on_line: OnLine, *words: str
) -> list[dict[str, Any]]:
    """Every value that one command printed, each shown as it comes."""
    values: list[dict[str, Any]] = []

    def line(text: str) -> None:
        if value := _value(text):
            values.append(value)
            text = ", ".join(f"{key} {what}" for key, what in value.items())
        on_line(text)

    try:
        host.run(database.run(layout, release, *words), on_line=line)
    except KeyboardInterrupt:  # an endless migration, perhaps: it ends with us
        with suppress(StageError):
            host.run(database.end(layout))
        raise
    return values


_VALUES = ({"copied"}, {"migration", "seconds"}, {"rehearsed"}, {"migrated"})


def _value(line: str) -> dict[str, Any] | None:
    """What stagetools.database said; None for a line of the project's own, in JSON or not."""
    try:
        value = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return value if value is not None and value.keys() in _VALUES else None


def _words(pairs: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(f"{migration} {what}" for migration, what in pairs)
