"""The naming convention: from an installation's name follows everything else.

`shop_prod` is `<configuration>_<stage name>`, parted at the last underscore. The first letter
of the stage name is the stage: p production, q qualification, i integration, d development,
so that `shop_dsearch` is a development stage for one branch.
"""

import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from stagetools.errors import SystemNameError

__all__ = ["BUILD", "CONVENTION", "NAME_MAX", "Source", "Stage", "System", "split_name"]

BUILD = "build_prod"
"""The name under which an image is built: no server's, and nobody visits it."""
NAME_MAX = 32  # characters; the longest account name that useradd(8) takes
CONVENTION = (
    "<configuration>_<stage name>, such as shop_prod: lower-case letters, digits and"
    " underscores, a stage name that begins with p (production), q (qualification),"
    f" i (integration) or d (development), at most {NAME_MAX} characters in all"
)
_NAME = re.compile(
    r"(?P<configuration>[a-z](?:[a-z0-9_]*[a-z0-9])?)_(?P<stage_name>[pqid][a-z0-9]*)"
)


class Stage(StrEnum):
    """How near to the users an installation is."""

    PRODUCTION = "production"
    QUALIFICATION = "qualification"
    INTEGRATION = "integration"
    DEVELOPMENT = "development"

    @property
    def is_debug(self) -> bool:
        return self in (Stage.INTEGRATION, Stage.DEVELOPMENT)


class Source(StrEnum):
    """Where a name was found; the value is how a message calls the place."""

    ARGUMENT = "the argument `name`"
    ENVIRONMENT = "STAGETOOLS_SYSTEM in the environment"
    VENV = "the virtual environment's directory"
    CHECKOUT = "the checkout's directory"
    FILE = "STAGETOOLS_SYSTEM in the settings file"
    FALLBACK = "nobody, as on a developer's machine"

    @property
    def is_explicit(self) -> bool:
        """Whether somebody wrote the name down, rather than named a directory so."""
        return self in (Source.ARGUMENT, Source.ENVIRONMENT, Source.FILE)


_STAGE_OF_LETTER = {stage.value[0]: stage for stage in Stage}


def split_name(name: str) -> tuple[str, str]:
    """The configuration and the stage name of `name`, or a SystemNameError."""
    match = _NAME.fullmatch(name)
    if match is None or len(name) > NAME_MAX:
        raise SystemNameError(
            f"{name!r} is not the name of an installation.",
            remedy=f"Names are {CONVENTION}.",
        )
    return match["configuration"], match["stage_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One installation of a project. The examples are those of `shop_prod`."""

    name: str
    """`shop_prod`"""
    user: str
    """The Unix account that runs it: `shop_prod`."""
    group: str
    """That account's group: `shop_prod`; empty where there are none."""
    core_repo: str
    """The repository of the project: `shop`."""
    core_app: str
    """The app (a package) at the project's centre: `shop`."""
    base_dir: Path
    """Where the installation lives: `/home/shop_prod`."""
    source: Source = field(default=Source.ARGUMENT, compare=False)
    """Where the name was found: `Source.ARGUMENT`; two systems may differ in it."""
    own_venv_dir: Path | None = field(default=None, compare=False, repr=False)
    """A virtual environment that is not `base_dir`, as in a checkout: `None`."""
    own_repo_dir: Path | None = field(default=None, compare=False, repr=False)
    """A checkout that is not in `src_dir`, as on a developer's machine: `None`."""

    def __post_init__(self) -> None:
        split_name(self.name)  # no System bears a name that breaks the convention

    @property
    def configuration(self) -> str:
        """What is installed: `shop`."""
        return split_name(self.name)[0]

    @property
    def stage_name(self) -> str:
        """Which one of them: `prod`."""
        return split_name(self.name)[1]

    @property
    def stage(self) -> Stage:
        """`Stage.PRODUCTION`"""
        return _STAGE_OF_LETTER[self.stage_name[0]]

    @property
    def is_debug(self) -> bool:
        """Whether Django runs with DEBUG: `False`; true in development and integration."""
        return self.stage.is_debug

    @property
    def container(self) -> str:
        """The name with hyphens, for host names may hold no underscore: `shop-prod`."""
        return self.name.replace("_", "-")

    # --- directories: the installation is its own virtual environment ----------------

    @property
    def venv_dir(self) -> Path:
        """`/home/shop_prod`"""
        return self.own_venv_dir or self.base_dir

    @property
    def bin_dir(self) -> Path:
        """`/home/shop_prod/bin`"""
        on_windows = self.own_venv_dir and os.name == "nt"
        return self.venv_dir / ("Scripts" if on_windows else "bin")

    @property
    def lib_dir(self) -> Path:
        """`/home/shop_prod/lib`"""
        return self.venv_dir / "lib"

    @property
    def src_dir(self) -> Path:
        """`/home/shop_prod/src`"""
        return self.base_dir / "src"

    @property
    def python_path(self) -> Path:
        """`/home/shop_prod/bin/python`"""
        return self.bin_dir / "python"

    @property
    def pip_path(self) -> Path:
        """`/home/shop_prod/bin/pip`"""
        return self.bin_dir / "pip"

    @property
    def core_repo_dir(self) -> Path:
        """`/home/shop_prod/src/shop`"""
        return self.own_repo_dir or self.src_dir / self.core_repo

    @property
    def static_url(self) -> str:
        """`/static/`"""
        return "/static/"

    @property
    def static_dir(self) -> Path:
        """`/home/shop_prod/static`"""
        return self.base_dir / "static"

    @property
    def media_url(self) -> str:
        """`/media/`"""
        return "/media/"

    @property
    def media_dir(self) -> Path:
        """`/home/shop_prod/media`"""
        return self.base_dir / "media"

    # --- the application -------------------------------------------------------------

    @property
    def application_name(self) -> str:
        """`application`"""
        return "application"

    @property
    def asgi_module(self) -> str:
        """`stagetools.asgi`"""
        return "stagetools.asgi"

    @property
    def asgi_application(self) -> str:
        """For uvicorn and hypercorn: `stagetools.asgi:application`."""
        return f"{self.asgi_module}:{self.application_name}"

    @property
    def wsgi_module(self) -> str:
        """`stagetools.wsgi`"""
        return "stagetools.wsgi"

    @property
    def wsgi_application(self) -> str:
        """For gunicorn: `stagetools.wsgi:application`."""
        return f"{self.wsgi_module}:{self.application_name}"

    @property
    def django_project(self) -> str:
        """`stagetools_project`"""
        return "stagetools_project"

    @property
    def django_settings(self) -> str:
        """`stagetools_project.settings`"""
        return f"{self.django_project}.settings"

    @property
    def django_rooturls(self) -> str:
        """`stagetools_project.urls`"""
        return f"{self.django_project}.urls"

    @property
    def django_wsgi_application(self) -> str:
        """For the setting WSGI_APPLICATION: `stagetools.wsgi.application`."""
        return f"{self.wsgi_module}.{self.application_name}"

    @property
    def manage_py_path(self) -> Path:
        """`/home/shop_prod/src/shop/manage.py`"""
        return self.core_repo_dir / "manage.py"

    # --- data and processes ----------------------------------------------------------

    @property
    def database_name(self) -> str:
        """`shop_prod`"""
        return self.name

    @property
    def database_user(self) -> str:
        """`shop_prod`"""
        return self.name

    @property
    def database_sqlite_path(self) -> Path:
        """In a directory of its own, which WAL needs to write: `…/data/shop.sqlite3`."""
        return self.base_dir / "data" / f"{self.core_repo}.sqlite3"

    @property
    def services(self) -> tuple[str, ...]:
        """The services of its compose project: `("web",)`."""
        return ("web",)
