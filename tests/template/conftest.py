"""The template, rendered once for each set of answers that a test asks for."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import copier
import pytest
from copier import _template

from tests.forked import FORKER, can_be_forked

ROOT = Path(__file__).resolve().parents[2]
LEFT_BEHIND = ("__pycache__", "*.py[co]", ".*_cache")
IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
# what would let the surroundings of the tests into a rendered project
SURROUNDINGS = ("PYTHON", "PYTEST", "DJANGO", "STAGETOOLS", "VIRTUAL_ENV", "GIT_")


def git(folder: Path, *words: str) -> str:
    command = ["git", *IDENTITY, *words]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@dataclass(frozen=True)
class Project:
    """A rendered project, and a way to run programs in it."""

    path: Path

    def run(
        self, *words: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of this Python's; its output is in the failure of one that fails."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(SURROUNDINGS)}
        programs = Path(sys.executable).parent
        kept["PATH"] = f"{programs}{os.pathsep}{kept.get('PATH', '')}"
        where, environment = cwd or self.path, kept | variables
        if words[0] == "python" and can_be_forked(words[1:], environment):
            done = FORKER.run(words[1:], where, environment)
        else:
            done = subprocess.run(
                words, cwd=where, env=environment, capture_output=True, text=True
            )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    @property
    def files(self) -> list[Path]:
        """Every rendered file, relative to the project; nothing that ran has added one."""
        if (self.path / ".git").exists():
            listed = git(self.path, "ls-files", "-z").split("\0")
            return [Path(name) for name in listed if name]
        return [p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file()]


def copy_of_template(folder: Path, *, with_library: bool = True) -> Path:
    """The template as it stands in the working tree, committed in a repository of its own.

    Copier warns of an uncommitted tree, and would render the last tag of this one. Without
    the library, which is rendered verbatim, the rest is rendered in half the time.
    """
    leave = shutil.ignore_patterns(
        *LEFT_BEHIND, *([] if with_library else ["stagetools"])
    )
    shutil.copy(ROOT / "copier.yml", folder)
    shutil.copytree(ROOT / "template", folder / "template", symlinks=True, ignore=leave)
    if with_library:
        shutil.copytree(ROOT / "stagetools", folder / "stagetools", ignore=leave)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=The template")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _parsed_once() -> Iterator[None]:
    """Copier parses copier.yml for each project anew, which is half of what a question takes."""
    parse = _template.load_template_config
    parsed: dict[bytes, dict[str, object]] = {}

    def parse_once(path: Path, quiet: bool = False) -> dict[str, object]:
        text = path.read_bytes()
        if text not in parsed:
            parsed[text] = parse(path, quiet)
        return deepcopy(parsed[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_template, "load_template_config", parse_once)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the template."""
    return copy_of_template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def light_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the template without the library."""
    return copy_of_template(tmp_path_factory.mktemp("light"), with_library=False)


@pytest.fixture(scope="session")
def render(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Project]:
    """Render with these answers and else the defaults; the same answers, the same project."""
    return renderer(template, tmp_path_factory)


@pytest.fixture(scope="session")
def render_light(
    light_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Project]:
    """The same without the library: for whoever only reads what is rendered.

    Processes of one run share what any of them has rendered.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "light"
    shared.mkdir(exist_ok=True)

    def render(**answers: str) -> Project:
        key = hashlib.sha256(repr(sorted(answers.items())).encode()).hexdigest()
        if not (shared / key).exists():
            made = rendered(
                light_template, tmp_path_factory.mktemp("rendered"), answers
            )
            with suppress(OSError):  # another process was quicker
                made.rename(shared / key)
        return Project(shared / key)

    return render


def renderer(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Project]:
    made: dict[frozenset[tuple[str, str]], Project] = {}

    def render(**answers: str) -> Project:
        key = frozenset(answers.items())
        if key not in made:
            folder = tmp_path_factory.mktemp("rendered")
            made[key] = Project(rendered(template, folder, answers))
        return made[key]

    return render


def rendered(template: Path, folder: Path, answers: dict[str, str]) -> Path:
    """A project in `folder`, its files in git's index."""
    path = folder / "project"
    copier.run_copy(
        str(template), path, data=answers, defaults=True, quiet=True, vcs_ref="HEAD"
    )
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    return path


@pytest.fixture(name="git", scope="session")
def git_fixture() -> Callable[..., str]:
    return git
