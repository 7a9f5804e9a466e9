"""`docs/faults.md`: what was seen after each fault, a line for each row that has run."""

import fcntl
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
HEAD = """# Faults, and what is true after each of them

Each line was seen on a real server: the task was typed, the fault came in the midst of the first command of that step that changes the server (`Start 2`: the second step of that title; `Remove#2`: the second command), and then the site, its database and the message were compared.
This page is written by the tests: `FAULTS=docs python -m pytest tests/server/test_interruptions.py`.
It may be run in parts; the lines of rows that are run again are replaced.

- *serves*: the release that answers visitors afterwards, and the migrations of its database: its own, or more that it can live with.
- *failed*: requests of visitors that failed from before the fault until afterwards, of some 20 a second that read and write.
- *said*: what the one who typed it was told; OLD is the release that served before, NEW the other one. Each word about what serves and what is untouched was compared with what was found.
- A move to another server, and the return of a lost one, are ended by the same command once more in place of a deploy; *serves* says which of the two servers serves.
- Whatever was said, no write that a visitor was told of was missing afterwards (a restored database: until the moment of its snapshot), and the next `inv deploy` succeeded without other work.

"""
TITLES = (
    "task",
    "step",
    "fault",
    "serves",
    "database",
    "failed",
    "said",
    "the next deploy",
)


@dataclass(frozen=True)
class Table:
    """A task that a test of its own has faults in: each fault in each step."""

    task: str
    steps: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def rows(self) -> list[tuple[str, str]]:
        return [(fault, step) for step in self.steps for fault in self.faults]


MOVE = Table(
    "deploy --restore, moving a site",
    (
        *("Secrets", "Upload", "Build", "Backups", "Rehearse", "Forward"),
        *("Hold", "Copy", "Start", "Switch", "Clean up"),
    ),
    ("exception", "Ctrl-C", "kill -9"),
)
RETURN = Table(
    "deploy --restore, in place of a lost server",
    ("Fetch", "Upload", "Build", "Restore", "Uploads", "Start", "Switch#2", "Backups"),
    ("exception", "Ctrl-C", "kill -9", "power cut"),
)


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    task: str
    step: str
    fault: str
    serves: str
    schema: str
    failed: str
    said: str
    following: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.task, self.step, self.fault


def words(text: str, mark: str) -> str:
    """What a command said about a fault: not its steps, and not what the server printed."""
    cut = re.split(r"^✗ .*$", text, flags=re.MULTILINE)[-1]
    lines = [line.strip() for line in cut.splitlines()]
    steps = ("✓", "=", "·", "|", mark[:5])
    said = [line for line in lines if line and not line.startswith(steps)]
    return " ".join(line for line in said if line != "an injected fault")


def write(line: Line) -> None:
    """Put the line into the page, in the place of an older one about the same."""
    with (PAGE.parent / ".faults.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = {old.key: old for old in read()}
        there[line.key] = line
        PAGE.write_text(page(sorted(there.values(), key=_place)))
    (PAGE.parent / ".faults.lock").unlink(missing_ok=True)


def read() -> list[Line]:
    """The lines that the page has."""
    if not PAGE.exists():
        return []
    lines = [text for text in PAGE.read_text().splitlines() if text.startswith("| ")]
    cells = [[cell.strip() for cell in text.strip("|").split(" | ")] for text in lines]
    return [
        Line(*row)
        for row in cells
        if len(row) == len(fields(Line)) and row[0] not in ("task", "---")
    ]


def page(lines: list[Line]) -> str:
    rows = [TITLES, *(astuple(line) for line in lines)]
    text = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    text.insert(1, "|" + " --- |" * len(TITLES))
    return f"{HEAD}{len(lines)} rows.\n\n" + "\n".join(text) + "\n"


def tables() -> dict[str, Sequence[str]]:
    """The steps of each task that a test has faults in."""
    from tests.server.test_interruptions import TASKS

    return {task.name: task.steps for task in TASKS.values()} | {
        table.task: table.steps for table in (MOVE, RETURN)
    }


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ").strip() or "-"


def _place(line: Line) -> tuple[int, int, str]:
    """In the order of the tables that the tests have."""
    tasks = tables()
    names = list(tasks)
    steps = tasks.get(line.task, ())
    task = names.index(line.task) if line.task in names else len(names)
    step = steps.index(line.step) if line.step in steps else len(steps)
    return task, step, line.fault
