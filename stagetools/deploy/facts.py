"""Pure parsers: what the server printed, as frozen values."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import PurePosixPath

__all__ = [
    "Container",
    "Facts",
    "Record",
    "engine_name",
    "named",
    "parse_facts",
    "span",
]


_ENGINES = {"postgresql": "PostgreSQL", "mysql": "MySQL", "oracle": "Oracle"}


def engine_name(vendor: str) -> str:
    """The name of a database's engine, as people write it; empty for SQLite."""
    return "" if vendor == "sqlite" else _ENGINES.get(vendor, vendor)


def span(seconds: int) -> str:
    """So many seconds in the largest whole unit: `3 h`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@dataclass(frozen=True, slots=True)
class Container:
    """One of the server's web containers, whichever installation's."""

    id: str
    system: str
    release: str
    state: str  # docker's own word: running, restarting, exited
    status: str  # as a person reads it: Up 3 minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is remembered of a deploy."""

    release: str
    fingerprint: str = ""  # of all that made it: sources, configuration, environment
    who: str = "somebody"
    commit: str = ""
    at: str = ""  # ISO 8601, UTC
    tree: str = ""  # SHA-256 of its sources' manifest
    origin: str = ""  # the release whose image and sources it has, when not its own
    why: str = "deploy"  # deploy, rollback, restart, env
    migrations: tuple[str, ...] = ()  # applied by this deploy
    database: str = ""  # the engine of the project's own, where it is not SQLite
    size: int = 0  # bytes of its image, 0 when it is gone; not written down

    def to_json(self) -> str:
        """Without an engine where there is none to tell: 0.1.0 reads no other key."""
        left_out = {"size", *([] if self.database else ["database"])}
        return json.dumps({k: v for k, v in asdict(self).items() if k not in left_out})

    @property
    def made_of(self) -> str:
        """The release that was built, of which this one may be another launch."""
        return self.origin or self.release

    @property
    def clean_commit(self) -> str:
        """The commit that was deployed, or changed and deployed."""
        return self.commit.removesuffix("-dirty")

    def with_size(self, size: int) -> "Record":
        return replace(self, size=size)

    @classmethod
    def parse(cls, text: str) -> "Record | None":
        """The record, or None for what is none.

        A newer version of this library may have written other keys than this one knows.
        """
        known = {item.name for item in fields(cls)} - {"size"}
        try:
            values = {k: v for k, v in json.loads(text).items() if k in known}
            values["migrations"] = tuple(values.get("migrations") or ())
            return cls(**values)
        except (ValueError, TypeError, AttributeError):
            return None

    def age(self, now: datetime) -> str:
        """How long ago, in the largest whole unit: `3 h ago`."""
        try:
            then = datetime.fromisoformat(self.at)
            return f"{span(int((now - then).total_seconds()))} ago"
        except (ValueError, TypeError):
            return "at an unknown time"


def named(records: Sequence[Record], word: str) -> list[Record]:
    """The records that somebody may mean by `word`: the surest way of naming that fits any.

    The release that serves it or was built for it, the end of either name, the commit; then
    the beginning of any of these.
    """
    for fits in (str.__eq__, str.startswith):
        for names in (_release_names, _suffixes, _commits):
            found = [r for r in records if any(fits(n, word) for n in names(r))]
            if found:
                return found
    return []


def _release_names(record: Record) -> tuple[str, ...]:
    return record.release, record.made_of


def _suffixes(record: Record) -> tuple[str, ...]:
    return tuple(name.rpartition("-")[2] for name in _release_names(record))


def _commits(record: Record) -> tuple[str, ...]:
    """`v1.2-3-g0123456789-dirty`, without `-dirty`, and the hash alone."""
    clean = record.clean_commit
    return record.commit, clean, clean.rpartition("-g")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How the server stands; sizes in bytes, versions empty where a program is missing."""

    os: str
    os_version: str
    os_codename: str
    now: str  # UTC by the server's clock, as a release's name begins
    newest: str  # the name of the newest release, whether it served or not
    cores: int
    memory: int
    disk_free: int
    disk_size: int
    systemd: bool
    uid: str
    gid: str
    env: str  # SHA-256 of the environment file
    home_is_roots: bool  # not so in 0.1.0: its homes are brought to that
    domains: tuple[str, ...]
    uncertified: tuple[str, ...] = ()  # of those, without a certificate so far
    claimed: tuple[tuple[str, str], ...] = ()  # of all sites: domain, installation
    release: str  # the one that serves, or empty
    record: Record | None
    moved: str = ""  # the server to which the site has gone from this one
    arriving: str = ""  # the server from which it was about to come to this one
    data_dir: PurePosixPath  # of the release that serves
    overlays: str  # SHA-256 of root's compose files for the installation
    proxy: str  # SHA-256 of the proxy's files
    proxy_version: int  # of those that it runs with; 0 while there is none
    authority: str  # how certificates are made on this server, in Caddy's words
    proxy_runs: bool = False  # our own proxy, and it has the ports 80 and 443
    taken_ports: tuple[str, ...] = ()  # other programs that listen on port 80 or 443
    follows_links: bool = False  # the kernel, where another user has planted them
    database: int  # bytes of the SQLite file
    backups: str = ""  # SHA-256 of all that makes them, as it was set up
    replica: str = ""  # the same of what sends the database elsewhere
    engine: str  # what was set of it for all sites: a version, and of live-restore
    docker: str
    compose: str
    buildx: bool
    containers: tuple[Container, ...]

    @property
    def elsewhere(self) -> str:
        """The engine of a database that is the project's own, and no file here; or nothing."""
        return engine_name(self.record.database) if self.record else ""

    @property
    def is_ready(self) -> bool:
        """Whether Docker and the installation's account are there."""
        docker = bool(self.docker and self.compose and self.buildx)
        account = bool(self.uid) and bool(self.env) and self.home_is_roots
        return docker and account

    def serving(self, system: str) -> Container | None:
        """The running container of the release that serves `system`."""
        for container in self.containers:
            mine = (container.system, container.release) == (system, self.release)
            if mine and container.state == "running":
                return container
        return None


def parse_facts(text: str) -> Facts:
    """What `commands.server.look` printed."""
    values: dict[str, str] = {}
    containers = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "container":
            containers.append(Container(*_five(value)))
        else:
            values[key] = value
    return Facts(
        os=values["os"],
        os_version=values["os_version"],
        os_codename=values["os_codename"],
        now=values["now"],
        newest=values["newest"],
        cores=int(values["cores"]),
        memory=int(values["memory_kb"]) * 1024,
        disk_free=int(values["disk_free_kb"]) * 1024,
        disk_size=int(values["disk_size_kb"]) * 1024,
        systemd=values["systemd"] == "yes",
        uid=values["uid"],
        gid=values["gid"],
        env=values["env"],
        home_is_roots=values.get("home_is_roots") == "yes",
        domains=tuple(values["domains"].split()),
        uncertified=tuple(values.get("uncertified", "").split()),
        claimed=tuple(_claim(word) for word in values.get("claimed", "").split()),
        release=values["release"],
        record=Record.parse(values.get("record", "")),
        moved=values.get("moved", ""),
        arriving=values.get("arriving", ""),
        data_dir=PurePosixPath(values["data_dir"]),
        overlays=values["overlays"],
        proxy=values["proxy"],
        proxy_version=int(values["proxy_version"] or 0),
        authority=values["authority"].replace("|", "\n").strip(),
        proxy_runs=values.get("proxy_runs") == "yes",
        taken_ports=tuple(values["taken_ports"].split()),
        follows_links=values.get("follows_links") == "1",
        database=int(values["database"] or 0),
        backups=values.get("backups", ""),
        replica=values.get("replica", ""),
        engine=values.get("engine", ""),
        docker=values.get("docker", ""),
        compose=values.get("compose", ""),
        buildx=values.get("buildx") == "yes",
        containers=tuple(containers),
    )


def _claim(word: str) -> tuple[str, str]:
    domain, _, link = word.partition("=")
    return domain, link.rpartition("/")[2]


def _five(value: str) -> tuple[str, str, str, str, str]:
    container, system, release, state, status = value.split(" ", 4)
    return container, system, release, state, status
