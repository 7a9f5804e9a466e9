"""`inv release` tags a version that is whole, and says what is missing from one that is not."""

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.template.conftest import git
from tests.template.matrix import ROOT

NOTES = (
    "# Changelog\n\n## Unreleased\n\n## 0.3.0 - 2026-11-21\n\n### Added\n\n- A pond.\n"
)


@pytest.fixture
def repository(tmp_path) -> Path:
    """As little of this repository as a release looks at."""
    shutil.copy(ROOT / "tasks.py", tmp_path)
    (tmp_path / "stagetools").mkdir()
    (tmp_path / "stagetools/__init__.py").write_text('__version__ = "0.3.0"\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.3.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(NOTES)
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "Ada")
    git(tmp_path, "config", "user.email", "ada@example.com")
    commit(tmp_path)
    git(tmp_path, "tag", "v0.2.9")
    return tmp_path


def commit(repository: Path) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message=A change")


def release(repository: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "release", *words],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_whole_version_is_tagged_with_its_notes(repository):
    assert release(repository, "--dry-run")[0] == 0
    assert "v0.3.0" not in git(repository, "tag")
    status, said = release(repository)
    assert status == 0, said
    assert "git push --follow-tags" in said
    assert "### Added\n\n- A pond." in git(repository, "cat-file", "tag", "v0.3.0")
    status, said = release(repository)
    assert status == 1
    assert "tagged already" in said


@pytest.mark.parametrize(
    ("name", "text", "missing"),
    [
        ("pyproject.toml", '[project]\nversion = "0.3"\n', "three numbers"),
        ("pyproject.toml", '[project]\nversion = "0.2.1"\n', "v0.2.9 is newer"),
        ("stagetools/__init__.py", '__version__ = "0.2.0"\n', "another version"),
        ("CHANGELOG.md", "# Changelog\n", "says nothing"),
        ("CHANGELOG.md", NOTES.replace(" - 2026-11-21", ""), "says nothing"),
        ("CHANGELOG.md", NOTES.replace("eased\n", "eased\n\n- A bird.\n"), "still has"),
    ],
)
def test_what_is_missing_is_said(repository, name, text, missing):
    (repository / name).write_text(text)
    commit(repository)
    assert missing in "\n".join(missing_in(repository))


def test_what_is_not_committed_is_not_released(repository):
    assert missing_in(repository) == []
    (repository / "notes.txt").write_text("half a thought")
    assert "not committed" in "\n".join(missing_in(repository))


def missing_in(repository: Path) -> list[str]:
    """As the task asks, without a process of its own."""
    spec = importlib.util.spec_from_file_location(
        "tasks_there", repository / "tasks.py"
    )
    tasks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tasks)
    version = tomllib.loads(tasks.read("pyproject.toml"))["project"]["version"]
    return list(tasks.missing_for_release(version))
