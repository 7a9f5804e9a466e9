"""Expected against actual: what a name promises, and what is there. Pure; looks at nothing.

`inspection` collects what is there: in this process, or on a server over SSH. Both give the
same facts, and this module makes the same differences of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from stagetools.naming.system import System

__all__ = [
    "ATTRIBUTES",
    "Difference",
    "Entry",
    "Facts",
    "compare_account",
    "compare_entries",
    "compare_services",
    "compare_systems",
    "compare_values",
    "entries_of",
]

UNKNOWN = ""
"""What cannot be known from where one looks; it differs from nothing."""
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the name promises, and how to fix it."""

    subject: str
    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject}: expected {self.expected}, found {self.found}; {self.remedy}"

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory or file of an installation. An empty owner or group may be anyone's."""

    path: str
    kind: str = "directory"
    """As `stat` calls it, `regular file`, `socket`, `symbolic link`; or `directory`."""
    owner: str = ""
    group: str = ""
    mode: int = 0o7777
    """The most that it may allow; less is no difference."""
    is_optional: bool = False
    """Whether it may be missing."""

    @property
    def remedy(self) -> str:
        """The command that makes it so."""
        if self.kind != "directory":
            return f"restore {self.path}, or deploy again"
        who = f" -o {self.owner} -g {self.group or self.owner}" if self.owner else ""
        return f"install -d{who} -m {self.mode & 0o755:04o} {self.path}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found. Paths that are not there are not in `entries`."""

    account: str = UNKNOWN
    """The primary group of the installation's account; `missing` without an account."""
    entries: Mapping[str, Entry] | None = None
    services: Mapping[str, str] | None = None
    """The state of each service that is known: `running`, `exited`."""


_REINSTALL = "create the environment there, or give the name of the one that runs"
ATTRIBUTES: dict[str, str] = {
    "user": "run as {expected}",
    "group": "run as a member of {expected}",
    "base_dir": _REINSTALL,
    "venv_dir": _REINSTALL,
    "python_path": _REINSTALL,
    "core_repo": "set core_repo in aaa_env_setup.py",
    "core_app": "set core_app in aaa_env_setup.py",
    "core_repo_dir": "move the checkout there, or install the project as a package",
    "django_settings": "set DJANGO_SETTINGS_MODULE to {expected}, or unset it",
    "database_name": "set DATABASE_NAME, or unset it",
    "database_user": "set DATABASE_USER, or unset it",
    "database_sqlite_path": "move the database there, or unset DATABASE_PATH",
    "static_dir": "unset STATIC_ROOT",
    "media_dir": "move the files there and unset MEDIA_ROOT",
    "is_debug": "remove DEBUG from the settings: the stage decides",
}
"""The attributes that can differ in a running process, and how each is mended."""


def compare_systems(
    expected: System, actual: Mapping[str, str]
) -> Iterator[Difference]:
    """Each attribute that was found to be another; what was not found is skipped."""
    promised = {name: str(getattr(expected, name)) for name in ATTRIBUTES}
    return compare_values(promised, actual, lambda name: ATTRIBUTES[name])


def compare_values(
    expected: Mapping[str, str],
    found: Mapping[str, str],
    remedy: Callable[[str], str],
) -> Iterator[Difference]:
    """Each value that was found and is another; `{expected}` in a remedy is filled in."""
    for name, value in expected.items():
        there = found.get(name, UNKNOWN)
        if there not in (UNKNOWN, value):
            mend = remedy(name).format(expected=value)
            yield Difference(name, value, there, mend)


def entries_of(system: System) -> list[Entry]:
    """The directories that every installation has, however it was made."""
    database = system.database_sqlite_path
    return [
        Entry(system.base_dir.as_posix(), mode=0o755),
        _own(system, Entry(database.parent.as_posix(), mode=0o750)),
        _own(system, Entry(system.media_dir.as_posix(), mode=0o755)),
        _own(
            system,
            Entry(database.as_posix(), "regular file", mode=0o664, is_optional=True),
        ),
    ]


def _own(system: System, entry: Entry) -> Entry:
    return replace(entry, owner=system.user, group=system.group)


def compare_entries(entries: Iterable[Entry], facts: Facts) -> Iterator[Difference]:
    """What is missing, of another kind, somebody else's, or open to too many."""
    found = facts.entries or {}
    for entry in entries:
        there = found.get(entry.path)
        if there:
            yield from _compare_entry(entry, there)
        elif not entry.is_optional:
            yield Difference(entry.path, entry.kind, MISSING, entry.remedy)


def _compare_entry(entry: Entry, there: Entry) -> Iterator[Difference]:
    if there.kind != entry.kind:
        yield Difference(entry.path, entry.kind, there.kind, entry.remedy)
        return
    if there.mode & ~entry.mode:
        wanted, is_there = f"mode {entry.mode:04o} at most", f"{there.mode:04o}"
        mend = f"chmod {there.mode & entry.mode:04o} {entry.path}"
        yield Difference(entry.path, wanted, is_there, mend)
    owners = (("owner", entry.owner, there.owner), ("group", entry.group, there.group))
    for what, wanted, is_there in owners:
        if wanted and is_there not in (UNKNOWN, wanted):
            program = "chown" if what == "owner" else "chgrp"
            mend = f"{program} {wanted} {entry.path}"
            yield Difference(entry.path, f"{what} {wanted}", is_there, mend)


def compare_account(system: System, facts: Facts) -> Iterator[Difference]:
    """The installation's account, as the whole machine knows it."""
    if facts.account == MISSING:
        mend = f"useradd --system --user-group --no-create-home {system.user}"
        yield Difference("account", system.user, MISSING, mend)
    elif facts.account not in (UNKNOWN, system.group):
        mend = f"usermod --gid {system.group} {system.user}"
        yield Difference("account", f"group {system.group}", facts.account, mend)


def compare_services(system: System, facts: Facts) -> Iterator[Difference]:
    """Each service that should run; nothing where no service could be asked."""
    if facts.services is None:
        return
    for service in system.services:
        state = facts.services.get(service, MISSING)
        if state != "running":
            mend = f"start it, and read the logs of {system.container}"
            yield Difference(f"service {service}", "running", state, mend)
