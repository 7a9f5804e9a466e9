"""The table `[stages.NAME.replica]` of deploy.toml, and how a server's replica stands."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from stagetools.deploy.facts import span
from stagetools.errors import ConfigError

__all__ = ["Replica", "Replication", "parse_moment", "parse_replication"]

_URL = re.compile(
    r"[A-Za-z0-9._~:/?=&@%+,\[\]-]+"
)  # no quote, and nothing a shell or YAML reads
_SCHEMES = ("s3", "sftp", "file", "gs", "abs")
_LATE = 60  # seconds behind, after which a replica is late
_EXAMPLE = (
    'Write url = "s3://bucket/mysite", or sftp://user@host/folder, or file:///folder.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """Where every change of the database is sent; nowhere unless given."""

    url: str = ""

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def directory(self) -> str:
        """The server's own directory that it is, or nothing."""
        return self._parts.path if self._parts.scheme == "file" else ""

    @property
    def ssh(self) -> tuple[str, int]:
        """`user@host` and the port of an sftp server, or nothing."""
        parts = self._parts
        if parts.scheme != "sftp":
            return "", 0
        return f"{parts.username}@{parts.hostname}", parts.port or 22

    def check(self, where: str) -> None:
        """Raise ConfigError for what Litestream could not use, or what tells a secret."""
        if not self.url:
            return
        if why := self._wrong():
            raise ConfigError(
                f"url in {where} {why}: {self._shown!r}.", remedy=_EXAMPLE
            )
        if self._parts.password or "secret" in self._parts.query.lower():
            raise ConfigError(
                f"url in {where} has a password, and deploy.toml is no place for one.",
                remedy="Take it out. An sftp server knows the site by a key, which inv deploy"
                " shows; of S3: inv env.set LITESTREAM_ACCESS_KEY_ID"
                " LITESTREAM_SECRET_ACCESS_KEY",
            )

    @property
    def _shown(self) -> str:
        return re.sub(r":[^/@]*@", ":***@", self.url)

    def _wrong(self) -> str:
        try:
            parts, _ = self._parts, self.ssh
        except ValueError:
            return "cannot be read"
        if not _URL.fullmatch(self.url) or parts.scheme not in _SCHEMES:
            return f"is one of {', '.join(f'{name}://' for name in _SCHEMES)}, in plain letters"
        if parts.scheme == "file":
            bad = parts.netloc or parts.query or ".." in parts.path.split("/")
            return (
                "names no directory of the server" if bad or parts.path == "/" else ""
            )
        if parts.scheme == "sftp" and not (
            parts.username and parts.hostname and parts.path.strip("/")
        ):
            return "needs a user, a host and a folder"
        return "" if parts.netloc else "names no place"


# --- how it stands on a server ------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """How the replica of an installation stands."""

    url: str = ""  # empty where there is none
    now: float = 0  # seconds since 1970, by the server's clock
    state: str = ""  # docker's word for its container; empty where there is no such
    follows: bool = False  # the database that is live
    sent: float = (
        0  # when all that had been written was sent, for the last time; 0 never
    )
    said: str = ""  # why not all could be sent just now

    @property
    def lag(self) -> int:
        """Seconds between what is written and what is sent."""
        return max(0, int(self.now - self.sent))

    @property
    def row(self) -> str:
        """What `inv status` says of it."""
        if self.state != "running":
            return f"not running; {self.url}"
        behind = f"{span(self.lag)} behind" if self.sent else "nothing sent yet"
        return f"{behind}; {self.url}"

    def troubles(self) -> list[str]:
        """What is wrong, in words; nothing where all is well, or where there is none."""
        if not self.url:
            return []
        if self.state != "running":
            return [f"it does not run ({self.state or 'there is no container'})"]
        if not self.follows:
            return ["it follows a database that is not the live one"]
        if self.said:
            return [f"what was written cannot be sent: {self.said}"]
        if self.lag > _LATE:
            return [f"it is {span(self.lag)} behind"]
        return []


def parse_replication(text: str) -> Replication:
    """What `commands.backup.replica.watch` printed; its container may say anything."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if not values.get("url"):
        return Replication()
    return Replication(
        url=values["url"],
        now=_seconds(values.get("now", "")),
        state=values.get("state", ""),
        follows=values.get("follows") == "yes",
        sent=_sent(values.get("listed", "")),
        said=values.get("said", ""),
    )


def _seconds(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,12}(\.\d+)?", text) else 0


def _sent(listed: str) -> float:
    """As `litestream list -json` has it; Go writes up to nine digits of a second."""
    try:
        at = str(json.loads(listed)["databases"][0]["last_sync_at"])
        found = datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", at)).timestamp()
        return max(0, found)
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0


def parse_moment(text: str) -> datetime | None:
    """A moment that a person types: `2026-11-20 14:05`, UTC unless it says another zone."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if len(text.strip()) <= len("2026-11-20"):
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
