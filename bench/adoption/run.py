"""`python bench/adoption/run.py FILE.toml …`: projects of other people's, adopted and deployed.

Each file describes one project, of which this machine has a checkout or a git directory:

    name = "shop"
    address = "https://github.com/somebody/shop"
    source = "../checkouts/shop"            # relative to this file
    settings_module = "shop.settings"
    folder = "site"                         # in the repository, where it is not at its top
    python = "3.13"                         # of the image
    within = "python-with-git:3.13"         # an image for the developer's environment, where
                                            # the Python that runs this is not the project's
    install = ["pip install -r requirements.txt"]
    edits = ["sed -i 's/==5.1/~=5.2.0/' requirements.txt"]   # what the first check asks for
    variables = {SITE = "https://shop.test"}                 # by inv env.set; NAME.test is it
    commands = ["load_initial_data"]        # by inv manage, after the first deploy
    pages = ["/", "/admin/login/"]          # ten at most
    login = {path = "/admin/login/", user = {username = "bench"}, fields = {username = "username", password = "password"}}
    upload = {path = "/admin/catalog/photo/add/", field = "file", values = {name = "A picture"}}
    tests = true                            # inv check with the project's own

Each goes through docs/adopt.md on a throwaway server of its own, in a copy, and ends where a
step fails; the others go on. The table that is printed may be taken into the document.
Needs a Docker engine, Chromium and the `dev` extra, and takes minutes for each project.
"""

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from candidate import Candidate, read  # noqa: E402
from route import Outcome, Route  # noqa: E402

from bench import report  # noqa: E402
from tests.server import machines  # noqa: E402


def main() -> int:
    """1 where a project did not come through."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.toml")
    parser.add_argument(
        "--keep", type=Path, help="leave copies and logs in this folder"
    )
    options = parser.parse_args()
    machines.build_images()
    outcomes = []
    for one in [read(file) for file in options.files]:
        outcomes.append((one, adopt(one, options.keep)))
        print(table(outcomes), flush=True)
    return int(any(outcome.ended for _, outcome in outcomes))


def adopt(one: Candidate, keep: Path | None) -> Outcome:
    """One project's way, whatever comes."""
    if keep:
        folder = keep.resolve() / one.slug
        folder.mkdir(parents=True)
        return _adopt(one, folder)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        return _adopt(one, Path(temporary))


def _adopt(one: Candidate, folder: Path) -> Outcome:
    try:
        template = folder / "template"
        words = ["git", "clone", "--quiet", str(REPOSITORY), str(template)]
        subprocess.run(words, check=True)
        return Route(one, folder, template, machines.make_key(folder)).run()
    except Exception as error:  # a server that does not go, an engine that is gone
        return Outcome(ended=f"the benchmark itself: {error}")


def table(outcomes: list[tuple[Candidate, Outcome]]) -> str:
    """A row for each project; below it what each has met."""
    lines = [
        report.made_by("python bench/adoption/run.py"),
        "",
        "| project | at | edits | stumbles | result | date |",
        "|---|---|---|---|---|---|",
        *(row(one, outcome) for one, outcome in outcomes),
        "",
    ]
    for one, outcome in outcomes:
        ended = [f"ended at {outcome.ended}"] if outcome.ended else []
        said = [*outcome.stumbles, *ended, *outcome.notes]
        lines += [f"{one.name}:", *(f"- {text}" for text in said), ""]
    return "\n".join(lines)


def row(one: Candidate, outcome: Outcome) -> str:
    ended = outcome.ended.partition(":")[0]
    result = f"ended at {ended}" if ended else "through"
    cells = [
        f"[{one.name}]({one.address})",
        outcome.commit,
        str(outcome.edits or "not known"),
        str(len(outcome.stumbles) + bool(ended)),
        f"{result}; passed: {', '.join(outcome.passed) or 'nothing'}",
        f"{datetime.now(UTC):%Y-%m-%d}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
