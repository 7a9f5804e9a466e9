"""A PostgreSQL server for one run: its own directory, a unix socket, its default settings."""

import os
import shutil
import subprocess
from pathlib import Path

USER = "mysite_prod"


class Postgres:
    """Started when made."""

    def __init__(self, folder: Path) -> None:
        self.data, self.folder = folder / "postgres", folder
        self.account = "postgres" if os.geteuid() == 0 else None  # it refuses root
        if self.account:
            shutil.chown(folder, self.account)
        self._run(_program("initdb"), "-D", str(self.data), "-U", USER, "-A", "trust")
        options = f"-k {folder} -c listen_addresses="
        self._control("start", "-o", options, "-l", str(folder / "postgres.log"))
        self._run(_program("createdb"), "-h", str(folder), "-U", USER, USER)

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        self._control("stop", "-m", "fast")

    def _control(self, *words: str) -> None:
        self._run(_program("pg_ctl"), "-w", "-D", str(self.data), *words)

    def _run(self, *words: str) -> None:
        subprocess.run(
            words, user=self.account, check=True, stdout=subprocess.DEVNULL, cwd="/"
        )


def version() -> str:
    """`PostgreSQL 17.2`; empty where there is no server or no psycopg."""
    try:
        import psycopg_pool  # noqa: F401

        words = [_program("postgres"), "--version"]
    except (ImportError, LookupError):
        return ""
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return f"PostgreSQL {said.split()[2]}"


def _program(name: str) -> str:
    """Debian keeps them out of PATH, in a folder for each version."""
    places = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    found = shutil.which(name, path=os.pathsep.join(map(str, sorted(places)[::-1])))
    if not (found := found or shutil.which(name)):
        raise LookupError(name)
    return found
