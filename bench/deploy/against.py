"""`python bench/deploy/against.py REVISION`: one changed line, by this commit and by another.

Two throwaway servers, one project of 600 files on each, rendered by the two commits and
deployed by their own clients in turn, so that both meet the same noise. Needs a Docker
engine and the `dev` extra; `--write` puts the section into docs/benchmarks.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from contenders import NAME, Ours  # noqa: E402
from run import BYTES, FILES, Watch, render  # noqa: E402

from bench import report  # noqa: E402
from tests.server import machines  # noqa: E402
from tests.server.machines import Server  # noqa: E402
from tests.server.project import Project  # noqa: E402

MOST = 1.05
"""How much longer a changed line may take than before."""


class Side:
    """One commit: its template, its client, a server of its own."""

    def __init__(self, revision: str, folder: Path, key: Path) -> None:
        self.revision, self.folder = revision, folder
        self.commit = git("rev-parse", "--short", revision)
        template = folder / "template"
        git("clone", "--quiet", str(REPOSITORY), str(template))
        git("-C", str(template), "checkout", "--quiet", git("rev-parse", revision))
        render(folder / "mysite", template)
        self.server = Server.create(f"against-{self.commit}", key, with_docker=True)
        project = Project(folder / "mysite", folder / "home", key)
        project.target(self.server, domain=NAME)
        self.contender = Ours(project, self.server, folder / "ssh_config")
        self.over: list[float] = []
        self.served: list[float] = []

    def deploy(self, *, counts: bool = True) -> None:
        """One changed line; how long until it is seen, and until the command ends."""
        watch = Watch(self.server.address, self.contender, self.contender.change_line())
        started = time.monotonic()
        self.contender.deploy()
        over = time.monotonic() - started
        served = watch.seen(started)
        if counts:
            self.over.append(over)
            self.served.append(served)
            print(
                f"{self.commit}: served {served:.2f} s, over {over:.2f} s", flush=True
            )


def git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def run(sides: list[Side], rounds: int) -> None:
    """In turn, and each as often the first of a round as the other."""
    for _ in range(2):  # the first one builds all, the second warms caches
        for side in sides:
            side.deploy(counts=False)
    for number in range(rounds):
        for side in sides if number % 2 else reversed(sides):
            side.deploy()


def ratio(new: list[float], old: list[float]) -> float:
    return statistics.median(new) / statistics.median(old)


def section(new: Side, old: Side, load: tuple[float, float]) -> str:
    """The document's words for it."""
    lines = [
        f"## One changed line, against {old.commit}",
        "",
        report.made_by(f"python bench/deploy/against.py {old.revision} --write"),
        f"Medians of {len(new.served)} deploys each, in turn, of one changed line in a"
        f" project of {FILES} files and {BYTES // 10**6} MB, on two throwaway servers with"
        f" {report.machine()}, which they share with the clients and whatever else ran"
        f" there: load average {load[0]:.1f} before, {load[1]:.1f} after.",
        "",
        "| | served | over |",
        "|---|---|---|",
    ]
    for side in (new, old):
        served, over = (statistics.median(t) for t in (side.served, side.over))
        lines.append(f"| {side.commit} | {served:.2f} s | {over:.2f} s |")
    served, over = ratio(new.served, old.served), ratio(new.over, old.over)
    lines.append(f"| ratio | {served:.2f} | {over:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="the commit to compare this one with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    before, sides = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = machines.make_key(folder)
        machines.build_images()
        try:
            for which, revision in (("new", "HEAD"), ("old", options.revision)):
                (folder / which).mkdir()
                sides.append(Side(revision, folder / which, key))
            run(sides, options.rounds)
        finally:
            for side in sides:
                side.server.remove()
    new, old = sides
    text = section(new, old, (before, os.getloadavg()[0]))
    print(text)
    if options.write:
        report.write("against", text)
    if ratio(new.served, old.served) > MOST:
        sys.exit(f"A changed line is served later than {MOST} times as before.")


if __name__ == "__main__":
    main()
