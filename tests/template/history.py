"""The template's released versions, each in a tag of a repository made for the test."""

import difflib
import io
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import copier

from tests.template.conftest import git
from tests.template.matrix import ROOT

PARTS = ("copier.yml", "template", "stagetools")


@dataclass(frozen=True)
class Version:
    """A version that this repository's history says was released."""

    name: str
    commit: str

    @property
    def major(self) -> str:
        return self.name.partition(".")[0]


def released() -> list[Version]:
    """The commits that changed the version, the oldest first, once there was a template."""
    words = ["log", "--reverse", "--format=%H", "-G^version = ", "--", "pyproject.toml"]
    found = [Version(version_at(c), c) for c in git(ROOT, *words).split()]
    return [version for version in found if _is_template(version.commit)]


def version_at(commit: str) -> str:
    text = git(ROOT, "show", f"{commit}:pyproject.toml")
    return str(tomllib.loads(text)["project"]["version"])


def _is_template(commit: str) -> bool:
    return bool(git(ROOT, "ls-tree", "--name-only", commit, "copier.yml"))


def check_out(commit: str, folder: Path) -> None:
    """Leave the template's files of that commit in `folder`."""
    words = ["git", "archive", "--format=tar", commit, *PARTS]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="tar")  # the link to the library leads outside


def commit_all(folder: Path, message: str, *, tag: str = "") -> None:
    """Everything in the working tree, and a tag where one is given."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={message}")
    if tag:
        git(folder, "tag", tag)


def render(source: Path, into: Path, ref: str, **answers: str) -> Path:
    """A project in a git repository of its own, all committed."""
    copier.run_copy(
        str(source), into, data=answers, defaults=True, quiet=True, vcs_ref=ref
    )
    git(into, "init", "--quiet", "--initial-branch=main")
    commit_all(into, "Start the project")
    return into


def update(project: Path, ref: str, **answers: str) -> None:
    """As `copier update --defaults` does, conflicts marked in the files."""
    copier.run_update(
        project, data=answers, defaults=True, quiet=True, overwrite=True, vcs_ref=ref
    )


def files(project: Path) -> dict[str, bytes]:
    """Everything that git would track, as it is in the working tree."""
    words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = {name for name in git(project, *words).split("\0") if name}
    return {
        name: (project / name).read_bytes()
        for name in sorted(names)
        if (project / name).exists()
    }


def lost_paths(old: Path, new: Path) -> set[str]:
    """What a template's version rendered and a later one does not."""
    return set(files(old)) - set(files(new))


def changed_lines(old: str, new: str) -> Iterator[int]:
    """The lines of `old`, counted from 0, that `new` has otherwise."""
    matcher = difflib.SequenceMatcher(
        None, old.splitlines(), new.splitlines(), autojunk=False
    )
    for kind, start, end, _, _ in matcher.get_opcodes():
        if kind == "replace":
            yield from range(start, end)


def is_marked(text: str) -> bool:
    """Whether conflict markers are in the text."""
    return bool(re.search(r"^<{7} ", text, re.MULTILINE))
