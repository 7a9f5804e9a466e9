"""What a project says of itself: its tools, and of an adopted one which settings it has.

Read from its files, without running it. The standard library alone.
"""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagetools.adopted import source_dir

__all__ = [
    "Problem",
    "answers_file",
    "git",
    "is_adopted",
    "problem_of_settings",
    "pyproject",
    "text",
    "wrapped_settings",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a change from being deployed, and how to fix it."""

    what: str
    remedy: str


def text(path: Path) -> str:
    """What is in a file; nothing where there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def pyproject(root: Path) -> dict[str, dict[str, Any]]:
    """The tables of pyproject.toml; none where it cannot be read."""
    try:
        return tomllib.loads(text(root / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return {}


def git(root: Path, *words: str) -> list[str]:
    """The lines that git prints; none where it fails, or is no repository."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


# --- an adopted one -------------------------------------------------------------------

_ANSWER = re.compile(r"^settings_module: *[\"']?([\w.]+)", re.MULTILINE)
_WRAPPED = re.compile(r"^from ([\w.]+) import \*", re.MULTILINE)


def is_adopted(root: Path) -> bool:
    """Whether its settings are somebody's own, and wrapped."""
    return bool(wrapped_settings(root))


def wrapped_settings(root: Path) -> str:
    """The module that is wrapped; nothing in a project that the template made."""
    settings = text(root / "stagetools_project/settings.py")
    if "stagetools.adopted" in settings and (found := _WRAPPED.search(settings)):
        return found[1]
    answers = answers_file(root)
    answered = _ANSWER.search(text(answers)) if answers else None
    return answered[1] if answered else ""


def answers_file(root: Path) -> Path | None:
    """Where Copier keeps the answers: beside another template, under a name of one's own."""
    paths = sorted(root.glob(".copier-answers*.y*ml"))
    for question in ("settings_module", "project_slug"):  # others ask the second, too
        for path in paths:
            if re.search(f"^{question}:", text(path), re.MULTILINE):
                return path
    return None


# --- which settings production has ----------------------------------------------------

_NAMED = re.compile(
    r"(?:DJANGO_SETTINGS_MODULE[\"'\s,:=\]]+|--settings[= ])([A-Za-z_][\w.]*\w)"
)
# those that start a site somewhere, the surest first
_STARTS = (
    re.compile(r"(^|/)Procfile$"),
    re.compile(r"(^|/)(Dockerfile|Containerfile)[^/]*$|\.[Dd]ockerfile$"),
    re.compile(r"(^|/)(fly\.toml|app\.yaml|render\.yaml|app\.json)$"),
    re.compile(r"(compose|docker)[^/]*prod[^/]*\.ya?ml$|\.service$"),
    re.compile(r"(^|/)[wa]sgi\.py$"),
)
_PRODUCTION = re.compile(r"settings.*[/_](production|prod)\.py$")
_FOR_DEVELOPERS = frozenset(
    [
        "dev",
        "devel",
        "develop",
        "development",
        "local",
        "debug",
        "test",
        "tests",
        "testing",
    ]
)
_OURS = ("stagetools/", "stagetools_project/")


def problem_of_settings(root: Path) -> tuple[Problem | None, str]:
    """Settings for developers that are wrapped: a problem; others than production's: a remark."""
    wrapped, named = wrapped_settings(root), dict(_production_settings(root))
    others = [m for m in named if m != wrapped and not _is_for_developers(m)]
    if not wrapped or not others:
        return None, ""
    found, where = others[0], named[others[0]]
    if _is_for_developers(wrapped):
        what = (
            f"{wrapped} is wrapped, which looks like a developer's; {where} has {found}"
        )
        return Problem(what, f"commit, then {_answer_anew(root, found)}"), ""
    if wrapped in named:
        return None, ""
    return None, (
        f"{wrapped} is wrapped, and {where} has {found}; if production needs that one:"
        f" {_answer_anew(root, found)}"
    )


def _answer_anew(root: Path, module: str) -> str:
    answers = answers_file(root)
    is_usual = answers is None or answers.name == ".copier-answers.yml"
    option = "" if is_usual or not answers else f"--answers-file {answers.name} "
    return f"uvx copier update --defaults {option}--data settings_module={module}"


def _is_for_developers(module: str) -> bool:
    return bool(_FOR_DEVELOPERS & set(module.rpartition(".")[2].split("_")))


def _production_settings(root: Path) -> Iterator[tuple[str, str]]:
    """Modules that are there, each with the file that names it, the surest first."""
    tracked = [p for p in git(root, "ls-files") if not p.startswith(_OURS)]
    found = [*_named_by_starters(root, tracked), *_named_so(root, tracked)]
    first = {}
    for module, where in found:
        if module not in first and source_dir(root, module):
            first[module] = where
    yield from first.items()


def _named_by_starters(root: Path, tracked: list[str]) -> Iterator[tuple[str, str]]:
    for pattern in _STARTS:
        for path in tracked:
            if pattern.search(path):
                for module in _NAMED.findall(text(root / path)):
                    if not module.startswith("stagetools"):
                        yield module, path


def _named_so(root: Path, tracked: list[str]) -> Iterator[tuple[str, str]]:
    """settings/production.py, as the module that it is below the folder of the others."""
    wrapped = wrapped_settings(root)
    folder = source_dir(root, wrapped) if wrapped else None
    for path in tracked:
        if folder and _PRODUCTION.search(path) and (root / path).is_relative_to(folder):
            parts = (root / path).relative_to(folder).with_suffix("").parts
            yield ".".join(parts), path
