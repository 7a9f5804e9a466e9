"""Every combination of the deciding answers, checked by its own `inv check` on each Python.

In an environment of its own, from the package index. A Python that is not on this machine is
skipped by name. Before a release `RELEASE=1` checks them all; else each Python is met, and
each pair of the deciding answers.
"""

import itertools
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import copier
import pytest

from tests.template import existing
from tests.template.conftest import SURROUNDINGS
from tests.template.matrix import DECIDING, offered
from tests.template.test_adoption import STAND_IN, adopt

pytestmark = pytest.mark.slow
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
OLDEST = {"5.2": "3.11", "6.1": "3.12"}  # Python that a Django runs on
UV = Path(sys.executable).parent / "uv"
CASES = [
    (python, dict(zip(DECIDING, chosen, strict=True)))
    for python in PYTHONS
    for chosen in itertools.product(*map(offered, DECIDING))
    if python >= OLDEST[chosen[DECIDING.index("django")]]
]
CHOSEN = {  # Python, Django, and whether the project was there before
    ("3.11", "5.2", True),
    ("3.12", "6.1", False),
    ("3.13", "5.2", False),
    ("3.13", "6.1", True),
    ("3.14", "6.1", False),
}


def chosen(python: str, answers: dict[str, str]) -> bool:
    kind = python, answers["django"], bool(answers["settings_module"])
    return kind in CHOSEN or bool(os.environ.get("RELEASE"))


@cache
def interpreter(version: str) -> str | None:
    """A Python of this version: the one that runs this, or one on PATH.

    On PATH may be a version manager's stand-in, which is told by a variable which to be.
    """
    words = ["-c", "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"]
    for candidate in (sys.executable, shutil.which(f"python{version}")):
        told = os.environ | {"PYENV_VERSION": version}
        program = [candidate or sys.executable, *words]
        done = subprocess.run(program, env=told, capture_output=True, text=True)
        found, _, path = done.stdout.strip().partition(" ")
        if found == version:
            return path
    return None


def label(case: object) -> str:
    return (
        case if isinstance(case, str) else "-".join(v or "new" for v in case.values())
    )


def test_each_python_and_each_pair_of_answers_is_met():
    met = [case for case in CASES if chosen(*case)]
    for each in (lambda case: case[0], lambda case: label(case[1])):
        assert {each(case) for case in met} == {each(case) for case in CASES}


@pytest.mark.parametrize(
    ("python", "answers"), [case for case in CASES if chosen(*case)], ids=label
)
def test_a_project_is_content_with_itself(template, tmp_path, python, answers):
    found = interpreter(python)
    if not found:
        pytest.skip(f"there is no Python {python} here")
    environment = tmp_path / "environment"
    uv("venv", "--quiet", f"--python={found}", environment)
    make = adopted if answers["settings_module"] else new
    project, wanted = make(template, tmp_path, answers)
    uv("pip", "install", "--quiet", f"--python={environment}/bin/python", *wanted)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(SURROUNDINGS)}
    done = subprocess.run(
        [environment / "bin/python", "-m", "invoke", "check"],
        cwd=project,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "✓ tests" in done.stdout


def new(
    template: Path, folder: Path, answers: dict[str, str]
) -> tuple[Path, list[str]]:
    project = folder / "project"
    copier.run_copy(
        str(template), project, data=answers, defaults=True, quiet=True, vcs_ref="HEAD"
    )
    existing.committed(project)
    return project, [
        "--group",
        f"{project}/pyproject.toml:dev",
        "-r",
        f"{project}/pyproject.toml",
    ]


def adopted(
    template: Path, folder: Path, answers: dict[str, str]
) -> tuple[Path, list[str]]:
    project = existing.awkward(folder / "heronry")
    for name in ("requirements.in", "requirements.txt"):
        (project / name).write_text(f"django~={answers['django']}.0\nwhitenoise\n")
    existing.commit_all(project, "Their Django")
    adopt(template, project, **existing.AWKWARD | answers)
    settings = project / "stagetools_project/settings.py"
    settings.write_text(settings.read_text().replace("stand_in(SYSTEM)", STAND_IN))
    names = ["requirements.txt", "stagetools_project/requirements-dev.txt"]
    return project, [word for name in names for word in ("-r", f"{project}/{name}")]


def uv(*words: str | Path) -> None:
    done = subprocess.run([UV, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
