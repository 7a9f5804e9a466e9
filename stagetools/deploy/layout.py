"""Where a deploy keeps what on the server, all of it worked out from the expected System."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from stagetools.naming.system import System

__all__ = ["LAYOUT", "PROXY_DIR", "ROOT", "WEB_DIR", "Layout"]

ROOT = PurePosixPath("/srv/stagetools")
PROXY_DIR = ROOT / "proxy"
"""The proxy's compose project, shared by every installation of the server."""
WEB_DIR = ROOT / "web"
"""What the proxy sees: `sites/<name>` for each installation, `hosts/<domain>` to find it by."""

LAYOUT = 2
"""Of an account's directories: since 2 the home is root's; `ensure_account` brings it there."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The server's side of one installation. The examples are those of `shop_prod`."""

    system: System

    @property
    def home(self) -> PurePosixPath:
        """`/home/shop_prod`"""
        return PurePosixPath(self.system.base_dir)

    @property
    def data_dir(self) -> PurePosixPath:
        """`/home/shop_prod/data`: the database, and nothing else."""
        return PurePosixPath(self.system.database_sqlite_path).parent

    def data_copy(self, release: str) -> PurePosixPath:
        """`/home/shop_prod/data-<release>`: of a release that changed a copy of the database."""
        return self.home / f"data-{release}"

    @property
    def database_name(self) -> str:
        """`shop_prod.sqlite3`: the database's file in any of these directories."""
        return PurePosixPath(self.system.database_sqlite_path).name

    @property
    def media_dir(self) -> PurePosixPath:
        """`/home/shop_prod/media`"""
        return PurePosixPath(self.system.media_dir)

    def media_copy(self, release: str) -> PurePosixPath:
        """`/home/shop_prod/media-<release>`: the uploads that a clone has brought."""
        return self.home / f"media-{release}"

    @property
    def backups_dir(self) -> PurePosixPath:
        """`/home/shop_prod/backups`"""
        return self.home / "backups"

    @property
    def vault_dir(self) -> PurePosixPath:
        """`/home/shop_prod/vault`: the backups' repository and key, which root alone may enter."""
        return self.home / "vault"

    @property
    def assets_dir(self) -> PurePosixPath:
        """`/home/shop_prod/static-archive`: hashed files of the releases that are kept."""
        return self.home / "static-archive"

    @property
    def releases_dir(self) -> PurePosixPath:
        """`/home/shop_prod/releases`: sources, settings and records, root's own."""
        return self.home / "releases"

    @property
    def env_file(self) -> PurePosixPath:
        """`/home/shop_prod/env`: the secrets, 0600 and root's own."""
        return self.home / "env"

    @property
    def site_dir(self) -> PurePosixPath:
        """`/srv/stagetools/web/sites/shop_prod`"""
        return WEB_DIR / "sites" / self.system.name

    @property
    def run_dir(self) -> PurePosixPath:
        """`…/sites/shop_prod/run`: the releases' sockets; the only part where others may write."""
        return self.site_dir / "run"

    def socket(self, release: str) -> PurePosixPath:
        """`…/run/<release>.sock`: the same path inside the container and out of it."""
        return self.run_dir / f"{release}.sock"

    @property
    def current(self) -> PurePosixPath:
        """`…/sites/shop_prod/current.sock`: a link to the socket of the release that serves."""
        return self.site_dir / "current.sock"

    @property
    def hold_file(self) -> PurePosixPath:
        """`/run/stagetools/shop_prod.hold`: whose visitors wait, while a copy is changed."""
        return PurePosixPath("/run/stagetools") / f"{self.system.name}.hold"

    @property
    def overlays_dir(self) -> PurePosixPath:
        """`/srv/stagetools/stages/shop_prod`: root's own compose files for its containers."""
        return ROOT / "stages" / self.system.name

    def overlay(self, name: str) -> PurePosixPath:
        """What a compose file of the project gets on top, for a container's purpose."""
        return self.overlays_dir / f"{name}.yaml"

    @property
    def fence(self) -> PurePosixPath:
        """`/run/stagetools/shop_prod`: beside it lies what guards the stage; see fence.py."""
        return PurePosixPath("/run/stagetools") / self.system.name

    @property
    def lock_file(self) -> PurePosixPath:
        """`/run/stagetools/shop_prod.lock`; a reboot clears it."""
        return self.fence.with_name(f"{self.system.name}.lock")

    def incoming(self, digest: str) -> PurePosixPath:
        """`/home/shop_prod/incoming/<SHA-256>.part`: what has arrived of an archive."""
        return self.home / "incoming" / f"{digest}.part"

    def source(self, release: str) -> PurePosixPath:
        """`/home/shop_prod/releases/<release>`"""
        return self.releases_dir / release

    def compose_env(self, release: str) -> PurePosixPath:
        """What compose.yaml's variables stand for in this release."""
        return self.releases_dir / f"{release}.env"

    def manifest(self, release: str) -> PurePosixPath:
        """The hashes of the release's files."""
        return self.releases_dir / f"{release}.manifest"

    def record(self, release: str) -> PurePosixPath:
        """Who deployed it, when, from which commit."""
        return self.releases_dir / f"{release}.json"
