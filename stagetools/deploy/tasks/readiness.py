"""`inv check`: what a change must pass, and what still keeps a project from being deployed.

Django is asked as in an image's build, with a production stage's settings and no variable of
this machine. Each check runs, also after another one failed. The standard library alone.
"""

import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from stagetools.deploy.check import needs, own_tests, resolving
from stagetools.deploy.check.project import (
    Problem,
    git,
    is_adopted,
    problem_of_settings,
    pyproject,
)
from stagetools.deploy.tasks import beside
from stagetools.errors import StageError
from stagetools.naming.system import BUILD

__all__ = ["Problem", "check", "problems_of_files", "remedy_for"]

_SHOWN, _SHOWN_WITH_ADVICE = 25, 5  # last lines of a failing program
_ALL = 1000  # of one that has found all that there is
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")


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
    folder: Path | None = None  # the project's own unless given


def check(root: Path, say: Callable[[str], None], *, tests: bool = True) -> None:
    """Run every check that the project at `root` is set up for; StageError if one fails."""
    failed, run = [], "uv run " if (root / "uv.lock").exists() else ""
    for remark in filter(None, (problem_of_settings(root)[1], beside.shadowed(root))):
        say(f"· {remark}")
    for problem in (*problems_of_files(root), *resolving.problems(root, say)):
        failed.append(problem.what)
        say(f"✗ {problem.what}\n  → {problem.remedy}")
    with tempfile.TemporaryDirectory() as folder:
        for program in _programs(root, run, Path(folder), tests):
            passed, output = _outcome(program, root, Path(folder) / "output", say)
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


def _outcome(
    program: Program, root: Path, output: Path, say: Callable[[str], None]
) -> tuple[bool, str]:
    """Whether it passed, and its words."""
    folder, environment = program.folder or root, program.environment
    unbuffered = environment | {"PYTHONUNBUFFERED": "1"}
    status, said = own_tests.watched(
        program.title, program.words, folder, unbuffered, output, say
    )
    return not status, said or "it failed and said nothing"


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


def _programs(root: Path, run: str, folder: Path, tests: bool) -> Iterator[Program]:
    yield from _tools(root, run)
    build = _as_in_a_build(folder)
    level = "ERROR" if is_adopted(root) else "WARNING"
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
    if tests:
        words, where, environment = own_tests.command(root)
        whole = f"all of it: {run}inv test{{0}}"
        program = (sys.executable, *words)
        yield Program("tests", program, whole, environment, folder=where)


# Beside an adopted project's own files, and no matter of its tools. ruff reads the same in
# stagetools/ruff.toml and at the head of each file, where the project's own CI calls it; a
# project's rule against such heads is met here.
_BESIDE = tuple(
    f"--extend-per-file-ignores={name}:ALL" for name in ("tasks.py", "aaa_*_setup.py")
)
_OURS = r"^(stagetools|stagetools_project|tasks\.py|aaa_(env|script)_setup\.py)(/|$)"


def _tools(root: Path, run: str) -> Iterator[Program]:
    """Those that the project has chosen: they have a table in its pyproject.toml."""
    tools = pyproject(root).get("tool", {})
    if "ruff" in tools and find_spec("ruff"):
        ruff = (sys.executable, "-m", "ruff")
        not_ours = _BESIDE if is_adopted(root) else ()
        form, lint = (
            (*ruff, "format", "--check", "--quiet", "."),
            (*ruff, "check", "--quiet", *not_ours, "."),
        )
        yield Program("format", form, f"{run}ruff format")
        fix = f"{run}ruff check --fix fixes some; change the other lines by hand"
        yield Program("lint", lint, fix)
    if "mypy" in tools and find_spec("mypy"):
        mypy = (sys.executable, "-m", "mypy", "--no-error-summary")
        theirs = ("--exclude", _OURS) if is_adopted(root) else ()
        again = f"change the lines that it names, then {run}mypy"
        yield Program("types", (*mypy, *theirs), again)


def _manage(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "stagetools.manage", *words)


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


def problems_of_files(root: Path) -> Iterator[Problem]:
    """What can be seen without running the project."""
    if marked := git(root, "grep", "-lE", _MARKERS):
        yield Problem(
            f"markers of an unresolved merge in {', '.join(marked)}",
            "resolve each of them, then `git add` the file",
        )
    if git(root, "rev-parse", "--git-dir"):
        for path, pattern in _PRIVATE.items():
            is_theirs = is_adopted(root) and path == ".env"  # ours are never in one
            if is_theirs and not (root / path).exists():
                continue
            if not git(root, "check-ignore", path):
                yield Problem(
                    f"git would track {path}", f"add a line `{pattern}` to .gitignore"
                )
    if beside.is_foreign(root):
        yield Problem(
            f"{beside.OURS} is not the one that the template rendered",
            "give your own file another name, and take the template's: see docs/adopt.md",
        )
    yield from needs.problems_of_python(root)
    if is_adopted(root):
        yield from needs.problems(root)
        yield from filter(None, problem_of_settings(root)[:1])


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
