"""The two functions that a project calls: which system is this, which one should it be?"""

import getpass
import os
import re
from pathlib import Path

from stagetools.naming.places import (
    Place,
    checkout_dir,
    installation_dirs,
    look_for_name,
    venv_dir,
)
from stagetools.naming.system import System, split_name

__all__ = ["get_actual_system_from_name", "get_expected_system_from_name"]

HOMES = Path("/home")


def get_actual_system_from_name(
    name: str | None = None,
    core_repo: str | None = None,
    core_app: str | None = None,
) -> System:
    """The installation that this process belongs to, found from inside it.

    Its name is looked for in: the argument; STAGETOOLS_SYSTEM in the environment; the
    virtual environment's directory; the checkout's; the settings file. With none of them
    it is `<core_repo>_dev`, a developer's machine. SystemNameError (exit 2) if a name that
    somebody gave breaks the convention, or if there is none and no `core_repo` either.
    """
    place = look_for_name(name, core_repo)
    repo = core_repo or _configuration(place.name)
    user, group = _account()
    base_dir = _base_dir(place)
    return System(
        name=place.name,
        user=user,
        group=group,
        core_repo=repo,
        core_app=core_app or _package(repo),
        base_dir=base_dir,
        source=place.source,
        **_around_the_checkout(base_dir),
    )


def get_expected_system_from_name(
    name: str | None = None,
    base_dir: str | os.PathLike[str] | None = None,
    core_repo: str | None = None,
    core_app: str | None = None,
) -> System:
    """The installation that a name promises, whether it exists or not.

    Without a name, the one that the actual system bears. SystemNameError (exit 2) for a
    name that breaks the convention.
    """
    name = look_for_name(None, core_repo).name if name is None else name
    core_repo = core_repo or _configuration(name)
    return System(
        name=name,
        user=name,
        group=name,
        core_repo=core_repo,
        core_app=core_app or _package(core_repo),
        base_dir=Path(base_dir) if base_dir else HOMES / name,
    )


def _configuration(name: str) -> str:
    return split_name(name)[0]


def _package(core_repo: str) -> str:
    """The package of a repository `my-shop` is `my_shop`: a hyphen cannot be imported."""
    return re.sub(r"\W", "_", core_repo)


def _base_dir(place: Place) -> Path:
    """Where the name was found, or a directory of that name, or the home directory."""
    if place.directory:
        return place.directory
    named = (found for found in installation_dirs() if found.name == place.name)
    return next(named, HOMES / place.name)


def _around_the_checkout(base_dir: Path) -> dict[str, Path | None]:
    """What differs where a checkout is its own base, as on a developer's machine."""
    if base_dir != checkout_dir():
        return {}
    return {"own_repo_dir": base_dir, "own_venv_dir": venv_dir()}


def _account() -> tuple[str, str]:
    """User and group of this process; the group is empty where there are none."""
    try:
        import grp
        import pwd
    except ImportError:  # Windows
        return getpass.getuser(), ""
    user, group = os.geteuid(), os.getegid()
    try:
        return pwd.getpwuid(user).pw_name, grp.getgrgid(group).gr_name
    except KeyError:  # a container may run as a number that it has no account for
        return str(user), str(group)
