"""`python bench/database/stack.py`: what Caddy, TLS, the container and its log cost beside gunicorn.

One throwaway server with the rendered site; its first page and a hashed static file are asked
for over 8 kept connections, by the proxy's HTTPS and at gunicorn's socket in turn (there also
over a connection for each, as the proxy asks), the file also where the proxy leaves it to the
site, and the CPU of each program is divided by the answers. Needs a Docker engine and the `dev`
extra. Writes a table into docs/benchmarks.md; `--requests 200 --no-write` is a quick look.
"""

import argparse
import http.client
import os
import re
import ssl
import statistics
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import copier

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from bench import report  # noqa: E402
from tests.server import machines  # noqa: E402
from tests.server.machines import Server  # noqa: E402
from tests.server.project import Project  # noqa: E402

NAME, CLIENTS, ROUNDS = "mysite.test", 8, 5
PARTS = {
    "the site (gunicorn)": {"gunicorn"},
    "the proxy (Caddy)": {"caddy"},
    "the log (journald)": {"systemd-journal"},
    "the engine": {"dockerd", "containerd", "containerd-shim"},
}
SITE_DIR = "/srv/stagetools/web/sites/mysite_prod"
WAYS = {
    "whole": "by HTTPS",
    "by the site": "by HTTPS, left to the site",
    "each": "gunicorn alone, a connection for each",
    "alone": "gunicorn alone",
}
_STATS = "cat /proc/[0-9]*/stat 2>/dev/null || true"
ALONE = """
import http.client, os, socket, sys
from concurrent.futures import ThreadPoolExecutor
path = os.environ["STAGETOOLS_BIND"].removeprefix("unix:")
target, clients, requests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kept = sys.argv[4] == "kept"
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
def ask(_):
    connection = Connection("mysite.test")
    for _ in range(requests // clients):
        connection.request("GET", target, headers={"X-Forwarded-Proto": "https", "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        kept or connection.close()
list(ThreadPoolExecutor(clients).map(ask, range(clients)))
"""


class Connection(http.client.HTTPSConnection):
    """To the server, by the name of the site; its certificate is the server's own."""

    def __init__(self, server: Server) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        super().__init__(NAME, timeout=30, context=context)
        self.address = server.address
        self._create_connection = lambda _, *words: (
            http.client.socket.create_connection(  # type: ignore[attr-defined]
                (self.address, 443), *words
            )
        )

    def get(self, target: str) -> str:
        self.request("GET", target, headers={"Accept-Encoding": "gzip"})
        answer = self.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{target}: {answer.status}")
        return body.decode(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1600, help="of a measurement")
    parser.add_argument("--no-write", action="store_true", help="only print")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    machines.build_images()
    with tempfile.TemporaryDirectory() as folder:
        key = machines.make_key(Path(folder))
        server = Server.create("stack", key, with_docker=True)
        try:
            deploy(server, Path(folder), key)
            found = measure(server, options.requests)
        finally:
            server.remove()
    text = section(found, options.requests, (before, os.getloadavg()[0]))
    print(text)
    if not options.no_write:
        report.write("stack", text)


def deploy(server: Server, folder: Path, key: Path) -> None:
    root = folder / "mysite"
    copier.run_copy(str(REPOSITORY), root, defaults=True, quiet=True, vcs_ref="HEAD")
    project = Project(root, folder / "home", key)
    project.target(server, domain=NAME)
    project.deploy()


Found = dict[str, dict[str, float]]


def measure(server: Server, requests: int) -> dict[str, Found]:
    """For the page and the file: each way, and for each of these the parts' milliseconds."""
    page = plain(Connection(server), "/")
    targets = {"the first page": "/", "a hashed file": file_in(page)}
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for what, target in targets.items():
        ways = {
            "whole": lambda target=target: by_proxy(server, target, requests),
            "alone": lambda target=target: alone(server, target, requests),
            "each": lambda target=target: alone(server, target, requests, "new"),
        }
        if target != "/":
            ways["by the site"] = lambda target=target: left(server, target, requests)
        found[what] = {way: defaultdict(list) for way in ways}
        for number in range(ROUNDS + 1):
            for way, ask in ways.items():
                started = cpu(server)
                ask()
                if number:  # the first one warms what is warm where visitors come
                    used = cpu(server)
                    for part in PARTS:
                        spent = 1000 * (used[part] - started[part]) / requests
                        found[what][way][part].append(spent)
    return {
        what: {
            way: {part: statistics.median(one) for part, one in parts.items()}
            for way, parts in ways.items()
        }
        for what, ways in found.items()
    }


def plain(connection: Connection, target: str) -> str:
    connection.request("GET", target)
    return connection.getresponse().read().decode()


def file_in(page: str) -> str:
    """The style sheet's address, with its hash."""
    found = re.search(r'/static/[^"]+\.[0-9a-f]{12}\.css', page)
    if not found:
        raise RuntimeError("The page names no hashed style sheet.")
    return found[0]


def by_proxy(server: Server, target: str, requests: int) -> None:
    def ask(_: int) -> None:
        connection = Connection(server)
        for _ in range(requests // CLIENTS):
            connection.get(target)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))


def left(server: Server, target: str, requests: int) -> None:
    """The same while the proxy does not know what the site sends with its files."""
    server.run(f"mv -T {SITE_DIR}/sent {SITE_DIR}/unsent")
    try:
        by_proxy(server, target, requests)
    finally:
        server.run(f"mv -T {SITE_DIR}/unsent {SITE_DIR}/sent")


def alone(
    server: Server, target: str, requests: int, connections: str = "kept"
) -> None:
    """By a client in the site's own container, where Python is for certain."""
    name = "docker ps -q --filter label=stagetools.system=mysite_prod"
    inner = ["docker", "exec", "-i", server.run(name), "python", "-"]
    words = [*inner, target, str(CLIENTS), str(requests), connections]
    machines.docker("exec", "-i", server.container, *words, stdin=ALONE)


def cpu(server: Server) -> dict[str, float]:
    """Seconds of CPU of each part, from the programs' names."""
    used = dict.fromkeys(PARTS, 0.0)
    for line in server.run(_STATS).splitlines():
        name, _, rest = line.partition("(")[2].rpartition(")")
        words = rest.split()
        for part, names in PARTS.items():
            if name in names:
                used[part] += sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
    return used


def section(found: dict[str, Found], requests: int, load: tuple[float, float]) -> str:
    site = "the site (gunicorn)"
    lines = [
        "## The whole stack",
        "",
        report.made_by("python bench/database/stack.py"),
        f"CPU for one answer: medians of {ROUNDS} rounds of {requests} requests over {CLIENTS}"
        f" kept connections, by HTTPS as a visitor and at gunicorn's own socket in turn (there also"
        f" over a connection for each, as the proxy asks), on one"
        f" throwaway server with {report.machine()}: load average {load[0]:.1f} before,"
        f" {load[1]:.1f} after.",
        "",
        f"| | {' | '.join(PARTS)} | all | beside gunicorn's own |",
        f"|---|{'---|' * (len(PARTS) + 2)}",
    ]
    for what, ways in found.items():
        least = ways["alone"][site]
        for way, parts in sorted(ways.items(), key=lambda pair: [*WAYS].index(pair[0])):
            name = f"{what}, {WAYS[way]}"
            is_whole = way not in ("alone", "each")
            shown = list(parts.values()) if is_whole else [parts[site]]
            cells = [f"{one:.2f} ms" for one in shown] + [""] * (
                len(PARTS) - len(shown)
            )
            total = sum(shown)
            lines.append(
                f"| {name} | {' | '.join(cells)} | {total:.2f} ms | {total / least:.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
