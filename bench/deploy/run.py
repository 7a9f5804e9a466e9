"""`python bench/deploy/run.py`: deploys side by side on one throwaway server.

Needs a Docker engine, the `dev` extra, scp and (to be compared) rsync. The tables in
docs/benchmarks.md are written by it; `--rounds 1 --no-write` is a quick look.
"""

import argparse
import http.client
import os
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random

import copier

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from contenders import HOST, NAME, Contender, Ours, Scp, available  # noqa: E402
from wire import Wire  # noqa: E402

from bench import report  # noqa: E402
from tests.server import machines  # noqa: E402
from tests.server.load import Load  # noqa: E402
from tests.server.machines import Server  # noqa: E402
from tests.server.project import Project  # noqa: E402

VISITORS = 50  # a second, each over a connection of its own
FILES, BYTES = 600, 6 * 10**6  # of the whole project
DEPENDENCIES = ["iniconfig", "tomli", "pluggy", "zipp", "toolz", "blinker", "humanize"]
PATIENCE = 30.0  # seconds after the command in which a change may still appear
SCENARIOS = (
    "first deploy",
    "nothing changed",
    "one line changed",
    "one dependency added",
    "one line changed, no visitors",
    "nothing changed, no visitors",
)


@dataclass(frozen=True)
class Measured:
    """One deploy."""

    over: float
    served: float
    sent: float
    failed: float
    outage: float


def render(root: Path, template: Path) -> None:
    """A project with what makes it an ordinary one: 600 files, 6 MB."""
    copier.run_copy(str(template), root, defaults=True, quiet=True, vcs_ref="HEAD")
    there = [path for path in root.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in there)
    count, random = FILES - len(there), Random(1)  # noqa: S311
    for number in range(count):
        path = root / "mysite" / "content" / f"{number // 25:02}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes((BYTES - size) // count))


class Bench:
    """One server, one wire to it, one project for each contender."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder, self.rounds = folder, rounds
        key = machines.make_key(folder)
        machines.build_images()
        self.server = Server.create("bench", key, with_docker=True)
        self.wire = Wire(self.server.address)
        self.ssh_config = folder / "ssh_config"
        self.ssh_config.write_text(
            f"Host {HOST}\n  HostName 127.0.0.1\n  Port {self.wire.port}\n  User root\n"
            f"  IdentityFile {key}\n  StrictHostKeyChecking no\n  LogLevel ERROR\n"
            f"  UserKnownHostsFile {folder / 'known_hosts'}\n"
        )
        self.server.run(
            "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq;"
            " apt-get install -qq -y rsync >/dev/null;"
            " mkdir -p /srv/scp /srv/rsync;"
            " docker pull -q python:3.13-slim; docker pull -q caddy:2"
        )
        self.contenders = [
            kind(self.project(kind.__name__.lower(), key), self.server, self.ssh_config)
            for kind in available()
        ]
        # another order for each, or one would find the other's layer in the build cache
        self.new_dependencies = {
            contender.name: DEPENDENCIES[start:] + DEPENDENCIES[:start]
            for start, contender in enumerate(self.contenders)
        }
        self.results: dict[tuple[float, str, str], list[Measured]] = defaultdict(list)

    def project(self, name: str, key: Path) -> Project:
        """A rendered project behind the wire."""
        root = self.folder / name / "mysite"
        render(root, REPOSITORY)
        project = Project(root, self.folder / name / "home", key)
        project.target(self.server, domain=NAME)
        project.replace(
            "deploy.toml",
            f'host = "{self.server.address}"',
            f'host = "127.0.0.1"\nport = {self.wire.port}',
        )
        line = self.server.run("cat /etc/ssh/ssh_host_ed25519_key.pub")
        known = f"[127.0.0.1]:{self.wire.port} {line}\n"
        (project.home / ".ssh" / "known_hosts").write_text(known)
        return project

    def run(self, delay: float) -> None:
        """Every contender in turn, in every round, so that all meet the same noise."""
        for contender in self.contenders:
            self.server.run("docker builder prune --all --force >/dev/null")
            contender.change_line()
            self.wire.delay = delay
            self.measure(contender, "first deploy")
        self.warm_up()
        self.wire.delay = delay
        for _ in range(1 if delay else self.rounds):
            for contender in self.contenders:
                self.round(contender)
        for contender in self.contenders:
            contender.remove()

    def warm_up(self) -> None:
        """Fill everybody's build cache, which the others' first deploys have emptied."""
        self.wire.delay = 0
        for contender in self.contenders:
            contender.change_line()
            contender.deploy()

    def round(self, contender: Contender) -> None:
        if self.wire.delay and isinstance(contender, Scp):
            # minutes, whatever has changed: once is enough
            self.measure(contender, "one line changed", contender.change_line())
            return
        self.measure(contender, "nothing changed")
        self.measure(contender, "one line changed", contender.change_line())
        contender.add_dependency(self.new_dependencies[contender.name].pop())
        self.measure(contender, "one dependency added", contender.change_line())
        if self.wire.delay:
            return
        mark = contender.change_line()
        self.measure(contender, "one line changed, no visitors", mark)
        self.measure(contender, "nothing changed, no visitors")

    def measure(self, contender: Contender, scenario: str, mark: str = "") -> None:
        """One deploy, with visitors unless the site does not exist yet."""
        load = Load(
            self.server.address,
            NAME,
            f"--port={contender.port}",
            *([] if contender.tls else ["--plain"]),
            rates={"new": VISITORS},
        )
        visited = "no visitors" not in scenario and scenario != "first deploy"
        self.wire.sent = 0
        with load if visited else nullcontext():
            time.sleep(1)
            watch = Watch(self.server.address, contender, mark)
            started = time.monotonic()
            contender.deploy()
            over = time.monotonic() - started
            served = watch.seen(started)
            time.sleep(1)
        measured = Measured(
            over,
            served,
            self.wire.sent,
            load.report.get("failed", 0),
            load.report.get("outage", 0),
        )
        self.results[self.wire.delay, scenario, contender.name].append(measured)
        row = (
            f"{self.wire.delay * 1000:.0f} ms, {scenario}, {contender.name}: {measured}"
        )
        print(row, flush=True)


class Watch:
    """Looks at the page twenty times a second until it bears the mark."""

    def __init__(self, address: str, contender: Contender, mark: str) -> None:
        self.address, self.contender, self.mark = address, contender, mark
        self.when = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        if mark:
            self.thread.start()

    def seen(self, started: float) -> float:
        """Seconds from the start until the change was served."""
        if not self.mark:
            return 0
        self.thread.join(PATIENCE)
        self.over.set()
        return self.when - started if self.when else float("nan")

    def _look(self) -> None:
        while not self.over.wait(0.05):
            if self.mark in self._page():
                self.when = time.monotonic()
                return

    def _page(self) -> str:
        try:
            connection = self._connection()
            connection.request("GET", "/", headers={"Host": NAME})
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""

    def _connection(self) -> http.client.HTTPConnection:
        where = self.address, self.contender.port
        connection = http.client.HTTPConnection(*where, timeout=10)
        connection.connect()
        if self.contender.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection.sock = context.wrap_socket(connection.sock, server_hostname=NAME)
        return connection


# --- the document --------------------------------------------------------------------------


def medians(found: list[Measured]) -> Measured:
    names = [item.name for item in fields(Measured)]
    return Measured(
        *(statistics.median(getattr(one, name) for one in found) for name in names)
    )


def table(bench: Bench, delay: float) -> str:
    """One delay's medians; the ratio is that of the other's time to ours."""
    lines = [
        "| | | over | times ours | served | bytes sent | failed | longest outage |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scenario in SCENARIOS:
        if (delay, scenario, Ours.name) not in bench.results:
            continue
        ours = medians(bench.results[delay, scenario, Ours.name])
        for contender in bench.contenders:
            found = bench.results.get((delay, scenario, contender.name))
            if not found:
                continue
            row = medians(found)
            visited = "no visitors" not in scenario and scenario != "first deploy"
            cells = [
                scenario,
                contender.name,
                f"{row.over:.1f} s",
                f"{row.over / ours.over:.1f}",
                f"{row.served:.1f} s" if row.served else "",
                f"{row.sent / 1000:,.0f} kB",
                f"{row.failed:.0f}" if visited else "",
                f"{row.outage:.1f} s" if visited else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def section(bench: Bench, delays: list[float], load: tuple[float, float]) -> str:
    parts = [
        "## Deploying",
        "",
        report.made_by("python bench/deploy/run.py"),
        f"Medians of {bench.rounds} rounds (first deploys, and all with a delay: one), side by side on one throwaway"
        f" server with {report.machine()}, which it shares with the"
        " client, the visitors and whatever else ran there:"
        f" load average {load[0]:.1f} before, {load[1]:.1f} after.",
        f"The project has {FILES} files and {BYTES // 10**6} MB;"
        f" {VISITORS} visitors a second come over new connections meanwhile,"
        " ours over HTTPS, the others over plain HTTP.",
        "Over: until the command ends. Served: until the change is seen."
        " Bytes are counted between the client and the SSH server.",
        "Only ours makes certificates, fixes SQLite (the WAL-reset bug) and compresses static"
        " files, which its first deploy takes its time for.",
        "fujin is not in the table: its bootstrap downloads uv, Python and Caddy from places"
        " that a machine without the Internet does not reach.",
    ]
    for delay in delays:
        title = f"{delay * 1000:.0f} ms round trip" if delay else "No delay"
        parts += ["", f"### {title}", "", table(bench, delay)]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--delay",
        type=float,
        action="append",
        metavar="MILLISECONDS",
        help="of a round trip; 0 and 100 unless given",
    )
    parser.add_argument("--no-write", action="store_true", help="only print")
    options = parser.parse_args()
    delays = [ms / 1000 for ms in options.delay or (0, 100)]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.rounds)
        try:
            for number, delay in enumerate(delays, 1):
                bench.run(delay)
                text = section(bench, delays[:number], (before, os.getloadavg()[0]))
                if not options.no_write:
                    report.write("deploy", text)
        finally:
            bench.server.remove()
    print(text)


if __name__ == "__main__":
    main()
