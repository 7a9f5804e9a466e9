"""Where the name of the running installation is looked for, and in which order."""

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagetools.config import Config
from stagetools.errors import SystemNameError
from stagetools.naming.system import CONVENTION, Source, split_name

__all__ = [
    "VARIABLE",
    "Place",
    "checkout_dir",
    "installation_dirs",
    "look_for_name",
    "venv_dir",
]

VARIABLE = "STAGETOOLS_SYSTEM"


@dataclass(frozen=True, slots=True)
class Place:
    """One place that may say the name; `directory` where it is the base directory too."""

    source: Source
    said: str | None = None
    directory: Path | None = None

    def __str__(self) -> str:
        return f"{self.source}: {'nothing' if self.said is None else repr(self.said)}"

    @property
    def name(self) -> str:
        """What it says, or an empty word."""
        return self.said or ""


def look_for_name(name: str | None, core_repo: str | None) -> Place:
    """The first place that holds a name; SystemNameError with the places looked in."""
    looked_in: list[Place] = []
    for place in _places(name, core_repo):
        looked_in.append(place)
        if place.said is None:
            continue
        if place.source.is_explicit and not _fits(place.name):
            raise _refusal(
                f"{place.name!r} is not the name of an installation.", looked_in
            )
        if place.source.is_explicit or _fits(place.name, core_repo):
            return place
    raise _refusal("This installation has no name.", looked_in)


def venv_dir() -> Path | None:
    """The directory of the virtual environment that runs this, if one does."""
    return Path(sys.prefix) if sys.prefix != sys.base_prefix else None


def checkout_dir() -> Path | None:
    """The directory with aaa_env_setup.py, or else with stagetools/; None if installed."""
    for file in (_file_of_aaa_env_setup(), Path(__file__).absolute().parents[1]):
        if file and not _is_installed(file):
            return file.parent
    return None


def installation_dirs() -> list[Path]:
    """The directories that may bear the name, the surest first."""
    venv, checkout = venv_dir(), checkout_dir()
    directories = [venv] if venv else []
    if checkout and checkout.parent.name == "src":  # <base>/src/<core_repo>
        directories.append(checkout.parent.parent)
    return [*directories, checkout] if checkout else directories


def _places(name: str | None, core_repo: str | None) -> Iterator[Place]:
    yield Place(Source.ARGUMENT, name)
    yield Place(Source.ENVIRONMENT, os.environ.get(VARIABLE))
    venv, checkout = venv_dir(), checkout_dir()
    for directory in installation_dirs():
        source = Source.VENV if directory == venv else Source.CHECKOUT
        yield Place(source, directory.name, directory)
    if core_repo:
        yield Place(Source.FILE, _name_in_file(core_repo, is_installed=not checkout))
        fallback = f"{_configuration_of(core_repo)}_dev"
        yield Place(Source.FALLBACK, fallback, checkout or venv or Path.cwd())


def _name_in_file(core_repo: str, *, is_installed: bool) -> str | None:
    """The name in the settings file: a checkout reads it only if STAGETOOLS_CONFIG does.

    The machine of a developer may well have the packaged project in /etc too; its
    checkouts are none the less installations of their own.
    """
    config = Config.of(core_repo)
    return config.file.get(VARIABLE) if is_installed or config.is_named else None


def _fits(name: str, core_repo: str | None = None) -> bool:
    """Whether a directory's name is an installation's; `my_project` is none of `shop`'s."""
    try:
        configuration, _ = split_name(name)
    except SystemNameError:
        return False
    return core_repo is None or configuration == _configuration_of(core_repo)


def _configuration_of(core_repo: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", core_repo.lower())


def _file_of_aaa_env_setup() -> Path | None:
    try:
        spec = importlib.util.find_spec("aaa_env_setup")
    except ValueError:  # run as a script, it has no spec
        return None
    return Path(spec.origin).absolute() if spec and spec.origin else None


def _is_installed(file: Path) -> bool:
    return file.parent.name in ("site-packages", "dist-packages")


def _refusal(what: str, looked_in: list[Place]) -> SystemNameError:
    places = "; ".join(map(str, looked_in))
    return SystemNameError(
        what,
        untouched=f"Looked in {places}.",
        remedy=f"Set {VARIABLE}, or name the environment's directory so. Names are {CONVENTION}.",
    )
