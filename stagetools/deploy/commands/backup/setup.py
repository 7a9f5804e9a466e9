"""Setting backups up: restic, its repository and key, and the timers."""

import hashlib
from pathlib import PurePosixPath

from stagetools.deploy.layout import Layout
from stagetools.deploy.limits import DISK
from stagetools.deploy.shell import (
    Command,
    loosely,
    named,
    prints,
    script_file,
    script_text,
    script_with,
)

__all__ = [
    "BAD_CALENDAR",
    "digest",
    "install",
    "install_in_place_of_lost",
    "script_path",
]

BAD_CALENDAR = 65
"""The exit status of `install` where systemd does not understand a timer's time."""


def script_path(layout: Layout) -> PurePosixPath:
    """`/srv/stagetools/stages/shop_prod/backup.sh`, root's own."""
    return layout.overlays_dir / "backup.sh"


@named
def install(
    layout: Layout, *, calendar: str, drills: str, keep: str, to: str
) -> Command:
    """Leave all that backups need; print `key` where a key was made.

    `calendar` and `drills` are systemd's words for when, empty for never; `keep` is restic's
    for what stays, and `to` for a repository elsewhere. Exits `BAD_CALENDAR` before anything is done.
    """
    version = digest(layout, calendar=calendar, drills=drills, keep=keep, to=to)
    command = _install(layout, version, calendar, drills, _script(layout, keep, to))
    return prints(command, "key")


@named
def install_in_place_of_lost(layout: Layout, *, keep: str, to: str) -> Command:
    """Leave what `fetch` needs: no timer, and neither key nor repository, for `fetch` brings both."""
    script = _script(layout, keep, to)
    return _install(layout, "lost", "", "", script, "lost")


def _install(
    layout: Layout,
    version: str,
    calendar: str,
    drills: str,
    script: str,
    lost: str = "",
) -> Command:
    command = script_file(
        "backup_install.sh",
        layout.overlays_dir,
        layout.vault_dir,
        layout.system.user,
        layout.system.name,
        version,
        calendar,
        drills,
        script,
        script_text("sqlite.py"),
        lost,
        after="apt.sh",
    )
    return loosely(command)


def digest(layout: Layout, *, calendar: str, drills: str, keep: str, to: str) -> str:
    """SHA-256 of all that `install` leaves, as `look` tells it from then on."""
    parts = (
        *(_script(layout, keep, to), script_text("sqlite.py"), calendar, drills),
        script_text("backup_install.sh"),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _script(layout: Layout, keep: str, to: str) -> str:
    """`backup.sh` with its values before it: timers call it without a client."""
    return script_text("kept.sh") + script_with(
        "backup.sh",
        dir=layout.overlays_dir,
        name=layout.system.name,
        user=layout.system.user,
        home=layout.home,
        site=layout.site_dir,
        releases=layout.releases_dir,
        media=layout.media_dir,
        env=layout.env_file,
        base=layout.fence,
        database=layout.database_name,
        spare=DISK.reserve,
        keep=keep,
        to=to,
    )
