"""The template's own chores: `inv --list`. What a rendered project can do is in template/."""

import shutil
import subprocess
import sys
from pathlib import Path

import copier
from invoke import Context, task

ROOT = Path(__file__).parent
PYTHON = Path(sys.executable)


@task(help={"port": "Where to serve; 8000 unless given."})
def demo(context: Context, port: int = 8000) -> None:
    """Render a project into demo/, set it up and serve it on SQLite, until Ctrl-C."""
    project = ROOT / "demo"
    shutil.rmtree(project, ignore_errors=True)
    copier.run_copy(
        str(ROOT), project, defaults=True, quiet=True, vcs_ref="HEAD", overwrite=True
    )
    run("-m", "invoke", "dev", "--port", str(port), folder=project)


@task(help={"words": "For pytest, such as '-k naming'."})
def test(context: Context, words: str = "") -> None:  # noqa: PT028 - a task, not a test
    """Run the fast tests: all but those that need servers or a package index."""
    run("-m", "pytest", "-m", "not server and not slow", "-n", "auto", *words.split())


@task
def check(context: Context) -> None:
    """Run what a change must pass: format, lint, types, fast tests."""
    run("-m", "ruff", "format", "--check", ".")
    run("-m", "ruff", "check", ".")
    run("-m", "mypy", "--strict", "stagetools")
    test(context)


def run(*words: str, folder: Path = ROOT) -> None:
    """Run this environment's Python; end with its exit status if that is not 0."""
    try:
        status = subprocess.run([PYTHON, *words], cwd=folder, check=False).returncode
    except KeyboardInterrupt:
        status = 0
    if status:
        sys.exit(status)
