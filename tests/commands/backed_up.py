"""A server on which a release serves, with a database, as the scripts of backups find it."""

import os
import pwd
import shutil
import sys
from pathlib import Path

from tests.commands.machine import Machine

__all__ = ["DOCKER", "RELEASE", "database", "serve"]

RELEASE = "20260131-070000-0000000"
# `docker run … --volume A:/live --volume B:/copy … python -I - WORD FILE…`, without a container
DOCKER = f"""
test "$1" = run || exit 0
ls -l /proc/self/fd >>"$said.open"
for word in "$@"; do
  case $word in *:/live) live=${{word%:/live}} ;; *:/copy) copy=${{word%:/copy}} ;; esac
done
while test "$1" != -I; do shift; done
shift 2
for word; do shift; set -- "$@" "$(echo "$word" | sed "s,^/live,$live,; s,^/copy,$copy,")"; done
exec {sys.executable} -I - "$@"
"""


def serve(machine: Machine, layout) -> None:
    """Let the release serve; `install` gives what it makes to whoever runs the test."""
    own = pwd.getpwuid(os.getuid()).pw_name
    real = shutil.which("install")
    machine.program(
        "install",
        f'case "$*" in *" -o "*) shift 5; exec {real} -d -o {own} "$@" ;; esac; exec {real} "$@"',
    )
    machine.patience = 120
    machine.program("id", "echo 0")
    machine.program("docker", DOCKER)
    machine.at("/etc/systemd/system").mkdir(parents=True)
    machine.at(layout.current).symlink_to(f"run/{RELEASE}.sock")
    machine.at(layout.env_file).write_text('SECRET_KEY="k"\n')
    machine.at(layout.media_dir / ".tmp").mkdir()


def database(machine: Machine, layout) -> Path:
    return machine.at(layout.data_dir / layout.database_name)
