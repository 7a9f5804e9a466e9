"""Whether the packages that the image installs go together, on its Python; asked of uv.

A pin of the project against one of ours, no release for that Python, another Django than the
one that is tested here: each would end the build, or change the site, on the server alone.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from stagetools.deploy.check import needs
from stagetools.deploy.check.needs import files_of_image, python_of
from stagetools.deploy.check.project import Problem, is_adopted

__all__ = ["problems"]

_PATIENCE = 300  # seconds: a package without a wheel is built to learn what it needs
_SHOWN = 8  # lines of uv's own
_NO_NETWORK = re.compile(
    r"error sending request|dns error|client error \(Connect\)|timed out|network was disabled",
    re.IGNORECASE,
)
_SOURCE_ONLY = re.compile(
    r"(?:Because|and) (?:only )?([A-Za-z0-9._-]+)==(\S+) has no (?:usable )?wheels"
)
_MOST = 9  # packages without a wheel that are named


def problems(root: Path, say: Callable[[str], None]) -> Iterator[Problem]:
    """What uv cannot resolve for the image; where it cannot be asked, that is said."""
    python, uv = python_of(root), _uv()
    files = [path for path in files_of_image(root) if (root / path).is_file()]
    if not is_adopted(root) or not python or not files:
        return
    if any(needs.problems(root)):
        return  # which uv would say again, in other words
    if not uv:
        say("· not asked whether the image's packages go together: pip install uv")
        return
    words = [*uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    words += ["--python-platform=linux", f"--python-version={python}"]
    locked = _locked(root, uv)
    status, pins = _run(root, [*words, *(["-"] if locked else []), *files], locked)
    if status and _NO_NETWORK.search(pins):
        say(
            "· not asked whether the image's packages go together: no package index answers"
        )
    elif status:
        yield _unresolved(python, pins)
    else:
        say(f"✓ packages, as the image's Python {python} gets them")
        yield from _another_django(pins)
        _say_what_is_built(root, words, pins, say)


def _locked(root: Path, uv: list[str]) -> str:
    """What uv.lock pins: the image installs it first, and ours must leave it as it is."""
    if not (root / "uv.lock").exists():
        return ""
    export = ["export", "--frozen", "--quiet", "--no-dev", "--no-hashes", "--no-header"]
    bare = ["--no-annotate", "--no-emit-project"]
    status, pins = _run(root, [*uv, *export, *bare])
    return "" if status else pins


def _uv() -> list[str]:
    if find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return [found] if found else []


def _run(root: Path, words: list[str], given: str = "") -> tuple[int, str]:
    """The status, and the pins; what it says where it fails."""
    environment = os.environ | {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            words,
            cwd=root,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "timed out"
    return done.returncode, done.stderr if done.returncode else done.stdout


def _unresolved(python: str, said: str) -> Problem:
    words = " ".join(line.strip() for line in said.strip().splitlines()[-_SHOWN:])
    words = words[max(words.find("Because"), 0) :]
    return Problem(
        f"the image's Python {python} cannot have these packages: {words}",
        "change what your requirements ask for; or, where it is a version of Python,"
        " the line FROM of the Dockerfile",
    )


def _another_django(pins: str) -> Iterator[Problem]:
    """The image would have another Django than the one that the tests meet here."""
    there = re.search(r"^django==(\d+\.\d+)(\S*)", pins, re.MULTILINE)
    try:
        here = version("django")
    except PackageNotFoundError:
        return
    if there and not f"{here}.".startswith(f"{there[1]}."):
        mine = ".".join(here.split(".")[:2])
        yield Problem(
            f"the image would have Django {there[1]}{there[2]}, and here it is {here}",
            f"ask for one of them in your requirements, django~={mine}.0, or install the"
            f" other one here: pip install 'django~={there[1]}.0'",
        )


def _say_what_is_built(
    root: Path, words: list[str], pins: str, say: Callable[[str], None]
) -> None:
    """Name what has no wheel: Python alone is enough for some, others need a compiler."""
    left = [line for line in pins.splitlines() if "==" in line]
    built: list[str] = []
    while len(built) < _MOST:
        wheels = [*words, "--no-deps", "--only-binary=:all:", "-"]
        status, said = _run(root, wheels, "\n".join(left))
        found = _SOURCE_ONLY.search(said) if status else None
        if not found:
            break
        built.append(f"{found[1]} {found[2].rstrip(',.')}")
        left = [line for line in left if not line.startswith(f"{found[1]}==")]
    if built:
        say(
            f"· no wheel, so the image builds it: {', '.join(built)}. If it is not Python"
            " alone, its compiler and libraries belong into the Dockerfile (apt-get install,"
            " in the stage `dependencies`; libraries in the stage `runtime` too)"
        )
