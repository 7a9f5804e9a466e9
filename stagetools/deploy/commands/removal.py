"""Taking an installation, or its lock, away."""

from stagetools.deploy.layout import ROOT, WEB_DIR, Layout
from stagetools.deploy.shell import Command, named, prints, script_file, script_text

__all__ = ["remove", "unlock"]


@named
def remove(layout: Layout) -> Command:
    """Remove containers, images, site, account and files; keep the database in a safe place."""
    command = script_file(
        "remove.sh",
        layout.system.name,
        layout.system.container,
        layout.home,
        layout.releases_dir,
        layout.system.database_sqlite_path,
        WEB_DIR,
        ROOT / "kept",
        ROOT / "stages",
        script_text("replica_away.sh"),
    )
    return prints(command, "its database is kept as <copy>")


@named
def unlock(layout: Layout) -> Command:
    """End the lock's holder, and say whose it was."""
    return script_file("unlock.sh", layout.fence)
