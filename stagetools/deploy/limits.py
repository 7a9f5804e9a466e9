"""Times and sizes that depend on each other or on a program's own limits."""

from dataclasses import dataclass

__all__ = [
    "CONNECT",
    "DISK",
    "HEALTH",
    "HOLD",
    "KEEP",
    "LOCK",
    "SHUTDOWN",
    "Connect",
    "Disk",
    "Health",
    "Hold",
    "Lock",
    "Shutdown",
]


@dataclass(frozen=True, slots=True)
class Connect:
    """How long a server may take to answer, in seconds."""

    tcp: float = 10
    banner: float = 15  # a small server under load forks sshd slowly
    web: float = 3  # for ports 80 and 443; a SYN is sent again after 1 s
    keepalive: int = 5  # ssh's own, so that a dead network is noticed
    unsent: int = 128 * 1024  # bytes that wait in the kernel; 4 MB unless said


@dataclass(frozen=True, slots=True)
class Lock:
    """The life signs of who holds the lock, in seconds."""

    beat: float = 3
    silence: int = 12  # then the holder is taken for dead: four beats missed


@dataclass(frozen=True, slots=True)
class Health:
    """How long a new release may take to answer, and what counts as refused."""

    start: float = 90  # seconds; a cold start on a small server, imports and all
    refusals: int = 3  # answers but 200, after which waiting longer is no use
    status: float = 5  # seconds; how long `inv status` waits
    certificate: float = 60  # seconds; an ACME authority calls back first


@dataclass(frozen=True, slots=True)
class Hold:
    """How long visitors may wait at the proxy while a copy of the database is changed.

    The proxy lets them wait for `proxy` seconds, and for `start` seconds at any other time
    (lb_try_duration in the Caddyfile): then the site is one that was stopped.
    """

    drain: int = 8  # seconds for the requests under way; then they are cut off
    change: float = 15  # seconds to copy, to change and to start, as the rehearsal took
    at_most: int = 25  # then the server lets them go to the release before
    proxy: int = 30
    start: int = 10  # for a site that starts again by itself, after a crash


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How long an old release may take to finish its requests, in seconds.

    graceful: gunicorn's graceful_timeout, 30 unless set. docs.gunicorn.org, "Settings"
    grace: compose's stop_grace_period, 10 unless set, then SIGKILL. docs.docker.com
    """

    graceful: int = 25
    grace: int = 40  # graceful, and time for gunicorn itself to leave


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays on the server for a way back."""

    releases: int = 5  # the serving one among them; an image shares its layers
    snapshots: int = 5  # of the database, each made before a migration
    build_cache: str = "2GB"  # of the engine: two builds of an ordinary project


@dataclass(frozen=True, slots=True)
class Disk:
    """What a task may write that brings what another server, or a container, has made.

    It says beforehand how much comes; more than that, and what grows meanwhile, does not.
    """

    reserve: int = 200 * 10**6  # bytes that stay free for the sites meanwhile
    header: int = 2048  # bytes of a tar file, for a file with a long name
    margin: int = 64 * 10**6  # bytes, and a quarter, that may have come since

    def at_most(self, announced: int, files: int = 0) -> int:
        """Bytes of a stream whose length was told a while ago."""
        return (announced + files * self.header) * 5 // 4 + self.margin


CONNECT = Connect()
DISK = Disk()
KEEP = Keep()
LOCK = Lock()
HEALTH = Health()
HOLD = Hold()
SHUTDOWN = Shutdown()
