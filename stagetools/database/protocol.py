"""What a release's image says to whoever deploys it: a line of JSON for each value.

Both sides have a copy of this module, and often not the same one. A rollback asks images that
are older than the client, and in a team where not everybody has updated, newer ones. So:

- a line says that it is ours, in which version, and which of the classes below it holds;
- a class may get fields, with defaults, and lose none; a reader passes over what it does not
  know, field or class, and takes the default of what a line lacks;
- VERSION is raised where an older reader would misunderstand, and nowhere else: it refuses.

0.1.0 wrote lines that say nothing of themselves. They are known by their exact keys. Its own
client reads a result by its keys, whatever else is in it, and so reads ours. It knows progress
by exact keys, and would not know ours; but it asks for that no image that it has not built.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args, get_origin

from stagetools.errors import StageError

__all__ = [
    "VERSION",
    "Copied",
    "Failed",
    "Finding",
    "Known",
    "Migrated",
    "Migration",
    "Plan",
    "Reader",
    "Ready",
    "Rehearsed",
    "Reversed",
    "Snapshot",
    "Unknown",
    "line",
    "names_from",
    "names_in",
]

VERSION = 1
_MARK, _KIND = "stagetools", "kind"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a migration that somebody should know; a pair, in a line."""

    migration: str  # `shop.0003_price`
    what: str

    def __str__(self) -> str:
        return f"{self.migration} {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a release will do to the database."""

    pending: tuple[str, ...]
    breaking: tuple[Finding, ...] = ()  # what the release before cannot live with
    unforeseeable: tuple[Finding, ...] = ()  # what nobody can know that of
    sqlite: bool = True

    @property
    def wants_a_copy(self) -> bool:
        """Whether the release before must not meet what comes of it."""
        return self.sqlite and bool(self.breaking or self.unforeseeable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Every migration of a release's code."""

    known: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """What must be undone for an older release."""

    unknown: tuple[str, ...]
    breaking: tuple[Finding, ...] = ()  # only the client of 0.1.0 reads it
    irreversible: tuple[Finding, ...] = ()
    sqlite: bool = True  # else there is no copy on which they could be undone


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A copy of the database was made, in so many seconds."""

    copied: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One migration was applied or undone."""

    migration: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One migration failed, and whether its transaction undid all of it."""

    failed: str
    atomic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """A copy was migrated, in so many seconds, and the site started on it."""

    rehearsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A copy that stays: its path, and the seconds that it took."""

    snapshot: str
    seconds: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """All that was pending is applied, in so many seconds."""

    migrated: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversed:
    """All that was to be undone is, in so many seconds."""

    reversed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The database can be served; the migrations that it has."""

    ready: bool
    migrations: tuple[str, ...] = ()


Value = (
    Plan
    | Known
    | Unknown
    | Copied
    | Migration
    | Failed
    | Rehearsed
    | Snapshot
    | Migrated
    | Reversed
    | Ready
)
_KINDS: dict[str, type[Value]] = {kind.__name__: kind for kind in get_args(Value)}
_OF_0_1_0: dict[frozenset[str], type[Value]] = {
    frozenset(("pending", "breaking", "size", "sqlite")): Plan,
    frozenset(("known",)): Known,
    frozenset(("unknown", "breaking", "irreversible")): Unknown,
    frozenset(("copied",)): Copied,
    frozenset(("migration", "seconds")): Migration,
    frozenset(("rehearsed",)): Rehearsed,
    frozenset(("snapshot", "seconds")): Snapshot,
    frozenset(("migrated",)): Migrated,
    frozenset(("reversed",)): Reversed,
}
V = TypeVar("V", bound=Value)


# --- writing ------------------------------------------------------------------------------


def line(value: Value) -> str:
    """The value's line, without its end."""
    said = {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return json.dumps({_MARK: VERSION, _KIND: type(value).__name__} | said)


def _plain(value: Any) -> Any:
    if isinstance(value, Finding):
        return [value.migration, value.what]
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def names_from(names: Iterable[str]) -> str:
    """An older release's migrations, for the standard input of a newer one."""
    return json.dumps(list(names))  # 0.1.0 takes a plain list


def names_in(text: str) -> list[str]:
    """The same, on the other side."""
    return [str(name) for name in json.loads(text)]


# --- reading ------------------------------------------------------------------------------


class Reader:
    """The values among all that one command prints; a project prints what it likes, too."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._says_who = False  # lines say that they are ours: any other is not
        self._trouble: StageError | None = None

    def take(self, text: str) -> str:
        """Keep the line's value, if it has one; the line as a person reads it."""
        said = _object(text)
        if _MARK in said and isinstance(said.get(_KIND), str):
            if not self._says_who:
                self._says_who, self.values = True, []
            self._take_ours(said, text)
        elif not self._says_who and (old := _OF_0_1_0.get(frozenset(said))):
            try:
                self.values.append(_made(old, said))
            except (TypeError, ValueError):
                return text
        else:
            return text
        told = (f"{k} {v}" for k, v in said.items() if k not in (_MARK, _KIND))
        return ", ".join(told)

    def _take_ours(self, said: Mapping[str, Any], text: str) -> None:
        kind = _KINDS.get(said[_KIND])
        try:
            if said[_MARK] > VERSION:
                self._trouble = _newer()
            elif kind:
                self.values.append(_made(kind, said))
        except (TypeError, ValueError):
            self._trouble = _unreadable(text)

    def all(self, kind: type[V]) -> list[V]:
        """Every value of a kind, in the order in which they came."""
        return [value for value in self.values if isinstance(value, kind)]

    def result(self, kind: type[V]) -> V | None:
        """The last value of a kind; a StageError where a line was not understood."""
        self.check()
        found = self.all(kind)
        return found[-1] if found else None

    def check(self) -> None:
        """Raise a StageError where a line was not understood."""
        if self._trouble:
            raise self._trouble


def _newer() -> StageError:
    return StageError(
        "The release's image was made by a newer version of the template than this"
        " checkout has.",
        remedy="Update the template first, as whoever deployed it did: git pull, or"
        " copier update. Then try again.",
    )


def _unreadable(text: str) -> StageError:
    return StageError(
        f"The release's image said what this version cannot read: {text}",
        remedy="Update the template first, with copier update, then try again.",
    )


def _object(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text) if text.startswith("{") else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _made(kind: type[V], said: Mapping[str, Any]) -> V:
    """A value of the class, or a TypeError; what the class has no field for is passed over."""
    there = [item for item in fields(kind) if item.name in said]
    return kind(**{item.name: _as(item.type, said[item.name]) for item in there})


def _as(wanted: Any, value: Any) -> Any:
    if get_origin(wanted) is tuple and isinstance(value, list):
        return tuple(_as(get_args(wanted)[0], one) for one in value)
    if wanted is Finding and isinstance(value, list):
        return Finding(*(_as(str, one) for one in value[:2]))
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise TypeError(f"{value!r} is no {wanted}")
    return value
