"""`inv check`: what a change must pass, and what still keeps a project from being deployed.

Django is asked as in an image's build, with a production stage's settings and no variable of
this machine. Each check runs, also after another one failed. The standard library alone.
"""

import os
import re
import secrets
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from stagetools.errors import StageError
from stagetools.naming.system import BUILD

__all__ = ["Problem", "check", "problems_of_files", "remedy_for", "words_of_tests"]

_SHOWN, _SHOWN_WITH_ADVICE = 25, 5  # last lines of a failing program
_ALL = 1000  # of one that has found all that there is
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a change from being deployed, and how to fix it."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Program:
    """A check that a program makes: it fails with the program."""

    title: str
    words: tuple[str, ...]
    remedy: str
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    is_first_of_django: bool = False
    notes: bool = False
    shown: int = _SHOWN


def check(root: Path, say: Callable[[str], None]) -> None:
    """Run every check that the project at `root` is set up for; StageError if one fails."""
    failed, run = [], "uv run " if (root / "uv.lock").exists() else ""
    for problem in problems_of_files(root):
        failed.append(problem.what)
        say(f"✗ {problem.what}\n  → {problem.remedy}")
    with tempfile.TemporaryDirectory() as folder:
        for program in _programs(root, run, Path(folder)):
            passed, output = _outcome(program, root)
            if passed:
                say("\n".join([f"✓ {program.title}", *_noted(program, output)]))
                continue
            failed.append(program.title)
            told = _with_advice(output, program.remedy, run, program.shown)
            say(f"✗ {program.title}\n{told}")
            if program.is_first_of_django and "Traceback" in output:
                break  # the others would say it again
    if failed:
        raise StageError(f"Not ready: {len(failed)} to fix.")


def _outcome(program: Program, root: Path) -> tuple[bool, str]:
    """Whether it passed, and its words."""
    done = subprocess.run(
        program.words,
        cwd=root,
        env=program.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return not done.returncode, done.stdout or "it failed and said nothing"


def _noted(program: Program, output: str) -> list[str]:
    """What a program that passed would have somebody know; see `stagetools.image.findings`."""
    lines = output.splitlines() if program.notes else []
    return [line for line in lines if line.startswith(("! ", "  → ", "    "))]


def _with_advice(output: str, remedy: str, run: str = "", shown: int = _SHOWN) -> str:
    """A program's last words; only the very last where they themselves say what to do."""
    advice = remedy_for(output, run)
    lines = output.rstrip().splitlines()[-(_SHOWN_WITH_ADVICE if advice else shown) :]
    said = "\n".join(f"    {line}" for line in lines)
    return f"{said}\n  → {advice or remedy.format(_only_the_first(output))}"


_FAILED = re.compile(r"^(?:(?:FAILED|ERROR) \S+::|(?:FAIL|ERROR): )(\w+)", re.MULTILINE)


def _only_the_first(output: str) -> str:
    """The option that runs one failed test, as pytest or Django's own runner names it."""
    found = _FAILED.search(output)
    return f" --only {found[1]}" if found else ""


# --- programs -------------------------------------------------------------------------


def _programs(root: Path, run: str, folder: Path) -> Iterator[Program]:
    yield from _tools(root, run)
    build = _as_in_a_build(folder)
    level = "ERROR" if _is_adopted(root) else "WARNING"
    deploy = _manage("check", "--deploy", f"--fail-level={level}")
    yield Program(
        "settings, as production has them",
        deploy,
        f"change stagetools_project/settings.py as it says, then {run}inv check",
        build,
        is_first_of_django=True,
    )
    missing = _manage("makemigrations", "--check", "--dry-run")
    make = f"{run}python -m stagetools.manage makemigrations"
    yield Program("no migration is missing", missing, make, build)
    collecting = (sys.executable, "-m", "stagetools.image.collecting")
    static = (*collecting, build["STATIC_ROOT"])
    again = f"change the file that it names, then {run}inv check"
    yield Program(
        "static files can be hashed", static, again, build, notes=True, shown=_ALL
    )
    tests = (sys.executable, *words_of_tests(root))
    yield Program("tests", tests, f"all of it: {run}inv test{{0}}")


def _tools(root: Path, run: str) -> Iterator[Program]:
    """Those that the project has chosen: they have a table in its pyproject.toml."""
    tools = _pyproject(root).get("tool", {})
    if "ruff" in tools and find_spec("ruff"):
        ruff = (sys.executable, "-m", "ruff")
        form, lint = (
            (*ruff, "format", "--check", "--quiet", "."),
            (*ruff, "check", "--quiet", "."),
        )
        yield Program("format", form, f"{run}ruff format")
        fix = f"{run}ruff check --fix fixes some; change the other lines by hand"
        yield Program("lint", lint, fix)
    if "mypy" in tools and find_spec("mypy"):
        mypy = (sys.executable, "-m", "mypy", "--no-error-summary")
        yield Program("types", mypy, f"change the lines that it names, then {run}mypy")


def _manage(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "stagetools.manage", *words)


def words_of_tests(root: Path) -> tuple[str, ...]:
    """For Python: pytest where the project has set it up, and else Django's own runner."""
    tools = _pyproject(root).get("tool", {})
    has_settings = "pytest" in tools or (root / "pytest.ini").exists()
    if has_settings and find_spec("pytest"):
        return ("-m", "pytest", "-q")
    return ("-m", "stagetools.manage", "test", "--verbosity=0")


def _as_in_a_build(folder: Path) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | {
        "STAGETOOLS_SYSTEM": BUILD,
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": "localhost",
        "DATABASE_PATH": str(folder / "check.sqlite3"),
        "STATIC_ROOT": str(folder / "static"),
        "STAGETOOLS_STATIC_FILES": "plain",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


# --- files ----------------------------------------------------------------------------

_MARKERS = r"^(<{7}|>{7})( |$)"
_PRIVATE = {".env": ".env*", "data/site.sqlite3": "*.sqlite3*"}
_HERE = re.compile(r"\A(?:cpython-)?(\d+\.\d+)")
_THERE = re.compile(r"^FROM python:(\d+\.\d+)", re.MULTILINE)
_OLDEST = (5, 2)
_PINNED = re.compile(r"^django\s*==\s*(\d+)\.(\d+)", re.IGNORECASE | re.MULTILINE)


def problems_of_files(root: Path) -> Iterator[Problem]:
    """What can be seen without running the project."""
    if marked := _git(root, "grep", "-lE", _MARKERS):
        yield Problem(
            f"markers of an unresolved merge in {', '.join(marked)}",
            "resolve each of them, then `git add` the file",
        )
    if _git(root, "rev-parse", "--git-dir"):
        for path, pattern in _PRIVATE.items():
            if not _git(root, "check-ignore", path):
                yield Problem(
                    f"git would track {path}", f"add a line `{pattern}` to .gitignore"
                )
    yield from _problems_of_python(root)
    if _is_adopted(root):
        yield from _problems_of_requirements(root)


def _problems_of_python(root: Path) -> Iterator[Problem]:
    """What is tested here runs there."""
    here = _HERE.search(_text(root / ".python-version"))
    there = _THERE.search(_text(root / "Dockerfile"))
    if here and there and here[1] != there[1]:
        yield Problem(
            f".python-version says {here[1]}, and the Dockerfile {there[1]}",
            f"for both: `FROM python:{here[1]}-slim AS base` in the Dockerfile,"
            f" or echo {there[1]} >.python-version",
        )


def _problems_of_requirements(root: Path) -> Iterator[Problem]:
    """The image installs what uv.lock, pyproject.toml or requirements.txt declares."""
    ours = root / "stagetools_project/requirements.txt"
    requirements = _text(root / "requirements.txt")
    declared = (
        (root / "uv.lock").exists(),
        "dependencies" in _pyproject(root).get("project", {}),
        requirements,
        re.search(r"^-r ", _text(ours), re.MULTILINE),
    )
    if not any(declared):
        yield Problem(
            "nothing says which packages the project needs, so the image would lack them",
            f"write a requirements.txt, or name yours in {ours.relative_to(root)}:"
            " -r ../requirements/production.txt",
        )
    pinned = _PINNED.search(requirements)
    if pinned and (int(pinned[1]), int(pinned[2])) < _OLDEST:
        yield Problem(
            f"requirements.txt asks for {pinned[0]}; 5.2 is the oldest that is supported",
            "follow the release notes from one version to the next, then ask for 5.2",
        )


def _is_adopted(root: Path) -> bool:
    answers = _text(root / ".copier-answers.yml")
    return bool(re.search(r"^settings_module: *[\"']?\w", answers, re.MULTILINE))


def _pyproject(root: Path) -> dict[str, dict[str, object]]:
    try:
        return tomllib.loads(_text(root / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _git(root: Path, *words: str) -> list[str]:
    """The lines that git prints; none where it fails, or is no repository."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


# --- advice ---------------------------------------------------------------------------

_SET_IT = (
    'the settings insist on {0}: put stand_in(SYSTEM, {0}="…") into'
    " stagetools_project/settings.py for builds, and for a server"
    " `inv env.set {0}=VALUE`"
)
_ADVICE = (
    (r"KeyError: '([A-Z][A-Z0-9_]+)'", _SET_IT),
    (r"Set the ([A-Z][A-Z0-9_]+) environment variable", _SET_IT),
    (r"UndefinedValueError: ([A-Z][A-Z0-9_]+) not found", _SET_IT),
    (
        r"No module named '([\w.]+)'",
        "declare the package of {0} as a requirement and install it here, or, if it is the"
        " project's own, add its folder to sys.path in aaa_env_setup.py",
    ),
    (
        r"The file '([^']+)' could not be found",
        "a stylesheet or a script refers to {0}: add the file, or remove the reference",
    ),
    (
        r"multiple leaf nodes in the migration graph: \(([^)]*)\)",
        "two migrations follow the same one: {run}python -m stagetools.manage makemigrations"
        " --merge; or, where one of them ({0}) came by `copier update` and changes a model"
        " that you have removed, delete its file",
    ),
    (r"Migrations for '(\w+)'", "{run}python -m stagetools.manage makemigrations {0}"),
)


def remedy_for(output: str, run: str = "") -> str:
    """What to do about a program's last words, where that is known; or nothing."""
    for pattern, advice in _ADVICE:
        if found := re.search(pattern, output):
            return advice.format(found[1], run=run)
    return ""
