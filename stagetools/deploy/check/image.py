"""What an image has when it installs the project's packages, and which of uv.lock's it installs.

Read from the Dockerfile and uv.lock, without building. The standard library alone.
"""

import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from stagetools.deploy.check.project import pyproject, text

__all__ = ["has_folder", "has_git", "locked"]

Package = dict[str, Any]

# --- the Dockerfile -------------------------------------------------------------------

_COMMENT = re.compile(r"^\s*#.*\n", re.MULTILINE)  # also between lines that go on
_GOES_ON = re.compile(r"\\[ \t]*\n")
_INSTALLS_GIT = re.compile(r"install[^\n;&|]*\bgit\b(?!\+)")
_INSTALLS = re.compile(r"\buv (?:sync|pip install)\b")
_COPY = re.compile(r"^\s*(?:COPY|ADD)\s+((?:--\S+\s+)*)(\S.*)$", re.MULTILINE)


def has_git(root: Path) -> bool:
    """Whether a command of the Dockerfile installs it."""
    return bool(_INSTALLS_GIT.search(_dockerfile(root)))


def has_folder(root: Path, path: str) -> bool:
    """Whether a COPY before the packages names the folder that a path begins with."""
    before = _INSTALLS.split(_dockerfile(root), maxsplit=1)[0]
    return any(
        source == "." or fnmatch(_first(path), _first(source) or "/")
        for source in _copied(before)
    )


def _dockerfile(root: Path) -> str:
    """Each of its instructions in one line."""
    return _GOES_ON.sub(" ", _COMMENT.sub("", text(root / "Dockerfile")))


def _copied(dockerfile: str) -> Iterator[str]:
    """What is copied, and where to; of another image, only where to."""
    for options, line in _COPY.findall(dockerfile):
        is_list = line.startswith("[")
        words = re.findall(r'"([^"]+)"', line) if is_list else line.split()
        if "--from" not in options:
            yield from (source.rstrip("/") for source in words[:-1])
        yield from (place.removesuffix(".") or "/" for place in words[-1:])


def _first(path: str) -> str:
    """The first folder of a path, seen from /app in the image."""
    inside = re.sub(r"^/+app(?=/|$)", "", path.removeprefix("file:"))
    return next((p for p in inside.split("/") if p not in ("", ".", "..")), "")


# --- uv.lock --------------------------------------------------------------------------


def locked(root: Path) -> list[Package]:
    """What `uv sync --no-dev` installs; all, where none of them is the project."""
    try:
        packages = tomllib.loads(text(root / "uv.lock")).get("package", [])
    except tomllib.TOMLDecodeError:
        return []
    own = [p for p in packages if "." in p.get("source", {}).values()]
    names = _needed([d for p in own for d in _asked(root, p)], packages)
    return [p for p in packages if not own or p.get("name") in names]


def _asked(root: Path, own: Package) -> Iterator[Package]:
    """What the project asks for, and the groups that uv installs unasked, but `dev`."""
    yield from own.get("dependencies", [])
    chosen = pyproject(root).get("tool", {}).get("uv", {}).get("default-groups", [])
    for group, asked in own.get("dev-dependencies", {}).items():
        if group != "dev" and (chosen == "all" or group in chosen):
            yield from asked


def _needed(waiting: list[Package], packages: list[Package]) -> set[str]:
    """The names of what is asked for, and of what that needs in its turn."""
    seen: set[tuple[str, str]] = set()
    while waiting:
        asked = waiting.pop()
        for extra in ("", *asked.get("extra", [])):
            if (asked["name"], extra) not in seen:
                seen.add((asked["name"], extra))
                waiting += _dependencies(asked["name"], extra, packages)
    return {name for name, _ in seen}


def _dependencies(name: str, extra: str, packages: list[Package]) -> Iterator[Package]:
    for package in packages:
        if package.get("name") == name:
            extras = package.get("optional-dependencies", {})
            plain = package.get("dependencies", [])
            yield from extras.get(extra, []) if extra else plain
