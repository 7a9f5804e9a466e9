"""`python bench/rehearsal/run.py`: how well a rehearsal predicts the live migration.

One throwaway server, a database of 500 MB, three migrations that each write every row again.
The table in docs/benchmarks.md is written by it. Needs a Docker engine and the `dev` extra;
`--megabytes 50 --no-write` is a quick look.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import copier

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from bench import report  # noqa: E402
from tests.server import machines  # noqa: E402
from tests.server.machines import Server  # noqa: E402
from tests.server.project import Project  # noqa: E402

RUNS = 3
ROW = 500  # characters of a message, as many as the model takes
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO mysite_entry (name, message, created)
SELECT 'n' || i, printf('%0{row}d', i), datetime('2026-01-01', '+' || i || ' seconds') FROM n
"""
MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mysite", "{before}")]
    operations = [migrations.AddField("entry", "{field}", models.IntegerField(default=0))]
"""


def main() -> int:
    """Deploy, fill, migrate; exit 1 when a prediction was more than 30 % off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--no-write", action="store_true", help="only print")
    options = parser.parse_args()
    megabytes = options.megabytes
    machines.build_images()
    with tempfile.TemporaryDirectory() as folder:
        key = machines.make_key(Path(folder))
        server = Server.create("rehearsal", key, with_docker=True)
        try:
            project = first_deploy(server, Path(folder), key)
            fill(server, megabytes)
            runs = [migrate(project, run) for run in range(RUNS)]
        finally:
            server.remove()
    text = tell(runs, megabytes)
    print(text)
    if not options.no_write:
        report.write("rehearsal", text)
    return int(any(not 0.7 <= copy / live <= 1.3 for copy, live in runs))


def first_deploy(server: Server, folder: Path, key: Path) -> Project:
    root = folder / "mysite"
    copier.run_copy(str(REPOSITORY), root, defaults=True, quiet=True, vcs_ref="HEAD")
    project = Project(root, folder / "home", key)
    project.target(server, domain="mysite.test")
    project.deploy()
    return project


def fill(server: Server, megabytes: int) -> None:
    sql = FILL.format(rows=megabytes * 10**6 // (ROW + 60), row=ROW)
    code = f"from django.db import connection as c; c.cursor().execute('''{sql}''')"
    name = "docker ps -q --filter label=stagetools.system=mysite_prod"
    container = server.run(name)
    machines.docker(
        *("exec", "-i", server.container, "docker", "exec", "-i", container),
        *("python", "manage.py", "shell", "-v", "0"),
        stdin=code,
    )


def fill_page_cache(folder: Path) -> None:
    """Leave no memory free, as on any server that has run for a while.

    A virtual machine gets free memory from its host page by page, as it is used, some six
    times slower than memory that it has: only the rehearsal, which comes first, would pay.
    """
    with (folder / "holes").open("a+b") as file:
        file.truncate(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        file.seek(0)
        while file.read(2**20):
            pass


def migrate(project: Project, run: int) -> tuple[float, float]:
    """One more column; the seconds on the copy and on the live database."""
    fill_page_cache(project.home)
    before = "0002_entry_picture" if not run else f"{run + 2:04}_bench"
    field = f"bench_{run}"
    text = MIGRATION.format(before=before, field=field)
    project.write(f"mysite/migrations/{run + 3:04}_bench.py", text)
    column = f"    {field} = models.IntegerField(default=0)\n"
    project.replace("mysite/models.py", "    created =", f"{column}    created =")
    said = project.deploy("--yes").text
    copy = re.search(r"Rehearse: \S+ (\d+\.\d+) s", said)
    live = re.search(r"Migrate: 1 applied in (\d+\.\d+) s", said)
    if not copy or not live:
        raise RuntimeError(said)
    return float(copy[1]), float(live[1])


def tell(runs: list[tuple[float, float]], megabytes: int) -> str:
    lines = [
        "## Rehearsing migrations",
        "",
        report.made_by("python bench/rehearsal/run.py"),
        f"A migration that writes a database of {megabytes} MB again: the time that its rehearsal"
        f" predicts, and that of the live one. Three runs on a server with {report.machine()},"
        " its memory full of cached files, as on one that has run for a while.",
        "",
        "| run | rehearsed | live | rehearsed / live |",
        "|---|---|---|---|",
    ]
    for number, (copy, live) in enumerate(runs, 1):
        lines.append(f"| {number} | {copy:.2f} s | {live:.2f} s | {copy / live:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
