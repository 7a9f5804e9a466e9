"""`docs/kills.md`: what was seen after each kill, a line for each."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median

from tests.server.kills import RATES, Seen

PAGE = Path(__file__).parents[2] / "docs" / "kills.md"
HEAD = f"""# Kills under writes

A site on a real server took {sum(RATES.values()):.0f} requests a second, of which {RATES["write"] + RATES["form"]:.0f} wrote a row; in their midst something was killed (`kill -9`), and then every row that a visitor had been told of was looked for, and SQLite asked whether the database is sound.
This page is written by a test: `KILLS=50 python -m pytest tests/server/test_switch.py -k kill`.

- *worker*, *container*, *proxy*: one process of gunicorn; the first process of the site's container; that of Caddy's. *engine*: `dockerd` and `containerd` at once; the sites go on without them.
- *power*: the whole server. Its `/home` is a disk (ext4), which in that moment lost all that no program had synced to it; the programs were stopped a moment before. The engine's own files are kept, for this is about the database.
- *synchronous*: `SQLITE_SYNCHRONOUS` of the environment. FULL is what a site has unless you say otherwise: a commit is on the disk before a visitor is told. With NORMAL it is in the memory of the machine, which the death of a process does not touch; a power cut does.
- *back*: seconds from the kill until a visitor who came afterwards was answered and no later one failed; after a power cut from the start of the engine, for how long a machine takes to boot is not ours. Who came in the same hundredth of a second may have been answered just before.
- *failed*: requests that failed, of all. Those of a power cut came while the server was off.
- *load*: the load average of the machine with two cores on which server and visitors ran, beside other work: where it is over 2, programs waited for their turn, and all took longer. The server's own programs had as much of it as its containers have, and no less.
- *oldest*: how many seconds before the kill the oldest of the lost rows had been acknowledged.

"""
KINDS = ("kind", "synchronous", "kills", "acknowledged", "lost", "oldest")
KINDS += ("failed", "back: median", "longest", "load")
EACH = ("", "kind", "synchronous", "acknowledged", "lost", "oldest", "integrity")
EACH += ("failed", "back", "load")


def write(rows: list[Seen]) -> None:
    PAGE.write_text(page(rows))


def page(rows: list[Seen]) -> str:
    kinds = list(dict.fromkeys((row.kind, row.synchronous) for row in rows))
    sums = [summed([row for row in rows if (row.kind, row.synchronous) == kind]) for kind in kinds]  # fmt: skip
    each = [(str(number), *line(row)) for number, row in enumerate(rows, 1)]
    return f"{HEAD}{table(KINDS, sums)}\n## Each of them\n\n{table(EACH, each)}"


def summed(rows: list[Seen]) -> tuple[str, ...]:
    """The line of one kind."""
    backs, loads = [row.back for row in rows], [row.load for row in rows]
    total, lost, failed, requests = (
        sum(getattr(row, name) for row in rows)
        for name in ("acknowledged", "lost", "failed", "requests")
    )
    oldest = max(row.oldest for row in rows)
    return (
        *(rows[0].kind, rows[0].synchronous, str(len(rows)), str(total), str(lost)),
        *(f"{oldest:.1f} s" if lost else "", f"{failed} of {requests}"),
        *(f"{median(backs):.2f} s", f"{max(backs):.2f} s"),
        f"{min(loads):.0f} to {max(loads):.0f}",
    )


def line(row: Seen) -> tuple[str, ...]:
    return (
        *(row.kind, row.synchronous, str(row.acknowledged), str(row.lost)),
        *(f"{row.oldest:.1f} s" if row.lost else "", row.integrity),
        *(f"{row.failed} of {row.requests}", f"{row.back:.2f} s", f"{row.load:.0f}"),
    )


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |\n" for cells in (titles, *rows)]
    return lines[0] + "|" + " --- |" * len(list(titles)) + "\n" + "".join(lines[1:])
