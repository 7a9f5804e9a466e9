"""`inv restore`: an earlier database in the place of the live one, as a rollback brings one back.

It gets a directory of its own, where it is judged, migrated and served to nobody; one rename
then switches release and database together. Until that rename nothing live has changed, and
after it the one from before is kept: whatever fails, or is cut off, the site has a whole one.
"""

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from stagetools.deploy.console.terminal import Step
from stagetools.deploy.facts import Facts, Record, span
from stagetools.deploy.outcome import Outcome
from stagetools.deploy.replicas import parse_moment
from stagetools.deploy.steps import backup, database, lock, preflight
from stagetools.deploy.tasks.backups import backing_up
from stagetools.deploy.tasks.relaunch import look_at_serving
from stagetools.deploy.tasks.rollback import Restore
from stagetools.deploy.tasks.session import Session, locked, utc_now
from stagetools.errors import StageError, UsageError

__all__ = [
    "FromBackup",
    "Source",
    "differences",
    "refuse_others",
    "restore",
]

_COPIES = 2  # of the database: as it arrives, and what migrations write
_FEW = 10  # names of migrations or apps in a sentence
_LONG = 80  # characters of a name
_SHOWN = 20  # tables whose rows would be others, at the most
_SAME = "every table has as many rows now as then, though not the same ones perhaps"
_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is restored: a backup, a copy that a change has left, or a file from here."""

    name: str
    at: datetime | None = None  # when it was the live database, where that is known
    is_backup: bool = False  # it has uploads, too
    data: bytes = b""  # of a file
    is_moment: bool = False  # `at` is what was asked for; the replica has it
    bytes: int = 0  # of its database, where that is known

    @property
    def word(self) -> str:
        """What the server knows it by."""
        if self.is_moment and self.at:
            return f"at={self.at:%Y-%m-%dT%H:%M:%SZ}"
        return "-" if self.data else self.name


def restore(session: Session, what: str, *, at: str = "", wait: float = 0) -> None:
    """Serve an earlier database: `latest`, one that `inv backups` lists, a file, or a moment's."""
    _refuse_words(what, at)
    read = _moment(session, at) if at else _file(what)
    backing_up.set_up(session)
    source = read or _named(session, what)
    with locked(session, "restores", wait=wait) as held:
        facts = look_at_serving(session)
        if facts.elsewhere:
            _uploads_alone(session.under(held), source, facts.elsewhere)
            return
        _refuse_full(session, facts, source)
        change = FromBackup(session, held, facts, source)
        change.run(facts.release)
    session.terminal.conclude(f"{session.name} serves {source.name}, as {change.name}.")


def _refuse_words(what: str, at: str) -> None:
    if at and what:
        raise UsageError(
            f"--at and {what} name two databases.",
            untouched="Nothing was changed.",
            remedy="Give one of them.",
        )
    if not at and not what:
        raise UsageError(
            "Nothing was named to restore.",
            untouched="Nothing was changed.",
            remedy="Write inv restore latest, a name that inv backups lists, or a file.",
        )


# --- where the database is the project's own ---------------------------------------------------


def _uploads_alone(session: Session, source: Source, engine: str) -> None:
    """Bring back what the server lacks of a backup's uploads; the database is not touched."""
    if not source.is_backup:
        raise UsageError(
            f"The database is {engine}, the project's own: inv restore cannot put another"
            " in its place.",
            untouched="Nothing was sent, and nothing was changed.",
            remedy="Restore it with its own tools. inv restore latest, or the name of a"
            " backup, brings back uploads.",
        )
    session.terminal.say(
        f"The database is {engine}, the project's own: it is not touched."
    )
    with session.terminal.step("Uploads") as step:
        step.end(backup.put_back(session, source.name))


# --- what is restored -------------------------------------------------------------------------


def _moment(session: Session, at: str) -> Source:
    """The database as it was then, where each change of it is sent elsewhere."""
    if not session.config.replica.url:
        raise UsageError(
            "--at needs a database that is copied at every moment; this one is backed up"
            " from time to time.",
            untouched="Nothing was changed.",
            remedy="inv backups lists the times; inv restore NAME takes one of them."
            " A replica table in deploy.toml changes that for the time to come.",
        )
    moment = parse_moment(at)
    if moment is None or moment > utc_now():
        why = "is still to come" if moment else "is not a moment"
        raise UsageError(
            f"{at!r} {why}.",
            untouched="Nothing was changed.",
            remedy='Write it in UTC, to the second if you like: --at "2026-11-20 14:05:30".',
        )
    name = f"the database of {moment:%Y-%m-%d %H:%M:%S} UTC"
    return Source(name=name, at=moment, is_moment=True)


def _file(what: str) -> Source | None:
    """The file of that name, with what a log beside it holds; None where it names no file."""
    path = Path(what)
    if not path.suffix and "/" not in what:
        return None
    if not path.is_file():
        raise _no_database(path, "there is no such file")
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if not head:
        raise _no_database(path, "it is empty")
    if head != _MAGIC:
        raise _no_database(path, "it is not a SQLite database")
    try:
        data = _whole(path)
    except sqlite3.Error as error:
        raise _no_database(path, str(error)) from None
    return Source(name=path.name, data=data, bytes=len(data))


def _whole(path: Path) -> bytes:
    """One file of the database and its log, which is judged first: an upload takes long."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "one.sqlite3"
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True)) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
            said = target.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if said != "ok":
                raise sqlite3.DatabaseError(f"it is damaged: {' '.join(said.split())}")
        return to.read_bytes()


def _no_database(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} cannot be restored: {why}.",
        untouched="Nothing was sent, and nothing was changed.",
        remedy="Name a SQLite database, or one that inv backups lists.",
    )


def _named(session: Session, what: str) -> Source:
    one = backing_up.named(session, what)
    return Source(name=one.name, at=one.at, is_backup=one.is_backup, bytes=one.database)


def _refuse_full(session: Session, facts: Facts, source: Source) -> None:
    """Raise where the copy would fill the disk on which the site serves meanwhile."""
    if not session.terminal.dry:
        needed = _COPIES * (source.bytes or facts.database)
        preflight.refuse_too_small_a_disk(
            session, facts.disk_free, needed, "the restore"
        )


# --- the change -------------------------------------------------------------------------------


class FromBackup(Restore):
    """The release that serves, on an earlier database."""

    why = "restore"

    def __init__(
        self, session: Session, held: lock.Held, facts: Facts, source: Source
    ) -> None:
        serving = facts.record or Record(release=facts.release)
        super().__init__(session, held, facts, [], serving)
        self.source = source
        self.on_copy = True

    def run(self, old: str) -> None:
        """Nobody waits: what is written until the switch is lost, as was said before."""
        with self.undone_on_failure():
            self.prepare(old)
            self.step("Restore", self.restore)
            self.agree_to_lose()
            self.step("Migrate", self.migrate)
            if self.source.is_backup:
                self.step("Uploads", self.uploads)
            self.serve_other()

    def restore(self, step: Step) -> Outcome:
        """Take the database into the directory of the release to come, and judge it."""
        preflight.refuse_running_commands(self.session)
        self.found, self.live = backup.take(
            self.session,
            self.name,
            self.source.word,
            data=self.source.data,
            at_most=self.source.bytes,
        )
        if self.found.copied:  # the last that was sent before
            self.source = replace(self.source, at=self.found.copied)
        if not self.session.terminal.dry:
            self.refuse_others()
        return Outcome(
            True, f"{self.source.name} is sound, and lies in {self.data_dir}"
        )

    def refuse_others(self) -> None:
        """Raise for a database of another project, or one that a newer release has changed."""
        known = database.known(self.session, self.name)
        found, live = self.found.migrations, self.live.migrations
        refuse_others(self.source.name, found, known, live)
        self.lacks = sorted(set(known) - set(self.found.migrations))

    def agree_to_lose(self) -> None:
        """Say what would be lost, by time and by rows, and ask."""
        for line in differences(self.live, self.found) or [_SAME]:
            self.session.terminal.say(line)
        since = f"since {self.source.name} was copied"
        if self.source.at:
            ago = span(int((utc_now() - self.source.at).total_seconds()))
            since = f"since {self.source.at:%Y-%m-%d %H:%M:%S} UTC ({ago} ago)"
        self.session.terminal.agree(
            f"Everything that was written {since} will be lost from the live database"
            f" (a copy is kept). Restore {self.source.name}. Continue?"
        )

    def migrate(self, step: Step) -> Outcome:
        """Bring an older schema to that of the release that serves."""
        if not self.lacks:
            return Outcome(False, "it has every migration of the release")
        return database.migrate_copy(
            self.session, self.name, step.line, rehearsal=False
        ).outcome

    def uploads(self, step: Step) -> Outcome:
        return backup.put_back(self.session, self.source.name)

    lacks: Sequence[str] = ()
    """Migrations of the release that the database has not."""


def refuse_others(
    name: str,
    found: Sequence[str],
    known: Sequence[str],
    live: Sequence[str] = (),
    *,
    remedy: str = "",
) -> None:
    """Raise for migrations of another project, and for those of a later release."""
    if others := _of_another_project(found, known, live or known):
        raise StageError(
            f"{name} is not a database of this project: {others}.",
            remedy=remedy or "Name another one: inv backups lists this site's own.",
        )
    if newer := _newer(found, known):
        raise StageError(
            f"{name} has migrations that the release does not know: {_few(newer)}.",
            remedy=remedy
            or "Deploy the release that brought them first, then restore.",
        )


def _of_another_project(
    found: Sequence[str], known: Sequence[str], live: Sequence[str]
) -> str:
    """Why the database is none of this project, in words, or nothing."""
    if not found:
        return "it has no migrations of Django's"
    there, ours, now = _apps(found), _apps(known), _apps(live)
    missing, foreign = sorted((now & ours) - there), sorted(there - ours - now)
    if missing and foreign:
        return f"it has {_few(foreign)}, and lacks {_few(missing)}"
    return ""


def _newer(found: Sequence[str], known: Sequence[str]) -> list[str]:
    """What comes after the last migration of its app that the release knows.

    What comes before that was removed since, as is done with what was squashed.
    """
    unknown: list[str] = []
    apps = _apps(known)
    for name in found:
        app = name.partition(".")[0]
        if name in known:
            unknown = [one for one in unknown if one.partition(".")[0] != app]
        elif app in apps:
            unknown.append(name)
    return unknown


def _few(names: Sequence[str]) -> str:
    """What a database says of itself may be of any length."""
    shown = [_short(one) for one in names[:_FEW]]
    more = len(names) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)


def _short(name: str) -> str:
    return name if len(name) <= _LONG else f"{name[:_LONG]}…"


def _apps(names: Sequence[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def differences(
    live: backup.Contents, found: backup.Contents, then: str = "then"
) -> list[str]:
    """The tables whose rows would be others, the largest losses first."""
    tables = sorted({*live.tables, *found.tables})
    changes = [(live.tables.get(one), found.tables.get(one), one) for one in tables]
    others = [one for one in changes if one[0] != one[1]]
    others.sort(key=lambda one: (one[1] or 0) - (one[0] or 0))
    lines = [
        f"{_short(name)}: {_rows(now)} now, {_rows(other)} {then}"
        for now, other, name in others[:_SHOWN]
    ]
    more = len(others) - _SHOWN
    return [*lines, f"and {more} more tables"] if more > 0 else lines


def _rows(many: int | None) -> str:
    return "no table" if many is None else f"{many} row{'' if many == 1 else 's'}"
