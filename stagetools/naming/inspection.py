"""What is there: facts for `comparison`, from this process or from a server over SSH."""

import os
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from stagetools.naming.comparison import MISSING, UNKNOWN, Entry, Facts
from stagetools.naming.system import Source, System

__all__ = ["LOOK", "look_here", "parse", "values_of_process", "words"]

LOOK = r"""
name=$1 user=$2; shift 2
printf 'account\t%s\n' "$(id -gn "$user" 2>/dev/null || echo missing)"
for path in "$@"; do
  stat --printf 'entry\t%F\t%U\t%G\t%a\t%n\n' -- "$path" 2>/dev/null || :
done
if command -v docker >/dev/null 2>&1; then
  echo services
  docker ps --all --filter "label=stagetools.system=$name" --format \
    'service	{{.Label "com.docker.compose.service"}}	{{.State}}' 2>/dev/null || :
elif systemctl cat "$name.service" >/dev/null 2>&1; then
  echo services
  printf 'service\tweb\t%s\n' "$(systemctl show --property SubState --value "$name.service")"
fi
"""
"""For a POSIX shell, as `sh -c LOOK look NAME USER PATH...`: prints what `parse` reads."""


def words(system: System, entries: Iterable[Entry]) -> list[str]:
    """The command that looks on another machine, a word each; nothing is changed by it."""
    paths = [entry.path for entry in entries]
    return ["sh", "-c", LOOK, "look", system.name, system.user, *paths]


def parse(text: str) -> Facts:
    """What LOOK printed. A line that means nothing here is passed over."""
    lines = [line.split("\t") for line in text.splitlines()]
    accounts = [line[1] for line in lines if line[0] == "account" and len(line) == 2]
    entries = [
        _entry(*line[1:]) for line in lines if line[0] == "entry" and len(line) == 6
    ]
    services = [line[1:] for line in lines if line[0] == "service" and len(line) == 3]
    return Facts(
        account=accounts[0] if accounts else UNKNOWN,
        entries={entry.path: entry for entry in entries},
        services=_states(services) if ["services"] in lines else None,
    )


def _entry(kind: str, owner: str, group: str, mode: str, path: str) -> Entry:
    kind = "regular file" if kind == "regular empty file" else kind
    return Entry(path, kind, _known(owner), _known(group), int(mode, 8))


def _known(name: str) -> str:
    """`stat` says UNKNOWN for a number without an account."""
    return UNKNOWN if name == "UNKNOWN" or name.isdigit() else name


def _states(services: Iterable[list[str]]) -> dict[str, str]:
    """One state a service: running if one of its containers runs."""
    states: dict[str, str] = {}
    for service, state in services:
        if states.get(service) != "running":
            states[service] = state
    return states


# --- in this process -----------------------------------------------------------------


def look_here(system: System, entries: Iterable[Entry]) -> Facts:
    """The same facts from inside, without a shell; services are not seen from here."""
    found = (_entry_at(Path(entry.path)) for entry in entries)
    return Facts(
        account=_account(system.user),
        entries={entry.path: entry for entry in found if entry},
    )


def _account(user: str) -> str:
    """The primary group; unknown in a container, which has no accounts of its host's."""
    try:
        import grp
        import pwd
    except ImportError:  # Windows
        return UNKNOWN
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return UNKNOWN
    try:
        return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        return MISSING


_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "regular file"}
_KINDS |= {stat.S_IFSOCK: "socket", stat.S_IFLNK: "symbolic link"}


def _entry_at(path: Path) -> Entry | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    try:
        owner, group = path.owner(), path.group()
    except (KeyError, NotImplementedError):  # a number without an account; Windows
        owner = group = UNKNOWN
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
    mode = stat.S_IMODE(found.st_mode) if os.name == "posix" else 0
    return Entry(path.as_posix(), kind, owner, group, mode)


def values_of_process(actual: System, *, in_container: bool) -> dict[str, str]:
    """The attributes of this process, as far as they can be known from inside.

    An image has its own idea of where code and static files are, and a developer of
    which Python to use.
    """
    values = {
        "user": _known(actual.user),
        "group": _known(actual.group),
        "base_dir": str(actual.base_dir),
        "core_repo": actual.core_repo,
        "core_app": actual.core_app,
        "django_settings": os.environ.get("DJANGO_SETTINGS_MODULE", UNKNOWN),
        **_settings(),
    }
    if in_container:
        return values | {"static_dir": UNKNOWN}
    if actual.source is Source.FALLBACK:
        return values
    prefix = Path(sys.prefix)
    python = prefix / "bin/python"  # whichever of its names it was started by
    return values | {"venv_dir": str(prefix), "python_path": str(python)}


def _settings() -> dict[str, str]:
    """What Django's settings say; nothing without Django, or with another framework."""
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return {}
    try:
        from django.conf import settings
    except ImportError:
        return {}
    database = settings.DATABASES.get("default", {})
    return {
        "is_debug": str(settings.DEBUG),
        "static_dir": str(settings.STATIC_ROOT),
        "media_dir": str(settings.MEDIA_ROOT),
        **_database(database),
    }


def _database(database: Mapping[str, object]) -> dict[str, str]:
    name = str(database.get("NAME", UNKNOWN))
    if str(database.get("ENGINE", "")).endswith("sqlite3"):
        return {"database_sqlite_path": name}
    return {"database_name": name, "database_user": str(database.get("USER", UNKNOWN))}
