"""A backup of a site that is as large as most become, and busy: it is no burden to visitors.

BACKUP_MB is the size of the database (the uploads are twice that); a release is tried with 500:
`BACKUP_MB=500 pytest tests/server/test_backup_load.py -s` prints the figures. Without it nothing
is done: it takes 5 GB of the server's disk, and minutes. A small one is in test_backups.py.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.server.changes import assert_nothing_failed, take_load
from tests.server.kills import SITE, container
from tests.server.load import Load
from tests.server.machines import Server, docker
from tests.server.project import Project

DOMAIN, HOME = "mysite.test", "/home/mysite_prod"
LIVE = f"{HOME}/data/mysite.sqlite3"
MB = int(os.environ.get("BACKUP_MB", "0"))
RATES = {"http2-write": 50.0, "new": 2.0}
WRITE = "http2-write"
CALM = 20.0  # seconds without a backup, before each and after the last
AT_MOST = 4.0  # times as long as without a backup, 99 of 100 inserts
COPIES = 12
CHANGED = 0.05  # of the first backup's bytes, the second's at the most
pytestmark = pytest.mark.skipif(
    not MB, reason="500 MB and 1 GB for minutes, before a release: BACKUP_MB=500"
)

# Rows as visitors leave them, one behind the other; half of a row can be compressed.
FILL = """
import sqlite3, sys
live = sqlite3.connect(sys.argv[1], timeout=60)
while live.execute("PRAGMA page_count").fetchone()[0] * 4096 < int(sys.argv[2]) * 10**6:
    live.execute('''
    WITH RECURSIVE numbers(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
    INSERT INTO mysite_entry (name, message, picture, created)
    SELECT hex(randomblob(8)), hex(randomblob(250)), '', strftime('%Y-%m-%d %H:%M:%f', 'now')
    FROM numbers
    ''')
    live.commit()
"""
CHECK = """
import sqlite3, sys
try:
    print(*sqlite3.connect(sys.argv[1]).execute("PRAGMA integrity_check(1)").fetchone())
except sqlite3.DatabaseError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("large", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project: Project = new_project()
    project.target(server, domain=DOMAIN)
    take_load(project)
    project.deploy()
    python(server, FILL, LIVE, str(MB))
    server.run(
        f"cd {HOME}/media && head -c {2 * MB}M /dev/urandom | split --bytes 1M - photo-"
        f" && chown mysite_prod: photo-*"
    )
    return project


def python(server: Server, text: str, *words: str) -> str:
    """Run it with the site's own Python and SQLite."""
    ask = f"docker exec --interactive {container(SITE)} python -I - {' '.join(words)}"
    inside = ["exec", "--interactive", server.container, "sh", "-euc", ask]
    return docker(*inside, stdin=text)


@contextmanager
def copying(server: Server) -> Iterator[None]:
    """`cp` of the database's file meanwhile, some times after another."""
    command = f"for n in $(seq {COPIES}); do cp {LIVE} {HOME}/data/cp-$n; done"
    words = ["docker", "exec", server.container, "sh", "-euc", command]
    with subprocess.Popen(words) as process:
        yield
    assert process.returncode == 0


def malformed(server: Server) -> str:
    """What SQLite says of the first copy that is not sound."""
    server.run(f"chown mysite_prod: {HOME}/data/cp-*")
    said = (
        python(server, CHECK, f"{HOME}/data/cp-{number + 1}")
        for number in range(COPIES)
    )
    return next((verdict for verdict in said if verdict != "ok"), "")


def p99(report: dict, spans: list[tuple[float, float]]) -> float:
    """Seconds that 99 of 100 inserts took at the most that began in one of the spans."""
    took = sorted(
        took
        for kind, at, took in report["answered"]
        if kind == WRITE
        and any(start <= report["began"] + at < end for start, end in spans)
    )
    assert len(took) >= 100
    return took[int(0.99 * len(took))]


def back_up(project: Project, spans: list[tuple[float, float]]) -> int:
    """Bytes that the repository has more than before."""
    start = time.monotonic()
    done = project.inv("backup", timeout=1800)
    spans.append((start, time.monotonic()))
    assert done.status == 0, str(done)
    sys.stdout.write(f"\n{done.text}")
    new = re.search(r"([\d.]+) (B|kB|MB|GB) of it new", done.text)
    assert new, str(done)
    return int(float(new[1]) * {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}[new[2]])


def test_a_backup_of_a_large_and_busy_site_is_no_burden(project, server) -> None:
    backups: list[tuple[float, float]] = []
    calm: list[tuple[float, float]] = []

    def rest() -> None:
        start = time.monotonic()
        time.sleep(CALM)
        calm.append((start, time.monotonic()))

    with Load(server.address, DOMAIN, rates=RATES) as load:
        time.sleep(3)
        rest()
        first = back_up(project, backups)
        rest()
        second = back_up(project, backups)
        rest()
    without, during = p99(load.report, calm), p99(load.report, backups)
    each = [p99(load.report, [span]) for span in (*calm, *backups)]
    figures = {
        "p99 of inserts without a backup, ms": round(1000 * without, 1),
        "p99 during a backup, ms": round(1000 * during, 1),
        "times": round(during / without, 2),
        "p99 of each calm, then of each backup, ms": [round(1000 * p, 1) for p in each],
        "seconds of each backup": [round(end - start, 1) for start, end in backups],
        "new in the first, bytes": first,
        "new in the second, bytes": second,
        "load average": os.getloadavg(),
    }
    sys.stdout.write(f"\n{json.dumps(figures, indent=1)}\n")
    assert_nothing_failed(load, server)
    assert second < CHANGED * first
    assert during <= AT_MOST * without


def test_cp_in_the_same_moment_makes_a_malformed_file(project, server) -> None:
    with Load(server.address, DOMAIN, rates=RATES) as load, copying(server):
        back_up(project, [])
    verdict = malformed(server)
    sys.stdout.write(f"\ncp: {verdict}\n")
    assert verdict
    assert_nothing_failed(load, server)
    done = project.inv("backup", "--verify", timeout=1800)
    assert "can be restored" in done.text, str(done)
