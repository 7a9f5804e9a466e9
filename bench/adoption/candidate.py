"""A project of other people's, as its TOML describes it, and what adopting it has changed."""

import re
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "adoption-bench"
"""How each file is called that this benchmark adds to a project, or uploads."""
_DEPENDENCIES = re.compile(
    r"(^|/)((requirements|constraints)[^/]*\.(txt|in)|requirements/[^/]+\.(txt|in)"
    r"|pyproject\.toml|Pipfile|package\.json|[\w-]+\.lock|package-lock\.json)$"
)


@dataclass(frozen=True)
class Candidate:
    """What somebody who adopts this project answers and types; `read` takes it from TOML."""

    name: str
    address: str
    source: Path  # a checkout, or a git directory
    settings_module: str
    folder: str = ""  # of the project in its repository
    python: str = "3.13"  # of the image
    within: str = (
        ""  # an image whose Python is the developer's, with git; else this Python
    )
    install: list[str] = field(default_factory=list)  # into the project's environment
    edits: list[str] = field(default_factory=list)  # after the first check, in the copy
    variables: dict[str, str] = field(default_factory=dict)  # by inv env.set
    commands: list[str] = field(default_factory=list)  # by inv manage, once it serves
    pages: list[str] = field(default_factory=lambda: ["/"])
    login: dict[str, Any] = field(default_factory=dict)  # path, user, fields
    upload: dict[str, Any] = field(default_factory=dict)  # path, field, values
    tests: bool = False  # whether its own tests are run by inv check

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]", "", self.name.lower())[:24]

    @property
    def domain(self) -> str:
        return f"{self.slug}.test"


def read(file: Path) -> Candidate:
    """One project's answers; its source is relative to the file."""
    table = tomllib.loads(file.read_text())
    table["source"] = (file.parent / table["source"]).resolve()
    return Candidate(**table)


# --- what was changed ----------------------------------------------------------------------


@dataclass(frozen=True)
class Edits:
    """Files that differ from what their owners committed, or from what was rendered."""

    own: list[str]
    dependencies: list[str]
    replaced: list[str]  # which the merge has named, as docs/adopt.md says
    ours: list[str]  # of the files that came; deploy.toml is always one

    def __str__(self) -> str:
        parts = [f"{len(self.own)} of its own"]
        told = {
            "dependencies": self.dependencies,
            "taken in the merge": self.replaced,
            "of what came": self.ours,
        }
        parts += [
            f"{what}: {', '.join(names)}" for what, names in told.items() if names
        ]
        return "; ".join(parts)


def sort_edits(own: list[str], replaced: list[str], ours: list[str]) -> Edits:
    """`own` are all that were theirs and differ now; each is counted once."""
    left = [name for name in own if name not in replaced]
    declared = [name for name in left if _DEPENDENCIES.search(name)]
    added = [name for name in ours if name not in own]
    return Edits(
        [name for name in left if name not in declared],
        declared,
        replaced,
        [name for name in added if not name.endswith(".before")],
    )


def edits_of(root: Path, first: str, merged: str, replaced: list[str]) -> Edits:
    """`first` is the commit that was theirs, `merged` the one that brought ours."""
    own = _differing(root, "--diff-filter=MDT", first)
    ours = _differing(root, merged)
    return sort_edits(own, replaced, ours)


def _differing(root: Path, *words: str) -> list[str]:
    command = ["git", "diff", "--name-only", "--no-renames", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]
