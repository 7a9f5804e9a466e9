"""How a live database is copied, and what `cp` would have made of it in the same moment."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

SCRIPT = Path(__file__).parents[1] / "stagetools/deploy/scripts/sqlite.py"
FILL = """
WITH RECURSIVE numbers(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < {})
INSERT INTO entry SELECT hex(randomblob(16)), hex(randomblob(200)) FROM numbers
"""


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A site's database of 6 MB, in the mode that ours are in."""
    path = tmp_path / "live.sqlite3"
    with closing(sqlite3.connect(path)) as site:
        site.execute("PRAGMA journal_mode = WAL")
        site.execute("CREATE TABLE entry (token TEXT UNIQUE, text TEXT)")
        site.execute(FILL.format(10_000))
        site.commit()
    return path


@contextmanager
def writers(live: Path) -> Iterator[None]:
    """A site that writes all the while; what it has written lasts."""
    begun, over = Event(), Event()

    def write() -> None:
        with closing(sqlite3.connect(live)) as site:
            while not over.wait(0.01):
                site.execute(FILL.format(50))
                site.commit()
                begun.set()

    thread = Thread(target=write)
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        over.set()
        thread.join()


def sqlite(*words: object) -> dict[str, object]:
    """What the script says, that runs in the site's container on a server."""
    command = [sys.executable, "-I", "-", *map(str, words)]
    said = subprocess.run(
        command, input=SCRIPT.read_text(), capture_output=True, text=True, check=False
    )
    answer: dict[str, object] = json.loads(said.stdout)
    return answer


def test_a_copy_under_writes_is_sound_where_cp_makes_a_malformed_file(
    live, tmp_path
) -> None:
    """As `cp` does it: one part after the other. The site writes between two of them."""
    data, copied = bytearray(), tmp_path / "cp.sqlite3"
    with live.open("rb") as file:
        data += file.read(live.stat().st_size // 2)
        with writers(live):
            copy = sqlite("copy", live, tmp_path / "copy.sqlite3")
        with closing(sqlite3.connect(live)) as site:  # as each 1,000th page does
            site.execute("PRAGMA wal_checkpoint")
        data += file.read()
    copied.write_bytes(data)
    assert "damaged" in str(sqlite("judge", copied)["wrong"])
    sound = sqlite("judge", tmp_path / "copy.sqlite3")
    assert (copy["bytes"], int(str(sound["rows"])) >= 10_000) == (sound["bytes"], True)
