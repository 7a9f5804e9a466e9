"""The document's words for what `run.py` measured."""

import statistics
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import postgres
from contenders import ALL, CORES, OURS_NAME
from load import OPERATIONS

from bench import report

CLAIMS = (
    # operation, clients, against, how many times its rate at least
    ("insert one", 8, "the usual list", 2.5),
    ("80/20", 8, "the usual list", 2.5),
    *((operation, 8, "PostgreSQL", 1.0) for operation in OPERATIONS),
)


def section(
    table: Any, most: dict[str, float], options: Namespace, load: tuple[float, float]
) -> tuple[str, bool]:
    """All of it, and whether each claim was kept."""
    claims = list(judged(table))
    lines = [*head(options, load), "", *verdict(claims)]
    for operation in OPERATIONS:
        lines += ["", f"### {operation.capitalize()}", ""]
        lines += [f"One process with Python's `sqlite3` alone: {most[operation]:,.0f} a second.", ""]  # fmt: skip
        lines += rows(table, operation)
    if any(key[0] == "writers" for key in table):
        lines += ["", "### 32 writers without HTTP", ""]
        lines += ["Eight processes of four threads that do nothing but insert.", ""]
        lines += rows(table, "writers")
    return "\n".join(lines), all(kept for *_, kept in claims)


def head(options: Namespace, load: tuple[float, float]) -> Iterator[str]:
    yield "## The database"
    yield ""
    yield report.made_by("python bench/database/run.py")
    yield (
        f"{options.rounds} rounds of {options.seconds:g} s on {report.machine()}, which the"
        " sites share with the client and whatever else ran there: load average"
        f" {load[0]:.1f} before, {load[1]:.1f} after."
    )
    yield (
        "All sites run at once and are asked in turn, over a unix socket and kept connections,"
        " as the proxy asks them. The rates are those of this machine; the ratios are what"
        " to go by: medians over the rounds, each of two neighbours in time."
    )
    yield ""
    yield f"- **{OURS_NAME}**: the rendered site, as deployed: gthread, 2 workers with 4 threads."
    yield (
        "- **taking turns**: the same, with a fair order among writers (bench/database/turns.py),"
        " which is not in use; asked where most writers meet, at the end."
    )
    yield (
        "- **ours, NORMAL**: with `SQLITE_SYNCHRONOUS=NORMAL`: a power cut may undo the last"
        " commits, and corrupts nothing. FULL keeps them all, as PostgreSQL does."
    )
    yield "- **Django's defaults**: the same, with the database settings of `startproject`."
    yield (
        f"- **the usual list**: {2 * CORES + 1} sync workers, WAL and the pragmas that"
        " articles list, connections closed after each request, which is Django's default."
    )
    yield (
        f"- **PostgreSQL**: {postgres.version()} as it comes, on the same machine, psycopg's pool."
        if postgres.version()
        else "- PostgreSQL is not in the table: its server or psycopg was not there."
    )
    yield ""
    yield "CPU is that of all the site's processes for one answer, the database server's with it."


def judged(table: Any) -> Iterator[tuple[str, str, bool]]:
    """A sentence for each claim, the figure, and whether it was kept."""
    for operation, clients, other, least in CLAIMS:
        if (operation, clients, other) in table:
            times = ratio(table, operation, clients, other)
            words = f"{operation}, {clients} clients: at least {least} times {other}"
            yield words, f"{times:.2f}", times >= least
    wrong = sum(
        found.answers.bad for key, found in table.items() if key[2] == OURS_NAME
    )
    yield "no error of ours", str(wrong), not wrong
    theirs = table["read, then write", 64, "Django's defaults"].answers.errors
    words = "Django's defaults fail over 10 % of read-then-write at 64 clients"
    yield words, f"{theirs:.0%}", theirs > 0.1


def verdict(claims: list[tuple[str, str, bool]]) -> Iterator[str]:
    yield "| what was to be shown | figure | |"
    yield "|---|---|---|"
    for words, figure, kept in claims:
        yield f"| {words} | {figure} | {'reached' if kept else 'not reached'} |"


def ratio(table: Any, operation: str, clients: int, other: str) -> float:
    """Our rate by theirs."""
    ours = table[operation, clients, OURS_NAME].rates
    theirs = table[operation, clients, other].rates
    return statistics.median(
        a / max(b, 0.01) for a, b in zip(ours, theirs, strict=True)
    )


def rows(table: Any, operation: str) -> Iterator[str]:
    yield "| clients | | a second | ours by theirs | CPU | p99 | longest | errors |"
    yield "|---|---|---|---|---|---|---|---|"
    for clients in sorted({key[1] for key in table if key[0] == operation}):
        for contender in ALL:
            found = table.get((operation, clients, contender.name))
            if found is None:
                continue
            times = ratio(table, operation, clients, contender.name)
            yield (
                f"| {clients} | {contender.name} | {statistics.median(found.rates):,.0f}"
                f" | {times:.2f} | {found.milliseconds:.2f} ms"
                f" | {1000 * found.answers.p99:,.0f} ms"
                f" | {1000 * max(found.answers.latencies, default=0):,.0f} ms | {found.answers.errors:.1%} |"
            )
