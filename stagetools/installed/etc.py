"""The files of an installed project outside its environment: /etc/<core_repo>."""

import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagetools.installed.units import SERVERS, unit
from stagetools.naming.system import System

__all__ = ["Etc"]

SETTINGS = """\
# Settings of {name}, read by each of its processes. The environment comes before this file.
# Every name that counts here is in the docstrings of stagetools.settings_defaults.

[installation]
STAGETOOLS_SYSTEM = {name}

[secrets]
SECRET_KEY = {key}

[site]
# the names that visitors use, separated by commas
ALLOWED_HOSTS = {hosts}
# off, if the site is served over plain HTTP
STAGETOOLS_TLS = on

[files]
STATIC_ROOT = {static}
MEDIA_ROOT = {media}

[mail]
# EMAIL_HOST = localhost
# ADMINS = you@example.com
"""
WSGI = '''\
"""{name} for a web server that takes a WSGI file, such as mod_wsgi.

Its interpreter is that of {prefix}: for mod_wsgi, `python-home={prefix}`.
"""

import os

os.environ["STAGETOOLS_CONFIG"] = {settings!r}

from stagetools.wsgi import application  # noqa: E402, F401
'''


@dataclass(frozen=True, slots=True)
class Etc:
    """What `init-etc` writes for one installation, and where."""

    system: System
    directory: Path
    hosts: tuple[str, ...] = ()

    @property
    def settings_path(self) -> Path:
        return self.directory / "settings.ini"

    @property
    def wsgi_path(self) -> Path:
        return self.directory / f"{self.system.core_repo}.wsgi"

    def unit_path(self, server: str) -> Path:
        return self.directory / f"{self.system.name}-{server}.service"

    def write(self, *, with_units: bool) -> Iterator[str]:
        """Write what is missing; a line to show for each file. OSError if it may not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        yield self._write(self.settings_path, self._settings(), mode=0o640)
        yield self._write(self.wsgi_path, self._wsgi(), mode=0o644)
        if with_units:
            for server in SERVERS:
                text = unit(server, self.system, self.settings_path, Path(sys.prefix))
                yield self._write(self.unit_path(server), text, mode=0o644)
            yield f"Next: systemctl enable --now {self.unit_path('gunicorn')}"

    def _settings(self) -> str:
        hosts = [host for host in self.hosts if host]
        return SETTINGS.format(
            name=self.system.name,
            key=secrets.token_urlsafe(50),
            hosts=", ".join(hosts or [socket.gethostname(), "localhost"]),
            static=self.system.static_dir,
            media=self.system.media_dir,
        )

    def _wsgi(self) -> str:
        return WSGI.format(
            name=self.system.name, prefix=sys.prefix, settings=str(self.settings_path)
        )

    def _write(self, path: Path, text: str, mode: int) -> str:
        """A file that is there is somebody's, and a key is made once."""
        try:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            return f"{path} is there already, and stays as it is."
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            file.write(text)
        path.chmod(mode)  # whatever the umask
        return f"{path} written{self._hand_over(path, mode)}."

    def _hand_over(self, path: Path, mode: int) -> str:
        """Let the installation's group read what is not everybody's."""
        if mode & 0o004:
            return ""
        try:
            shutil.chown(path, group=self.system.name)
        except (LookupError, OSError, NotImplementedError):
            return f"; let the account read it: chgrp {self.system.name} {path}"
        return f", for root and the group {self.system.name}"
