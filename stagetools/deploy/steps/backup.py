"""Backups: set up, made, tried, told."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from stagetools.deploy.backups import SLACK, Watch, parse_watch
from stagetools.deploy.commands.backup import repository, setup
from stagetools.deploy.facts import Facts, engine_name
from stagetools.deploy.host.host import OnLine
from stagetools.deploy.host.site import Site
from stagetools.deploy.outcome import Outcome, changed, counted, size
from stagetools.deploy.shell import Command
from stagetools.errors import CommandFailed, StageError

__all__ = [
    "Contents",
    "Entry",
    "backups_in",
    "drill",
    "install",
    "is_set_up",
    "listed",
    "make",
    "put_back",
    "take",
    "wanted",
    "watch",
    "words",
]

_KINDS = {"nightly": "by timer", "hand": "by hand"}
_WITHIN = "2d"  # each of the last two days' backups stays, made by hand or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A backup, or a copy of the database that a change has left."""

    name: str
    at: datetime
    kind: str
    bytes: int
    where: str
    drilled: datetime | None = None
    is_backup: bool = False  # of restic's repository
    ahead: bool = False  # dated in the future, by the server's clock
    database: int = 0  # bytes of that alone


def words(site: Site) -> dict[str, str]:
    """What deploy.toml says of backups, as the server is told."""
    config, keep = site.config.backup, site.config.backup.keep
    counts = (("daily", keep.days), ("weekly", keep.weeks), ("monthly", keep.months))
    each = [f"--keep-{unit} {count}" for unit, count in counts if count]
    return {
        "calendar": config.calendar(site.name),
        "drills": config.drills(site.name),
        "keep": " ".join([f"--keep-within {_WITHIN}", *each]),
        "to": config.to,
    }


def is_set_up(site: Site, facts: Facts) -> bool:
    """Whether `install` would find nothing to do."""
    return facts.backups == wanted(site)


def wanted(site: Site) -> str:
    """What `look` tells of backups that are set up as deploy.toml says."""
    return setup.digest(site.layout, **words(site))


def install(site: Site, on_line: OnLine) -> tuple[Outcome, bool]:
    """Leave repository, key and timers; and whether the key is new."""
    told = words(site)
    try:
        said = site.run(setup.install(site.layout, **told), on_line=on_line)
    except CommandFailed as error:
        if error.status != setup.BAD_CALENDAR:
            raise StageError(
                "Backups: they could not be set up.",
                remedy="Read the last lines below, then deploy again. A site that needs no"
                ' backup has every = "never" in its backup table of deploy.toml.',
            ) from error
        raise StageError(
            f"Backups: systemd does not understand {site.config.backup.every!r}.",
            remedy='In deploy.toml write every = "1 day", or what systemd-analyze calendar'
            " understands.",
        ) from error
    when = told["calendar"] or "by hand alone, with inv backup"
    is_new = "key" in said.splitlines()
    key = "; their key is new" if is_new else ""
    return changed(f"they are made {_readable(when)}{key}"), is_new


def _readable(calendar: str) -> str:
    """`*-*-* 02:17:00`, which most are, as a person says it."""
    start, _, time = calendar.rpartition(" ")
    is_daily = start == "*-*-*" and time.count(":") == 2 and "/" not in time
    return f"every day at {time[:5]}, by the server's clock" if is_daily else calendar


def make(site: Site, on_line: OnLine, *, later: bool = False) -> Outcome:
    """Make a backup now; what is in it. `later`: the next one is to send it elsewhere."""
    command = repository.make(site.layout, later=later)
    said = _asked(site, command, "made=", on_line)
    parts = (
        f"{said['made']}: {_of_database(said)}, uploads {_size(said, 'media')};"
        f" {_size(said, 'added')} of it new"
    )
    return changed(parts)


def drill(site: Site, on_line: OnLine) -> Outcome:
    """Read the latest backup as if it were restored."""
    said = _asked(site, repository.drill(site.layout), "drilled=", on_line)
    there = ""
    if said.get("there"):
        to = site.config.backup.to
        there = f"; and {said['there']} in {to}, of which a thirteenth was read"
    return changed(  # nothing but when it was read last
        f"{said['drilled']} can be restored: {_of_database(said)}, and all uploads{there}"
    )


def _of_database(said: dict[str, str]) -> str:
    """What a backup has of the database: nothing, where that is the project's own."""
    if own := said.get("engine"):
        return f"no database, for {engine_name(own)} is the project's own"
    return f"database {_size(said, 'database')} with {said['rows']} rows"


def _asked(site: Site, command: Command, key: str, on_line: OnLine) -> dict[str, str]:
    """The values of the line that begins with the key; a person sees the others."""
    said = site.run(
        command,
        on_line=lambda line: None if line.startswith(key) else on_line(line),
    )
    for line in reversed(said.splitlines()):
        if line.startswith(key):
            return dict(word.split("=", 1) for word in line.split())
    raise CommandFailed("the backup printed no result", status=0, output=said)


def _size(values: dict[str, str], key: str) -> str:
    return size(int(values.get(key) or 0))


def watch(site: Site) -> Watch:
    """How the installation's backups stand."""
    return parse_watch(site.run(repository.watch(site.layout)))


# --- which there are ------------------------------------------------------------------------


def listed(site: Site) -> list[Entry]:
    """Every backup, the newest first, with the copies of the database beside them."""
    found: list[Entry] = []
    drilled: dict[str, datetime] = {}
    never = sent = datetime.min.replace(tzinfo=UTC)
    now, to = datetime.max.replace(tzinfo=UTC), site.config.backup.to
    said = site.run(repository.listed(site.layout))
    for line in said.splitlines():
        key, _, value = line.partition("=")
        if key == "drilled":
            backup, _, at = value.partition(" ")
            drilled[backup] = _time(at)
        elif key == "now":
            now = _time(value) + timedelta(seconds=SLACK)
        elif key == "sent":
            sent = _time(value)
        elif key == "file":
            found.append(_kept(*value.split(" ", 2)))
    sent = sent if sent <= now else never  # the clock was put back: who knows
    found += [
        replace(one, where=f"the server, {to}") if to and one.at <= sent else one
        for one in backups_in(said, drilled)
    ]
    found = [replace(one, ahead=one.at > now) for one in found]
    return sorted(found, key=lambda entry: entry.at, reverse=True)


def backups_in(said: str, drilled: Mapping[str, datetime] | None = None) -> list[Entry]:
    """The backups of the line that begins with `snapshots=`."""
    lines = [line for line in said.splitlines() if line.startswith("snapshots=")]
    values = json.loads(lines[-1].partition("=")[2] or "[]") if lines else []
    return [_backup(one, (drilled or {}).get(one["id"])) for one in values or []]


def _time(seconds: str) -> datetime:
    """Of a file's, which a command of the site's can set to anything, 1970 in the worst case."""
    try:
        return datetime.fromtimestamp(int(float(seconds)), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _kept(length: str, at: str, file: str) -> Entry:
    """A snapshot from before a migration, or what another database has replaced."""
    name = file.removesuffix(".sqlite3")
    kind = "before a migration" if name.startswith("before-") else "replaced"
    return Entry(
        name=name,
        at=_time(at),
        kind=kind,
        bytes=int(length),
        where="backups/",
        database=int(length),
    )


def _backup(snapshot: dict[str, Any], drilled: datetime | None) -> Entry:
    """As restic tells it, whose times have nine digits of a second."""
    tags: dict[str, str] = dict(
        tag.partition("=")[::2] for tag in snapshot.get("tags") or ()
    )
    at = datetime.fromisoformat(re.sub(r"\.\d+", "", snapshot["time"])).astimezone(UTC)
    return Entry(
        name=snapshot["id"][:8],
        at=at,
        kind=_KINDS.get(tags.get("kind", ""), ""),
        bytes=int(tags.get("database") or 0) + int(tags.get("media") or 0),
        where="the server",
        drilled=drilled,
        is_backup=True,
        database=int(tags.get("database") or 0),
    )


# --- bringing one back ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a database holds, as `scripts/sqlite.py` has it."""

    bytes: int
    tables: dict[str, int | None]
    migrations: tuple[str, ...]
    copied: datetime | None = None  # when it was so, as a replica has it
    engine: str = ""  # of a database of the project's own, of which there is nothing

    @classmethod
    def parse(cls, text: str) -> "Contents":
        said = json.loads(text)
        return cls(
            bytes=said["bytes"],
            tables=said["tables"],
            migrations=tuple(said["migrations"]),
            engine=said.get("engine", ""),
        )


def take(
    site: Site, release: str, source: str, *, data: bytes = b"", at_most: int = 0
) -> tuple[Contents, Contents]:
    """Leave the release a database of its own; what that holds, and what the live one does."""
    command = repository.take(site.layout, release, source, at_most=at_most)
    try:
        said = site.run(command, stdin=data)
    except CommandFailed as error:
        if not error.output:
            raise
        raise StageError(
            f"Restore: {error.output.splitlines()[-1]}",
            remedy="inv backups lists what can be restored.",
        ) from error
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    found, live = Contents.parse(values["found"]), Contents.parse(values["live"])
    if copied := values.get("copied"):
        found = replace(found, copied=datetime.fromisoformat(copied))
    return found, live


def put_back(site: Site, backup: str) -> Outcome:
    """Bring back the uploads that a backup has and the server has not."""
    said = _asked(
        site, repository.uploads(site.layout, backup), "uploads=", lambda _: None
    )
    many = int(said["uploads"])
    if not many:
        return Outcome(False, "all of the backup's are there")
    return changed(
        f"{counted(many, 'file')} brought back; none was replaced or removed"
    )
