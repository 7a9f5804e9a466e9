"""`python bench/database/run.py`: the rendered site's database beside what others recommend.

All sites run at once and are asked in turn, in short portions, so that each meets the same
noise: read every ratio, and no rate, as a promise. Needs the `dev` extra; with `postgresql` and PostgreSQL's
server programs it has that column, too. Writes its tables into docs/benchmarks.md;
`--rounds 1 --seconds 0.5 --no-write` is a quick look.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

import contenders  # noqa: E402
import postgres  # noqa: E402
from limit import limit  # noqa: E402
from load import OPERATIONS, Answers, load  # noqa: E402
from sites import Site, cpu  # noqa: E402
from tell import section  # noqa: E402

from bench import report  # noqa: E402

CLIENTS = (1, 8, 64)
WRITERS = 8  # processes, of four threads each
WRITING = 3.0  # seconds that they do so, in every third round


@dataclass
class Measured:
    """One contender at one operation with so many clients: a list has a number a round."""

    rates: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)  # seconds
    answers: Answers = field(default_factory=Answers)
    cpu: float = 0  # seconds, of all answers

    def add(self, answers: Answers, seconds: float) -> None:
        self.rates.append(answers.rate)
        self.p99s.append(answers.p99)
        self.answers.add(answers)
        self.cpu += seconds

    @property
    def milliseconds(self) -> float:
        """CPU for an answer."""
        return 1000 * self.cpu / max(1, len(self.answers.latencies))


Table = dict[tuple[str, int, str], Measured]


class Bench:
    """Every contender's site, running."""

    def __init__(self, folder: Path, database: postgres.Postgres | None) -> None:
        self.database, self.sites = database, []
        self.table: Table = defaultdict(Measured)
        for contender in contenders.ALL:
            if database or not contender.is_postgresql:
                place = folder / f"{len(self.sites)}"
                place.mkdir()
                host = str(database.folder) if database else ""
                self.sites.append(Site(contender, place, host))

    def ask(self, operation: str, clients: int, seconds: float, number: int) -> None:
        """Each once, and in another order than the last time."""
        for site in in_turn(self.sites, number):
            if not site.contender.over_http:
                continue
            before = self.cpu_of(site)
            answers = load(site.socket, operation, clients, seconds)
            key = operation, clients, site.contender.name
            self.table[key].add(answers, self.cpu_of(site) - before)

    def write(self, number: int) -> None:
        """So many writers without HTTP, by one contender after the other."""
        for site in in_turn(self.sites, number):
            if not site.contender.as_writers:
                continue
            words = "bench_writers.py", f"{WRITERS}", f"{WRITING}"
            processes = json.loads(site.python(*words))
            took = [one for process in processes for one in process["took"]]
            good = [one for one in took if one is not None]
            answers = Answers(WRITING, len(good), len(took) - len(good), good)
            used = sum(process["cpu"] for process in processes)
            self.table["writers", WRITERS * 4, site.contender.name].add(answers, used)

    def cpu_of(self, site: Site) -> float:
        """The site's, and its database server's."""
        others = [self.database.pid] if site.contender.is_postgresql and self.database else []  # fmt: skip
        return cpu(site.server.pid, *others)

    def stop(self) -> None:
        for site in self.sites:
            site.stop()


def in_turn(sites: list[Site], number: int) -> list[Site]:
    """Each time another one is the first."""
    first = number % len(sites)
    return sites[first:] + sites[:first]


def measure(
    folder: Path, rounds: int, seconds: float
) -> tuple[Table, dict[str, float]]:
    own = folder / "postgres"
    own.mkdir()
    database = postgres.Postgres(own) if postgres.version() else None
    bench = None
    try:
        bench = Bench(folder, database)
        for number in range(rounds):
            for operation in OPERATIONS:
                for clients in CLIENTS:
                    bench.ask(operation, clients, seconds, number)
            if number % 3 == 0:
                bench.write(number)
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        return bench.table, limit(folder, seconds)
    finally:
        if bench:
            bench.stop()
        if database:
            database.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="of a measurement")
    parser.add_argument("--no-write", action="store_true", help="only print")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL's account goes through it
        table, most = measure(Path(name), options.rounds, options.seconds)
    text, kept = section(table, most, options, (before, os.getloadavg()[0]))
    print(text)
    if not options.no_write:
        report.write("database", text)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
